"""Copy and move inside the store: CopyObject, or UploadPartCopy for large objects.

A copy is proven by its ETag, when that is the source's; else by HEAD: its size, and the checksum that the store keeps
of both, where it does. A move deletes a source only when its copy is proven by one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from s3engine.decided import Decided, late_error, only_conditions, without_conditions
from s3engine.errors import (
    ChecksumMismatch,
    ConfigError,
    NotFound,
    NotSupported,
    PreconditionFailed,
    S3EngineError,
    ServerFault,
    TransferError,
)
from s3engine.jobs.base import Job, KeyGuard, duplicate
from s3engine.jobs.delete import DeleteConditions, KeyDeleter, move_error
from s3engine.jobs.transfer import MultipartTransfer
from s3engine.jobs.upload import check_key
from s3engine.operations import ObjectHeaders, Template
from s3engine.overlaps import Overlap, with_overlaps
from s3engine.parts import PartPlan, plan_parts
from s3engine.pool.messages import Kind, Task
from s3engine.report import LENGTH_ONLY, RequestReport
from s3engine.stored import same_bytes
from s3engine.transport import Headers, ObjectInfo

__all__ = ["CopyJob"]

# What a multipart copy does not carry over by itself and a CopyObject does.
_KEPT_HEADERS = (
    "content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires",
)  # fmt: skip


_NO_OUTCOME = (0, 0, 0.0, 0.0, 0.0, 0.0, 0, "", 0, "", None, None, "", "")


class _Copied:
    """One object on its way."""

    __slots__ = ("condition", "etag", "headers", "key", "outcome", "seq", "size_bytes", "target")

    def __init__(self, seq: int, key: str, size_bytes: int, etag: str, target: str, condition: Headers) -> None:
        self.condition = condition
        self.seq = seq
        self.key = key
        self.size_bytes = size_bytes
        self.etag = etag
        self.target = target
        self.headers: Headers = ()  # of the source, from a HEAD that was needed anyway
        self.outcome: tuple[Any, ...] = ()


class CopyJob(Job):
    """``items`` are keys or ObjectInfo of ``source_bucket``; ``key`` maps an ObjectInfo to the key of its copy.

    ``pinned``: copy only what has the ETag that was listed. ``verify``: look at copies (not only of a move) whose ETag
    is not that of their source; ``ask_checksums``: the transport can ask for stored checksums.
    """

    operation = "copy"
    finishes = frozenset((Kind.ABORT, Kind.DELETE))

    def __init__(
        self, items: Iterable[Any], source_bucket: str, bucket: str, key: Callable[[ObjectInfo], str],
        emit: Callable[[RequestReport], None], *, template: Template, threshold_bytes: int, part_bytes: int,
        pinned: bool = True, move: bool = False, conditions: DeleteConditions | None = None, verify: bool = False,
        ask_checksums: bool = False,
    ) -> None:  # fmt: skip
        headers = _replacing(template) if isinstance(template, ObjectHeaders) else ()
        looks = {"verify": verify, "ask_checksums": ask_checksums}
        values = {"bucket": bucket, "source_bucket": source_bucket, "headers": headers, **looks}
        overlapping = source_bucket == bucket
        super().__init__(with_overlaps(items, key) if overlapping else items, values, emit)
        self._key = key
        self._template = template if callable(template) else None
        self._threshold_bytes = threshold_bytes
        self._part_bytes = part_bytes
        self._guard = KeyGuard()
        self._pinned = pinned
        self._move = move
        self._source = Job([], {"bucket": source_bucket, **looks}, emit).context
        self._deleter = KeyDeleter(self, self._deleted, conditions, request=self._from_source, finishes=True)
        self.destroys = move
        self._refused_conditions = False
        if move:
            self.operation = "move"

    @property
    def contexts(self) -> tuple[Any, ...]:
        """This job sends requests to two buckets."""
        return (self.context, self._source)

    def admit(self, seq: int, item: Any) -> None:
        """Copy, in parts when it is known to be large; HEAD tells what is not known."""
        if type(item) is Overlap:
            self._refused(seq, item.key, item.error())
            return
        condition: Headers = ()
        if type(item) is Decided:
            if item.skip:
                target = f"s3://{self.context.bucket}/{self._key(item.item)}"
                self.report_skipped(seq, item.item.key, item.skip, item.item.size_bytes, target)
                return
            if item.error is not None:
                self._refused(seq, item.item.key, item.error)
                return
            condition, item = item.condition, item.item
        info = ObjectInfo(item, -1) if isinstance(item, str) else item
        try:
            target = self._key(info)
            check_key(target)
            if target == info.key and self.context.bucket == self.context.source_bucket:
                raise ConfigError(f"source and target are the same object: s3://{self.context.bucket}/{target}")
            if self._guard.seen(target):
                raise duplicate(target, "target key")
        except S3EngineError as error:
            self._refused(seq, info.key, error)
            return
        if self._refused_conditions:
            condition = ()
        one = _Copied(seq, info.key, info.size_bytes, info.etag, target, condition)
        if info.size_bytes < 0:
            self._request_source(Kind.HEAD, info.key, 0, self._known, one)
        else:
            self._copy(one)

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report an object that was not begun."""
        item = item.item if type(item) in (Decided, Overlap) else item
        item = item.item if type(item) is Decided else item
        self._refused(seq, item if isinstance(item, str) else getattr(item, "key", repr(item)), error)

    def remember(self, done: Iterable[tuple[str, str]]) -> None:
        """Targets are ``s3://bucket/key``."""
        cut = len(f"s3://{self.context.bucket}/")
        for _, target in done:
            self._guard.seen(target[cut:])

    def flush(self) -> None:
        """Delete the sources that wait."""
        self._deleter.flush()

    def pending(self) -> bool:
        """Sources wait to be deleted."""
        return self._deleter.held > 0

    def cancel(self) -> None:
        """Sources whose copies are whole are still deleted: a move is not left half-done, unless it was stopped."""
        if not self.cancelled:
            self._deleter.flush()
            super().cancel()
            self._deleter.flush()

    def _refused(self, seq: int, key: str, error: S3EngineError) -> None:
        self.emit(
            RequestReport(
                seq, self.operation, self._source.bucket, key, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, "", "", error
            )
        )

    def _request_source(self, kind: int, key: str, arg: Any, handler: Any, state: Any) -> None:
        """A request to the bucket of the sources."""
        self._from_source(kind, key, 0, arg, handler, state)

    def _from_source(self, kind: int, key: str, size_bytes: int, arg: Any, handler: Any, state: Any) -> None:
        task = self.task(kind, key, size_bytes, arg, handler, state)
        self._ready.append((task[0], self._source.id, *task[2:]))

    def _known(self, one: _Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self._finish(one, outcome, outcome[11])
            return
        one.size_bytes, one.etag, one.headers = outcome[10].size_bytes, outcome[10].etag, outcome[10].headers
        self._copy(one)

    def _copy(self, one: _Copied) -> None:
        own: Headers | None = None
        if self._template is not None:
            try:
                own = _replacing(self._template(ObjectInfo(one.key, one.size_bytes, one.etag)))
            except Exception as error:  # noqa: BLE001  (the caller's own code: handed to the caller)
                self.failure = self.failure or error
                self.broken = True
                text = f"not begun: the template raised {type(error).__name__}: {error}"
                self._finish(one, one.outcome or _NO_OUTCOME, TransferError(text, key=one.key))
                return
        if one.size_bytes > self._threshold_bytes:
            plan = plan_parts(one.size_bytes, self._part_bytes)
            headers = self.context.headers if own is None else own
            parts = _CopyInParts(self, one, plan, without_conditions(headers), self._parted)
            parts.conditions = one.condition
            parts.asked_for = only_conditions(headers)
            self.add_composite(parts)
        else:
            if one.condition:
                own = (*(self.context.headers if own is None else own), *one.condition)
            self.request(Kind.COPY, one.target, one.size_bytes, (one.key, self._pin(one), own), self._copied, one)

    def _pin(self, one: _Copied) -> str:
        """The ETag that the source must still have; "" for whatever is there."""
        return one.etag if self._pinned else ""

    def _parted(self, transfer: Any, outcome: tuple[Any, ...]) -> None:
        self._copied(transfer.one, (), outcome)

    def _copied(self, one: _Copied, task: Any, outcome: tuple[Any, ...]) -> None:
        one.outcome = outcome
        error = outcome[11]
        if type(error) is NotSupported and one.condition:
            # The store does not know the condition: without it, as if it were one that takes it in silence.
            self._refused_conditions = True
            one.condition = ()
            self._copy(one)
        elif self._move and _is_gone(error) and self.ledger is not None and self.ledger.again(one.seq):
            self.request(Kind.HEAD, one.target, 0, 0, self._moved_before, one)
        elif error is not None:
            if one.condition:
                error = late_error(one.target, one.condition, error, source=one.key if self._pin(one) else "")
            self._finish(one, outcome, error)
        elif one.etag and outcome[9] == one.etag:
            self._proven(one, "etag")
        elif self._move and self.stopped:
            self._delete_source(one)  # it will be refused, proven or not
        elif self._move or self.context.verify:
            self.request(Kind.HEAD, one.target, 0, 0, self._looked, one)
        else:
            self._proven(one, "")

    def _moved_before(self, one: _Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        """The source is gone: an earlier run may have moved it, and could not say so any more."""
        found, failed = outcome[10], one.outcome
        if outcome[11] is None and found.size_bytes == one.size_bytes:
            verified = "etag" if found.etag == one.etag else LENGTH_ONLY
            self._finish(one, (*failed[:9], found.etag, None, None, "", verified), None)
        else:
            self._finish(one, failed, failed[11])

    def _looked(self, one: _Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        found = outcome[10]
        if outcome[11] is not None and not self._move:
            self._proven(one, "")  # the store has said that it was copied, and more is not to be had
            return
        if outcome[11] is None and found.size_bytes == one.size_bytes:
            if not any(name.startswith("x-amz-checksum-") for name, _ in found.headers):
                self._proven(one, LENGTH_ONLY)
            elif one.headers:
                self._compare(one, one.headers, found.headers)
            else:
                compare = partial(self._described, found.headers)
                self._request_source(Kind.HEAD, one.key, 0, compare, one)
            return
        target = f"s3://{self.context.bucket}/{one.target}"
        error = outcome[11]
        if error is not None:
            self._finish(one, one.outcome, move_error(f"copied to {target}, which could not be looked at", error))
            return
        text = f"the copy {target} has {found.size_bytes} bytes, its source {one.size_bytes}; the source was kept"
        self._finish(one, one.outcome, ServerFault(text, bucket=self.context.bucket, key=one.target))

    def _described(self, copied: Headers, one: _Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        """HEAD of the source came, after that of the copy."""
        found = outcome[10]
        if outcome[11] is not None:
            self._proven(one, LENGTH_ONLY)
        elif found.etag == one.etag:
            self._compare(one, found.headers, copied)
        elif self._move:
            text = f"s3://{self._source.bucket}/{one.key} was written again while it was copied; it was kept"
            self._finish(one, one.outcome, PreconditionFailed(text, bucket=self._source.bucket, key=one.key))
        else:
            self._proven(one, LENGTH_ONLY)

    def _compare(self, one: _Copied, source: Headers, copied: Headers) -> None:
        same, algorithm = same_bytes(source, copied)
        if same or not algorithm:
            self._proven(one, algorithm or LENGTH_ONLY)
            return
        text = f"the copy s3://{self.context.bucket}/{one.target} has another {algorithm} checksum than its source"
        self._finish(one, one.outcome, ChecksumMismatch(text, bucket=self.context.bucket, key=one.target))

    def _proven(self, one: _Copied, verified: str) -> None:
        """The copy is there; ``verified`` says by what that is known."""
        one.outcome = (*one.outcome[:13], verified)
        if self._move:
            self._delete_source(one)
        else:
            self._finish(one, one.outcome, None)

    def _delete_source(self, one: _Copied) -> None:
        self._deleter.add(one.key, one, one.etag)

    def _deleted(self, one: _Copied, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        if error is not None:
            error = move_error(f"copied to s3://{self.context.bucket}/{one.target}", error)
        self._finish(one, one.outcome, error)

    def _finish(self, one: _Copied, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, _, etag, _, _, _, verified = outcome
        self.emit(
            RequestReport(
                one.seq, self.operation, self._source.bucket, one.key, max(one.size_bytes, 0), attempts, success_s,
                total_s, estimate, timeout_s, status, request_id, etag, error,
                f"s3://{self.context.bucket}/{one.target}", "" if error else verified,
            )
        )  # fmt: skip


class _CopyInParts(MultipartTransfer):
    __slots__ = ("_headers", "_pin", "one")

    def __init__(
        self, job: CopyJob, one: _Copied, plan: PartPlan, headers: Headers,
        finished: Callable[[Any, tuple[Any, ...]], None],
    ) -> None:  # fmt: skip
        super().__init__(job, one.seq, one.target, plan, finished)
        self.one = one
        self._headers = headers
        self._pin = job._pin(one)

    def begin(self) -> None:
        self.started_at = self.job.clock()
        job = self.job
        assert isinstance(job, CopyJob)
        job._request_source(Kind.HEAD, self.one.key, 0, self._described, None)

    def _described(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self.note(outcome)
            self.fail(outcome[11])
            return
        found = outcome[10].headers
        if outcome[10].etag == self.one.etag:
            self.one.headers = found
        if any(name == "x-amz-metadata-directive" for name, _ in self._headers):
            self.create(tuple(pair for pair in self._headers if not pair[0].endswith("-directive")))
            return
        kept = [pair for pair in found if pair[0] in _KEPT_HEADERS or pair[0].startswith("x-amz-meta-")]
        self.create((*kept, *self._headers))

    @property
    def busy(self) -> bool:
        """Never: a part that is copied twice moves nothing over the line."""
        return False

    @property
    def state_of_source(self) -> str:
        """Size and ETag."""
        return f"{self.plan.size_bytes} bytes, {self.one.etag}"

    def part_task(self, index: int) -> Task:
        first, last = self.plan.span(index)
        arg = (self.upload_id, index + 1, self.one.key, first, last, self._pin)
        return self.job.task(Kind.PART_COPY, self.key, last + 1 - first, arg, self.part_done, index)


def _replacing(headers: ObjectHeaders) -> Headers:
    """Headers of a copy. Metadata and content headers replace the source's; storage class, ACL, SSE only add."""
    pairs = headers.as_headers()
    if any(name in _KEPT_HEADERS or name.startswith("x-amz-meta-") for name, _ in pairs):
        pairs = (*pairs, ("x-amz-metadata-directive", "REPLACE"))
    if headers.tags:
        pairs = (*pairs, ("x-amz-tagging-directive", "REPLACE"))
    return pairs


def _is_gone(error: S3EngineError | None) -> bool:
    return isinstance(error, NotFound) and error.code != "NoSuchBucket"
