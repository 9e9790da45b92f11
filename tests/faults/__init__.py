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

from tests.faults.connection import (
    Log,
)
from tests.faults.kinds import (
    CloseIdle,
    CutAnswer,
    Direction,
    Drip,
    Fault,
    FlipBit,
    Latency,
    Reset,
    Respond,
    Stall,
    StallAnswer,
)
from tests.faults.plans import (
    Plan,
    always,
    first,
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
    "Direction",
    "Drip",
    "Fault",
    "FaultProxy",
    "FlipBit",
    "Latency",
    "Log",
    "Plan",
    "Reset",
    "Respond",
    "Stall",
    "StallAnswer",
    "always",
    "first",
    "matching",
    "on_accept",
    "script",
]
