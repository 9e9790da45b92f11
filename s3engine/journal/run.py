"""One run of a job with a journal, around the job from outside: the items that go in, the reports that come out.

What is planned and not done comes from the journal, then the input goes on where it was. Three threads meet here: the
reader of the input (``items``), the supervisor (``emit``, ``turned``, ``settled``) and the writer's own.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.errors import JournalError, JournalMismatch
from s3engine.jobs.base import Job
from s3engine.journal.earlier import Earlier
from s3engine.journal.files import JournalFiles, RowPaths
from s3engine.journal.identity import Identity, check_identity
from s3engine.journal.ledger import JournalLedger
from s3engine.journal.lock import JournalLock
from s3engine.journal.records import Row, item_again, rejected_row, row_of, sql_text, text_from
from s3engine.journal.same_input import can_be_read_twice, check_same_input
from s3engine.journal.store import BYTES, DONE, FAILED, FILE, REJECTED, get_meta, open_store
from s3engine.journal.writer import Writer
from s3engine.report import RequestReport
from s3engine.sources import FileSource, Rejected

if TYPE_CHECKING:
    from s3engine.journal.book import Journal

__all__ = ["JournalRun"]

_PAGE = 500
_REMEMBERED = 131_072  # as many as a KeyGuard knows for certain
_MAY_REPEAT = 5000  # items that an input may give again after it was positioned
_REJECT = "UPDATE objects SET error = ?, message = ? WHERE id = ?"
_FORGET = "DELETE FROM objects WHERE id = ?"
_ROW = "id, kind, key, path, size, etag, extra, error, message, stored"


class JournalRun:
    """Opens, checks and locks the journal.

    ``untold``: the input, where its identity does not tell it from another. ``below``: of a walk, what is in a folder
    that an earlier one could not list. Raises JournalMismatch, JournalInUse, ConfigError, JournalError.
    """

    def __init__(
        self, journal: Journal, identity: Identity, source: Iterable[Any], emit: Callable[[RequestReport], None], *,
        untold: Iterable[Any] | None = None, below: Callable[[str, str], Iterable[Any]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._untold = untold
        self._below = below
        self._source = source
        self._emit = emit
        self._clock = clock
        self._normal = RowPaths(os.getcwd())
        self._files = JournalFiles(journal.path)
        leave_out = getattr(source, "leave_out", None)
        if leave_out is not None:  # a walk: nobody named the journal
            leave_out(self._files.holds)
        self._rows: dict[int, int] = {}  # of the items under way: row by seq
        self._seq = 0
        self._unrecorded = 0  # reports that the writer has
        # An object that was written again is what is wanted now; what deletes is never that free.
        self._takes_what_is_there = identity.get("operation") in ("download", "copy")
        self._job: Job | None = None
        self._told: Callable[[], None] = lambda: None
        self._lock = JournalLock(journal.path)
        try:
            connection = open_store(journal.path, create=not journal.failed_only)
            try:
                self._begin(connection, identity)
            except (sqlite3.Error, json.JSONDecodeError) as error:
                connection.close()
                raise _damaged(journal.path, error) from None
            except BaseException:
                connection.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(connection, journal.path)
        tokens = (self._token, *self._tokens)
        self._ledger = JournalLedger(self._writer, lambda seq: self._rows.get(seq, 0), self._last_row, tokens)

    def _begin(self, connection: Any, identity: Identity) -> None:
        if identity.get("operation") == "move":
            # What has gone from here must be on record after a power cut, too: a sync for each transaction.
            connection.execute("PRAGMA synchronous=FULL")
        recorded = json.loads(get_meta(connection, "identity", "{}"))
        if recorded:
            check_identity(self._journal.path, recorded, identity)
        elif self._journal.failed_only:
            raise JournalMismatch(f"journal {self._journal.path!r} is empty; there is nothing to try again")
        connection.execute("BEGIN IMMEDIATE")
        if not recorded:
            for name, value in (("identity", json.dumps(dict(identity))), ("created", str(self._clock()))):
                connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))
        if self._journal.options:
            text = json.dumps(self._journal.options)
            connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('options', ?)", (text,))
        self._token = secrets.token_hex(4)
        self._run_id = connection.execute(
            "INSERT INTO runs (started, token) VALUES (?, ?)", (self._clock(), self._token)
        ).lastrowid
        connection.execute("COMMIT")
        self._last_row: int = connection.execute("SELECT coalesce(max(id), 0) FROM objects").fetchone()[0]
        self._next_row = self._last_row + 1
        self._exhausted = get_meta(connection, "exhausted") == "1"
        self._mark = get_meta(connection, "mark")
        self._counted = int(get_meta(connection, "counted", "-1"))
        killed = connection.execute("SELECT token FROM runs WHERE id < ? AND ended IS NULL", (self._run_id,))
        self._tokens = [row[0] for row in killed]

    # ---- the job is around

    def attach(self, job: Job, turned: Callable[[], None], at_most: int = 0) -> None:
        """Hang this run between the job and the batch, whose ``turned`` is called after reports were handed over.

        ``at_most`` objects and parts are with workers, or done without being on record: so many are done again after
        a crash (0: any number). Deletes are not bounded, since a second one of a key does nothing.
        """
        self._job = job
        self._told = turned
        job.turned = self._turned
        job.settled = self._settled
        job.ledger = self._ledger
        job.wrong_target = self._files.wrong_target
        if job.operation != "delete":
            job.at_most = at_most
        job.unrecorded = self._count_unrecorded
        job.earlier_keys = self._earlier_keys
        for transfer, key, upload_id in self._ledger.orphans():
            job.abort_upload(key, upload_id, transfer)
        self._writer.wake = self._wake
        if self._last_row:
            job.remember(self._targets_before(everything=job.operation == "move"))

    def _targets_before(self, *, everything: bool) -> Iterator[tuple[str, str]]:
        """Keys and targets of what is done: the newest, and of a move all of them."""
        before, left = self._last_row + 1, _REMEMBERED
        while left > 0 or everything:
            rows = self._read(
                "SELECT id, key, target FROM objects WHERE id < ? AND state = ? ORDER BY id DESC LIMIT ?",
                (before, DONE, _PAGE),
            )
            yield from ((text_from(key), text_from(target)) for _, key, target in rows)
            if len(rows) < _PAGE:
                return
            before, left = rows[-1][0], left - len(rows)

    def abandon(self, wait_s: float = 10.0) -> None:
        """The batch is over: let go of the file, whatever happened. A second call does nothing.

        A writer that is not done after ``wait_s`` (on a disk that hangs) keeps the lock until it is: another run would
        read what it is about to change.
        """
        self._writer.close(self._finish, self._lock.release)
        self._writer.join(wait_s)

    # ---- the reader's thread

    def items(self) -> Iterator[Any]:
        """What is to be done; number n that is given out has seq n."""
        all_of_job = getattr(self._source, "all_of_job", None)  # a limit: see s3engine.limits
        if all_of_job is not None:
            self._source, counted = all_of_job(self._earlier())
            if counted != self._counted:
                self._writer.meta("counted", str(counted))
        unmade = bool(self._read("SELECT 1 FROM objects WHERE state != 1 AND kind = ? LIMIT 1", (BYTES,)))
        self._check_input(unmade)
        yield from self._undone()
        if self._journal.failed_only:
            if unmade:
                yield from self._known_again(new=False)
            return
        if unmade or (not self._exhausted and self._last_row and not (self._mark and self._is_positionable)):
            yield from self._known_again(new=True)
        elif not self._exhausted:
            yield from self._onward()
        if not self._exhausted:
            self._exhausted = True
            self._writer.meta("exhausted", "1")

    def _check_input(self, unmade: bool) -> None:
        """Before anything is done: that another input is not taken for done, and its journal's rest not for its own."""
        source = self._untold
        if source is None or not self._last_row or self._journal.failed_only:
            return
        # What can be read once is read where it is needed, and what is new in it is done.
        if can_be_read_twice(source) or (self._exhausted and not unmade):
            self._index()
            check_same_input(
                self._journal.path, source, lambda item: self._known(self._row(item)) is not None, self._last_row,
                finished=self._exhausted,
            )  # fmt: skip

    def _earlier(self) -> Earlier:
        def count(which: str) -> int:
            rows = self._read(f"SELECT count(*) FROM objects WHERE id <= ? AND {which}", (self._last_row,))
            return rows[0][0] if rows else 0

        if self._last_row:
            self._index()
        wanted = self._journal.wanted_rows
        return Earlier(
            count("state = 1"), count(f"{wanted} AND kind != {REJECTED} AND error IS NOT 'DuplicateKey'"),
            self._counted, not (self._journal.failed_only or self._exhausted),
            lambda item: bool(self._last_row) and self._known(self._row(item)) is not None,
        )  # fmt: skip

    def _undone(self) -> Iterator[Any]:
        """From the journal: what was planned or has failed."""
        wanted = self._journal.wanted_rows
        after = 0
        while True:
            rows = self._read(
                f"SELECT {_ROW} FROM objects WHERE id > ? AND id <= ? AND kind != ? AND {wanted} ORDER BY id LIMIT ?",
                (after, self._last_row, BYTES, _PAGE),
            )
            for row_id, kind, key, path, size, etag, extra, error, message, stored in rows:
                after = row_id
                if stored:
                    self._ledger.stored_before(self._seq, size, etag)
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
        return hasattr(self._source, "marked") and bool(getattr(self._source, "positionable", True))

    def _earlier_keys(self) -> Iterator[str]:
        """Of all that earlier runs took from the input, whatever became of it."""
        after = 0
        while True:
            rows = self._read(
                "SELECT id, key FROM objects WHERE id > ? AND id <= ? AND kind != ? ORDER BY id LIMIT ?",
                (after, self._last_row, REJECTED, _MAY_REPEAT),
            )
            yield from (text_from(key) for _, key in rows)
            after = rows[-1][0] if rows else 0
            if len(rows) < _MAY_REPEAT:
                return

    def _onward(self) -> Iterator[Any]:
        """The input, from where it was."""
        if not self._is_positionable:
            for item in self._source:
                yield self._plan(item)
            return
        may_repeat = _MAY_REPEAT if self._mark else 0
        if may_repeat:
            self._index()
        for item, mark in self._source.marked(self._mark):  # type: ignore[attr-defined]
            if may_repeat:
                may_repeat -= 1
                if self._known(self._row(item)) is not None:
                    continue
            yield self._plan(item, mark)

    def _known_again(self, *, new: bool) -> Iterator[Any]:
        """The whole input again, without what the journal knows; what it could not hold comes out of it here."""
        self._index()
        if new and self._mark:
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
        found = self._read(
            "SELECT id, state, error FROM objects WHERE hash = ? AND key = ? AND path = ? AND id <= ? LIMIT 1",
            (row[6], row[1], row[2], self._last_row),
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
        if row_id <= self._last_row:
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
                raise _damaged(self._journal.path, error) from None

    # ---- the supervisor's thread

    def emit(self, report: RequestReport) -> None:
        """Take a report: it goes on to the batch when it is on record."""
        if report.attempts:
            self._unrecorded += 1
        self._writer.end(self._rows.pop(report.seq, 0), report)

    def _count_unrecorded(self) -> int:
        return self._unrecorded + self._ledger.unrecorded

    def _turned(self) -> None:
        released = self._writer.released
        if released:
            self._wake()  # for what may be sent now
        while released:
            entry = released.popleft()
            if type(entry) is RequestReport:
                if entry.attempts:
                    self._unrecorded -= 1
                self._emit(entry)
            else:
                entry()  # type: ignore[operator]
        failure = self._writer.failure
        job = self._job
        if failure is not None and job is not None and not job.broken:
            job.failure = job.failure or failure
            job.broken = True
        self._told()

    def _wake(self) -> None:
        if self._job is not None:
            self._job.wake()  # looked up now: the supervisor gives the job its own when it takes it

    def _settled(self) -> bool:
        if self._writer.pending:
            return False
        self._writer.close(self._finish, self._lock.release)
        return self._writer.closed

    # ---- the writer's thread

    def _finish(self) -> None:
        connection = self._writer.connection
        connection.execute("UPDATE runs SET ended = ? WHERE id = ?", (self._clock(), self._run_id))


def _damaged(path: str, error: Exception) -> JournalError:
    text = f"cannot read the journal {path!r}: {error}. If it is damaged, name another one: it does the job anew"
    return JournalError(text, path=path)
