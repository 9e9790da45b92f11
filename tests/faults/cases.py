"""The faults of the table: how each is brought about, where it makes sense, and which errors would tell the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from s3engine.errors import (
    AccessDenied,
    ChecksumMismatch,
    ConnectFailed,
    ConnectionLost,
    NetworkError,
    NotS3,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestTimeout,
    S3EngineError,
    ServerFault,
    Throttled,
    TooSlow,
    TruncatedBody,
)
from s3engine.testing import Fault as InWorker
from tests.faults.answers import error_answer, slow_down
from tests.faults.kinds import (
    CloseIdle,
    CutAnswer,
    CutHead,
    Drip,
    DripHead,
    DuplicateHeaders,
    FailedDeletes,
    Fault,
    FlipBit,
    Garbage,
    HalfOpen,
    Latency,
    Refuse,
    ResetAt,
    Respond,
    Stall,
    StallAnswer,
    StallHead,
    WrongEtag,
    WrongLength,
)
from tests.faults.operations import BY_NAME
from tests.faults.plans import Plan, always, every, every_connection, first, first_of_every, matching

Reasons = tuple[type[S3EngineError], ...]
ALL = tuple(BY_NAME)
UP = ("upload", "multipart upload")
DOWN = ("download", "ranged download")
WITH_ANSWER = (*DOWN, "list", "copy", "move", "delete")
"""Those whose answers have a body."""

LOST: Reasons = (ConnectionLost, TruncatedBody)
SILENT: Reasons = (RequestTimeout,)


@dataclass(frozen=True)
class Case:
    """One fault, on a share of the requests or, ``for_good``, on all requests of the victims."""

    name: str
    plan: Callable[[], Plan]
    """A new plan for each cell: plans count."""
    operations: tuple[str, ...]
    reasons: Reasons
    """What an object may fail with; none: nothing may fail."""
    for_good: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the engine, beside the usual ones of the table."""
    inside: tuple[InWorker, ...] = ()
    """What goes wrong inside the workers."""
    own_server: bool = False
    """Whether it strikes the server itself, which then cannot be that of other cells."""


def _cases(
    name: str, fault: Fault, operations: tuple[str, ...], reasons: Reasons, *, only: bytes = b"",
    good: bool = True, share: Plan | None = None, **settings: Any,
) -> Iterator[Case]:  # fmt: skip
    """The share, and with ``good`` the variant for good. ``only``: heads that hold this."""
    if only:
        yield Case(name, lambda: matching(only, first_of_every(3, fault)), operations, reasons, settings=settings)
    else:
        yield Case(name, lambda: share or every(4, fault), operations, reasons, settings=settings)
    if good:
        both = lambda: matching(b"victim", matching(only, always(fault)))  # noqa: E731
        yield Case(f"{name}, for good", both, operations, reasons, for_good=True, settings=settings)


def _all() -> Iterator[Case]:
    yield from _cases("latency", Latency(0.3), ALL, ())
    # Of 4 KiB/s nothing is too slow that is small; what is large is left out, as it would take minutes.
    yield from _cases("slow drip of bodies", Drip(4096), ("download", "list", "copy", "delete"), ())
    yield from _cases("slow drip up", Drip(8192, "up"), ("upload",), ())
    yield from _cases("slow drip of heads", DripHead(1000), ALL, ())
    yield from _cases("drip without end", Drip(50), ("download",), (*SILENT, TooSlow))

    yield from _cases("connections are silent", Stall(), ALL, SILENT, good=False, share=every_connection(3, Stall()))
    half = StallHead(40, "up")
    yield from _cases("stall in the request's head", half, ALL, SILENT, good=False, share=every_connection(3, half))
    yield from _cases("stall before the request's body", Stall(0), UP, SILENT, only=b"PUT ")
    yield from _cases("stall in the request's body", Stall(1500), UP, SILENT, only=b"PUT ")
    yield from _cases("no answer", StallAnswer(), ALL, SILENT)
    yield from _cases("no answer, not carried out", StallAnswer(forward=False), ALL, SILENT)
    yield from _cases("stall in the answer's head", StallHead(40), ALL, SILENT)
    yield from _cases("stall before the answer's body", Stall(0, "down"), WITH_ANSWER, SILENT)
    yield from _cases("stall in the answer's body", Stall(60, "down"), WITH_ANSWER, SILENT)
    yield from _cases("half open", HalfOpen(), ALL, SILENT, good=False)

    accept, head = ResetAt("accept"), ResetAt("request head", 40)
    yield from _cases("reset on accept", accept, ALL, LOST, good=False, share=every_connection(3, accept))
    yield from _cases("reset in the request's head", head, ALL, LOST, good=False, share=every_connection(3, head))
    yield from _cases("reset in the request's body", ResetAt("request body", 1500), UP, LOST, only=b"PUT ")
    yield from _cases("reset after the request", ResetAt("request end"), ALL, LOST)
    yield from _cases("reset in the answer's head", ResetAt("answer head", 40), ALL, LOST)
    yield from _cases("reset in the answer's body", ResetAt("answer body", 60), WITH_ANSWER, LOST)
    yield from _cases("answer's head cut", CutHead(40), ALL, (*LOST, NotS3))
    yield from _cases("answer's body cut", CutAnswer(60), WITH_ANSWER, (*LOST, ServerFault))
    yield from _cases("no answer, closed", CutAnswer(head=False), ALL, LOST)
    yield from _cases("idle connections closed", CloseIdle(), ALL, LOST)
    # Longer than the attempts of the table last: what was in flight fails, and nothing is lost.
    # A connection that was being taken while the listener closed may stay silent.
    refused = (ConnectFailed, ConnectionLost, RequestTimeout)
    yield from _cases("connection refused", Refuse(2.0), ALL, refused, good=False, share=first(1, Refuse(2.0)))
    yield from _cases(
        "connection refused, all attempts", Refuse(2.0), ALL, refused, good=False, share=first(1, Refuse(2.0)),
        max_attempts=12,
    )  # fmt: skip
    yield from _cases(
        "connection refused for 10 s", Refuse(10.0), ALL, refused, good=False, share=first(1, Refuse(10.0)),
        max_attempts=16, give_up_after_s=30.0,
    )  # fmt: skip

    yield from _cases("garbage", Garbage(), ALL, (NotS3, ConnectionLost))
    yield from _cases("a web server's page", Respond(200, (), b"<html>Welcome</html>"), ALL, _NO_S3)
    for status, reasons in ((500, (ServerFault,)), (502, (ServerFault,)), (503, (Throttled,)), (504, (ServerFault,)),
                            (408, (ServerFault,)), (429, (Throttled,))):  # fmt: skip
        yield from _cases(str(status), Respond(status), ALL, reasons)
    burst = every(6, slow_down(), burst=3)
    yield from _cases("bursts of SlowDown", slow_down(), ALL, (Throttled,), share=burst)
    yield from _cases("SlowDown, Retry-After", slow_down(1), ALL, (Throttled,), good=False)
    copies = ("copy", "move")
    yield from _cases("200 with InternalError", error_answer(200, "InternalError"), copies, (ServerFault,), only=_COPY)
    yield from _cases("200 with AccessDenied", error_answer(200, "AccessDenied"), copies, (AccessDenied,), only=_COPY)
    complete = error_answer(200, "InternalError")
    yield from _cases(
        "200 with error of COMPLETE", complete, ("multipart upload",), (ServerFault,), only=b"?uploadId="
    )
    deletes = ("delete", "move")
    yield from _cases(
        "200 with InternalErrors", FailedDeletes(), deletes, (ServerFault,), only=b"?delete", good=False
    )
    denied = FailedDeletes("AccessDenied")
    yield from _cases("200 with AccessDenieds", denied, deletes, (AccessDenied,), only=b"?delete", good=False)

    yield from _cases("wrong ETag", WrongEtag(), ALL, _MISMATCH)
    # Going on behind what came is the range that the store does not have: 416.
    longer = (*LOST, ServerFault, NotS3, RangeNotSatisfiable)
    yield from _cases("length too large", WrongLength(7), WITH_ANSWER, longer)
    yield from _cases("length too small", WrongLength(-7), WITH_ANSWER, (*LOST, *_MISMATCH, NotS3))
    yield from _cases("bit flipped on the way up", FlipBit(1000, "up"), UP, (*_MISMATCH, ServerFault), only=b"PUT ")
    yield from _cases("bit flipped on the way down", FlipBit(1000), DOWN, _MISMATCH, only=b"GET ")
    two_lengths = DuplicateHeaders((("Content-Length", "5"),))
    yield from _cases("two lengths", two_lengths, ALL, (NotS3, NetworkError, ServerFault))
    two_etags = DuplicateHeaders((("ETag", '"00000000000000000000000000000000"'),))
    yield from _cases("two ETags", two_etags, ALL, _MISMATCH)


# A page is also an object that is shorter than the range that was asked for, or than it was before.
_NO_S3: Reasons = (NotS3, ServerFault, RangeNotSatisfiable, PreconditionFailed, *LOST)
_MISMATCH: Reasons = (ChecksumMismatch, PreconditionFailed, ServerFault)
_COPY = b"x-amz-copy-source"
CASES: tuple[Case, ...] = tuple(_all())
