"""The faults: frozen values, each with what it does and what it counts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Stall:
    """Goes silent for ever, connection open: reads no more of the request ("up") or sends no more of the answer."""

    after_bytes: int = 0
    direction: Direction = "up"


@dataclass(frozen=True)
class StallAnswer:
    """Reads the request, has the server carry it out (unless ``forward`` is false), and never answers."""

    forward: bool = True


@dataclass(frozen=True)
class Latency:
    """The answer begins ``seconds`` late; on accept: the first byte is read ``seconds`` late."""

    seconds: float


@dataclass(frozen=True)
class Until:
    """The answer begins a little after ``over`` is set, and no later than ``at_most_s``.

    The server carries the request out at once.
    """

    over: threading.Event
    at_most_s: float
    after_s: float = 0.3


@dataclass(frozen=True)
class Drip:
    """The body of the answer ("down") or of the request passes at ``bytes_per_s``."""

    bytes_per_s: float
    direction: Direction = "down"


@dataclass(frozen=True)
class CutAnswer:
    """The server carries the request out; the connection ends (FIN) inside the answer.

    ``head`` false: before the first byte of the answer.
    """

    after_bytes: int = 0
    head: bool = True


@dataclass(frozen=True)
class Reset:
    """RST. ``forward``: only after the server has carried the request out and the answer's head came back."""

    forward: bool = False


@dataclass(frozen=True)
class Respond:
    """Answers by itself; the server never sees the request.

    ``early`` answers and ends its side of the connection before the body of the request is read. A header
    ``Connection: close`` is kept to.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    early: bool = False


@dataclass(frozen=True)
class FlipBit:
    """Turns over the lowest bit of byte ``at`` of the answer's body ("down") or the request's."""

    at: int = 0
    direction: Direction = "down"


@dataclass(frozen=True)
class FlipHeadBit:
    """Turns over the lowest bit of byte ``at`` (counted round) of the answer's head ("down") or the request's."""

    at: int = 0
    direction: Direction = "down"


@dataclass(frozen=True)
class CloseIdle:
    """Answers well and closes the connection ``after_s`` later without having announced it."""

    after_s: float = 0.0


@dataclass(frozen=True)
class StallHead:
    """Goes silent for ever inside a head. "up" (to be given on accept): has read ``after_bytes`` of the request.

    "down": the server carries the request out, the client gets ``after_bytes`` of the answer's head.
    """

    after_bytes: int = 10
    direction: Direction = "down"


@dataclass(frozen=True)
class DripHead:
    """The head of the answer passes at ``bytes_per_s``, its body at full speed."""

    bytes_per_s: float


Stage = Literal["accept", "request head", "request body", "request end", "answer head", "answer body"]


@dataclass(frozen=True)
class ResetAt:
    """RST at a stage, after ``after_bytes`` bytes of the head or body that the stage names.

    "accept" and "request head" are to be given on accept. From "request end" on the server has the whole request and
    carries it out.
    """

    stage: Stage
    after_bytes: int = 0


@dataclass(frozen=True)
class CutHead:
    """The server carries the request out; the connection ends (FIN) after so many bytes of the answer's head."""

    after_bytes: int = 10


@dataclass(frozen=True)
class Garbage:
    """Reads the request and answers with bytes that are no HTTP; the server never sees it. Then FIN."""

    answer: bytes = b"\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n"
    """The default is an alert of TLS: what a TLS port says to plain HTTP."""


@dataclass(frozen=True)
class HalfOpen:
    """Answers this request well; what comes later on this connection is swallowed. No answer, no FIN, no RST.

    As near as userland comes to a path that vanishes under an idle connection: the kernel still acknowledges.
    """


@dataclass(frozen=True)
class WrongEtag:
    """Another ETag in the answer's head, of the same form; a body that names it is left alone."""


@dataclass(frozen=True)
class WrongLength:
    """Content-Length of the answer is off by ``delta_bytes``; the body is as it was, then FIN.

    Below: the body goes on after its announced end. Above: it ends before. An answer without a length, or one that
    would become negative, passes.
    """

    delta_bytes: int


@dataclass(frozen=True)
class DuplicateHeaders:
    """Headers are added at the end of the answer's head, whether or not it has them."""

    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FailedDeletes:
    """Answers DeleteObjects by itself: 200 with an error for every key; the server never sees it."""

    code: str = "InternalError"


@dataclass(frozen=True)
class Refuse:
    """The listener is closed for ``seconds`` and all connections are reset: connecting is refused."""

    seconds: float


Fault = (
    Stall
    | StallAnswer
    | StallHead
    | Latency
    | Until
    | Drip
    | DripHead
    | CutAnswer
    | CutHead
    | Reset
    | ResetAt
    | Respond
    | Garbage
    | HalfOpen
    | FlipBit
    | FlipHeadBit
    | CloseIdle
    | WrongEtag
    | WrongLength
    | DuplicateHeaders
    | FailedDeletes
    | Refuse
)
