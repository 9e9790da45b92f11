"""Delete: DeleteObjects of up to 1000 keys, a report per key.

A key that comes with the ETag of a listing (or of the copy that was made of it) is deleted only while its object still
has that ETag, where the store looks at it. A store that does not look deletes. One that refuses ETags, twice and by the
same code, gets the keys again without, and no ETags any more once it has taken that. Whatever else it says is the error
of these keys: they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from s3engine.errors import (
    AccessDenied,
    ConfigError,
    InvalidRequest,
    NotFound,
    NotSupported,
    PreconditionFailed,
    S3EngineError,
)
from s3engine.jobs.base import Handler, Job
from s3engine.jobs.reader import chunks_of
from s3engine.pool.actions.bodiless import not_in_xml
from s3engine.pool.messages import Kind, Task
from s3engine.report import AlikeReports, RequestReport
from s3engine.sources import Rejected
from s3engine.transport import ObjectInfo

__all__ = ["MAX_KEYS", "DeleteConditions", "DeleteJob", "KeyDeleter", "move_error"]

MAX_KEYS = 1000  # of one DeleteObjects
_IN_FLIGHT = 16  # requests of a job; more only wait in the store, until their timers end them
_WEIGHT_BYTES = 4096  # each object of a block counts as so much in the queue: some 16 000 of them wait there at most
_PINLESS = (
    "the store tells no ETag of it, so nothing can hold the delete to what was moved. To delete whatever is there: "
    "--unconditional, unconditional=True"
)
# By which a store may say that it does not know the element ETag, or the header If-Match. Others are about something
# else (a proxy's limits, a signature), also when they come twice.
_ABOUT_ETAGS = frozenset(("MalformedXML", "InvalidRequest", "InvalidArgument", "UnsupportedArgument"))
_NO_READING = "AccessDenied"  # may be about one key alone: on AWS a condition takes the right to read
_NO_OUTCOME = (0, 0, 0.0, 0.0, 0.0, 0.0, 0, "", 0, "", None, None, "", "")

_INFOS, _KEYS = {ObjectInfo}, {str}

Pair = tuple[str, str]
Request = Callable[[int, str, int, Any, Handler, Any], None]
Deleted = Callable[[Any, tuple[Any, ...], "S3EngineError | None"], None]
AllDeleted = Callable[[Sequence[Any], tuple[Any, ...]], None]


class DeleteConditions:
    """What is known of one bucket: whether deletes there take ETags. Kept by the engine as long as it lives."""

    __slots__ = ("refused",)

    def __init__(self) -> None:
        self.refused = False
        """The store does not take them: it refused keys with them twice, and took the same keys without."""


class KeyDeleter:
    """Collects keys and sends them together; ``deleted(state, outcome, error)`` is called once for each.

    ``conditions`` None: ETags are not sent. ``request`` queues a task for the bucket (default: the job's own).
    ``all_deleted(states, outcome)``, if given, is called once for all keys of a request of which none failed.
    ``finishes``: they are the sources of a move. Those that are added after a cancel are still deleted, unless the job
    was stopped; one whose ETag is not known is kept, where ETags are sent at all.
    """

    __slots__ = (
        "_all_deleted", "_conditions", "_deleted", "_finishes", "_job", "_pairs", "_request", "_states",
    )  # fmt: skip

    def __init__(
        self, job: Job, deleted: Deleted, conditions: DeleteConditions | None, *, request: Request | None = None,
        finishes: bool = False, all_deleted: AllDeleted | None = None,
    ) -> None:  # fmt: skip
        self._job = job
        self._deleted = deleted
        self._all_deleted = all_deleted
        self._conditions = conditions
        self._request = request or job.request
        self._finishes = finishes
        self._pairs: list[Pair] = []
        self._states: list[Any] = []

    @property
    def held(self) -> int:
        """Keys not sent yet."""
        return len(self._pairs)

    def add(self, key: str, state: Any, etag: str = "") -> None:
        """Delete ``key``, soon; with ``etag`` only the object that has it."""
        if self._finishes and not etag and self._conditions is not None:
            self._deleted(state, _NO_OUTCOME, PreconditionFailed(_PINLESS, key=key))
            return
        if not_in_xml(key):
            self._send([(key, etag)], [state])
            return
        self._pairs.append((key, etag))
        self._states.append(state)
        if len(self._pairs) >= MAX_KEYS:
            self.flush()

    def add_block(self, pairs: list[Pair], states: list[Any]) -> None:
        """Delete many keys that can all stand in XML, each with its ETag or "". Not for the sources of a move."""
        if self._pairs or len(pairs) > MAX_KEYS:
            self._pairs += pairs
            self._states += states
            while len(self._pairs) >= MAX_KEYS:
                first, self._pairs = self._pairs[:MAX_KEYS], self._pairs[MAX_KEYS:]
                states, self._states = self._states[:MAX_KEYS], self._states[MAX_KEYS:]
                self._send(first, states)
            return
        self._pairs = pairs
        self._states = states
        if len(pairs) == MAX_KEYS:
            self.flush()

    def flush(self) -> None:
        """Send what was collected."""
        if self._pairs:
            pairs, states = self._pairs, self._states
            self._pairs = []
            self._states = []
            self._send(pairs, states)

    @property
    def _closed(self) -> bool:
        return self._job.stopped or (self._job.cancelled and not self._finishes)

    def _send(self, pairs: list[Pair], states: list[Any], refusal: str = "") -> None:
        """``refusal``: of the same keys before."""
        if self._closed:
            for (key, _), state in zip(pairs, states, strict=True):
                self._deleted(state, _NO_OUTCOME, self._job.not_begun(key))
            return
        if self._conditions is None or self._conditions.refused:
            pairs = [(key, "") for key, _ in pairs]
        self._request(Kind.DELETE, "", 0, pairs, self._done, (states, refusal))

    def _done(self, about: tuple[list[Any], str], task: Task, outcome: tuple[Any, ...]) -> None:
        states, before = about
        if not outcome[10] and not before and self._all_deleted is not None:
            self._all_deleted(states, outcome)
            return
        failed = dict(outcome[10] or ())
        again: dict[tuple[str, bool], list[tuple[Pair, Any]]] = {}
        for (key, etag), state in zip(task[5], states, strict=True):
            error = failed.get(key)
            if not etag or error is None:
                self._deleted(state, outcome, error)
                continue
            if type(error) is PreconditionFailed:
                self._request(Kind.HEAD, key, 0, 0, self._looked, (key, etag, state, outcome, error))
                continue
            refusal = _refusal(error)
            if refusal and (refusal == before or (refusal == _NO_READING and not error.status)):
                again.setdefault((refusal, True), []).append(((key, ""), state))
            elif refusal and not before:  # once may be chance: what it was is seen when the same comes again
                again.setdefault((refusal, False), []).append(((key, etag), state))
            else:
                self._deleted(state, outcome, None if _is_gone(error) else error)
        without = before not in ("", _NO_READING) and not task[5][0][1]
        if without and len(failed) < len(states) and self._conditions is not None:
            self._conditions.refused = True
        for (refusal, _), keys in again.items():
            self._send([pair for pair, _ in keys], [state for _, state in keys], refusal)

    def _looked(self, about: tuple[str, str, Any, tuple[Any, ...], S3EngineError], task: Task, answer: Any) -> None:
        """What HEAD says of an object that is said to have another ETag."""
        key, etag, state, outcome, error = about
        if type(answer[11]) is NotFound:
            self._deleted(state, outcome, None)  # stores differ in what they call this
            return
        if answer[11] is None and answer[10].etag == etag:
            # Of HEAD an old answer (a cache, a replica that lags), or a store that does not know its own ETags. Which
            # one cannot be told from here without writing something, so the object stays.
            text = (
                f"the store did not delete {key!r} by the ETag it was listed with, and HEAD still gives that one "
                f"({etag}): it may have been written again, so it was kept. To delete whatever is there: "
                "--unconditional, unconditional=True"
            )
        else:
            text = f"{key!r} was written again after it was listed; it was kept (its ETag is no longer {etag})"
        self._deleted(state, outcome, PreconditionFailed(text, **{**error._context, "key": key}))


def _is_gone(error: S3EngineError | None) -> bool:
    return isinstance(error, NotFound) and error.code == "NoSuchKey"


def _refusal(error: S3EngineError) -> str:
    """By what the store may mean that it takes no ETag at all, or none from us; "" when it means something else."""
    if isinstance(error, NotSupported):
        return error.code or str(error.status)
    if isinstance(error, InvalidRequest):  # what is wrong with one key has no status
        return error.code if error.status == 400 and error.code in _ABOUT_ETAGS else ""
    return _NO_READING if isinstance(error, AccessDenied) and error.code == _NO_READING else ""


def move_error(done: str, error: S3EngineError) -> S3EngineError:
    """The error of a move whose target is there and whose source is not gone. ``done``: "copied to ..."."""
    return type(error)(f"{done}; its source was not deleted: {error.message}", **error._context)


def _wrong(key: str) -> str:
    """Why no store can have this key; "" when one can."""
    if not key:
        return "the key is empty"
    try:
        key.isascii() or key.encode()
    except UnicodeEncodeError:
        return f"the key {key!r} is not Unicode; give it another"
    return ""


def _all_plain(keys: Sequence[str]) -> bool:
    """Whether a store can have all these keys, and XML can say them; False also when that takes a closer look."""
    # No surrogate, no control character and no character that is none is printable, so one look at all of them will do.
    return all(keys) and "".join(keys).isprintable()


class DeleteJob(Job):
    """``items`` are keys or ObjectInfo. An input with ``chunks`` (a listing, a list) comes in blocks."""

    operation = "delete"

    def __init__(
        self, items: Iterable[Any], bucket: str, emit: Callable[[RequestReport], None], *,
        conditions: DeleteConditions | None = None,
    ) -> None:  # fmt: skip
        chunks = chunks_of(items)
        # A chunk is one item, from the reader's queue to the request that deletes its keys.
        super().__init__(items if chunks is None else chunks(), {"bucket": bucket}, emit)
        self.destroys = True
        self._deleter = KeyDeleter(self, self._deleted, conditions, all_deleted=self._all_deleted)

    def body_bytes(self, item: Any) -> int:
        """What a block counts as, so that few of them wait."""
        return len(item) * _WEIGHT_BYTES if type(item) is list else 0

    def admit(self, seq: int, item: Any) -> None:
        """Collect."""
        if type(item) is list:
            self._admit_block(seq, item)
        else:
            self._admit_one(seq, item)

    def _admit_block(self, seq: int, block: list[Any]) -> None:
        self.seq = seq + len(block)  # each object has its number, also those of a block
        self.reader.release_bytes(self.body_bytes(block))
        kinds = set(map(type, block))
        keys: Sequence[str] = ()
        if kinds == _INFOS:
            keys, sizes, etags, *_ = zip(*block, strict=True)
        elif kinds == _KEYS:
            keys, sizes, etags = block, (0,) * len(block), ("",) * len(block)
        if keys and _all_plain(keys):
            self._deleter.add_block(
                list(zip(keys, etags, strict=True)), list(zip(range(seq, self.seq), keys, sizes, strict=True))
            )
        else:
            for number, item in enumerate(block, seq):
                if type(item) is Rejected:
                    self.refuse(number, item, item.error)
                else:
                    self._admit_one(number, item)

    def _admit_one(self, seq: int, item: Any) -> None:
        key, size_bytes, etag = (item, 0, "") if isinstance(item, str) else (item.key, item.size_bytes, item.etag)
        problem = _wrong(key)
        if problem:  # it would cost the other keys of its request their deletion
            self.report_refused(seq, key, ConfigError(problem, key=key))
        else:
            self._deleter.add(key, (seq, key, size_bytes), etag)

    def next_tasks(self, count: int) -> list[Task]:
        """As in Job; no more at once than keep every store busy, since each holds a thousand keys in memory."""
        in_flight = len(self._owners) - len(self._ready)
        return super().next_tasks(min(count, _IN_FLIGHT - in_flight)) if in_flight < _IN_FLIGHT else []

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report a key that was not begun, or a block of them."""
        if type(item) is list:
            self.seq = seq + len(item)
            self.reader.release_bytes(self.body_bytes(item))
            for number, one in enumerate(item, seq):
                self.refuse(number, one, error)
            return
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
            self._deleter.flush()

    def _deleted(self, state: tuple[int, str, int], outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        seq, key, size_bytes = state
        self.report(seq, key, outcome, error=error, size_bytes=size_bytes)

    def _all_deleted(self, states: Sequence[tuple[int, str, int]], outcome: tuple[Any, ...]) -> None:
        """The reports of a request of which no key failed: as ``_deleted`` would make them, in a fifth of the time."""
        _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, size, etag = outcome[:10]
        if min([own for _, _, own in states]) < 0:
            states = [(seq, key, size if own < 0 else own) for seq, key, own in states]
        common = RequestReport(
            0, self.operation, self.context.bucket, "", 0, attempts, success_s, total_s, estimate, timeout_s, status,
            request_id, etag, outcome[11],
        )  # fmt: skip
        self.emit_alike(AlikeReports(common, states))
