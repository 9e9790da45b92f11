"""GetObject into memory that a function process reads: a whole object, or a range of a large one."""

from __future__ import annotations

from typing import Any, NamedTuple

from s3engine.control.estimator import OpClass
from s3engine.errors import PreconditionFailed, ServerFault
from s3engine.pool.item import Action, Ended, Item
from s3engine.pool.messages import Kind, NeedsParts
from s3engine.report import LENGTH_ONLY
from s3engine.stored import digest_of, mismatch
from s3engine.transport import GetResult, Timeouts

__all__ = ["ACTIONS", "ViewSink", "Wanted"]


class Wanted(NamedTuple):
    """Argument of a Kind.FETCH. Never leaves its process."""

    view: memoryview
    """Where the bytes go; of a whole object it may be larger than that."""
    etag: str
    """The object must have it; "": any."""
    first: int = 0
    last: int = -1
    """-1: the whole object."""


class ViewSink:
    """Writes into memory that is there. A whole object larger than that raises NeedsParts before a byte is written."""

    __slots__ = ("_first", "_view", "_whole", "etag", "info", "received")

    def __init__(self, wanted: Wanted) -> None:
        self._view = wanted.view
        self._first = wanted.first
        self._whole = wanted.last < 0
        self.etag = wanted.etag
        self.info: GetResult | None = None
        self.received = 0

    def begin(self, info: GetResult) -> None:
        """Take a new body, or the rest of one that broke off. Raises NeedsParts, PreconditionFailed, ServerFault."""
        if self.etag and info.etag and info.etag != self.etag:
            raise PreconditionFailed(f"the object changed while it was read: its ETag is now {info.etag}")
        if self._whole and info.total_bytes > len(self._view):
            raise NeedsParts("larger", size_bytes=info.total_bytes, etag=info.etag, headers=info.headers)
        if info.offset == self._first:
            self.received = 0
        elif info.offset != self._first + self.received:
            raise ServerFault(f"byte {info.offset} of an object came where byte {self._first} was asked for")
        self.etag = self.etag or info.etag  # a further attempt must go on with the same object
        self.info = info

    def write(self, data: memoryview) -> None:
        """Keep a piece. Raises ServerFault."""
        end = self.received + len(data)
        if end > len(self._view):
            raise ServerFault(f"more bytes of an object came than the {len(self._view)} that were announced")
        self._view[self.received : end] = data
        self.received = end


def _open(item: Item) -> None:
    if item.sink is None:
        item.sink = ViewSink(item.arg)


def _begin(item: Item, api: Any, timeouts: Timeouts) -> Any:
    wanted, sink = item.arg, item.sink
    goes_on = sink.received and sink.etag and sink.received < len(wanted.view)
    first = wanted.first + (sink.received if goes_on else 0)
    return api.get_object(
        item.context.bucket, item.key, sink, first=first, last=wanted.last, if_match=sink.etag,
        headers=item.context.ask if wanted.last < 0 else (), timeouts=timeouts,
    )  # fmt: skip


def _end(item: Item, result: Any) -> Ended:
    wanted, sink = item.arg, item.sink
    name = f"GetObject s3://{item.context.bucket}/{item.key}"
    asked = result.total_bytes if wanted.last < 0 else wanted.last + 1 - wanted.first
    if asked >= 0 and sink.received != asked:
        came_bytes, sink.received = sink.received, 0
        raise ServerFault(f"{name}: {came_bytes} bytes of {asked} came")
    verified = LENGTH_ONLY
    if wanted.last < 0 and item.context.verify:
        expected = item.context.evidence(result)
        if expected.algorithm and expected.parts < 2:
            came = digest_of(expected, wanted.view[: sink.received])
            if came != expected.value:
                sink.received = 0
                raise mismatch(item.context.bucket, item.key, expected, came, item.error)
            verified = expected.algorithm
    item.size_bytes = sink.received
    return Ended(result.etag, result.request_id, result.status, result, verified=verified)


ACTIONS = {Kind.FETCH: Action(OpClass.GET, _open, _begin, _end)}
