"""Which request gets which fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.faults.kinds import Fault, Latency, Reset, ResetAt, Stall, StallHead

Plan = Callable[[int, int, bytes], Fault | None]
"""``plan(connection_no, request_no, request_head)``; called in the proxy's thread."""


def first(count: int, fault: Fault) -> Plan:
    """The first ``count`` requests get the fault, later ones none."""
    return lambda _connection_no, request_no, _head: fault if 1 <= request_no <= count else None


def always(fault: Fault) -> Plan:
    """Every request gets the fault."""
    return lambda _connection_no, request_no, _head: fault if request_no else None


def script(faults: Sequence[Fault | None]) -> Plan:
    """The n-th request gets the n-th fault; later ones none."""
    return lambda _connection_no, request_no, _head: faults[request_no - 1] if 1 <= request_no <= len(faults) else None


def on_accept(count: int, fault: Stall | StallHead | Latency | Reset | ResetAt) -> Plan:
    """The first ``count`` connections get the fault before a byte of them is read."""
    return lambda connection_no, request_no, _head: fault if not request_no and connection_no <= count else None


def every(count: int, fault: Fault, burst: int = 1) -> Plan:
    """``burst`` requests in a row out of each ``count`` get the fault, the last ones of each ``count``."""
    return lambda _connection_no, request_no, _head: (
        fault if request_no and (request_no - 1) % count >= count - burst else None
    )


def first_of_every(count: int, fault: Fault) -> Plan:
    """The first of each ``count`` requests gets the fault."""
    return lambda _connection_no, request_no, _head: fault if request_no % count == 1 else None


def every_connection(count: int, fault: Stall | StallHead | Latency | Reset | ResetAt) -> Plan:
    """Each ``count``-th connection gets the fault before a request of it was read whole, beginning with the first."""
    return lambda connection_no, request_no, _head: fault if not request_no and connection_no % count == 1 else None


def matching(text: bytes, plan: Plan) -> Plan:
    """``plan`` for the requests whose head holds ``text``, numbered among themselves; others pass."""
    seen = 0

    def wrapped(connection_no: int, request_no: int, head: bytes) -> Fault | None:
        nonlocal seen
        if text not in head:
            return None
        seen += 1
        return plan(connection_no, seen, head)

    return wrapped
