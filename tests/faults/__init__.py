"""A TCP proxy in front of a real server that breaks chosen requests in chosen ways.

    with FaultProxy("127.0.0.1", port, first(3, Respond(503))) as proxy:
        ... use proxy.endpoint_url ...
    assert proxy.log.requests == 4

Bytes pass through unchanged, so signatures made for the proxy's address hold. The proxy follows HTTP just far enough
to know where each request and answer ends. It runs an asyncio loop in a thread of its own and never outlives the
``with`` block. A plan says what happens to which request; it is asked once when a connection was accepted (request
number 0, empty head) and once for every request whose head has arrived (numbered from 1 over all connections).

All ``after_bytes`` and ``at`` count bytes of a body: heads, and the framing of chunked bodies, are not counted.
"""

from __future__ import annotations

from tests.faults.answers import (
    error_answer,
    error_body,
    slow_down,
)
from tests.faults.connection import (
    Log,
)
from tests.faults.kinds import (
    CloseIdle,
    CutAnswer,
    CutHead,
    Direction,
    Drip,
    DripHead,
    DuplicateHeaders,
    FailedDeletes,
    Fault,
    FlipBit,
    FlipHeadBit,
    Garbage,
    HalfOpen,
    Latency,
    Refuse,
    Reset,
    ResetAt,
    Respond,
    Stage,
    Stall,
    StallAnswer,
    StallHead,
    WrongEtag,
    WrongLength,
)
from tests.faults.plans import (
    Plan,
    always,
    every,
    every_connection,
    first,
    first_of_every,
    matching,
    on_accept,
    script,
)
from tests.faults.proxy import (
    HOST,
    FaultProxy,
)

__all__ = [
    "HOST",
    "CloseIdle",
    "CutAnswer",
    "CutHead",
    "Direction",
    "Drip",
    "DripHead",
    "DuplicateHeaders",
    "FailedDeletes",
    "Fault",
    "FaultProxy",
    "FlipBit",
    "FlipHeadBit",
    "Garbage",
    "HalfOpen",
    "Latency",
    "Log",
    "Plan",
    "Refuse",
    "Reset",
    "ResetAt",
    "Respond",
    "Stage",
    "Stall",
    "StallAnswer",
    "StallHead",
    "WrongEtag",
    "WrongLength",
    "always",
    "error_answer",
    "error_body",
    "every",
    "every_connection",
    "first",
    "first_of_every",
    "matching",
    "on_accept",
    "script",
    "slow_down",
]
