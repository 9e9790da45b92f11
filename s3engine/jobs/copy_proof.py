"""Whether a copy is what its source is, where its ETag does not say so: its size, and the checksums a store keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from s3engine.errors import ChecksumMismatch, PreconditionFailed, S3EngineError, ServerFault
from s3engine.jobs.base import Job
from s3engine.jobs.copied import Copied
from s3engine.jobs.copy_parts import SourceRequest
from s3engine.jobs.delete import move_error
from s3engine.pool.messages import Kind, Task
from s3engine.report import LENGTH_ONLY
from s3engine.stored import same_bytes
from s3engine.transport import Headers

__all__ = ["CopyProof"]


class CopyProof:
    """Looks at the copies of one job. Each look ends in one call.

    ``proven(one, by)``: the copy is there, and ``by`` is what that is known by ("": by the store's word alone).
    ``failed(one, outcome, error)``: the copy is not what the source is, or a move cannot know.
    """

    __slots__ = ("_failed", "_job", "_move", "_proven", "_request_source", "_source_bucket")

    def __init__(
        self, job: Job, source_bucket: str, request_source: SourceRequest, *, move: bool,
        proven: Callable[[Copied, str], None],
        failed: Callable[[Copied, tuple[Any, ...], S3EngineError], None],
    ) -> None:  # fmt: skip
        self._job = job
        self._source_bucket = source_bucket
        self._request_source = request_source
        self._move = move
        self._proven = proven
        self._failed = failed

    def look(self, one: Copied) -> None:
        """Ask for the copy."""
        self._job.request(Kind.HEAD, one.target, 0, 0, self._looked, one)

    def _looked(self, one: Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        found = outcome[10]
        if outcome[11] is not None and not self._move:
            self._proven(one, "")  # the store has said that it was copied, and more is not to be had
            return
        if outcome[11] is None and found.size_bytes == one.size_bytes:
            summed = any(name.startswith("x-amz-checksum-") for name, _ in found.headers)
            if not summed and not one.in_parts:
                self._proven(one, LENGTH_ONLY)
            elif one.headers and not one.in_parts:
                self._compare(one, one.headers, found.headers)
            else:  # stores take the condition of a part in silence, so its parts may be of two objects
                compare = partial(self._described, found.headers)
                self._request_source(Kind.HEAD, one.key, 0, compare, one)
            return
        target = f"s3://{self._job.context.bucket}/{one.target}"
        error = outcome[11]
        if error is not None:
            self._failed(one, one.outcome, move_error(f"copied to {target}, which could not be looked at", error))
            return
        text = f"the copy {target} has {found.size_bytes} bytes, its source was listed with {one.size_bytes}: it was "
        text += f"written again, or the table is wrong{'; it was kept' if self._move else ''}"
        self._failed(one, one.outcome, ServerFault(text, bucket=self._job.context.bucket, key=one.target))

    def _described(self, copied: Headers, one: Copied, task: Task, outcome: tuple[Any, ...]) -> None:
        """HEAD of the source came, after that of the copy."""
        found, error = outcome[10], outcome[11]
        if error is not None and one.in_parts and self._move:
            target = f"s3://{self._job.context.bucket}/{one.target}"
            self._failed(one, one.outcome, move_error(f"copied to {target}, the source could not be looked at", error))
        elif error is not None:
            self._proven(one, LENGTH_ONLY)
        elif found.etag == one.etag:
            self._compare(one, found.headers, copied)
        elif self._move or one.in_parts:
            text = f"s3://{self._source_bucket}/{one.key} was written again while it was copied"
            text += "; it was kept" if self._move else ", and the copy may have parts of both; copy it again"
            self._failed(one, one.outcome, PreconditionFailed(text, bucket=self._source_bucket, key=one.key))
        else:
            self._proven(one, LENGTH_ONLY)

    def _compare(self, one: Copied, source: Headers, copied: Headers) -> None:
        same, algorithm = same_bytes(source, copied)
        if same or not algorithm:
            self._proven(one, algorithm or LENGTH_ONLY)
            return
        bucket = self._job.context.bucket
        text = f"the copy s3://{bucket}/{one.target} has another {algorithm} checksum than its source"
        self._failed(one, one.outcome, ChecksumMismatch(text, bucket=bucket, key=one.target))
