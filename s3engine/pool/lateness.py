"""Deadlines of a loop lane: looked at ten times a second over all connections in flight.

That is done after the events of that turn were handled, and after another turn when the lane itself was away: a busy
CPU, a slow disk or a stopped process is not mistaken for a slow network.
"""

from __future__ import annotations

from typing import Any

from s3engine.errors import S3EngineError
from s3engine.pool.announce import Announcing
from s3engine.pool.connections import IN, OUT
from s3engine.pool.item import Item
from s3engine.wire import Wire

__all__ = ["Lateness"]

_TICK_S = 0.1
_AWAY_S = 1.0  # ticks are 0.1 s apart; after more than this the lane itself was away


class Lateness:
    """See the module. ``wires`` are all connections of the lane, ``now`` is when it began."""

    def __init__(self, wires: dict[int, Wire], announcing: Announcing, poller: Any, now: float) -> None:
        self._wires = wires
        self._announcing = announcing
        self._poller = poller
        self._looked_at = now

    def look(self, now: float) -> list[tuple[Wire, Item, S3EngineError]]:
        """The requests that are late, and bodies that were not asked for in time are sent."""
        away_s = now - self._looked_at - _TICK_S
        self._looked_at = now
        if away_s > _AWAY_S:
            # Stopped, or held up by a disk or a busy CPU. What came meanwhile is still in the sockets: read it first,
            # in the next turn, and judge after that.
            for wire in self._wires.values():
                if wire.item is not None:
                    wire.excuse(away_s, now)
            return []
        late: list[tuple[Wire, Item, S3EngineError]] = []
        for wire in self._wires.values():
            item: Item | None = wire.item
            if item is not None:
                if wire.held_until and now >= wire.held_until:
                    try:
                        self._send_unasked(wire, item, now)
                    except S3EngineError as failure:
                        late.append((wire, item, failure))
                        continue
                timeout = wire.overdue(now)
                if timeout is not None:
                    late.append((wire, item, timeout))
        return late

    def _send_unasked(self, wire: Wire, item: Item, now: float) -> None:
        self._announcing.was_in_vain(item.context.endpoint)
        wire.release(now)
        self._poller.modify(wire.fileno(), IN | OUT if wire.wants_write else IN)
