"""A job: the state of one batch in the parent. Owned by the supervisor's thread, but for the reader and the buffer.

A reader thread pulls the caller's iterator (which may be slow, or ask the network) into a short queue; the supervisor
turns what is there into tasks when workers have room, so memory stays flat however long the iterator is.
"""

from __future__ import annotations

import itertools
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from s3engine.errors import Cancelled, DuplicateKey, NotFound, S3EngineError, TransferError
from s3engine.jobs.ledger import Ledger
from s3engine.pool.messages import Context, Kind, Task
from s3engine.report import RequestReport
from s3engine.sources import Rejected

__all__ = ["Composite", "Job", "KeyGuard", "duplicate"]

_QUEUED_ITEMS = 2000
_HELD_BYTES = 64 * 1024 * 1024
_OPEN_COMPOSITES = 32

_context_ids = itertools.count(1)
_task_ids = itertools.count(1)


class KeyGuard:
    """Notices a key that comes twice, within at least the last 131 072 keys, in 4 MiB. Under 1 us a key."""

    __slots__ = ("_count", "_older", "_recent")

    _GENERATION = 131_072

    def __init__(self) -> None:
        # Tables of marks in arrays, free places 0: sets of numbers would take six times the memory.
        self._recent = _marks()
        self._older: array[int] | None = None
        self._count = 0

    def seen(self, key: str) -> bool:
        """Whether ``key`` came before; remembers it."""
        # 64 bits of SipHash with a random seed: a chance hit is one in 10^14
        mark = hash(key) & 0xFFFF_FFFF_FFFF_FFFF or 1
        recent = self._recent
        place = mark & _LAST_MARK
        while found := recent[place]:
            if found == mark:
                return True
            place = (place + 1) & _LAST_MARK
        older = self._older
        if older is not None:
            at = mark & _LAST_MARK
            while found := older[at]:
                if found == mark:
                    return True
                at = (at + 1) & _LAST_MARK
        recent[place] = mark
        self._count += 1
        if self._count >= self._GENERATION:
            self._older = recent
            self._recent = _marks()
            self._count = 0
        return False


_LAST_MARK = 2 * KeyGuard._GENERATION - 1  # half of the places stay free


def _marks() -> array[int]:
    return array("Q", bytes(8)) * (_LAST_MARK + 1)


class Composite(Protocol):
    """An object that moves in parts: gives its part tasks out one by one."""

    def begin(self) -> None:
        """Ask for what is needed before the first part."""

    @property
    def busy(self) -> bool:
        """No further part now; ask again when one has come back."""

    def take(self) -> Task | None:
        """The next part's task, or None when there is none (left)."""

    def cancel(self) -> None:
        """Stop: no more parts, undo what can be undone."""


Handler = Callable[[Any, Task, tuple[Any, ...]], None]


class Job:
    """Base of all jobs. Subclasses say what to do with an input item (``admit``) and with outcomes (handlers)."""

    operation = ""
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
        self.settled: Callable[[], bool] = _always
        """Asked when all else is done: whether what was done is on record, too (see :mod:`s3engine.journal`)."""
        self.at_most = 0
        """Tasks that workers have and what is done without being on record: never more than so many. 0: any number."""
        self.unrecorded: Callable[[], int] = _none
        """How much is done and not on record."""
        self.seq = 0
        self._items = items
        self._queue: deque[Any] = deque()
        self._room = threading.Condition()
        self._exhausted = False
        self._input_failed = False
        self._starving = True
        self._owners: dict[int, tuple[Handler, Any]] = {}
        self._ready: deque[Task] = deque()
        self._composites: deque[Composite] = deque()
        self._waiting: deque[Composite] = deque()
        self._open_composites = 0
        self._taken_bytes = 0  # bodies in memory that came; the reader's
        self._released_bytes = 0  # and that went; the supervisor's: one writer each, so neither needs a lock

    @property
    def contexts(self) -> tuple[Context, ...]:
        """All contexts that tasks of this job name."""
        return (self.context,)

    # ---- the reader thread

    def start_reading(self) -> None:
        """Begin to pull the input."""
        threading.Thread(target=self._read, name="s3engine-input", daemon=True).start()

    def _read(self) -> None:
        try:
            for item in self._items:
                self._taken_bytes += self.body_bytes(item)
                with self._room:  # so that nothing comes in after cancel() has emptied the queue
                    if self.cancelled:
                        break
                    self._queue.append(item)
                if self._starving:
                    self._starving = False
                    self.wake()
                # After the item is queued, not before: one in hand would be lost to a cancel.
                if len(self._queue) >= _QUEUED_ITEMS or self._held_bytes >= _HELD_BYTES:
                    with self._room:
                        self._room.wait_for(self._may_read)
                    if self.cancelled:
                        break
        except BaseException as error:  # noqa: BLE001  (it is the caller's own iterator: handed to the caller)
            self.failure = error
            self._input_failed = self.destroys
        self._exhausted = True
        self.wake()

    def _may_read(self) -> bool:
        return self.cancelled or (len(self._queue) < _QUEUED_ITEMS // 2 and self._held_bytes < _HELD_BYTES)

    # ---- the supervisor

    def next_tasks(self, count: int) -> list[Task]:
        """Up to ``count`` tasks that are ready to go."""
        if self._input_failed:
            self.stop()
        if self.at_most:
            count = min(count, self._room_for_tasks)
        ready = self._ready
        queue = self._queue
        while len(ready) < count and queue and not self.cancelled:
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
        if len(queue) < _QUEUED_ITEMS // 2:
            with self._room:
                self._room.notify()
        if len(ready) < count:
            if not self._exhausted:
                self._starving = True
                if queue:  # came in between
                    self.wake()
            if not queue and (self._exhausted or not self._owners) and not self._input_failed:
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
        while self._waiting and self._open_composites < _OPEN_COMPOSITES:
            self._open_composites += 1
            self._waiting.popleft().begin()
        if self.at_most:
            count = min(count, self._room_for_tasks - len(self._ready))  # what ends an object goes first
        tasks: list[Task] = []
        busy: list[Composite] = []
        while self._composites and len(tasks) < count:
            composite = self._composites[0]
            if composite.busy:
                busy.append(self._composites.popleft())
            elif (task := composite.take()) is None:
                self._composites.popleft()
            else:
                tasks.append(task)
        self._composites.extendleft(reversed(busy))
        return tasks

    @property
    def _room_for_tasks(self) -> int:
        """How many more workers may get while ``at_most`` holds."""
        return max(0, self.at_most - (len(self._owners) - len(self._ready)) - self.unrecorded())

    def done(self, task: Task, outcome: tuple[Any, ...]) -> None:
        """An outcome came for one of our tasks."""
        handler, state = self._owners.pop(task[0])
        if task[2] == Kind.PUT_BYTES:
            self.release_bytes(len(task[5][0]))
        handler(state, task, outcome)

    @property
    def finished(self) -> bool:
        """Nothing is left to do."""
        return (
            (self._exhausted or self.cancelled) and not self._owners and not self._queue and not self._ready
            and not self._composites and not self._waiting and not self.pending() and self.settled()
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
        with self._room:
            self.cancelled = True
            self._room.notify_all()
        for composite in (*self._composites, *self._waiting):
            composite.cancel()
        self._composites.clear()
        self._waiting.clear()
        for task in list(self._ready):
            if task[2] not in self.finishes:
                self._ready.remove(task)
                error = self.not_begun(task[3])
                detail = [(key, error) for key, _ in task[5]] if task[2] == Kind.DELETE else None
                failure = None if task[2] == Kind.DELETE else error
                self.done(task, (task[0], 0, 0.0, 0.0, 0.0, 0.0, 0, "", max(task[4], 0), "", detail, failure, "", ""))
        while self._queue:
            seq = self.seq
            self.seq = seq + 1
            self.refuse(seq, self._queue.popleft(), self.not_begun())

    # ---- for subclasses

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
        task_id = next(_task_ids)
        self._owners[task_id] = (handler, state)
        return (task_id, self.tasks_context_id, kind, key, size_bytes, arg)

    @property
    def _held_bytes(self) -> int:
        """Bodies in memory, queued and under way."""
        return self._taken_bytes - self._released_bytes

    def body_bytes(self, item: Any) -> int:
        """Bytes in memory that come with an item. Called in the reader's thread; what it raises ends the batch."""
        return 0

    def release_bytes(self, count: int) -> None:
        """A body in memory is done with."""
        self._released_bytes += count
        if count and self._held_bytes < _HELD_BYTES:
            with self._room:
                self._room.notify()

    def add_composite(self, composite: Composite) -> None:
        """Queue an object that moves in parts."""
        self._waiting.append(composite)

    def composite_ready(self, composite: Composite) -> None:
        """Its parts may be taken."""
        if self.cancelled:
            composite.cancel()
        elif composite not in self._composites:  # one that begins anew may still stand there
            self._composites.append(composite)

    def composite_over(self) -> None:
        """Its last word is said."""
        self._open_composites -= 1

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


def _always() -> bool:
    return True


def _none() -> int:
    return 0


def duplicate(key: str, what: str) -> DuplicateKey:
    """The error for the second of two items with one target."""
    text = f"{what} {key!r} comes twice in this batch; the first one stands, give this one another"
    return DuplicateKey(text, key=key)
