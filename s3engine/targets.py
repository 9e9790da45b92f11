"""What is there already where something is to be written: a whole listing of it, or one question each, or the disk."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from s3engine.disk import sink_error
from s3engine.errors import ConfigError, NotFound, SinkError
from s3engine.listing import ObjectListing
from s3engine.transport import HeadResult

__all__ = ["AskedTargets", "FileTargets", "ListedTargets", "Target", "Targets", "seconds_of"]

_TABLE = "create table targets (key blob primary key, size integer, etag text, modified text) without rowid"


# No such name, a file where a folder is needed, a name that is too long: the last two are the writer's to tell.
_NOTHING_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))


class Target(NamedTuple):
    """What stands at the target. ``modified_s`` is in seconds since 1970, None when the store tells none.

    ``size_bytes`` is -1 for what is neither a file nor an object.
    """

    size_bytes: int
    modified_s: float | None
    etag: str = ""


class Targets(Protocol):
    """Where to look."""

    def find(self, name: str) -> Target | None:
        """What is there under this key (or path), None when nothing is. Raises S3EngineError when that is not known."""

    def close(self) -> None:
        """Give back what is held."""


def seconds_of(text: str) -> float | None:
    """Seconds since 1970 of a time as listings (ISO 8601) or headers (RFC 9110) write it; None when it is neither.

    Also None for what stores write where they know no time: the first second of 1970, or of the year 1 (Go's zero).
    """
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
    since_s = (found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)).timestamp()
    return since_s if since_s > 0 else None


class ListedTargets:
    """All objects below a prefix, listed to the end before the first question; flat memory for millions.

    They stand in a database of SQLite's own temporary kind: a file without a name once it has outgrown 2 MB of memory.
    For one thread at a time. Raises what the listing raises, ConfigError when its end cannot be proven.
    """

    def __init__(self, listing: ObjectListing) -> None:
        self._prefix = listing.prefix
        self._bucket = listing.bucket
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode = off", "synchronous = off", "locking_mode = exclusive"):
                self._rows.execute(f"pragma {pragma}")
            self._rows.execute(_TABLE)
            self._rows.execute("begin")
            for page in listing.proven_pages():
                self._rows.executemany(
                    "insert or replace into targets values (?, ?, ?, ?)",
                    [(_blob(one.key), one.size_bytes, one.etag, one.last_modified) for one in page.objects],
                )
            self._rows.execute("commit")
        except sqlite3.Error as error:
            self._rows.close()
            raise SinkError(f"cannot keep the listing of s3://{self._bucket}/{self._prefix}: {error}") from None
        except BaseException:
            self._rows.close()
            raise

    def find(self, name: str) -> Target | None:
        """The object with this key."""
        if not name.startswith(self._prefix):
            raise ConfigError(
                f"key {name!r} is not below s3://{self._bucket}/{self._prefix}, which was listed to see what is there"
            )
        found = self._rows.execute("select size, etag, modified from targets where key = ?", (_blob(name),)).fetchone()
        return None if found is None else Target(found[0], seconds_of(found[2]), found[1])

    def close(self) -> None:
        """Drop the database."""
        self._rows.close()


class AskedTargets:
    """One HeadObject for each key: for few of them."""

    def __init__(self, head: Callable[[str], HeadResult]) -> None:
        self._head = head

    def find(self, name: str) -> Target | None:
        """The object with this key."""
        try:
            found = self._head(name)
        except NotFound as error:
            if error.code == "NoSuchBucket":
                raise
            return None
        return Target(found.size_bytes, seconds_of(found.last_modified), found.etag)

    def close(self) -> None:
        """Nothing is held."""


class FileTargets:
    """Files below a folder, looked at one by one."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find(self, name: str) -> Target | None:
        """What has this relative path. Raises SinkError.

        The file, also behind a link; of what is none (a FIFO, a link to nowhere) size and time are not known. A folder
        is in the way of the writer, who says so.
        """
        path = os.path.join(self._folder, name)
        try:
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                return None
            if stat.S_ISLNK(status.st_mode):
                with suppress(OSError):
                    status = os.stat(path)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            raise sink_error(path, error) from None
        return Target(status.st_size, status.st_mtime) if stat.S_ISREG(status.st_mode) else Target(-1, None)

    def close(self) -> None:
        """Nothing is held."""


def _blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
