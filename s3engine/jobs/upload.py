"""Upload: PutObject for small sources, multipart for large ones; ``move`` removes the local file afterwards."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from s3engine.decided import Decided, late_error, only_conditions, without_conditions
from s3engine.errors import JournalError, NotSupported, S3EngineError, SourceChanged, SourceError
from s3engine.file_body import has_changed
from s3engine.integrity.choice import Checking
from s3engine.jobs.asking import Asking, Checks
from s3engine.jobs.base import Handler, Job, next_task_id
from s3engine.jobs.delete import move_error
from s3engine.jobs.every_key import EveryKey
from s3engine.jobs.in_time import asked_in_time
from s3engine.jobs.key_guard import KeyGuard, duplicate
from s3engine.jobs.ledger import Recalled, passes
from s3engine.jobs.own_target import OwnFile
from s3engine.jobs.upload_parts import FileInParts
from s3engine.operations import ObjectHeaders, Template, content_type_headers, made_by
from s3engine.parts import plan_parts
from s3engine.pool.messages import Context, Kind, NeedsParts, Task
from s3engine.report import LENGTH_ONLY, RequestReport
from s3engine.sources import BytesSource, FileSource
from s3engine.transport import FilePart, Headers
from s3engine.uri import check_key

__all__ = ["UploadJob"]

_PUT_FILE = Kind.PUT_FILE
_new = tuple.__new__  # makes a NamedTuple in half the time of its own constructor


class UploadJob(Job):
    """``items`` are FileSource or BytesSource; plain (path, key) pairs will do."""

    operation = "upload"
    weighs = True

    def __init__(
        self, items: Iterable[Any], bucket: str, emit: Callable[[RequestReport], None], *, template: Template,
        threshold_bytes: int, part_bytes: int, remove_source: bool = False, guess_content_type: bool = True,
        checks: Checks | None = None, ask_checksums: bool = False, grace_s: float = 2.0,
    ) -> None:  # fmt: skip
        fixed = template.as_headers() if isinstance(template, ObjectHeaders) else ()
        known = checks.known() if checks is not None else None
        self._checking = known if known is not None or checks is None else checks.cautious()
        values = {
            "bucket": bucket, "headers": fixed, "guess_content_type": guess_content_type,
            "threshold_bytes": threshold_bytes, "checking": self._checking,
            # A move may have to be compared with what is there.
            "verify": remove_source, "ask_checksums": ask_checksums,
        }  # fmt: skip
        self._asking = Asking(checks, bucket, grace_s) if checks is not None and known is None else None
        asking = self._asking
        super().__init__(
            items if asking is None else asked_in_time(items, asking, threshold_bytes, self._found), values, emit
        )
        # For the tasks from when it is known what the store compares: workers get a context with its first task.
        self._later = Job([], values, emit).context
        self._template = template if callable(template) else None
        self._guess = guess_content_type
        self._part_bytes = part_bytes
        self._remove = remove_source
        self._guard = EveryKey() if remove_source else KeyGuard()
        self.destroys = remove_source
        # Files of which nothing is to be decided here: nearly all are, by the hundred thousand (see admit_plain, done).
        self._are_plain = self._template is None and not remove_source
        self._put_handler: Handler = self._put  # made once, so that it can be told by identity
        self._conditions: dict[int, Headers] = {}  # of uploads under way, by seq
        self._refused_conditions = False
        if remove_source:
            self.operation = "move"

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The one to begin with, and the one for when more is known of the store."""
        return (self.context, self._later)

    def _found(self, checking: Checking) -> None:
        """What the store compares is known. In the reader's thread: it concerns the items that it gives from now on."""
        self._later = replace(self._later, checking=checking)
        self._checking = checking
        self.tasks_context_id = self._later.id

    def cancel(self) -> None:
        """The store is not asked any further either."""
        if self._asking is not None:
            self._asking.stop()
        super().cancel()

    def pending(self) -> bool:
        """The store is being asked, and what was begun for that is being ended."""
        if self._asking is None or not self._asking.under_way:
            return False
        undone = self._asking.undone()
        if undone is None:
            return True
        item, left = undone
        seq, self.seq = self.seq, self.seq + 1
        self.refuse(seq, item, left or self.not_begun())
        return False

    def admit_plain(self, queue: deque[Any], count: int) -> int:
        """Files with a plain name and no headers of their own: ``admit``, ``request`` and ``task`` in one loop."""
        if not self._are_plain:
            return 0
        owners, ready, handler, seen = self._owners, self._ready, self._put_handler, self._guard.seen
        context_id = self.tasks_context_id
        first = seq = self.seq
        last = first + count
        while seq < last and queue:
            item = queue[0]
            if type(item) is not FileSource:
                break
            path, key, headers = item
            # So many characters have no more bytes than a key may have; what may be wrong with others, admit says.
            if headers is not None or type(path) is not str or type(key) is not str or not 0 < len(key) <= 256:
                break
            if not key.isascii() or seen(key):  # one that was seen stays so, and admit reports it
                break
            del queue[0]
            task_id = next_task_id()
            owners[task_id] = handler, (seq, item)
            ready.append((task_id, context_id, _PUT_FILE, key, -1, (path, None)))
            seq += 1
        self.seq = seq
        return seq - first

    def admit(self, seq: int, item: Any) -> None:
        """PutObject, whatever the size: the worker that opens the file says when it is too large for that."""
        condition: Headers = ()
        if type(item) is Decided:
            if item.skip or item.error is not None:
                self._left_out(seq, item)
                return
            condition, item = item.condition, item.item
        source = item if type(item) in (FileSource, BytesSource) else FileSource(*item)
        key = source.key
        try:
            check_key(key)
            if self._guard.seen(key):
                raise duplicate(key, "key")
            headers = self._headers(source)
            if condition and not self._refused_conditions:
                headers = (*(self.context.headers if headers is None else headers), *condition)
                self._conditions[seq] = condition
        except S3EngineError as error:
            self.reader.release_bytes(self.body_bytes(source))
            self.report_refused(seq, key, error)
            return
        if type(source) is BytesSource:
            data = bytes(source.data)
            self.request(Kind.PUT_BYTES, key, len(data), (data, headers), self._put_handler, (seq, source))
        else:
            path = os.fspath(source[0])
            self.request(Kind.PUT_FILE, key, -1, (path, headers), self._put_handler, (seq, source))

    def done(self, task: Task, outcome: tuple[Any, ...]) -> None:
        """A file that was stored, and of which nothing else is to be done, has its report here and now."""
        if task[2] == _PUT_FILE and outcome[11] is None and self._are_plain and self.ledger is None:
            owner = self._owners[task[0]]
            if owner[0] is self._put_handler:
                del self._owners[task[0]]
                seq, source = owner[1]
                if self._conditions:
                    self._conditions.pop(seq, None)
                _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, size, etag, *_ = outcome
                self.emit(
                    _new(
                        RequestReport,
                        (
                            seq, self.operation, self.context.bucket, source[1], size, attempts, success_s, total_s,
                            estimate, timeout_s, status, request_id, etag, None, source[0], outcome[13], "", 0.0, 0.0,
                        ),
                    )
                )  # fmt: skip
                return
        super().done(task, outcome)

    def _left_out(self, seq: int, decided: Decided) -> None:
        source = decided.item
        ledger = self.ledger
        if decided.skip and self._remove and type(source) is FileSource and ledger is not None and ledger.again(seq):
            path, target = os.fspath(source.path), f"s3://{self.context.bucket}/{source.key}"
            recalled = ledger.recall(seq)
            then = partial(self._perhaps_own, seq, decided, recalled)
            OwnFile(self, source.key, path, target, self._part_bytes, then, recalled).look()
            return
        self._skip(seq, decided)

    def _perhaps_own(
        self, seq: int, decided: Decided, recalled: Recalled | None, outcome: tuple[Any, ...], same: bool
    ) -> None:
        """What is there was looked at: an earlier run may have written it, and then the move goes on."""
        if recalled is not None and outcome[11] is None:  # it was completed, or never will be
            self.abort_upload(decided.item.key, recalled.name, recalled.id)
        before = self.ledger.was_stored(seq) if self.ledger is not None and not same and outcome[11] is None else None
        if before is not None and before == (outcome[10].size_bytes, outcome[10].etag):
            path = decided.item.path
            text = f"{path!r} was written to after it was sent; it was uploaded as it was, and kept"
            self._end(seq, decided.item, outcome, SourceChanged(text, path=path))
        elif same or outcome[11] is not None:
            self._over(seq, decided.item, outcome)
        else:
            self._skip(seq, decided)

    def _skip(self, seq: int, decided: Decided) -> None:
        source = decided.item
        size_bytes = self.body_bytes(source)
        self.reader.release_bytes(size_bytes)
        if decided.error is not None:
            self.report_refused(seq, source.key, decided.error)
        else:
            self.leave_upload(seq, source.key)
            path = source.path if type(source) is FileSource else ""
            self.report_skipped(seq, source.key, decided.skip, size_bytes, os.fspath(path))

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report a source that was not begun."""
        item = item.item if type(item) is Decided else item
        self.reader.release_bytes(self.body_bytes(item))
        key = getattr(item, "key", None)
        if key is None:
            key = item[1] if isinstance(item, tuple) and len(item) > 1 else None
        self.report_refused(seq, key if isinstance(key, str) else repr(item), error)

    def remember(self, done: Iterable[tuple[str, str]]) -> None:
        """Targets are keys."""
        for key, _ in done:
            self._guard.seen(key)

    def body_bytes(self, item: Any) -> int:
        """The body of a BytesSource."""
        item = item.item if type(item) is Decided else item
        return memoryview(item.data).nbytes if type(item) is BytesSource else 0

    def _headers(self, source: Any) -> Headers | None:
        """Headers of this source alone, or None when the batch's are meant."""
        if source.headers is not None:
            return source.headers.as_headers()  # type: ignore[no-any-return]  # source is one of two NamedTuples
        if self._template is None:
            return None
        return made_by(self._template, source).as_headers()

    def _put(self, state: tuple[int, Any], task: Task, outcome: tuple[Any, ...]) -> None:
        seq, source = state
        error = outcome[11]
        condition = self._conditions.get(seq, ())
        if type(error) is NotSupported and condition:
            # The store does not know the condition: without it, as if it were one that takes it in silence.
            self._refused_conditions = True
            del self._conditions[seq]
            body, headers, *more = task[5]
            own = headers[: -len(condition)]  # those of the caller stay: they were asked for
            self.request(task[2], task[3], task[4], (body, own, *more), self._put, state)
        elif type(error) is NeedsParts:
            plan = plan_parts(error.size_bytes, self._part_bytes)
            own = self.context.headers if task[5][1] is None else task[5][1]
            asked_for = only_conditions(own[: -len(condition)] if condition else own)
            headers = content_type_headers(task[5][0], without_conditions(own), self._guess)
            parts = FileInParts(self, seq, source, plan, error.mtime_ns, headers, self._checking, self._parted)
            parts.conditions = condition
            parts.inode_and_ctime = (error.inode, error.ctime_ns)
            parts.asked_for = asked_for
            self.add_composite(parts)
        else:
            recalled = self.ledger.recall(seq) if self.ledger is not None else None
            if recalled is not None and not passes(error):  # the source is gone, or small now
                self.abort_upload(source.key, recalled.name, recalled.id)
            self._over(seq, source, outcome)

    def _parted(self, transfer: Any, outcome: tuple[Any, ...]) -> None:
        file_state = (transfer.mtime_ns, *transfer.inode_and_ctime)
        outcome = (*outcome[:10], file_state, *outcome[11:])
        self._over(transfer.seq, transfer.source, outcome, transfer.unproven)

    def _over(
        self, seq: int, source: Any, outcome: tuple[Any, ...], unproven: S3EngineError | None = None
    ) -> None:
        error = outcome[11]
        condition = self._conditions.pop(seq, ()) if self._conditions else ()
        if error is not None and condition:
            error = late_error(source.key, condition, error)
        ledger = self.ledger
        if error is None and self._remove and unproven is not None:
            where = f"s3://{self.context.bucket}/{source.key}"
            error = move_error(f"an object of its size is at {where}, and nothing proves that it is this one", unproven)
        elif error is None and self._remove and type(source) is FileSource:
            if ledger is None:
                error = self._kept(source) or _remove(source.path, outcome)
            else:  # first on record: another run must know that what is gone has arrived
                ledger.stored(seq, outcome[8], outcome[9], partial(self._stored, seq, source, outcome))
                return
        elif error is None and self._remove:
            error = self._kept(source)
        elif error is not None and ledger is not None and type(source) is FileSource:
            before = ledger.was_stored(seq)
            if before is not None and not os.path.lexists(source.path):
                self.request(Kind.HEAD, source.key, 0, 0, self._moved_before, (seq, source, outcome, error, before))
                return
        self._end(seq, source, outcome, error)

    def _kept(self, source: Any) -> S3EngineError | None:
        """Why the source stays, though it is stored."""
        if not self.stopped:
            return None
        return move_error(f"uploaded to s3://{self.context.bucket}/{source.key}", self.not_begun(source.key))

    def _stored(self, seq: int, source: Any, outcome: tuple[Any, ...], failure: JournalError | None) -> None:
        self._end(seq, source, outcome, failure or self._kept(source) or _remove(source.path, outcome))

    def _moved_before(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        """An earlier run stored it and removed the source, and could not say so any more."""
        seq, source, failed, error, before = state
        found = outcome[10]
        if outcome[11] is None and (found.size_bytes, found.etag) == before:
            self._end(seq, source, (*failed[:8], *before, None, None, "", LENGTH_ONLY), None)
        else:
            self._end(seq, source, failed, error)

    def _end(self, seq: int, source: Any, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        path = source.path if type(source) is FileSource else ""
        self.report(seq, source.key, outcome, target=path, error=error)


def _remove(path: str, outcome: tuple[Any, ...]) -> S3EngineError | None:
    """Remove a file that was sent, if it is still the one; else why not."""
    try:
        status = os.stat(path)
        mtime_ns, inode, ctime_ns = outcome[10]
        if has_changed(FilePart(path, 0, outcome[8], mtime_ns, outcome[8], inode, ctime_ns), status):
            return SourceChanged(
                f"{path!r} was written to after it was sent; it was uploaded as it was, and kept", path=path
            )
        os.unlink(path)
    except OSError as reason:
        return SourceError(f"uploaded, but cannot remove {path!r}: {reason.strerror}", path=path)
    return None
