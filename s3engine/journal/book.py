"""What programs and the command line read of a journal."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from s3engine import errors
from s3engine.errors import ConfigError, S3EngineError
from s3engine.given import file_path, text
from s3engine.journal.records import text_from
from s3engine.journal.store import DONE, FAILED, FILE, PLANNED, REJECTED, get_meta, open_store, unusable

__all__ = ["Failed", "Journal", "JournalCounts"]


class JournalCounts(NamedTuple):
    """How far a job is. ``planned`` objects were taken from the input and are neither done nor failed."""

    done: int
    failed: int
    planned: int
    done_bytes: int
    by_error: dict[str, int]
    """Failed objects by the name of the error's class."""
    input_read: bool
    """The input was read to its end: there are no other objects."""

    @property
    def finished(self) -> bool:
        """Nothing is left but what has failed."""
        return self.input_read and not self.planned


class Failed(NamedTuple):
    """An object that failed for good, as far as the last run knows."""

    name: str
    """What the job's input calls it: a path (uploads), else a key."""
    key: str
    target: str
    size_bytes: int
    """-1 when it is not known."""
    error: str
    """Name of the error's class."""
    message: str
    attempts: int
    rejected: bool = False
    """It was never an object of the job: a row that could not be used, or one whose key came before. ``name`` may be
    that of a good object that nobody named, so it is no input."""


class Journal:
    """A journal by its path; nothing is opened before something is asked. Give it to ``journal=`` or read it.

    Every method raises ConfigError when the file is no journal, or cannot be opened or read (it may be
    damaged). Reading is possible while a run writes. ``command`` are texts that say which job it is, for programs that
    build jobs out of settings; they are compared as the rest of the job's identity is. ``options`` are only kept:
    the newest stand in the journal. Neither may hold a secret.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, command: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.path = file_path("the path of a journal", path)
        self.command = dict(command or {})
        self.options = dict(options or {})
        self.failed_only = False
        """As ``journal=``: try only what has failed, and take nothing from the input."""
        self.error_classes: frozenset[str] = frozenset()

    @property
    def wanted_rows(self) -> str:
        """Which objects on record a run takes up again, as SQL."""
        if not self.failed_only:
            return f"state != {DONE}"
        names = ", ".join(f"'{name}'" for name in sorted(self.error_classes))
        return f"state = {FAILED}" + (f" AND error IN ({names})" if names else "")

    def __repr__(self) -> str:
        return f"Journal({self.path!r}{', failed only' if self.failed_only else ''})"

    def only_failed(self, error: str = "") -> Journal:
        """This journal for a run that tries only what has failed, with an error of class ``error`` where that is given.

        Subclasses count: "NetworkError" means every timeout, too. Raises ConfigError for a name that is no error's.
        """
        again = Journal(self.path, command=self.command, options=self.options)
        again.failed_only = True
        again.error_classes = _subclasses(error) if text("error", error) else frozenset()
        return again

    def counts(self) -> JournalCounts:
        """How far the job is."""
        with self._opened() as connection:
            found = dict.fromkeys((PLANNED, DONE, FAILED), (0, 0))
            sizes = "CAST(total(max(size, 0)) AS INTEGER)"  # sum() fails where tables tell nonsense
            for state, count, size_bytes in _rows(
                connection, self.path, f"SELECT state, count(*), {sizes} FROM objects GROUP BY state", ()
            ):
                found[state] = (count, size_bytes)
            by_error = dict(
                _rows(
                    connection, self.path,
                    "SELECT error, count(*) FROM objects WHERE state = ? GROUP BY error ORDER BY 2 DESC", (FAILED,),
                )
            )  # fmt: skip
            return JournalCounts(
                found[DONE][0], found[FAILED][0], found[PLANNED][0], found[DONE][1], by_error,
                get_meta(connection, "exhausted") == "1",
            )  # fmt: skip

    def failed(self, error: str = "") -> Iterator[Failed]:
        """The failed objects, in the order of the input, in flat memory; ``error`` as for :meth:`only_failed`."""
        classes = _subclasses(error) if error else frozenset()
        with self._opened() as connection:
            after = 0
            while True:
                rows = _rows(
                    connection, self.path,
                    "SELECT id, kind, key, path, target, size, error, message, attempts FROM objects "
                    "WHERE id > ? AND state = ? ORDER BY id LIMIT 500", (after, FAILED),
                )  # fmt: skip
                for row_id, kind, key, path, target, size, name, message, attempts in rows:
                    after = row_id
                    if not classes or name in classes:
                        yield Failed(
                            text_from(path if kind == FILE else key), text_from(key), text_from(target), size, name,
                            text_from(message), attempts, kind == REJECTED or name == "DuplicateKey",
                        )  # fmt: skip
                if len(rows) < 500:
                    return

    def about(self) -> dict[str, Any]:
        """``identity`` (which job: texts by name), ``options``, ``created`` and ``runs`` ((begin, end or None), ...) as
        Unix times in seconds."""
        with self._opened() as connection:
            return {
                "identity": json.loads(get_meta(connection, "identity", "{}")),
                "options": json.loads(get_meta(connection, "options", "{}")),
                "created": float(get_meta(connection, "created", "0")),
                "runs": _rows(connection, self.path, "SELECT started, ended FROM runs ORDER BY id", ()),
            }

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(open_store(self.path, create=False)) as connection:
            try:
                yield connection
            except (sqlite3.Error, json.JSONDecodeError) as error:
                raise unusable(self.path, error) from None


def _rows(connection: sqlite3.Connection, path: str, sql: str, values: tuple[Any, ...]) -> list[Any]:
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.Error as error:
        raise unusable(path, error) from None


def _subclasses(name: str) -> frozenset[str]:
    root = getattr(errors, name, None)
    if not (isinstance(root, type) and issubclass(root, S3EngineError)):
        raise ConfigError(f"{name!r} is no class of error; s3engine journal show counts the failed by theirs")
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, root)]
    return frozenset(one.__name__ for one in found)
