"""A large object copied in parts, with the headers of its source that a multipart upload does not carry over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s3engine.jobs.base import Handler, Job
from s3engine.jobs.copied import Copied
from s3engine.jobs.ledger import state_of_object
from s3engine.jobs.multipart import MultipartTransfer
from s3engine.operations import ObjectHeaders
from s3engine.parts import PartPlan
from s3engine.pool.messages import Kind, Task
from s3engine.stored import same_bytes
from s3engine.transport import Headers

__all__ = ["CopyInParts", "SourceRequest", "replacing"]

SourceRequest = Callable[[int, str, Any, Handler, Any], None]
"""Queues a request to the bucket of the sources: kind, key, argument, handler, state."""

# What a multipart copy does not carry over by itself and a CopyObject does.
_KEPT_HEADERS = (
    "content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires",
)  # fmt: skip


class CopyInParts(MultipartTransfer):
    """One such object. ``pin`` is the ETag that the source must still have, "" for whatever is there.

    ``headers`` are those that the copy shall have of its own, as :func:`replacing` makes them.
    """

    __slots__ = ("_headers", "_pin", "_request_source", "one")

    def __init__(
        self, job: Job, one: Copied, plan: PartPlan, headers: Headers, pin: str, request_source: SourceRequest,
        finished: Callable[[Any, tuple[Any, ...]], None],
    ) -> None:  # fmt: skip
        super().__init__(job, one.seq, one.target, plan, finished)
        self.one = one
        self._headers = headers
        self._pin = pin
        self._request_source = request_source

    def begin(self) -> None:
        self.started_at = self.job.clock()
        if self.one.headers:  # of the object that the parts are pinned to
            self._create(self.one.headers)
        else:
            self._request_source(Kind.HEAD, self.one.key, 0, self._described, None)

    def _described(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self.note(outcome)
            self.fail(outcome[11])
            return
        found = outcome[10].headers
        if outcome[10].etag == self.one.etag:
            self.one.headers = found
        self._create(found)

    def _create(self, found: Headers) -> None:
        """With the metadata of the source."""
        if any(name == "x-amz-metadata-directive" for name, _ in self._headers):
            self.create(tuple(pair for pair in self._headers if not pair[0].endswith("-directive")))
            return
        kept = [pair for pair in found if pair[0] in _KEPT_HEADERS or pair[0].startswith("x-amz-meta-")]
        self.create((*kept, *self._headers))

    def same_bytes(self, headers: Headers) -> bool | None:
        """By a checksum that the store has of source and copy."""
        same, algorithm = same_bytes(self.one.headers, headers)
        return same if algorithm else None

    @property
    def busy(self) -> bool:
        """Never: a part that is copied twice moves nothing over the line."""
        return False

    @property
    def state_of_source(self) -> str:
        """Size and ETag; "" when the parts are not pinned to an ETag, so that each may be of another object."""
        return state_of_object(self.plan.size_bytes, self._pin)

    def part_task(self, index: int) -> Task:
        first, last = self.plan.span(index)
        arg = (self.upload_id, index + 1, self.one.key, first, last, self._pin)
        return self.job.task(Kind.PART_COPY, self.key, last + 1 - first, arg, self.part_done, index)


def replacing(headers: ObjectHeaders) -> Headers:
    """Headers of a copy. Metadata and content headers replace the source's; storage class, ACL, SSE only add."""
    pairs = headers.as_headers()
    if any(name in _KEPT_HEADERS or name.startswith("x-amz-meta-") for name, _ in pairs):
        pairs = (*pairs, ("x-amz-metadata-directive", "REPLACE"))
    if headers.tags:
        pairs = (*pairs, ("x-amz-tagging-directive", "REPLACE"))
    return pairs
