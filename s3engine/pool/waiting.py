"""The items of a loop lane that are not in flight: in line, or waiting for a time, for credentials or for room."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from s3engine.pool.item import Item

__all__ = ["Waiting"]

_CREDENTIALS_WAIT_S = 10.0


class Waiting:
    """See the module. Times are those of ``Core.clock``."""

    def __init__(self) -> None:
        self.line: deque[Item] = deque()
        """Those that may start, the next one first."""
        self.delayed: list[tuple[float, int, Item, bool]] = []
        """A heap, by the end of the delay."""
        self.for_room: deque[tuple[int, Item]] = deque()
        """With the bytes of their bodies, the one that waits longest first."""
        self._sequence = 0
        self._for_credentials: list[tuple[float, Item]] = []

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.line or self.delayed or self._for_credentials or self.for_room)

    @property
    def soon(self) -> bool:
        """Whether there is one that no known moment and no room lets go on."""
        return bool(self.line or self._for_credentials)

    def delay(self, until: float, item: Item, asks: bool) -> None:
        """``asks``: it must be admitted when the time has come."""
        self._sequence += 1
        heapq.heappush(self.delayed, (until, self._sequence, item, asks))

    def due(self, now: float) -> Iterator[tuple[Item, bool]]:
        """Take those whose delay is over, each with its ``asks``."""
        while self.delayed and self.delayed[0][0] <= now:
            _, _, item, asks = heapq.heappop(self.delayed)
            yield item, asks

    def wait_for_credentials(self, item: Item, now: float) -> None:
        """Until fresh ones come, and not for ever."""
        self._for_credentials.append((now + _CREDENTIALS_WAIT_S, item))

    def look_for_credentials(self, now: float) -> None:
        """Go on without fresh ones when they were waited for long enough."""
        if self._for_credentials and self._for_credentials[0][0] < now:
            self.renewed_credentials()

    def renewed_credentials(self) -> None:
        """Put items that waited for fresh credentials back in line."""
        self.line.extend(item for _, item in self._for_credentials)
        self._for_credentials.clear()

    def wait_for_room(self, item: Item, size_bytes: int) -> None:
        """Until there is memory for the body."""
        self.for_room.append((size_bytes, item))

    def let_in(self, free_bytes: int) -> None:
        """Put items whose bodies have room now back in line, the one that waited longest first."""
        fitting: list[Item] = []
        while self.for_room and self.for_room[0][0] <= free_bytes:
            size_bytes, item = self.for_room.popleft()
            free_bytes -= size_bytes
            fitting.append(item)
        self.line.extendleft(reversed(fitting))

    def take_longest(self, endpoint: object) -> Item | None:
        """Take the item that has waited longest in line for an endpoint."""
        for index, item in enumerate(self.line):
            if item.context.endpoint == endpoint:
                del self.line[index]
                return item
        return None

    def take_all(self, context_id: int) -> list[Item]:
        """Take all items of a batch, wherever they wait."""
        taken = [item for item in self.line if item.context.id == context_id]
        self.line = deque(item for item in self.line if item.context.id != context_id)
        taken += [entry[2] for entry in self.delayed if entry[2].context.id == context_id]
        self.delayed = [entry for entry in self.delayed if entry[2].context.id != context_id]
        heapq.heapify(self.delayed)
        taken += [item for _, item in self._for_credentials if item.context.id == context_id]
        self._for_credentials = [entry for entry in self._for_credentials if entry[1].context.id != context_id]
        taken += [item for _, item in self.for_room if item.context.id == context_id]
        self.for_room = deque(entry for entry in self.for_room if entry[1].context.id != context_id)
        return taken
