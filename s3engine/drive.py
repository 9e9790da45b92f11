"""The blocking driver: one exchange over one link, start to end."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

from s3engine.errors import ConnectionLost
from s3engine.interrupt import blocking
from s3engine.transport import Exchange, Link, Timeouts
from s3engine.wire import RECEIVE_BYTES, Wire

__all__ = ["drive"]

_TICK_MS = 100
_spare: list[bytearray] = []  # buffers of calls that are over: a new one costs 60 page faults
_AWAY_S = 1.0

R = TypeVar("R")


def drive(
    exchange: Exchange[R], link: Link, timeouts: Timeouts, *, used: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[R, bool]:  # fmt: skip
    """Carry one exchange over ``link`` and block until it ends; returns its result and whether the link may live on.

    Closes the link on any error. Raises what the exchange, its result or a timer raises.
    """
    under_way = _UnderWay()
    with blocking(under_way):
        return _drive(exchange, link, timeouts, used, clock, under_way)


class _UnderWay:
    """One call; the flag is looked at ten times a second."""

    ended = False

    def interrupt(self) -> None:
        self.ended = True


def _drive(
    exchange: Exchange[R], link: Link, timeouts: Timeouts, used: int, clock: Callable[[], float], under_way: _UnderWay
) -> tuple[R, bool]:
    wire = Wire(link)
    wire.used = used
    try:
        spare = _spare.pop()
    except IndexError:  # the first call, or others are under way in other threads
        spare = bytearray(RECEIVE_BYTES)
    buffer = memoryview(spare)
    poller = select.poll()
    poller.register(wire.fileno(), select.POLLIN)
    watching_write = answered = False
    try:
        now = clock()
        try:
            wire.start(exchange, timeouts, now)
        except ConnectionLost as lost:
            wire.read_refusal(buffer, now, lost)
            answered = True
        while not answered:
            if wire.wants_write != watching_write:
                watching_write = wire.wants_write
                poller.modify(wire.fileno(), select.POLLIN | (select.POLLOUT if watching_write else 0))
            events = poller.poll(_TICK_MS)
            if under_way.ended:
                raise ConnectionLost("the call was ended from outside")
            before, now = now, clock()
            away_s = now - before - _TICK_MS / 1000
            if away_s > _AWAY_S:  # this process was stopped, or a file took long; not the network
                wire.excuse(away_s, now)
                if not events:
                    continue
            if not events:
                late = wire.overdue(now)
                if late is not None:
                    raise late
                continue
            mask = events[0][1]
            if mask & ~select.POLLOUT and wire.on_readable(buffer, now):
                break
            if mask & select.POLLOUT and wire.wants_write:
                try:
                    wire.on_writable(now)
                except ConnectionLost as lost:
                    wire.read_refusal(buffer, now, lost)
                    break
            late = wire.overdue(now)
            if late is not None:
                raise late
        reusable = wire.finish()
        result = exchange.result()
    except BaseException:
        wire.close()
        raise
    finally:
        if not _spare:
            _spare.append(spare)
    if not reusable:
        wire.close()
    return result, reusable
