"""The clock that requests are signed with."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["StoreClock"]


class StoreClock:
    """Seconds since 1970 as the store is thought to see them: ``offset_s``, which may be set at any time, is added."""

    __slots__ = ("_wall_clock", "offset_s")

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self.offset_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self._wall_clock() + self.offset_s
