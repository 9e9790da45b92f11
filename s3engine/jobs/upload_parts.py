"""A file that is uploaded in parts, with checksums of the parts and, where the store keeps one, of the whole."""

from __future__ import annotations

import os
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

from s3engine.checksums import COMBINABLE, available, header_name
from s3engine.errors import ChecksumMismatch, NotFound
from s3engine.integrity.choice import Checking
from s3engine.jobs.base import Job
from s3engine.jobs.ledger import state_of_file
from s3engine.jobs.multipart import MultipartTransfer
from s3engine.parts import PartPlan
from s3engine.pool.messages import Kind, Task
from s3engine.pool.uploads import checksum_of_parts
from s3engine.report import LENGTH_ONLY
from s3engine.sources import FileSource
from s3engine.stored import combined_etag
from s3engine.transport import CompletedPart, FilePart, Headers

__all__ = ["FileInParts"]

_TYPE = "x-amz-checksum-type"
_NAMING = ("x-amz-checksum-algorithm", "x-amz-checksum-type")  # the caller's own name one that the parts do not have


class FileInParts(MultipartTransfer):
    """``checking`` is what holds for all of it, also when the batch has learnt more of the store in between."""

    __slots__ = ("_algorithm", "_full_object", "_headers", "_proofs", "_sums", "inode_and_ctime", "mtime_ns", "source")

    def __init__(
        self, job: Job, seq: int, source: FileSource, plan: PartPlan, mtime_ns: int, headers: Headers,
        checking: Checking | None, finished: Callable[[Any, tuple[Any, ...]], None],
    ) -> None:  # fmt: skip
        super().__init__(job, seq, source.key, plan, finished)
        self.source = source
        self.mtime_ns = mtime_ns
        self.inode_and_ctime = (0, 0)
        """Of the file; what they are for is told at FilePart."""
        self._algorithm = checking.parts if checking is not None else ""
        self._full_object = checking is not None and checking.full_object
        self._headers = headers
        self._sums = [""] * plan.count
        self._proofs: set[str] = set()

    def begin(self) -> None:
        """Name the algorithm, so that the store keeps it; MD5 has no name there."""
        headers = self._headers
        if self._algorithm not in ("", "md5"):
            headers = tuple(pair for pair in headers if pair[0] not in _NAMING)
            headers = (*headers, ("x-amz-checksum-algorithm", self._algorithm.upper()))
            if self._full_object:
                headers = (*headers, ("x-amz-checksum-type", "FULL_OBJECT"))
        self.create(headers)

    @property
    def state_of_source(self) -> str:
        """Size, time of the last write, and which file it is."""
        return state_of_file(self.plan.size_bytes, self.mtime_ns, *self.inode_and_ctime)

    @property
    def choices(self) -> str:
        """The algorithm, and whether it describes the whole."""
        return f"{self._algorithm} whole" if self._full_object else self._algorithm

    def adopt(self, choices: str, part_bytes: int) -> bool:
        """With the algorithm that the upload was created with, if it can be computed here."""
        algorithm, _, whole = choices.partition(" ")
        if algorithm and not available(algorithm):
            return False
        super().adopt(choices, part_bytes)
        self._algorithm, self._full_object = algorithm, bool(whole)
        self._sums = [""] * self.plan.count
        return True

    def part_task(self, index: int) -> Task:
        """Every part checks that the file is still the one that was planned."""
        first, last = self.plan.span(index)
        length = last + 1 - first
        path = os.fspath(self.source.path)
        part = FilePart(path, first, length, self.mtime_ns, self.plan.size_bytes, *self.inode_and_ctime)
        arg = (self.upload_id, index + 1, part, self._algorithm)
        return self.job.task(Kind.PART, self.key, length, arg, self.part_done, index)

    def keep(self, index: int, outcome: tuple[Any, ...]) -> None:
        """ETag and checksum are what Complete names the part by."""
        super().keep(index, outcome)
        self._sums[index] = outcome[12]
        self._proofs.add(outcome[13])

    def forget_parts(self) -> None:
        """Nor do their checksums."""
        super().forget_parts()
        self._sums = [""] * self.plan.count
        self._proofs.clear()

    def completing(self) -> tuple[Any, ...]:
        """With sizes, which the checksum of the whole is made with."""
        parts = self._completed_parts()
        self.verified = self._proofs.pop() if len(self._proofs) == 1 else LENGTH_ONLY
        self._proofs = {self.verified}
        return (self.upload_id, parts, self._full_object and all(self._sums))

    def _completed_parts(self) -> list[tuple[int, str, int, str]]:
        parts = []
        for index, (etag, checksum) in enumerate(zip(self.etags, self._sums, strict=True)):
            first, last = self.plan.span(index)
            parts.append((index + 1, etag, last + 1 - first, checksum))
        return parts

    def settle(self, outcome: tuple[Any, ...]) -> None:
        """Where the answer contradicts, or says nothing of the whole, HEAD tells whether all parts are in it."""
        wrong: str = outcome[10]
        if outcome[13] and not wrong:
            self.over(None)
        else:
            self.job.request(Kind.HEAD, self.key, 0, None, self._measured, wrong)

    def _measured(self, wrong: str, task: Task, outcome: tuple[Any, ...]) -> None:
        error, found = outcome[11], outcome[10]
        if error is None and found.size_bytes == self.plan.size_bytes and found.etag == combined_etag(self.etags):
            self.etag = found.etag  # what contradicted was the answer, not the object
            self.over(None)
        elif wrong:
            self.over(self._mismatch(wrong))
        elif isinstance(error, NotFound):
            self.over(error)
        elif error is None and found.size_bytes != self.plan.size_bytes:
            text = f"the store made an object of {found.size_bytes} bytes, not {self.plan.size_bytes}"
            self.over(self._mismatch(text))
        else:  # who may only write cannot look; the store has said that it is done
            self.over(None)

    def disproves(self, index: int, etag: str) -> ChecksumMismatch | None:
        """An ETag that was the part's MD5 and is another now: other bytes came to lie there."""
        algorithm, _, value = self._sums[index].partition(":")
        before = self.etags[index]
        if algorithm != "md5" or etag == before or a2b_base64(value).hex() != before:
            return None
        return self._mismatch(f"part {index + 1} has the ETag {etag} now, the MD5 of what was sent is {before}")

    def same_bytes(self, headers: Headers) -> bool | None:
        """By the checksum that the parts were sent with, in the form that the store has: of the whole, or of them."""
        if self._algorithm in ("", "md5") or not all(self._sums):
            return None
        kept = dict(headers)
        value = kept.get(header_name(self._algorithm), "")
        of_parts = "-" in value
        if not value or (not of_parts and (self._algorithm not in COMBINABLE or kept.get(_TYPE) == "COMPOSITE")):
            return None
        parts = [CompletedPart(*part) for part in self._completed_parts()]
        return checksum_of_parts(parts, full_object=not of_parts) == f"{self._algorithm}:{value}"

    def _mismatch(self, text: str) -> ChecksumMismatch:
        bucket = self.job.context.bucket
        return ChecksumMismatch(f"s3://{bucket}/{self.key}: {text}", bucket=bucket, key=self.key)
