"""A job: the state of one batch in the parent. Owned by the supervisor's thread, but for the reader of its input.

The supervisor turns what the reader has queued into tasks when workers have room, and outcomes into reports.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from s3engine.errors import Cancelled, NotFound, S3EngineError, TransferError
from s3engine.jobs.composites import Composite, Composites
from s3engine.jobs.ledger import Ledger
from s3engine.jobs.reader import InputReader
from s3engine.pool.messages import Context, Kind, Task
from s3engine.report import AlikeReports, RequestReport
from s3engine.sources import Rejected

__all__ = ["Handler", "Job", "next_task_id"]

_context_ids = itertools.count(1)
next_task_id = itertools.count(1).__next__
"""A number that no other task of this process has."""

Handler = Callable[[Any, Task, tuple[Any, ...]], None]


class Job:
    """Base of all jobs. Subclasses say what to do with an input item (``admit``) and with outcomes (handlers)."""

    operation = ""
    weighs = False
    """Items may come with bodies in memory: see ``body_bytes``."""
    finishes = frozenset((Kind.ABORT,))
    """Kinds of tasks that still go out after a cancel, because they end what was begun."""

    def __init__(
        self, items: Iterable[Any], context_values: dict[str, Any], emit: Callable[[RequestReport], None], *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.context = Context(id=next(_context_ids), **context_values)
        self.tasks_context_id = self.context.id
        """The context that new tasks name."""
        self.clock = clock
        self.emit = emit
        self.emit_alike: Callable[[AlikeReports], None] = self._emit_alike
        """Takes the reports of one request; ``emit`` takes them one by one unless something else is set."""
        self.failure: BaseException | None = None
        """What the input iterator or a callback raised: the batch ends with it."""
        self.cancelled = False
        self.stopped = False
        """The input of a job that destroys failed: nothing more was begun from then on."""
        self.destroys = False
        """What fails in the input stops this job; others go on with what they got."""
        self.broken = False
        """The caller's own code failed on an item: the supervisor cancels the job."""
        self.turned: Callable[[], None] = _nothing
        """Called after each turn of the supervisor, to tell readers of new reports at once instead of one by one."""
        self.wake: Callable[[], None] = _nothing
        self.paused: Callable[[], bool] = _never
        self.ledger: Ledger | None = None
        """What keeps the parts of large objects for another run; None: nobody does."""
        self.may_begin: Callable[[int], bool] | None = None
        """Whether the object with this number may be begun yet; ``wake`` is called when that changes. None: all may."""
        self.wrong_target: Callable[[str, str], S3EngineError | None] = _no_error
        """Why a local path must not be written for a key: it is a file of the job's own journal."""
        self.settled: Callable[[], bool] = _always
        """Asked when all else is done: whether what was done is on record, too (see :mod:`s3engine.journal`)."""
        self.sync_first = ""
        """A folder whose file system is synced before a journal records anything of this job as done; "": none is."""
        self.at_most = 0
        """Tasks that workers have and what is done without being on record: never more than so many. 0: any number."""
        self.memory: dict[int, int] = {}
        """Descriptors of the memory that goes with tasks, by task. Theirs until the task is done."""
        self.asides: deque[tuple[int, tuple[Any, ...]]] = deque()
        """Messages for workers, with the slots of these."""
        self.per_worker = 0
        """Objects that one worker has at a time for a function, at most. 0: any number; it is no job with one."""
        self.fresh = 0
        """How many more of these the worker may get that is asked for; set before ``next_tasks``."""
        self.earlier_keys: Callable[[], Iterable[str]] = tuple
        """Gives the keys that earlier runs took from the input, done or not; asked by the reader's thread."""
        self.unrecorded: Callable[[], int] = _none
        """How much is done and not on record."""
        self.seq = 0
        self.reader = InputReader(items)
        self._input_failed = False
        self._owners: dict[int, tuple[Handler, Any]] = {}
        self._ready: deque[Task] = deque()
        self._large = Composites()

    @property
    def contexts(self) -> tuple[Context, ...]:
        """All contexts that tasks of this job name."""
        return (self.context,)

    # ---- the input

    def start_reading(self) -> None:
        """Begin to pull the input."""
        self.reader.start(self)

    def input_failed(self, error: BaseException) -> None:
        """The caller's iterator raised. Called in the reader's thread."""
        self.failure = error
        self._input_failed = self.destroys

    # ---- the supervisor

    def next_tasks(self, count: int) -> list[Task]:
        """Up to ``count`` tasks that are ready to go."""
        if self._input_failed:
            self.stop()
        if self.at_most:
            count = min(count, self._room_for_tasks)
        ready = self._ready
        reader = self.reader
        queue = reader.queue
        may_begin = self.may_begin
        while len(ready) < count and queue and not self.cancelled:
            if may_begin is not None and not may_begin(self.seq):
                break
            if may_begin is None and self.admit_plain(queue, count - len(ready)):
                continue
            item = queue.popleft()
            seq = self.seq
            self.seq = seq + 1
            if type(item) is Rejected:
                self.refuse(seq, item, item.error)
                continue
            try:
                self.admit(seq, item)
            except Exception as error:  # noqa: BLE001  (the caller's template or key function: handed to the caller)
                self.refuse(seq, item, TransferError(f"not begun: {type(error).__name__}: {error}"))
                self.failure = self.failure or error
                self.broken = True
        reader.taken()
        if len(ready) < count:
            if not reader.exhausted:
                reader.starving = True
                if queue and (may_begin is None or may_begin(self.seq)):  # came in between
                    self.wake()
            if not queue and (reader.exhausted or not self._owners) and not self._input_failed:
                self.flush()
        if not ready or not count:
            return []
        if len(ready) <= count:
            tasks = list(ready)
            ready.clear()
            return tasks
        return [ready.popleft() for _ in range(count)]

    def next_large(self, count: int) -> list[Task]:
        """Up to ``count`` tasks that move a part of a large object."""
        if self._input_failed:
            self.stop()
        self._large.begin()
        return self._large.take(self._most_parts(count))

    def _most_parts(self, count: int) -> int:
        return min(count, self._room_for_tasks - len(self._ready)) if self.at_most else count  # ends go first

    @property
    def _room_for_tasks(self) -> int:
        """How many more workers may get while ``at_most`` holds."""
        return max(0, self.at_most - (len(self._owners) - len(self._ready)) - self.unrecorded())

    def done(self, task: Task, outcome: tuple[Any, ...]) -> None:
        """An outcome came for one of our tasks."""
        handler, state = self._owners.pop(task[0])
        if task[2] == Kind.PUT_BYTES:
            self.reader.release_bytes(len(task[5][0]))
        handler(state, task, outcome)

    def take_result(self, task_id: int, fd: int) -> None:
        """Memory that belongs to the outcome of a task, which is still to come."""
        raise NotImplementedError

    def output(self, task: Task, message: tuple[Any, ...], fd: int, worker: int) -> None:
        """A part of what a function made of an object, or its end. ``fd``: the bytes, or -1. ``worker``: its slot."""
        raise NotImplementedError

    def worker_lost(self, task: Task) -> None:
        """The worker that had it died; another one will begin it anew, or nobody."""

    def logged(self, task: Task | None, record: Any) -> None:
        """A function of the caller's has logged something, at the object of ``task`` if it was at any."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Nothing is left to do."""
        return (
            (self.reader.exhausted or self.cancelled) and not self._owners and not self.reader.queue
            and not self._ready and self._large.empty and not self.pending() and self.settled()
        )  # fmt: skip

    def stop(self) -> None:
        """The input failed: begin nothing more. What workers have runs to its end, so that it is known what it did."""
        self._input_failed = False
        if not self.cancelled:
            self.stopped = True
            self.finishes = frozenset((Kind.ABORT,))
            self.cancel()

    def not_begun(self, key: str = "") -> Cancelled:
        """The error for what is not begun any more."""
        if self.stopped:
            return Cancelled("not begun: the listing (or what else gave the input) failed", key=key)
        return Cancelled("cancelled before it was begun", key=key)

    def cancel(self) -> None:
        """Take no more input; what has not been sent is reported as cancelled."""
        if self.cancelled:
            return
        self.cancelled = True
        self.reader.close()
        self._large.cancel()
        for task in list(self._ready):
            if task[2] not in self.finishes:
                self._ready.remove(task)
                error = self.not_begun(task[3])
                detail = [(key, error) for key, _ in task[5]] if task[2] == Kind.DELETE else None
                failure = None if task[2] == Kind.DELETE else error
                self.done(task, (task[0], 0, 0.0, 0.0, 0.0, 0.0, 0, "", max(task[4], 0), "", detail, failure, "", ""))
        queue = self.reader.queue
        while queue:
            seq = self.seq
            self.seq = seq + 1
            self.refuse(seq, queue.popleft(), self.not_begun())

    # ---- for subclasses

    def admit_plain(self, queue: deque[Any], count: int) -> int:
        """Do what ``admit`` does for up to ``count`` items at the head of ``queue``, while these are of a simple kind.

        Returns how many it took; the item at which it stopped goes to ``admit``. Raises nothing.
        """
        return 0

    def admit(self, seq: int, item: Any) -> None:
        """Turn an input item into tasks (``request``, ``add_composite``) or a report."""
        raise NotImplementedError

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report an input item that is not even begun."""
        raise NotImplementedError

    def remember(self, done: Iterable[tuple[str, str]]) -> None:
        """Targets that were given out before this run, as (key, target) of their reports: they are not free."""

    def flush(self) -> None:
        """The input has run dry: send what was held back to be sent together."""

    def pending(self) -> bool:
        """Something is held back."""
        return False

    def abort_upload(self, key: str, upload_id: str, transfer: int = 0) -> None:
        """Leave no parts that cost money. ``transfer`` is its number in the ledger, 0 for none."""
        self.request(Kind.ABORT, key, 0, upload_id, self._aborted, transfer)

    def leave_upload(self, seq: int, key: str) -> None:
        """Abort what an earlier run began of an object that is left out now: no later run goes on with it."""
        recalled = self.ledger.recall(seq) if self.ledger is not None else None
        if recalled is not None:
            self.abort_upload(key, recalled.name, recalled.id)

    def _aborted(self, transfer: int, task: Task, outcome: tuple[Any, ...]) -> None:
        # An abort that fails leaves parts for the next run, or for the store's lifecycle rules; what is reported is the
        # object's own error.
        if transfer and self.ledger is not None:
            if outcome[11] is None or isinstance(outcome[11], NotFound):
                self.ledger.forget(transfer)
            else:
                self.ledger.drop(transfer)

    def request(self, kind: int, key: str, size_bytes: int, arg: Any, handler: Handler, state: Any) -> None:
        """Queue a task; ``handler(state, task, outcome)`` gets what becomes of it."""
        self._ready.append(self.task(kind, key, size_bytes, arg, handler, state))

    def task(self, kind: int, key: str, size_bytes: int, arg: Any, handler: Handler, state: Any) -> Task:
        """A task that is owned but not queued."""
        task_id = next_task_id()
        self._owners[task_id] = (handler, state)
        return (task_id, self.tasks_context_id, kind, key, size_bytes, arg)

    def body_bytes(self, item: Any) -> int:
        """Bytes in memory that come with an item. Called in the reader's thread; what it raises ends the batch.

        Not asked of a FileSource, which has none, nor where ``weighs`` is false.
        """
        return 0

    def add_composite(self, composite: Composite) -> None:
        """Queue an object that moves in parts."""
        self._large.add(composite)

    def composite_ready(self, composite: Composite) -> None:
        """Its parts may be taken."""
        if self.cancelled:
            composite.cancel()
        else:
            self._large.ready(composite)

    def composite_over(self) -> None:
        """Its last word is said."""
        self._large.over()

    def _emit_alike(self, alike: AlikeReports) -> None:
        for report in alike.reports():
            self.emit(report)

    def report(
        self, seq: int, key: str, outcome: tuple[Any, ...], target: str = "", error: S3EngineError | None = None,
        size_bytes: int = -1,
    ) -> None:  # fmt: skip
        """Emit the report for an object from the outcome of its task."""
        _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, size, etag = outcome[:10]
        failure, _, verified = outcome[11:]
        self.emit(
            RequestReport(
                seq, self.operation, self.context.bucket, key, size if size_bytes < 0 else size_bytes, attempts,
                success_s, total_s, estimate, timeout_s, status, request_id, etag, error or failure, target,
                "" if error or failure else verified,
            )
        )  # fmt: skip

    def report_refused(self, seq: int, key: str, error: S3EngineError, size_bytes: int = 0) -> None:
        """Emit the report for an object for which no request was made."""
        self.emit(
            RequestReport(
                seq, self.operation, self.context.bucket, key, size_bytes, 0, 0.0, 0.0, 0.0, 0.0, 0, "", "", error
            )
        )

    def report_skipped(self, seq: int, key: str, reason: str, size_bytes: int = 0, target: str = "") -> None:
        """Emit the report for an object that is left out because of what is there already."""
        self.emit(
            RequestReport(
                seq, self.operation, self.context.source_bucket or self.context.bucket, key, max(size_bytes, 0), 0, 0.0,
                0.0, 0.0, 0.0, 0, "", "", None, target, skipped=reason,
            )
        )  # fmt: skip


def _nothing() -> None:
    """Nobody is there to be woken."""


def _never() -> bool:
    return False


def _no_error(path: str, key: str) -> None:
    """Any path will do."""


def _always() -> bool:
    return True


def _none() -> int:
    return 0
