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

from tests.faults.answers import error_answer as error_answer
from tests.faults.answers import error_body as error_body
from tests.faults.answers import slow_down as slow_down
from tests.faults.connection import Log as Log
from tests.faults.kinds import CloseIdle as CloseIdle
from tests.faults.kinds import CutAnswer as CutAnswer
from tests.faults.kinds import CutHead as CutHead
from tests.faults.kinds import Direction as Direction
from tests.faults.kinds import Drip as Drip
from tests.faults.kinds import DripHead as DripHead
from tests.faults.kinds import DuplicateHeaders as DuplicateHeaders
from tests.faults.kinds import FailedDeletes as FailedDeletes
from tests.faults.kinds import Fault as Fault
from tests.faults.kinds import FlipBit as FlipBit
from tests.faults.kinds import FlipHeadBit as FlipHeadBit
from tests.faults.kinds import Garbage as Garbage
from tests.faults.kinds import HalfOpen as HalfOpen
from tests.faults.kinds import Latency as Latency
from tests.faults.kinds import Refuse as Refuse
from tests.faults.kinds import Reset as Reset
from tests.faults.kinds import ResetAt as ResetAt
from tests.faults.kinds import Respond as Respond
from tests.faults.kinds import Stage as Stage
from tests.faults.kinds import Stall as Stall
from tests.faults.kinds import StallAnswer as StallAnswer
from tests.faults.kinds import StallHead as StallHead
from tests.faults.kinds import Until as Until
from tests.faults.kinds import WrongEtag as WrongEtag
from tests.faults.kinds import WrongLength as WrongLength
from tests.faults.plans import Plan as Plan
from tests.faults.plans import always as always
from tests.faults.plans import every as every
from tests.faults.plans import every_connection as every_connection
from tests.faults.plans import first as first
from tests.faults.plans import first_of_every as first_of_every
from tests.faults.plans import matching as matching
from tests.faults.plans import on_accept as on_accept
from tests.faults.plans import script as script
from tests.faults.proxy import HOST as HOST
from tests.faults.proxy import FaultProxy as FaultProxy
