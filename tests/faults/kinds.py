"""The faults: frozen values, each with what it does and what it counts."""

from __future__ import annotations

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
class CloseIdle:
    """Answers well and closes the connection ``after_s`` later without having announced it."""

    after_s: float = 0.0


Fault = Stall | StallAnswer | Latency | Drip | CutAnswer | Reset | Respond | FlipBit | CloseIdle
