"""How many requests a worker has in flight: more than enough for a near store only where the store is far away.

A request that waits for the line costs nothing but memory, so where answers are late more of them in flight are more
answers a second. Where they are late because the store, the line or this worker has too much to do already, more of
them only wait longer, and push others aside. The two look alike from one answer; but in the second case answers came
sooner while fewer were in flight, and that is what is looked at (as TCP Vegas does,
https://doi.org/10.1109/49.464716).
"""

from __future__ import annotations

from s3engine.control.estimator import Estimate

__all__ = ["AT_FIRST", "Breadth", "by_descriptors"]

AT_FIRST = 128
"""In flight in one worker, whatever answers take: with two workers the 256 of s5cmd."""
_KNOWN = 32
_LATE_S = 0.005
_LATER = 1.5
"""So many times the latency of calmer times is a queue, and not the way to the store."""


_FOR_ALL_ELSE = 128  # the interpreter, the channel, shared memory, libraries


def by_descriptors(soft_limit: int) -> int:
    """How many requests a process may have in flight with so many descriptors: each may hold a socket and a file.

    An eighth is left for open folders (s3engine/folders.py).
    """
    return max(1, (soft_limit - soft_limit // 8 - _FOR_ALL_ELSE) // 2)


class Breadth:
    """Of one worker. ``limit`` is never exceeded."""

    __slots__ = ("_calm_s", "_limit", "allowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calm_s: dict[int, float] = {}
        self.allowed = min(limit, AT_FIRST)
        """So many may be in flight now."""

    def look(self, op: int, known: Estimate) -> None:
        """Go by what is known of the latency of ``op``, the class of what waits: all that may be is in flight.

        Doubles what is allowed while answers are late, but no later than with few in flight; back to ``AT_FIRST`` when
        they are. Call it again when a round trip has shown what the last call did.
        """
        if self._limit <= AT_FIRST or known.latency_n < _KNOWN:
            return
        mean_s = known.latency_mean_s
        calm_s = self._calm_s.get(op)
        if calm_s is None or mean_s < calm_s:
            self._calm_s[op] = calm_s = mean_s
        if mean_s < _LATE_S or mean_s > _LATER * calm_s:
            self.allowed = AT_FIRST
        else:
            self.allowed = min(self._limit, 2 * self.allowed)
