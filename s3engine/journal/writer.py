"""Writes to the journal, by a thread of its own: what came while a transaction was written goes in the next one.

Reports are held back until the transaction that has them is committed: what is told to anybody is on record.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from s3engine.errors import Cancelled, JournalError
from s3engine.journal.records import sql_text
from s3engine.report import RequestReport

__all__ = ["Then", "Writer"]

_PERIOD_S = 0.01
_CHUNK = 2000  # entries of a transaction
_ROOM = 20_000  # entries that wait: more, and whoever plans further ones waits too

_PLAN = (
    "INSERT INTO objects (id, kind, key, path, size, etag, extra, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)  # fmt: skip
_DONE = (
    "UPDATE objects SET state = 1, size = ?, etag = ?, attempts = attempts + ?, verified = ?, target = ?, "
    "error = NULL, message = NULL WHERE id = ?"
)
_FAILED = (
    "UPDATE objects SET state = 2, size = max(size, ?), attempts = attempts + ?, target = ?, error = ?, message = ? "
    "WHERE id = ?"
)
_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"

Then = Callable[[JournalError | None], None]


class Writer:
    """Owns the connection while a run lasts. ``lock`` guards it: whoever reads takes it too.

    ``released`` gets, in the order they came, each report and each ``then`` of a statement once it is on record;
    ``wake()`` is called after that. When a write fails all that follows is released with the JournalError.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        self.failure: JournalError | None = None
        self.released: deque[RequestReport | Callable[[], None]] = deque()
        self.wake: Callable[[], None] = _nothing
        self.before_done: Callable[[], None] = _nothing
        """Called before a transaction that records something as done. Raises OSError."""
        self.closed = False
        self.planned = 0
        """The last row that is on record, of those that were planned here."""
        self.path = path
        self._entries: deque[tuple[Any, ...]] = deque()
        self._in_hand = 0
        self._idle = False
        self._something = threading.Event()
        self._closing = threading.Event()
        self._at_end: Callable[[], None] = _nothing
        self._after_end: Callable[[], None] = _nothing
        self._thread = threading.Thread(target=self._run, name="s3engine-journal", daemon=True)
        self._thread.start()

    # ---- called from other threads

    def plan(self, row: tuple[Any, ...], mark: str | None) -> None:
        """Record a planned item. ``row`` begins with its id. Waits while much is unwritten. Raises JournalError."""
        while len(self._entries) > _ROOM and self.failure is None:
            time.sleep(_PERIOD_S)
        if self.failure is not None:
            raise self.failure
        self._put((0, row, mark))

    def end(self, row_id: int, report: RequestReport) -> None:
        """Record what became of an item (0: one that is in no row), then release its report."""
        self._put((1, row_id, report))

    def execute(self, sql: str, values: Sequence[Any], then: Then | None = None) -> None:
        """Any other statement, in its turn; ``then(failure)`` is released when it is on record, or never will be."""
        self._put((2, sql, values, then))

    def meta(self, name: str, value: str) -> None:
        """Record a value by name."""
        self.execute(_META, (name, value))

    @property
    def pending(self) -> bool:
        """Something is not written, or not taken from ``released``."""
        return bool(self.released or (not self.closed and (self._entries or self._in_hand)))

    def close(self, at_end: Callable[[], None], after_end: Callable[[], None]) -> None:
        """Write what is left, call ``at_end``, close the file, call ``after_end``, all in the thread.

        Returns at once; ``closed`` and ``wake`` tell when it is done. A second call does nothing.
        """
        if not self._closing.is_set():
            self._at_end = at_end
            self._after_end = after_end
            self._closing.set()
            self._something.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def _put(self, entry: tuple[Any, ...]) -> None:
        self._entries.append(entry)
        if self._idle:
            self._idle = False
            self._something.set()

    # ---- the thread

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._end()

    def _work(self) -> None:
        entries = self._entries
        while True:
            self._idle = True
            if not entries and not self._closing.is_set():
                self._something.wait()
            self._something.clear()
            self._idle = False
            while entries:
                self._in_hand = min(len(entries), _CHUNK)
                self._write([entries.popleft() for _ in range(self._in_hand)])
                self._in_hand = 0
                self.wake()
            if self._closing.is_set() and not entries:
                break

    def _write(self, chunk: list[tuple[Any, ...]]) -> None:
        if self.failure is None:
            try:
                if any(entry[0] == 1 and entry[2].error is None for entry in chunk):
                    self.before_done()
                with self.lock:
                    self._commit(chunk)
            except Exception as error:  # noqa: BLE001  (whatever it is: nobody else would ever end this batch)
                self.failure = self._failed(error)
        failure = self.failure
        released = self.released
        for entry in chunk:
            if entry[0] == 1:
                released.append(entry[2] if failure is None else _unrecorded(entry[2], failure))
            elif entry[0] == 2 and entry[3] is not None:
                released.append(_bound(entry[3], failure))

    def _commit(self, chunk: list[tuple[Any, ...]]) -> None:
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            plans = [entry[1] for entry in chunk if entry[0] == 0]
            if plans:
                connection.executemany(_PLAN, plans)
                mark = next((entry[2] for entry in reversed(chunk) if entry[0] == 0), None)
                if mark is not None:
                    connection.execute(_META, ("mark", sql_text(mark)))
            done: list[tuple[Any, ...]] = []
            failed: list[tuple[Any, ...]] = []
            for entry in chunk:
                if entry[0] == 1:
                    _sort(entry[1], entry[2], done, failed)
            if done:
                connection.executemany(_DONE, done)
            if failed:
                connection.executemany(_FAILED, failed)
            for entry in chunk:
                if entry[0] == 2:
                    connection.execute(entry[1], entry[2])
            connection.execute("COMMIT")
            if plans:
                self.planned = plans[-1][0]
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _end(self) -> None:
        with self.lock:
            try:
                if self.failure is None:
                    self._at_end()
                self.connection.close()
            except Exception as error:  # noqa: BLE001  (as above)
                self.failure = self._failed(error)
            self.closed = True
        self._after_end()
        self.wake()

    def _failed(self, error: Exception) -> JournalError:
        kind = "" if isinstance(error, sqlite3.Error) else f"{type(error).__name__}: "
        return JournalError(f"cannot write the journal {self.path!r}: {kind}{error}", path=self.path)


def _sort(row_id: int, report: RequestReport, done: list[tuple[Any, ...]], failed: list[tuple[Any, ...]]) -> None:
    error = report.error
    if error is None:
        done.append(
            (report.size_bytes, report.etag, report.attempts, report.verified, sql_text(report.target), row_id)
        )  # fmt: skip
    elif not isinstance(error, Cancelled):  # what was cancelled is as it was: planned
        name = type(error).__name__
        failed.append(
            (report.size_bytes, report.attempts, sql_text(report.target), name, sql_text(str(error)), row_id)
        )  # fmt: skip


def _unrecorded(report: RequestReport, failure: JournalError) -> RequestReport:
    """A report that is not on record says so."""
    if report.error is not None:
        return report
    text = f"{report.operation} of {report.key!r} was done, but is not on record and will be done again: {failure}"
    return report._replace(error=JournalError(text, key=report.key), verified="")


def _bound(then: Then, failure: JournalError | None) -> Callable[[], None]:
    return lambda: then(failure)


def _nothing() -> None:
    """Nobody is there to be woken."""
