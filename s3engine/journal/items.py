"""What a run with a journal takes up: the rest that is on record, then the input from where it was.

For the thread that reads the input, but for what says another.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from s3engine.journal.earlier import Earlier
from s3engine.journal.files import JournalFiles, RowPaths
from s3engine.journal.ledger import JournalLedger
from s3engine.journal.records import Row, item_again, rejected_row, row_of, sql_text, text_from
from s3engine.journal.same_input import can_be_read_twice, changed_label, check_same_input
from s3engine.journal.store import BYTES, DONE, FAILED, FILE, REJECTED, damaged
from s3engine.journal.writer import Writer
from s3engine.sources import FileSource, Rejected

if TYPE_CHECKING:
    from s3engine.journal.book import Journal

__all__ = ["Begun", "JournalItems"]

_PAGE = 500
_REMEMBERED = 131_072  # as many as a KeyGuard knows for certain
_MAY_REPEAT = 5000  # items that an input may give again after it was positioned
_REJECT = "UPDATE objects SET error = ?, message = ? WHERE id = ?"
_FORGET = "DELETE FROM objects WHERE id = ?"
_ROW = "id, kind, key, path, size, etag, extra, error, message, stored, made"


class Begun(NamedTuple):
    """Where earlier runs have left the job."""

    last_row: int
    """0: nothing was planned yet."""
    exhausted: bool
    """The input was read to its end."""
    mark: str
    """Where in the input it goes on; "" for the beginning, or for nowhere in particular."""
    counted: int
    """How many objects there were when a limit counted them; -1: none did."""
    new_stamp: str = ""
    """Of an input that has another one on record: it may have been changed."""


class JournalItems:
    """Iterates once. ``rows`` is kept up to date: the row of each item under way, by its seq.

    ``untold`` and ``below`` as in JournalRun. ``takes_what_is_there``: an object that was written again is wanted too.
    """

    def __init__(
        self, journal: Journal, source: Iterable[Any], begun: Begun, writer: Writer, ledger: JournalLedger,
        rows: dict[int, int], files: JournalFiles, *, untold: Iterable[Any] | None,
        below: Callable[[str, str], Iterable[Any]] | None, takes_what_is_there: bool,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._source = source
        self._begun = begun
        self._writer = writer
        self._ledger = ledger
        self._rows = rows
        self._files = files
        self._untold = untold
        self._below = below
        self._takes_what_is_there = takes_what_is_there
        self._normal = RowPaths(os.getcwd())
        self._seq = 0
        self._next_row = begun.last_row + 1

    def __iter__(self) -> Iterator[Any]:
        """What is to be done; number n that is given out has seq n."""
        all_of_job = getattr(self._source, "all_of_job", None)  # a limit: see s3engine.limits
        if all_of_job is not None:
            self._source, counted = all_of_job(self._earlier())
            if counted != self._begun.counted:
                self._writer.meta("counted", str(counted))
        unmade = bool(self._read("SELECT 1 FROM objects WHERE state != 1 AND kind = ? LIMIT 1", (BYTES,)))
        self._check_input(unmade)
        yield from self._undone()
        if self._journal.failed_only:
            if unmade:
                yield from self._known_again(new=False)
            return
        begun = self._begun
        if unmade or (not begun.exhausted and begun.last_row and not (begun.mark and self._is_positionable)):
            yield from self._known_again(new=True)
        elif not begun.exhausted:
            yield from self._onward()
        if not begun.exhausted:
            self._writer.meta("exhausted", "1")

    def _check_input(self, unmade: bool) -> None:
        """Before anything is done: that another input is not taken for done, and its journal's rest not for its own."""
        source = self._untold
        begun = self._begun
        if source is None or self._journal.failed_only:
            return
        # What can be read once is read where it is needed, and what is new in it is done.
        all_of_it = can_be_read_twice(source) or bool(begun.new_stamp)
        if (all_of_it and begun.last_row) or (begun.exhausted and (all_of_it or not unmade)):
            self._index()
            check_same_input(
                self._journal.path, source, lambda item: self._known(self._row(item)) is not None, begun.last_row,
                finished=begun.exhausted, changed=changed_label(source) if begun.new_stamp else "",
            )  # fmt: skip
        if begun.new_stamp:
            self._writer.meta("mark", "")  # first: it is a place in the list as it was
            self._writer.meta("input_stamp", begun.new_stamp)

    def _earlier(self) -> Earlier:
        def count(which: str) -> int:
            rows = self._read(f"SELECT count(*) FROM objects WHERE id <= ? AND {which}", (self._begun.last_row,))
            return rows[0][0] if rows else 0

        if self._begun.last_row:
            self._index()
        wanted = self._journal.wanted_rows
        return Earlier(
            count("state = 1"), count(f"{wanted} AND kind != {REJECTED} AND error IS NOT 'DuplicateKey'"),
            self._begun.counted, not (self._journal.failed_only or self._begun.exhausted),
            lambda item: bool(self._begun.last_row) and self._known(self._row(item)) is not None,
        )  # fmt: skip

    def _undone(self) -> Iterator[Any]:
        """From the journal: what was planned or has failed."""
        wanted = self._journal.wanted_rows
        after = 0
        while True:
            rows = self._read(
                f"SELECT {_ROW} FROM objects WHERE id > ? AND id <= ? AND kind != ? AND {wanted} ORDER BY id LIMIT ?",
                (after, self._begun.last_row, BYTES, _PAGE),
            )
            for row_id, kind, key, path, size, etag, extra, error, message, stored, made in rows:
                after = row_id
                if stored:
                    self._ledger.stored_before(self._seq, size, made)
                item = item_again(
                    kind, key, path, size, etag, extra, error, message, taken_as_it_is=self._takes_what_is_there
                )
                if kind == FILE and self._below is not None and os.path.isdir(text_from(path)):
                    yield from self._walked(row_id, item, self._below(item.path, item.key))
                else:
                    yield self._out(row_id, item)
            if len(rows) < _PAGE:
                return

    def _walked(self, row_id: int, folder: FileSource, found: Iterable[Any]) -> Iterator[Any]:
        """What is in a folder that a walk could not list: its files take its place."""
        self._index()
        for item in found:
            if (item.path, item.key) == (folder.path, folder.key):
                yield self._out(row_id, item)  # as before
                return
            if self._known(self._row(item)) is None:
                yield self._plan(item)
        self._writer.execute(_FORGET, (row_id,))

    @property
    def _is_positionable(self) -> bool:
        if self._begun.new_stamp and self._begun.mark:
            return False
        return hasattr(self._source, "marked") and bool(getattr(self._source, "positionable", True))

    def _onward(self) -> Iterator[Any]:
        """The input, from where it was."""
        if not self._is_positionable:
            for item in self._source:
                yield self._plan(item)
            return
        may_repeat = _MAY_REPEAT if self._begun.mark else 0
        if may_repeat:
            self._index()
        for item, mark in self._source.marked(self._begun.mark):  # type: ignore[attr-defined]  # positionable
            if may_repeat:
                may_repeat -= 1
                if self._known(self._row(item)) is not None:
                    continue
            yield self._plan(item, mark)

    def _known_again(self, *, new: bool) -> Iterator[Any]:
        """The whole input again, without what the journal knows; what it could not hold comes out of it here."""
        self._index()
        if new and self._begun.mark:
            self._writer.meta("mark", "")  # what is planned from here on has no place in the input
        for item in self._source:
            row = self._row(item)
            known = self._known(row)
            if known is None:
                if new:
                    yield self._plan(item)
            elif row[0] == BYTES and (self._is_wanted(known) if known[1] == FAILED else known[1] != DONE and new):
                yield self._out(known[0], item)

    def _index(self) -> None:
        with self._writer.lock:
            if not self._writer.closed:
                self._writer.connection.execute("CREATE INDEX IF NOT EXISTS known ON objects (hash)")

    def _is_wanted(self, known: tuple[int, int, str | None]) -> bool:
        """Whether this run tries again what has failed like that."""
        only = self._journal.error_classes
        return not (self._journal.failed_only and only) or known[2] in only

    def _known(self, row: Row) -> tuple[int, int, str | None] | None:
        """Row id, state and class of error of what an earlier run knew of this item."""
        # A bad row of the same name is another item; the object itself may come behind it.
        found = self._read(
            "SELECT id, state, error FROM objects WHERE hash = ? AND key = ? AND path = ? AND id <= ? "
            "AND (kind != ? OR kind = ?) LIMIT 1",
            (row[6], row[1], row[2], self._begun.last_row, REJECTED, row[0]),
        )
        return found[0] if found else None

    def _row(self, item: Any) -> Row:
        return rejected_row(item.key) if type(item) is Rejected else row_of(item, self._normal)

    def _plan(self, item: Any, mark: str | None = None) -> Any:
        row_id = self._next_row
        self._next_row = row_id + 1
        self._writer.plan((row_id, *self._row(item)), mark)
        if type(item) is Rejected:  # at once: after a crash the input would have to say again why
            self._writer.execute(_REJECT, (type(item.error).__name__, sql_text(str(item.error)), row_id))
        return self._out(row_id, item)

    def _out(self, row_id: int, item: Any) -> Any:
        self._rows[self._seq] = row_id
        if row_id <= self._begun.last_row:
            self._ledger.load(self._seq, row_id)
        self._seq += 1
        kind = type(item)
        if kind is FileSource or (kind is tuple and len(item) in (2, 3)):
            error = self._files.wrong_source(os.fspath(item[0]))
            if error is not None:
                return Rejected(item[1], error)
        return item

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        writer = self._writer
        with writer.lock:
            # Closed: the batch was cancelled, and nobody takes what is planned now.
            try:
                return [] if writer.closed else writer.connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise damaged(self._journal.path, error) from None

    # ---- for the job, in the supervisor's thread

    def earlier_keys(self) -> Iterator[str]:
        """Of all that earlier runs took from the input, whatever became of it."""
        after = 0
        while True:
            rows = self._read(
                "SELECT id, key FROM objects WHERE id > ? AND id <= ? AND kind != ? ORDER BY id LIMIT ?",
                (after, self._begun.last_row, REJECTED, _MAY_REPEAT),
            )
            yield from (text_from(key) for _, key in rows)
            after = rows[-1][0] if rows else 0
            if len(rows) < _MAY_REPEAT:
                return

    def targets_before(self, *, everything: bool) -> Iterator[tuple[str, str]]:
        """Keys and targets of what is done: the newest, and of a move all of them."""
        before, left = self._begun.last_row + 1, _REMEMBERED
        while left > 0 or everything:
            rows = self._read(
                "SELECT id, key, target FROM objects WHERE id < ? AND state = ? ORDER BY id DESC LIMIT ?",
                (before, DONE, _PAGE),
            )
            yield from ((text_from(key), text_from(target)) for _, key, target in rows)
            if len(rows) < _PAGE:
                return
            before, left = rows[-1][0], left - len(rows)
