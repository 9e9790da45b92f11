"""Copy and move inside the store: CopyObject, or UploadPartCopy for large objects.

A copy is proven by its ETag, when that is the source's; else by HEAD: its size, and the checksum that the store keeps
of both, where it does. A move deletes a source only when its copy is proven by one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from s3engine.decided import Decided, late_error, only_conditions, without_conditions
from s3engine.errors import ConfigError, JournalError, NotSupported, S3EngineError, TransferError
from s3engine.jobs.base import Job
from s3engine.jobs.copied import Copied
from s3engine.jobs.copy_parts import CopyInParts, replacing
from s3engine.jobs.copy_proof import CopyProof
from s3engine.jobs.delete import DeleteConditions, KeyDeleter, move_error
from s3engine.jobs.every_key import EveryKey
from s3engine.jobs.key_guard import KeyGuard, duplicate
from s3engine.jobs.ledger import is_gone
from s3engine.jobs.own_target import OwnCopy
from s3engine.operations import ObjectHeaders, Template, made_by
from s3engine.overlaps import Overlap, with_overlaps
from s3engine.parts import plan_parts
from s3engine.pool.messages import Kind, Task
from s3engine.report import LENGTH_ONLY, RequestReport
from s3engine.transport import Headers, ObjectInfo
from s3engine.uri import check_key

__all__ = ["CopyJob"]

_NO_OUTCOME = (0, 0, 0.0, 0.0, 0.0, 0.0, 0, "", 0, "", None, None, "", "")


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
        headers = replacing(template) if isinstance(template, ObjectHeaders) else ()
        looks = {"verify": verify, "ask_checksums": ask_checksums}
        values = {"bucket": bucket, "source_bucket": source_bucket, "headers": headers, **looks}
        overlapping = source_bucket == bucket
        if overlapping:
            items = with_overlaps(items, key, also=self._keys_before)
        super().__init__(items, values, emit)
        self._key = key
        self._template = template if callable(template) else None
        self._threshold_bytes = threshold_bytes
        self._part_bytes = part_bytes
        self._guard = EveryKey() if move else KeyGuard()
        self._pinned = pinned
        self._move = move
        self._source = Job([], {"bucket": source_bucket, **looks}, emit).context
        self._deleter = KeyDeleter(self, self._deleted, conditions, request=self._from_source, finishes=True)
        self._proof = CopyProof(
            self, source_bucket, self._request_source, move=move, proven=self._proven, failed=self._finish
        )
        self.destroys = move
        self._refused_conditions = False
        if move:
            self.operation = "move"

    @property
    def contexts(self) -> tuple[Any, ...]:
        """This job sends requests to two buckets."""
        return (self.context, self._source)

    def admit(self, seq: int, item: Any) -> None:
        """Copy, in parts when it is known to be large; HEAD tells what is not known and is needed."""
        if type(item) is Overlap:
            self._refused(seq, item.key, item.error())
            return
        condition: Headers = ()
        if type(item) is Decided:
            if item.skip:
                self._left_out(seq, item)
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
        one = Copied(seq, info.key, info.size_bytes, info.etag, target, condition)
        # What is copied by several requests, or deleted after it, must be one and the same object for all of them.
        pinless = not info.etag and (self._move or info.size_bytes > self._threshold_bytes)
        if info.size_bytes < 0 or pinless:
            self._request_source(Kind.HEAD, info.key, 0, self._known, one)
        else:
            self._copy(one)

    def _left_out(self, seq: int, decided: Decided) -> None:
        """Skipped, unless an earlier run of a move may have made the copy that is there: then that is found out."""
        info, target, ledger = decided.item, self._key(decided.item), self.ledger
        if not (self._move and ledger is not None and ledger.again(seq)):
            self.leave_upload(seq, target)
            self.report_skipped(seq, info.key, decided.skip, info.size_bytes, f"s3://{self.context.bucket}/{target}")
            return
        recalled = ledger.recall(seq)

        def then(outcome: tuple[Any, ...], same: bool) -> None:
            if recalled is not None and outcome[11] is None:  # it was completed, or never will be
                self.abort_upload(target, recalled.name, recalled.id)
            one = Copied(seq, info.key, info.size_bytes, info.etag, target, ())
            if same:
                one.size_bytes, one.etag, one.outcome = outcome[10].size_bytes, outcome[10].etag, outcome
                self._delete_source(one)
            elif outcome[11] is not None:
                self._copied(one, (), outcome)
            else:
                self.report_skipped(seq, info.key, decided.skip, info.size_bytes, f"s3://{self.context.bucket}/{target}")

        OwnCopy(self, info.key, target, self._request_source, then, recalled if self._pinned else None).look()

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

    def _keys_before(self) -> Iterable[str]:
        return self.earlier_keys()  # looked up when the input is read: a journal comes after the job was made

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

    def _known(self, one: Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self._copied(one, task, outcome)  # as if the copy had met it
            return
        one.size_bytes, one.etag, one.headers = outcome[10].size_bytes, outcome[10].etag, outcome[10].headers
        self._copy(one)

    def _copy(self, one: Copied) -> None:
        own: Headers | None = None
        if self._template is not None:
            try:
                own = replacing(made_by(self._template, ObjectInfo(one.key, one.size_bytes, one.etag)))
            except S3EngineError as error:
                self._finish(one, one.outcome or _NO_OUTCOME, error)
                return
            except Exception as error:  # noqa: BLE001  (the caller's own code: handed to the caller)
                self.failure = self.failure or error
                self.broken = True
                text = f"not begun: the template raised {type(error).__name__}: {error}"
                self._finish(one, one.outcome or _NO_OUTCOME, TransferError(text, key=one.key))
                return
        if one.size_bytes > self._threshold_bytes:
            plan = plan_parts(one.size_bytes, self._part_bytes)
            headers = self.context.headers if own is None else own
            parts = CopyInParts(
                self, one, plan, without_conditions(headers), self._pin(one), self._request_source, self._parted
            )
            parts.conditions = one.condition
            parts.asked_for = only_conditions(headers)
            one.in_parts = True
            self.add_composite(parts)
        else:
            if one.condition:
                own = (*(self.context.headers if own is None else own), *one.condition)
            self.request(Kind.COPY, one.target, one.size_bytes, (one.key, self._pin(one), own), self._copied, one)

    def _pin(self, one: Copied) -> str:
        """The ETag that the source must still have; "" for whatever is there."""
        return one.etag if self._pinned else ""

    def _parted(self, transfer: Any, outcome: tuple[Any, ...]) -> None:
        transfer.one.unproven = transfer.unproven
        self._copied(transfer.one, (), outcome)

    def _copied(self, one: Copied, task: Any, outcome: tuple[Any, ...]) -> None:
        one.outcome = outcome
        error = outcome[11]
        if type(error) is NotSupported and one.condition:
            # The store does not know the condition: without it, as if it were one that takes it in silence.
            self._refused_conditions = True
            one.condition = ()
            self._copy(one)
        elif error is not None:
            before = self.ledger.was_stored(one.seq) if self.ledger is not None and is_gone(error) else None
            if before is not None:
                self.request(Kind.HEAD, one.target, 0, 0, self._moved_before, (one, before))
                return
            if one.condition:
                error = late_error(one.target, one.condition, error, source=one.key if self._pin(one) else "")
            self._finish(one, outcome, error)
        elif one.etag and outcome[9] == one.etag:
            self._proven(one, "etag")
        elif self._move and self.stopped:
            self._delete_source(one)  # it will be refused, proven or not
        elif self._move or self.context.verify:
            self._proof.look(one)
        else:
            self._proven(one, "")

    def _moved_before(self, about: tuple[Copied, tuple[int, str]], task: Task, outcome: tuple[Any, ...]) -> None:
        """The source is gone: an earlier run made this copy of it, deleted it, and could not say so any more."""
        one, (size_bytes, etag) = about
        found, failed = outcome[10], one.outcome
        if outcome[11] is None and found.size_bytes == size_bytes and etag in ("", found.etag):
            one.size_bytes = size_bytes
            verified = "etag" if one.etag and found.etag == one.etag else LENGTH_ONLY
            self._finish(one, (*failed[:9], found.etag, None, None, "", verified), None)
        else:
            self._finish(one, failed, failed[11])

    def _proven(self, one: Copied, verified: str) -> None:
        """The copy is there; ``verified`` says by what that is known."""
        one.outcome = (*one.outcome[:13], verified)
        if self._move and one.unproven is not None and verified == LENGTH_ONLY:
            target = f"s3://{self.context.bucket}/{one.target}"
            text = f"an object of its size is at {target}, and nothing proves that it is this one"
            self._finish(one, one.outcome, move_error(text, one.unproven))
        elif self._move:
            self._delete_source(one)
        else:
            self._finish(one, one.outcome, None)

    def _delete_source(self, one: Copied) -> None:
        if self.ledger is None:
            self._deleter.add(one.key, one, one.etag)
        else:  # first on record: another run must know that what is gone has a copy
            self.ledger.stored(one.seq, one.size_bytes, one.outcome[9], partial(self._recorded, one))

    def _recorded(self, one: Copied, failure: JournalError | None) -> None:
        if failure is None:
            self._deleter.add(one.key, one, one.etag)
        else:
            self._deleted(one, one.outcome, failure)

    def _deleted(self, one: Copied, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        if error is not None:
            error = move_error(f"copied to s3://{self.context.bucket}/{one.target}", error)
        self._finish(one, one.outcome, error)

    def _finish(self, one: Copied, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, _, etag, _, _, _, verified = outcome
        self.emit(
            RequestReport(
                one.seq, self.operation, self._source.bucket, one.key, max(one.size_bytes, 0), attempts, success_s,
                total_s, estimate, timeout_s, status, request_id, etag, error,
                f"s3://{self.context.bucket}/{one.target}", "" if error else verified,
            )
        )  # fmt: skip
