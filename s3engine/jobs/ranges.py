"""A large object into a file, in ranges that come side by side; and the proof that the file is the object."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from s3engine.checksums import COMBINABLE, combine, parse, text
from s3engine.disk import check_target, preallocate, sink_error, sync_folder
from s3engine.errors import (
    AccessDenied,
    Cancelled,
    InvalidRequest,
    NotSupported,
    PreconditionFailed,
    S3EngineError,
    SinkError,
)
from s3engine.jobs.base import Job
from s3engine.jobs.ledger import Recalled, passes, state_of_object
from s3engine.jobs.transfer import PartsTransfer
from s3engine.parts import PartPlan
from s3engine.pool.messages import Kind, Task
from s3engine.report import LENGTH_ONLY
from s3engine.stored import NOTHING, Stored, composite, guess_part_bytes, mismatch, stored
from s3engine.transport import Headers, ObjectInfo

__all__ = ["FileFromRanges"]

# Ranges are cut as the upload was, when that makes neither very many nor very few of them.
_LEAST_RANGE_BYTES = 1024 * 1024
_LARGEST_RANGE_BYTES = 64 * 1024 * 1024


class FileFromRanges(PartsTransfer):
    """Ranges of one object into one file, compared with what the store says of the whole before it has its name.

    A checksum that can be put together out of those of ranges, and one that is made of those of the parts of the
    upload, is computed while the ranges come. Any other is computed of the file afterwards, in a worker. An object that
    is found wrong is fetched again as a whole, once.

    ``ready`` gives the final and the temporary path and makes the folder; ``headers`` are those of an answer that told
    of the whole object, empty when there was none; ``finished`` gets the outcome.
    """

    __slots__ = (
        "_algorithm", "_before", "_etag", "_expected", "_finished", "_headers", "_part_bytes", "_path", "_ready",
        "_recalled", "_sums", "_sure", "_temporary",
    )  # fmt: skip

    def __init__(
        self, job: Job, seq: int, info: ObjectInfo, plan: PartPlan, ready: Callable[[], tuple[str, str]],
        finished: Callable[[tuple[Any, ...]], None], headers: Headers = (),
    ) -> None:  # fmt: skip
        super().__init__(job, seq, info.key, plan)
        self._etag = info.etag
        self._headers = headers
        self._ready = ready
        self._finished = finished
        self._path = self._temporary = ""
        self._recalled: Recalled | None = None
        self._expected = NOTHING
        self._part_bytes = 0  # of the upload, where that matters
        self._sure = False  # the store said so
        self._algorithm = ""  # of the ranges
        self._sums = [b""] * plan.count
        self._before: S3EngineError | None = None  # what was wrong when all had come for the first time

    def begin(self) -> None:
        job = self.job
        ledger = self.job.ledger
        recalled = ledger.recall(self.seq) if ledger is not None else None
        try:
            self._path, self._temporary = self._ready()
            if recalled is not None:
                self._consider(recalled)
            check_target(self._path)
            preallocate(self._temporary, self.plan.size_bytes, self._path)
        except S3EngineError as error:
            self.fail(error)
            return
        self.started_at = job.clock()
        if not job.context.verify:
            self._go(NOTHING)
        elif self._headers or not job.context.ask_checksums:
            self._go(stored(self._headers, self._etag, job.context.bucket))
        else:
            job.request(Kind.HEAD, self.key, 0, 0, self._described, None)

    def _consider(self, recalled: Recalled) -> None:
        """Take over the file of an earlier run, if it is of the same object and lies where it would lie now."""
        same = self._etag and recalled.source == self._state_of_object
        if same and os.path.dirname(recalled.name) == os.path.dirname(self._path) and os.path.exists(recalled.name):
            self._temporary, self._recalled = recalled.name, recalled
            self._transfer = recalled.id
            return
        with contextlib.suppress(OSError):
            os.unlink(recalled.name)
        if self.job.ledger is not None:
            self.job.ledger.forget(recalled.id)

    @property
    def _state_of_object(self) -> str:
        return state_of_object(self.plan.size_bytes, self._etag)

    def _start(self) -> None:
        """All is known of how to do it: go on with what an earlier run left, or begin; have it kept for a later one."""
        recalled, ledger = self._recalled, self.job.ledger
        if ledger is not None and self._etag:
            if recalled is None:
                self._transfer = ledger.begin(
                    self.seq, "download", self.key, self._temporary, self._state_of_object, self.plan.part_bytes, ""
                )
            elif recalled.part_bytes != self.plan.part_bytes:
                # Cut otherwise than before: the file is the same, nothing in it counts.
                ledger.forget(recalled.id)
                self._transfer = ledger.begin(
                    self.seq, "download", self.key, self._temporary, self._state_of_object, self.plan.part_bytes, ""
                )
            else:
                usable = {
                    index: part for index, part in recalled.parts.items()
                    if not self._algorithm or part.checksum.startswith(f"{self._algorithm}:")
                }  # fmt: skip
                self.go_on(recalled._replace(parts=usable))
                return
        self.job.composite_ready(self)

    def _described(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        error = outcome[11]
        self.attempts += max(0, outcome[1] - 1)
        if error is None:
            found = outcome[10]
            self._etag = self._etag or found.etag
            self._go(stored(found.headers, found.etag, self.job.context.bucket))
        elif isinstance(error, (AccessDenied, InvalidRequest, NotSupported)):
            self._go(NOTHING)  # GET may be allowed, and nothing is known of what the ETag stands for
        else:
            self.note(outcome)
            self.fail(error)

    def _go(self, expected: Stored) -> None:
        """Begin with the ranges, unless the size of the parts of the upload has to be asked for."""
        self._expected = expected
        if not expected.parts:
            if expected.algorithm in COMBINABLE:
                self._algorithm = expected.algorithm
            self._start()
        elif expected.parts == 1:
            self._part_bytes, self._sure = self.plan.size_bytes, True
            self._start()
        elif expected.parts == self.plan.count:
            self._cut_by(self.plan.part_bytes, sure=False)  # cut as we cut, as likely as not
        elif self.job.context.ask_checksums:
            self.job.request(Kind.HEAD, self.key, 0, 1, self._first_part, self._cut_by)
        else:
            self._cut_by(guess_part_bytes(self.plan.size_bytes, expected.parts), sure=False)

    def _first_part(self, follow: Callable[..., None], task: Task, outcome: tuple[Any, ...]) -> None:
        """HEAD of the first part came: ``follow(its size, sure=True)``, or a guess."""
        if isinstance(outcome[11], Cancelled):
            self.fail(outcome[11])
            return
        size_bytes, parts = self.plan.size_bytes, self._expected.parts
        first = outcome[10].size_bytes if outcome[11] is None else size_bytes
        if 0 < first < size_bytes:
            # Parts that are not of one size are nothing that could be compared.
            follow(first if -(-size_bytes // first) == parts else 0, sure=True)
        else:  # the store does not tell of parts
            follow(guess_part_bytes(size_bytes, parts), sure=False)

    def _cut_by(self, part_bytes: int, *, sure: bool) -> None:
        self._part_bytes, self._sure = part_bytes, sure
        if not part_bytes:
            self._expected = NOTHING
        elif _LEAST_RANGE_BYTES <= part_bytes <= _LARGEST_RANGE_BYTES:
            self.plan = PartPlan(self.plan.size_bytes, part_bytes, self._expected.parts)
            self._sums = [b""] * self.plan.count
            self._algorithm = self._expected.algorithm
        self._start()

    def part_task(self, index: int) -> Task:
        first, last = self.plan.span(index)
        # Another run must be able to tell whether the bytes of a range reached the disk.
        algorithm = self._algorithm or ("crc32" if self._transfer else "")
        arg = (self._temporary, first, last, self._etag, self.plan.size_bytes, algorithm, self._path)
        return self.job.task(Kind.GET_PART, self.key, last + 1 - first, arg, self.part_done, index)

    def objection(self, outcome: tuple[Any, ...]) -> PreconditionFailed | None:
        """Ranges that were asked for before the first answer came were asked for without an ETag."""
        if not self.etag or not outcome[9] or outcome[9] == self.etag:
            return None
        text = f"s3://{self.job.context.bucket}/{self.key} was written again while it was read: the ETag of a range is "
        text += f"{outcome[9]}, that of the first one {self.etag}"
        return PreconditionFailed(text, bucket=self.job.context.bucket, key=self.key)

    def keep(self, index: int, outcome: tuple[Any, ...]) -> None:
        self.etag = self.etag or outcome[9]
        # The first answer pins the object; the parts that follow must come from the same one.
        self._etag = self._etag or self.etag
        if self._algorithm:
            self._sums[index] = parse(outcome[12])[1]

    def all_parts_done(self) -> None:
        try:
            size = os.stat(self._temporary).st_size
        except OSError as error:
            self.fail(sink_error(self._path, error))
            return
        expected = self._expected
        if size != self.plan.size_bytes:
            text = f"cannot write {self._path!r}: {size} bytes of {self.plan.size_bytes} are in its temporary file"
            self.fail(SinkError(text, path=self._path))
        elif not expected.algorithm:
            self._named(LENGTH_ONLY)
        elif not self._algorithm:
            self._read_back()
        elif expected.parts:
            self._compare(composite(self._algorithm, self._sums))
        else:
            self._compare(parse(combine(map(self._sum_of, range(self.plan.count))))[1])

    def _sum_of(self, index: int) -> tuple[str, int]:
        first, last = self.plan.span(index)
        return text(self._algorithm, self._sums[index]), last + 1 - first

    def _read_back(self) -> None:
        arg = (self._temporary, self._expected.algorithm, self._part_bytes)
        self.job.request(Kind.READ_FILE, self.key, self.plan.size_bytes, arg, self._was_read, None)

    def _was_read(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self.fail(outcome[11])
        else:
            self._compare(outcome[10])

    def _compare(self, came: bytes) -> None:
        expected = self._expected
        if came == expected.value:
            self._named(expected.algorithm)
        elif self._before is not None or expected.parts < 2:
            self._wrong(came)
        elif self._sure:
            self._suspect(came, expected.parts)
        elif self.job.context.ask_checksums:
            self.job.request(Kind.HEAD, self.key, 0, 1, self._first_part, partial(self._cut_otherwise, came))
        else:
            self._wrong(came)

    def _cut_otherwise(self, came: bytes, part_bytes: int, *, sure: bool) -> None:
        """It is known now how the upload was cut, or that nobody knows."""
        if not sure:
            self._wrong(came)
            return
        if not part_bytes:
            self._named(LENGTH_ONLY)
            return
        self._sure = True
        if part_bytes == self._part_bytes:
            self._suspect(came, self._expected.parts)
        else:
            self._part_bytes = part_bytes
            self._algorithm = ""  # what was computed of the ranges is of no use
            self._read_back()

    def _suspect(self, came: bytes, number: int) -> None:
        """Before all is fetched again: parts 2 to ``number`` of the upload may be of other sizes than the first."""
        if number > 1:
            self.job.request(Kind.HEAD, self.key, 0, number, self._part_told, (came, number))
        else:
            self._wrong(came)

    def _part_told(self, state: tuple[bytes, int], task: Task, outcome: tuple[Any, ...]) -> None:
        came, number = state
        error = outcome[11]
        due = min(self._part_bytes, self.plan.size_bytes - (number - 1) * self._part_bytes)
        if isinstance(error, Cancelled):
            self.fail(error)
        elif error is not None:
            self._wrong(came)
        elif outcome[10].size_bytes == due:
            self._suspect(came, number - 1)
        else:
            self._named(LENGTH_ONLY)

    def _wrong(self, came: bytes) -> None:
        """Begin again, once."""
        expected = self._expected
        error = mismatch(self.job.context.bucket, self.key, expected, came, self._before)
        if self._before is None:
            self._before = error
            self._next = self._given = 0
            self._have = frozenset()
            self._completing = False
            self.job.composite_ready(self)
        elif error.permanent and expected.parts > 1 and (expected.from_etag or not self._sure):
            # What came twice is what the store has. How it makes the ETags of what came in parts is its own affair
            # (SeaweedFS: another way when the parts are copies).
            self._named(LENGTH_ONLY)
        else:
            self.fail(error)

    def _named(self, verified: str) -> None:
        self.verified = verified
        try:
            os.replace(self._temporary, self._path)
            if self.job.context.fsync:  # each part is on the disk, its name is not
                sync_folder(self._path)
        except OSError as error:
            self.fail(sink_error(self._path, error))
        else:
            self.over(None)

    def undo(self) -> None:
        if self._temporary and not (self._transfer and passes(self.error)):
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            if self._transfer and self.job.ledger is not None:
                self.job.ledger.forget(self._transfer)

    def finished(self, outcome: tuple[Any, ...]) -> None:
        self._finished(outcome)
