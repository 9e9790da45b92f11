"""Transform: objects, or files, through a function of the caller's, into objects or files. What it makes is stored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from s3engine.decided import Decided
from s3engine.errors import DuplicateKey, S3EngineError
from s3engine.functions.calls import FunctionCall
from s3engine.integrity.choice import Checking
from s3engine.jobs.applied import AppliedJob
from s3engine.jobs.key_guard import KeyGuard, duplicate
from s3engine.jobs.outputs import OutputInParts
from s3engine.operations import ObjectHeaders, Template, made_by
from s3engine.overlaps import Overlap, with_overlaps
from s3engine.paths import safe_relative
from s3engine.pool.messages import OUTPUT_PART, OUTPUT_STORED, Context, Kind, Task
from s3engine.report import RequestReport
from s3engine.sources import BytesSource, FileSource
from s3engine.transport import Headers, ObjectInfo
from s3engine.uri import check_key

__all__ = ["TransformJob"]

NOTHING_MADE = "no output"
"""``RequestReport.skipped`` of an object of which a function made nothing."""
_NO_PARTS = 1 << 62  # what goes in parts is decided where it is made


class _Made:
    """An object whose function is done, and its outputs on their way."""

    __slots__ = ("error", "key", "outcome", "outputs", "seq", "targets", "times")

    def __init__(self, seq: int, key: str) -> None:
        self.seq = seq
        self.key = key
        self.outputs: dict[int, OutputInParts] = {}
        """Those that go in parts, and are not over."""
        self.outcome: tuple[Any, ...] | None = None
        self.times = (0.0, 0.0)
        self.error: S3EngineError | None = None
        self.targets: list[str] = []


class TransformJob(AppliedJob):
    """``items``: keys or ObjectInfo of ``source_bucket``; with "" for that FileSource, BytesSource or pairs.

    ``call.output`` says where outputs go: to ``bucket``, or below ``call.root``. ``name`` maps an ObjectInfo to the
    key, or path, of an output that names none itself; sources have their own. ``operation`` is for the reports.
    """

    def __init__(
        self, items: Iterable[Any], source_bucket: str, bucket: str, call: FunctionCall,
        name: Callable[[ObjectInfo], str], emit: Callable[[RequestReport], None], *, operation: str,
        template: Template = None, checking: Checking | None = None, verify: bool = False, ask_checksums: bool = False,
    ) -> None:  # fmt: skip
        fixed = template.as_headers() if isinstance(template, ObjectHeaders) else ()
        values: dict[str, Any] = {
            "bucket": bucket, "function": call, "checking": checking, "headers": fixed, "verify": verify,
            "ask_checksums": ask_checksums, "threshold_bytes": _NO_PARTS,
        }  # fmt: skip
        if source_bucket and bucket != source_bucket:
            values["source"] = AppliedJob(
                [], {"bucket": source_bucket, "verify": verify, "ask_checksums": ask_checksums}, emit
            ).context
            values["source_bucket"] = source_bucket
        if source_bucket == bucket and call.output == "objects":
            # Read to its end first: what is made below a prefix that is being listed is no part of the job.
            items = with_overlaps(items, name)
        super().__init__(items, values, emit)
        self.operation = operation
        self._from_store = bool(source_bucket)
        self._to_files = call.output == "files"
        self._root = call.root
        self._name = name
        self._fixed = fixed
        self._template = template if callable(template) else None
        self._checking = checking
        self._named = KeyGuard()
        self._written = KeyGuard()
        self._made: dict[int, _Made] = {}
        self._cut_off: dict[str, OutputInParts] = {}
        """By key: outputs whose worker died, which are made again."""

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The one of the batch; that of the source goes along with it."""
        return (self.context,)

    def url_of(self, task: Task) -> str:
        """A file's path, or the object's URL."""
        if not self._from_store:
            return task[5][2] if isinstance(task[5][2], str) else task[3]
        return f"s3://{self.context.source_bucket or self.context.bucket}/{task[3]}"

    @property
    def weighs(self) -> bool:  # type: ignore[override]
        """Local sources may be bytes."""
        return not self._from_store

    def body_bytes(self, item: Any) -> int:
        """The body of a BytesSource."""
        item = _bare(item)
        return memoryview(item.data).nbytes if type(item) is BytesSource else 0

    def admit(self, seq: int, item: Any) -> None:
        """The body, the function and what fits into one request, all in one worker."""
        if type(item) is Overlap:
            self.reader.release_bytes(self.body_bytes(item))
            self.report_refused(seq, item.key, item.error())
            return
        if type(item) is Decided:
            if item.skip or item.error is not None:
                self._left_out(seq, item)
                return
            item = item.item
        try:
            if self._from_store:
                info = ObjectInfo(item, -1) if isinstance(item, str) else item
                key, size, etag, when = info.key, info.size_bytes, info.etag, info.last_modified
                local: Any = None
                name = self._name(info)
                headers = self._headers(info)
            else:
                source = item if type(item) in (FileSource, BytesSource) else FileSource(*item)
                key, size, etag, when = source.key, -1, "", ""
                local = bytes(source.data) if type(source) is BytesSource else os.fspath(source[0])
                name = key
                headers = source.headers.as_headers() if source.headers is not None else self._headers(source)
            if self._to_files:
                safe_relative(name)
            else:
                check_key(name)
            if self._named.seen(name):
                raise duplicate(name, "path" if self._to_files else "key")
        except S3EngineError as error:
            self.refuse(seq, item, error)
            return
        task_key = key or name
        state = _Made(seq, task_key)
        arg = (etag, when, local, name, headers)
        self.request(Kind.APPLY, task_key, size, arg, self._applied, state)

    def _left_out(self, seq: int, decided: Decided) -> None:
        self.reader.release_bytes(self.body_bytes(decided))
        key = getattr(decided.item, "key", decided.item)
        if decided.error is not None:
            self.report_refused(seq, key, decided.error)
        else:
            self.report_skipped(seq, key, decided.skip)

    def _headers(self, item: Any) -> Headers:
        return self._fixed if self._template is None else made_by(self._template, item).as_headers()

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report an item that was not begun."""
        item = _bare(item)
        self.reader.release_bytes(self.body_bytes(item))
        if isinstance(item, tuple) and not hasattr(item, "key") and len(item) > 1:
            item = str(item[1])
        super().refuse(seq, item, error)

    # ---- outputs in parts

    def output(self, task: Task, message: tuple[Any, ...], fd: int, worker: int) -> None:
        """A part of one, or its end."""
        made: _Made = self._made.setdefault(task[0], self._owners[task[0]][1])
        if message[0] != OUTPUT_PART:
            made.outputs[message[2]].seal()
            return
        _, task_id, number, key, headers, size_bytes = message
        found = made.outputs.get(number)
        if found is None:
            found = OutputInParts(
                self, task_id, number, key, headers, self._checking, partial(self._stored, made),
                partial(self._tell_stored, worker), self._cut_off.pop(key, None),
            )  # fmt: skip
            made.outputs[number] = found
            found.add(size_bytes, fd)
            self.add_composite(found)
        else:
            found.add(size_bytes, fd)

    def _tell_stored(self, worker: int, task_id: int, size_bytes: int, failed: bool) -> None:
        self.asides.append((worker, (OUTPUT_STORED, task_id, size_bytes, failed)))

    def _stored(self, made: _Made, output: OutputInParts, outcome: tuple[Any, ...]) -> None:
        """One is over. It stays known until its function is done: that may have more parts for it."""
        if outcome[11] is None:
            made.targets.append(output.key)
        else:
            made.error = made.error or outcome[11]
        self._settle(made)

    def worker_lost(self, task: Task) -> None:
        """Its outputs are not ended by anybody; another worker makes them anew."""
        made = self._made.pop(task[0], None)
        if made is not None:
            self._owners[task[0]] = (self._owners[task[0]][0], _Made(made.seq, made.key))
            for found in made.outputs.values():
                if not found.is_over:
                    self._cut_off[found.key] = found
                found.fail(self._cut(found.key))

    @staticmethod
    def _cut(key: str) -> S3EngineError:
        return S3EngineError(f"the function did not come to the end of {key!r}")

    # ---- the end of an object

    def _applied(self, made: _Made, task: Task, outcome: tuple[Any, ...]) -> None:
        made.outcome = outcome
        made.times = self.learn(outcome)
        if type(task[5][2]) is bytes:
            self.reader.release_bytes(len(task[5][2]))
        if outcome[10] is not None:
            _, _, _, counts, put = outcome[10]
            made.targets += [key for key, *_ in put] + [path for path, _ in counts.files]
        if outcome[11] is not None:
            # The function was cut off in the middle of one; what it had given whole before stays.
            made.error = made.error or outcome[11]
            for found in made.outputs.values():
                if not found.is_sealed:
                    found.fail(self._cut(found.key))
        self._settle(made)
        self._made.pop(task[0], None)

    def _settle(self, made: _Made) -> None:
        if made.outcome is None or any(not found.is_over for found in made.outputs.values()):
            return
        outcome, made.outcome = made.outcome, None
        error = made.error if made.error is not outcome[11] else None
        if error is None and outcome[11] is None:
            error = self._twice(made)
        targets = [self._where(name) for name in made.targets]
        target = targets[0] if len(targets) == 1 else f"{len(targets)} outputs" if targets else ""
        self.tell(
            made.seq, made.key, outcome, made.times, error=error, target=target,
            skipped="" if targets else NOTHING_MADE,
        )  # fmt: skip

    def _where(self, name: str) -> str:
        return os.path.join(self._root, name) if self._to_files else f"s3://{self.context.bucket}/{name}"

    def _twice(self, made: _Made) -> DuplicateKey | None:
        """Outputs that name themselves may have the name of another object's, which nobody knew before."""
        found = [name for name in made.targets if self._written.seen(name)]
        if not found:
            return None
        text = f"{self._where(found[0])} was written twice in this batch; the function gave two outputs this name"
        return DuplicateKey(text, key=made.key)


def _bare(item: Any) -> Any:
    """An input item without what was decided of it."""
    while type(item) in (Decided, Overlap):
        item = item.item
    return item
