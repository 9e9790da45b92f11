"""The file: SQLite, its schema, and how it is opened.

Write-ahead log with ``synchronous=NORMAL``: a killed process loses nothing that was committed; a power cut may lose the
last transactions but never the file, and what they recorded is done again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from urllib.parse import quote

from s3engine.errors import ConfigError, JournalError

__all__ = [
    "BYTES", "DONE", "FAILED", "FILE", "INFO", "KEY", "PLANNED", "REJECTED", "damaged", "get_meta", "open_store",
    "unusable", "upgrade",
]  # fmt: skip

PLANNED, DONE, FAILED = range(3)
"""States of an object."""
FILE, BYTES, KEY, INFO, REJECTED = range(5)
"""Kinds of input items: FileSource, what cannot be made again from the journal, a key, ObjectInfo, Rejected."""

_APPLICATION_ID = 0x53334A4C  # "S3JL"
_VERSION = 2

# objects.stored: what a move made of it is there (its source may be gone), ``size`` bytes, with the ETag ``made``.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, token TEXT NOT NULL);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY, state INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0,
    kind INTEGER NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    extra TEXT NOT NULL, hash INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    verified TEXT NOT NULL DEFAULT '', target TEXT NOT NULL DEFAULT '', error TEXT, message TEXT,
    made TEXT NOT NULL DEFAULT ''
);
CREATE TABLE transfers (
    id INTEGER PRIMARY KEY, object INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
    source TEXT NOT NULL, part_bytes INTEGER NOT NULL, note TEXT NOT NULL, dropped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX transfers_of ON transfers (object);
CREATE TABLE parts (
    transfer INTEGER NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, checksum TEXT NOT NULL,
    size INTEGER NOT NULL, verified TEXT NOT NULL, PRIMARY KEY (transfer, number)
) WITHOUT ROWID;
"""


def open_store(path: str, *, create: bool) -> sqlite3.Connection:
    """Open a journal, or make one. For one thread at a time, whichever. Raises ConfigError."""
    try:
        _look(path, create)
    except OSError as error:
        raise ConfigError(f"cannot open the journal {path!r}: {error.strerror}") from None
    connection = None
    try:
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
            timeout=10,
        )  # fmt: skip
        _check(connection, path, create)
        if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise ConfigError(f"journal {path!r}: this file system has no shared memory; put it on a local disk")
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.DatabaseError as error:
        if connection is not None:
            connection.close()
        if "not a database" in str(error):
            raise _no_journal(path, "it is another kind of file, and was left as it is") from None
        raise unusable(path, error) from None
    except ConfigError:
        assert connection is not None
        connection.close()
        raise
    return connection


def _look(path: str, create: bool) -> None:
    """Raise OSError for a file that cannot be used; make it where that is wished.

    An existing one is never opened but by SQLite: POSIX drops all locks that a process has on a file when any of its
    descriptors is closed, so the locks of a run in this process would go, and another process would remove its log.
    """
    if create:
        with contextlib.suppress(FileExistsError):
            # SQLite would make the file readable for all.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(os.path.realpath(path), flags, 0o600))
            return
    if stat.S_ISDIR(os.stat(path).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check(connection: sqlite3.Connection, path: str, create: bool) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == _APPLICATION_ID:
        if version > _VERSION:
            raise ConfigError(
                f"journal {path!r} was written by a newer s3engine (format {version}, this one knows {_VERSION}); "
                "use that one"
            )
        if version < 1:
            raise _no_journal(path, f"it is marked as one, but of format {version}, which no s3engine writes")
        return
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] or version or application:
        raise _no_journal(path, "it is a database of another program, and was left as it is")
    if not create:
        raise _no_journal(path, "it is empty, nothing was ever recorded in it")
    # Before the switch to the write-ahead log, so that the schema is in the file itself whatever follows.
    connection.executescript(
        f"BEGIN; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; {_SCHEMA} COMMIT;"
    )


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring a journal of an older format to this one. Within a transaction, by who holds the lock of the journal.

    Format 1 had no ``made``: it kept the ETag of what an upload made in ``etag``, and nothing of copies and downloads.
    """
    if connection.execute("PRAGMA user_version").fetchone()[0] < 2:
        connection.execute("ALTER TABLE objects ADD COLUMN made TEXT NOT NULL DEFAULT ''")
        connection.execute("UPDATE objects SET made = etag WHERE stored = 1")
        connection.execute(f"PRAGMA user_version={_VERSION}")


def _no_journal(path: str, why: str) -> ConfigError:
    return ConfigError(f"{path!r} is not a journal of s3engine: {why}; name another file")


def unusable(path: str, error: Exception) -> ConfigError:
    """A journal that cannot be read, before anything was done with it."""
    return ConfigError(_damaged(path, error))


def damaged(path: str, error: Exception) -> JournalError:
    """A journal that cannot be read while a run lasts."""
    return JournalError(_damaged(path, error), path=path)


def _damaged(path: str, error: Exception) -> str:
    return f"cannot read the journal {path!r}: {error}. If it is damaged, name another one: it does the job anew"


def get_meta(connection: sqlite3.Connection, name: str, default: str = "") -> str:
    """A value of the table meta."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        return default
    # Of a key that is not Unicode: see sql_text.
    return row[0].decode("utf-8", "surrogatepass") if isinstance(row[0], bytes) else str(row[0])
