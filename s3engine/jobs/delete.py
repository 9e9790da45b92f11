"""Delete: DeleteObjects of up to 1000 keys, a report per key.

A key that comes with the ETag of a listing (or of the copy that was made of it) is deleted only while its object still
has that ETag, where the store can do it. Whether it can is found out at the first such key of a bucket: DeleteObjects
for this key alone, with an ETag that it cannot have. Refused: the store looks. Done: it does not, and the key was to
be deleted anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from s3engine.errors import (
    AccessDenied,
    InvalidRequest,
    NotFound,
    NotSupported,
    PreconditionFailed,
    S3EngineError,
)
from s3engine.jobs.base import Handler, Job
from s3engine.pool.actions import not_in_xml
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport

__all__ = ["MAX_KEYS", "DeleteConditions", "DeleteJob", "KeyDeleter", "move_error"]

MAX_KEYS = 1000  # of one DeleteObjects
_IN_FLIGHT = 64  # requests of a job
_NOBODYS_ETAG = "00000000000000000000000000000000-0"  # no object has zero parts
_NO_OUTCOME = (0, 0, 0.0, 0.0, 0.0, 0.0, 0, "", 0, "", None, None, "", "")

Pair = tuple[str, str]
Request = Callable[[int, str, int, Any, Handler, Any], None]
Deleted = Callable[[Any, tuple[Any, ...], "S3EngineError | None"], None]


class DeleteConditions:
    """What is known of one bucket: whether deletes there heed an ETag. Kept by the engine as long as it lives."""

    __slots__ = ("heeded",)

    def __init__(self) -> None:
        self.heeded: bool | None = None
        """None: not known yet."""


class KeyDeleter:
    """Collects keys and sends them together; ``deleted(state, outcome, error)`` is called once for each.

    ``conditions`` None: ETags are not sent. ``request`` queues a task for the bucket (default: the job's own).
    ``finishes``: keys that are added after a cancel are still deleted, unless the job was stopped.
    """

    __slots__ = ("_conditions", "_deleted", "_finishes", "_held", "_job", "_pairs", "_probing", "_request", "_states")

    def __init__(
        self, job: Job, deleted: Deleted, conditions: DeleteConditions | None, *, request: Request | None = None,
        finishes: bool = False,
    ) -> None:  # fmt: skip
        self._job = job
        self._deleted = deleted
        self._conditions = conditions
        self._request = request or job.request
        self._finishes = finishes
        self._pairs: list[Pair] = []
        self._states: list[Any] = []
        self._held: list[tuple[list[Pair], list[Any]]] = []  # until the store has shown whether it heeds ETags
        self._probing = False

    @property
    def held(self) -> int:
        """Keys not sent yet."""
        return len(self._pairs) + sum(len(pairs) for pairs, _ in self._held)

    def add(self, key: str, state: Any, etag: str = "") -> None:
        """Delete ``key``, soon; with ``etag`` only the object that has it."""
        if not_in_xml(key):
            self._send([(key, etag)], [state])
            return
        self._pairs.append((key, etag))
        self._states.append(state)
        if len(self._pairs) >= MAX_KEYS:
            self.flush()

    def flush(self) -> None:
        """Send what was collected."""
        if self._pairs:
            pairs, states = self._pairs, self._states
            self._pairs = []
            self._states = []
            self._send(pairs, states)

    def close(self) -> None:
        """After a cancel: tell of what is held that it is not begun, unless it is still to be done."""
        self.flush()
        if self._closed:
            held, self._held = self._held, []
            for pairs, states in held:
                self._send(pairs, states)

    @property
    def _closed(self) -> bool:
        return self._job.stopped or (self._job.cancelled and not self._finishes)

    def _send(self, pairs: list[Pair], states: list[Any]) -> None:
        if self._closed:
            for (key, _), state in zip(pairs, states, strict=True):
                self._deleted(state, _NO_OUTCOME, self._job.not_begun(key))
            return
        conditions = self._conditions
        heeded = conditions is not None and conditions.heeded
        if heeded is None and any(etag and not not_in_xml(key) for key, etag in pairs):
            self._held.append((pairs, states))
            if not self._probing:
                self._probe()
            return
        if not heeded:
            pairs = [(key, "") for key, _ in pairs]
        self._request(Kind.DELETE, "", 0, pairs, self._done, states)

    def _done(self, states: list[Any], task: Task, outcome: tuple[Any, ...]) -> None:
        failed = dict(outcome[10] or ())
        for (key, etag), state in zip(task[5], states, strict=True):
            error = failed.get(key)
            if etag and type(error) is PreconditionFailed:
                self._request(Kind.HEAD, key, 0, 0, self._looked, (key, etag, state, outcome, error))
            else:
                self._deleted(state, outcome, None if etag and _is_gone(error) else error)

    def _looked(self, about: tuple[str, str, Any, tuple[Any, ...], S3EngineError], task: Task, answer: Any) -> None:
        """What HEAD says of an object that is said to have another ETag."""
        key, etag, state, outcome, error = about
        if type(answer[11]) is NotFound:
            self._deleted(state, outcome, None)  # stores differ in what they call this
        elif answer[11] is None and answer[10].etag == etag:
            # The store does not know its own ETag (it wants other quotes, or keeps two of them): of no use as a
            # condition. This is the object that was listed.
            if self._conditions is not None:
                self._conditions.heeded = False
            self._send([(key, etag)], [state])
        else:
            text = f"{key!r} was written again after it was listed; it was kept (its ETag is no longer {etag})"
            context = {**error._context, "key": key}
            self._deleted(state, outcome, PreconditionFailed(text, **context))

    # ---- whether the store looks at ETags

    def _probe(self) -> None:
        """Try the next key that can be tried, or send all if there is none."""
        conditions = self._conditions
        assert conditions is not None
        self._probing = self._job.congested = False
        while self._held and (self._closed or conditions.heeded is not None):
            self._send(*self._held.pop(0))
        if not self._held:
            return
        pairs, states = self._held[0]
        index = next((n for n, (key, etag) in enumerate(pairs) if etag and not not_in_xml(key)), -1)
        if index < 0:
            # Nothing was found out by those that had an ETag: what is left of this batch has none.
            self._held.pop(0)
            if pairs:
                self._send(pairs, states)
            self._probe()
            return
        self._probing = self._job.congested = True
        pair, state = pairs.pop(index), states.pop(index)
        self._request(Kind.DELETE, "", 0, [(pair[0], _NOBODYS_ETAG)], self._probed, (pair, state))

    def _probed(self, about: tuple[Pair, Any], task: Task, outcome: tuple[Any, ...]) -> None:
        pair, state = about
        conditions = self._conditions
        assert conditions is not None
        error = dict(outcome[10] or ()).get(pair[0])
        again = False
        if error is None:
            conditions.heeded = False
        elif isinstance(error, PreconditionFailed):
            conditions.heeded = again = True
        elif _refuses(error):
            conditions.heeded = False
            again = True
        if again:
            self._send([pair], [state])
        else:
            self._deleted(state, outcome, None if _is_gone(error) else error)
        self._probe()


def _is_gone(error: S3EngineError | None) -> bool:
    return isinstance(error, NotFound) and error.code == "NoSuchKey"


def _refuses(error: S3EngineError) -> bool:
    """The store does not take an ETag at all, or not from us (on AWS it takes the right to read)."""
    if isinstance(error, InvalidRequest):
        return error.status == 400  # of the request as a whole; what is wrong with one key has no status
    return isinstance(error, (NotSupported, AccessDenied))


def move_error(done: str, error: S3EngineError) -> S3EngineError:
    """The error of a move whose target is there and whose source is not gone. ``done``: "copied to ..."."""
    return type(error)(f"{done}; its source was not deleted: {error.message}", **error._context)


class DeleteJob(Job):
    """``items`` are keys or ObjectInfo."""

    operation = "delete"

    def __init__(
        self, items: Iterable[Any], bucket: str, emit: Callable[[RequestReport], None], *,
        conditions: DeleteConditions | None = None,
    ) -> None:  # fmt: skip
        super().__init__(items, {"bucket": bucket}, emit)
        self.destroys = True
        self._deleter = KeyDeleter(self, self._deleted, conditions)

    def admit(self, seq: int, item: Any) -> None:
        """Collect."""
        if isinstance(item, str):
            self._deleter.add(item, (seq, item, 0))
        else:
            self._deleter.add(item.key, (seq, item.key, item.size_bytes), item.etag)

    def next_tasks(self, count: int) -> list[Task]:
        """As in Job; no more at once than keep every store busy, since each holds a thousand keys in memory."""
        in_flight = len(self._owners) - len(self._ready)
        return super().next_tasks(min(count, _IN_FLIGHT - in_flight)) if in_flight < _IN_FLIGHT else []

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report a key that was not begun."""
        self.report_refused(seq, item if isinstance(item, str) else getattr(item, "key", repr(item)), error)

    def flush(self) -> None:
        """Send what was collected."""
        self._deleter.flush()

    def pending(self) -> bool:
        """Keys are collected."""
        return self._deleter.held > 0

    def cancel(self) -> None:
        """Collected keys are not deleted any more."""
        if not self.cancelled:
            super().cancel()
            self._deleter.close()

    def _deleted(self, state: tuple[int, str, int], outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        seq, key, size_bytes = state
        self.report(seq, key, outcome, error=error, size_bytes=size_bytes)
