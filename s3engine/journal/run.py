"""One run of a job with a journal, around the job from outside: the items that go in, the reports that come out.

Three threads meet here: the reader of the input (``items``), the supervisor (``emit``, ``turned``, ``settled``) and the
writer's own.
"""

from __future__ import annotations

import functools
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.disk import sync_file_system
from s3engine.errors import JournalMismatch
from s3engine.jobs.base import Job
from s3engine.journal.files import JournalFiles
from s3engine.journal.identity import Identity, check_identity
from s3engine.journal.items import Begun, JournalItems
from s3engine.journal.ledger import JournalLedger
from s3engine.journal.lock import JournalLock
from s3engine.journal.store import get_meta, open_store, unusable, upgrade
from s3engine.journal.writer import Writer
from s3engine.report import RequestReport

if TYPE_CHECKING:
    from s3engine.journal.book import Journal

__all__ = ["JournalRun"]


class JournalRun:
    """Opens, checks and locks the journal.

    ``untold``: the input, where its identity does not tell it from another, or only while its ``stamp`` is the one on
    record. ``below``: of a walk, what is in a folder that an earlier one could not list. Raises JournalMismatch,
    JournalInUse, ConfigError.
    """

    def __init__(
        self, journal: Journal, identity: Identity, source: Iterable[Any], emit: Callable[[RequestReport], None], *,
        untold: Iterable[Any] | None = None, stamp: str = "", below: Callable[[str, str], Iterable[Any]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._emit = emit
        self._clock = clock
        self._files = JournalFiles(journal.path)
        leave_out = getattr(source, "leave_out", None)
        if leave_out is not None:  # a walk: nobody named the journal
            leave_out(self._files.holds)
        self._rows: dict[int, int] = {}  # of the items under way: row by seq
        self._unrecorded = 0  # reports that the writer has
        self._job: Job | None = None
        self._told: Callable[[], None] = lambda: None
        self._lock = JournalLock(journal.path)
        try:
            connection = open_store(journal.path, create=not journal.failed_only)
            try:
                begun = self._begin(connection, identity, stamp)
            except (sqlite3.Error, json.JSONDecodeError) as error:
                connection.close()
                raise unusable(journal.path, error) from None
            except BaseException:
                connection.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(connection, journal.path)
        tokens = (self._token, *self._tokens)
        try:
            self._ledger = JournalLedger(self._writer, lambda seq: self._rows.get(seq, 0), begun.last_row, tokens)
        except sqlite3.Error as error:
            self.abandon()
            raise unusable(journal.path, error) from None
        self._last_row = begun.last_row
        # What is there after a crash is known as the job's own by its plan, so the plan is first on record.
        self._plans_first = identity.get("operation") == "move" and bool(identity.get("existing"))
        # An object that was written again is what is wanted now; what deletes is never that free.
        takes_what_is_there = identity.get("operation") in ("download", "copy")
        compared = None if stamp and not begun.new_stamp else untold
        self._items = JournalItems(
            journal, source, begun, self._writer, self._ledger, self._rows, self._files, untold=compared, below=below,
            takes_what_is_there=takes_what_is_there,
        )  # fmt: skip

    def _begin(self, connection: Any, identity: Identity, stamp: str) -> Begun:
        if identity.get("operation") == "move":
            # What has gone from here must be on record after a power cut, too: a sync for each transaction.
            connection.execute("PRAGMA synchronous=FULL")
        recorded = json.loads(get_meta(connection, "identity", "{}"))
        if recorded:
            check_identity(self._journal.path, recorded, identity)
        elif self._journal.failed_only:
            raise JournalMismatch(f"journal {self._journal.path!r} is empty; there is nothing to try again")
        connection.execute("BEGIN IMMEDIATE")
        upgrade(connection)
        if not recorded:
            first = {"identity": json.dumps(dict(identity)), "created": str(self._clock()), "input_stamp": stamp}
            for name, value in first.items():
                connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))
        if self._journal.options:
            text = json.dumps(self._journal.options)
            connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('options', ?)", (text,))
        self._token = secrets.token_hex(4)
        self._run_id = connection.execute(
            "INSERT INTO runs (started, token) VALUES (?, ?)", (self._clock(), self._token)
        ).lastrowid
        connection.execute("COMMIT")
        killed = connection.execute("SELECT token FROM runs WHERE id < ? AND ended IS NULL", (self._run_id,))
        self._tokens = [row[0] for row in killed]
        return Begun(
            connection.execute("SELECT coalesce(max(id), 0) FROM objects").fetchone()[0],
            get_meta(connection, "exhausted") == "1", get_meta(connection, "mark"),
            int(get_meta(connection, "counted", "-1")),
            stamp if stamp and get_meta(connection, "input_stamp") != stamp else "",
        )  # fmt: skip

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
        job.earlier_keys = self._items.earlier_keys
        for transfer, key, upload_id in self._ledger.orphans():
            job.abort_upload(key, upload_id, transfer)
        self._writer.wake = self._wake
        if job.sync_first:
            # What is on record as done is not looked at again: after a power cut it must be on the disk, too.
            self._writer.before_done = functools.partial(sync_file_system, job.sync_first)
        if self._plans_first:
            job.may_begin = self._is_planned
        if self._last_row:
            job.remember(self._items.targets_before(everything=job.operation == "move"))

    def items(self) -> Iterator[Any]:
        """What is to be done; number n that is given out has seq n. For the reader's thread."""
        return iter(self._items)

    def abandon(self, wait_s: float = 10.0) -> None:
        """The batch is over: let go of the file, whatever happened. A second call does nothing.

        A writer that is not done after ``wait_s`` (on a disk that hangs) keeps the lock until it is: another run would
        read what it is about to change.
        """
        self._writer.close(self._finish, self._lock.release)
        self._writer.join(wait_s)

    # ---- the supervisor's thread

    def emit(self, report: RequestReport) -> None:
        """Take a report: it goes on to the batch when it is on record."""
        if report.attempts:
            self._unrecorded += 1
        self._writer.end(self._rows.pop(report.seq, 0), report)

    def _is_planned(self, seq: int) -> bool:
        return self._rows.get(seq, 0) <= max(self._last_row, self._writer.planned)

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
