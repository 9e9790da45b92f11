"""What is left of a job, for who wants to know what its next run would do: the journal is read, never written."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from s3engine.journal.earlier import Earlier
from s3engine.journal.files import RowPaths
from s3engine.journal.identity import ENGINES_OWN, check_identity
from s3engine.journal.records import item_again, rejected_row, row_of, text_from
from s3engine.journal.same_input import can_be_read_twice, changed_label, check_same_input
from s3engine.journal.store import BYTES, FILE, REJECTED, get_meta, open_store, unusable
from s3engine.sources import Rejected

if TYPE_CHECKING:
    from s3engine.journal.book import Journal

__all__ = ["Rest"]

_PAGE = 500


class Rest:
    """Raises JournalMismatch for a journal of another command, ConfigError. One that is not there: all.

    Of a journal for a run of what has failed: that, bodies in memory excepted, which only the input has.

    Names that the journal knows are looked up in a table of SQLite's own, on disk when they are many.
    """

    def __init__(self, journal: Journal) -> None:
        self._path = journal.path
        self._wanted = journal.wanted_rows
        self._failed_only = journal.failed_only
        self._normal = RowPaths(os.getcwd())
        self._connection: sqlite3.Connection | None = None
        self._exhausted = False
        self._operation = ""
        self._counted = -1
        if os.path.exists(journal.path) and os.path.getsize(journal.path):
            self._connection = open_store(journal.path, create=False)
            try:
                self._begin(self._connection, journal)
            except (sqlite3.Error, json.JSONDecodeError) as error:
                self._connection.close()
                raise unusable(self._path, error) from None
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file, where ``of`` is not read to its end."""
        if self._connection is not None:
            self._connection.close()

    def _begin(self, connection: sqlite3.Connection, journal: Journal) -> None:
        recorded = json.loads(get_meta(connection, "identity", "{}"))
        if recorded:
            own = {name: text for name, text in recorded.items() if name not in ENGINES_OWN}
            check_identity(self._path, own, journal.command)
        self._operation = recorded.get("operation", "")
        self._exhausted = self._failed_only or get_meta(connection, "exhausted") == "1"
        self._counted = int(get_meta(connection, "counted", "-1"))
        # Bodies in memory that are not done come out of the input again.
        connection.execute(
            f"CREATE TEMP TABLE seen AS SELECT hash, kind, key, path FROM objects WHERE state = 1 OR kind != {BYTES}"
        )
        connection.execute("CREATE INDEX temp.seen_by_hash ON seen (hash)")

    def earlier(self) -> Earlier:
        """What a limit for the whole job counts."""
        done = waiting = 0
        if self._connection is not None:
            ((done, waiting),) = self._read(
                "SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE "
                f"{self._wanted} AND kind != {REJECTED} AND error IS NOT 'DuplicateKey') FROM objects", ()
            )  # fmt: skip
        return Earlier(done, waiting, self._counted, not self._exhausted, self._has)

    def of(self, source: Iterable[Any]) -> Iterator[Any]:
        """What a run with this input would take up, in its order."""
        if self._connection is None:
            yield from source
            return
        with closing(self._connection):
            if not self._failed_only:
                self._check_input(self._connection, source)
            yield from self._undone(source)
            if self._failed_only:
                return
            unmade = bool(self._read("SELECT 1 FROM objects WHERE state != 1 AND kind = ? LIMIT 1", (BYTES,)))
            if not self._exhausted or unmade:
                for item in source:
                    if not self._has(item):
                        yield item

    def _check_input(self, connection: sqlite3.Connection, source: Iterable[Any]) -> None:
        """What a run compares before it does anything: a pipe, and a list whose file may have been changed."""
        stamp = getattr(source, "stamp", "")
        changed = changed_label(source) if stamp and stamp != get_meta(connection, "input_stamp") else ""
        ((rows,),) = self._read("SELECT coalesce(max(id), 0) FROM objects", ())
        if (rows or self._exhausted) and (changed or can_be_read_twice(source)):
            check_same_input(self._path, source, self._has, rows, finished=self._exhausted, changed=changed)

    def _undone(self, source: Iterable[Any]) -> Iterator[Any]:
        below = getattr(source, "below", None)
        after = 0
        while True:
            rows = self._read(
                "SELECT id, kind, key, path, size, etag, extra, error, message FROM objects "
                f"WHERE id > ? AND kind != ? AND {self._wanted} ORDER BY id LIMIT ?", (after, BYTES, _PAGE)
            )  # fmt: skip
            for row_id, kind, *row in rows:
                after = row_id
                item = item_again(kind, *row, taken_as_it_is=self._operation in ("download", "copy"))
                if kind == FILE and below is not None and os.path.isdir(text_from(row[1])):
                    yield from (one for one in below(item.path, item.key) if one == item or not self._has(one))
                else:
                    yield item
            if len(rows) < _PAGE:
                return

    def _has(self, item: Any) -> bool:
        if self._connection is None:
            return False
        row = rejected_row(item.key) if type(item) is Rejected else row_of(item, self._normal)
        # A bad row of the same name is another item.
        sql = "SELECT 1 FROM seen WHERE hash = ? AND key = ? AND path = ? AND (kind != ? OR kind = ?) LIMIT 1"
        return bool(self._read(sql, (row[6], row[1], row[2], REJECTED, row[0])))

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        assert self._connection is not None
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise unusable(self._path, error) from None
