"""How long a bucket gets no new requests because the store asked for that, agreed on by all workers.

Runs in every worker. A pause is for what has not been sent: a retry has its own delay besides. Nothing here sleeps or
reads a clock.

Only an answer with Retry-After (or x-amz-retry-after) makes a pause: without it a store that refuses one request in a
hundred would be left alone most of the time. Some stores send 60 s with every 503 (MinIO does), so the first pause is
as short as the first delay, and each that had to follow at once is longer, to ``cap_s``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from s3engine.control.retry import RetryPolicy
from s3engine.control.shared import PAUSE_BUCKET, PAUSE_UNTIL_S, SharedBlock

__all__ = ["Pauses"]

_SPREAD: Final = 0.5  # those who waited come back over half the time they waited ...
_MAX_SPREAD_S: Final = 5.0  # ... and at most so long
_LARGEST_EXPONENT: Final = 60


class Pauses:
    """The pauses as one worker knows them. ``active`` is False while there is none: the common case, and all the hot
    path looks at. Each worker shares the pause it began last; that of another bucket before it is then its own."""

    __slots__ = ("_block", "_index", "_known", "_levels", "_policy", "_random", "active")

    def __init__(self, block: SharedBlock, index: int, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self.active = False
        self._block = block
        self._index = index
        self._policy = policy
        self._random = random
        self._known: dict[float, tuple[float, float]] = {}  # by bucket: from, until
        self._levels: dict[float, int] = {}

    def throttled(self, bucket: str, retry_after_s: float | None, started_at: float, now: float) -> None:
        """A request to ``bucket`` that began at ``started_at`` was told to come back later.

        Only one that began after the last pause says something new: the many that were in flight when the store had
        enough are one event, not as many as they are.
        """
        if not retry_after_s or retry_after_s <= 0:
            return
        self.sync(now)
        mark = _mark(bucket)
        since, until = self._known.get(mark, (0.0, 0.0))
        if started_at < until:
            return
        again = until > 0 and now - until <= until - since + _MAX_SPREAD_S
        level = self._levels.get(mark, 0) + 1 if again else 0
        self._levels[mark] = level
        policy = self._policy
        grown_s = policy.throttle_base_s * 2.0 ** min(level, _LARGEST_EXPONENT)
        until = now + min(retry_after_s, policy.cap_s, grown_s + policy.retry_after_extra_s)
        self._known[mark] = (now, until)
        self.active = True
        slot = self._block.slots[self._index]
        slot[PAUSE_UNTIL_S] = 0.0  # never the end of one bucket's pause under another one's name
        slot[PAUSE_BUCKET] = mark
        slot[PAUSE_UNTIL_S] = until

    def wait_s(self, bucket: str, now: float) -> float:
        """How long a new request to ``bucket`` has to wait: 0.0, or the rest of its pause and a random while more."""
        since, until = self._known.get(_mark(bucket), (0.0, 0.0))
        if now >= until:
            return 0.0
        return until - now + self._random() * min((until - since) * _SPREAD, _MAX_SPREAD_S)

    def sync(self, now: float) -> None:
        """Learn the pauses of the other workers. Called about ten times a second."""
        active = False
        for slot in self._block.slots:
            until = slot[PAUSE_UNTIL_S]
            if until > now:
                mark = slot[PAUSE_BUCKET]
                if until > self._known.get(mark, (0.0, 0.0))[1]:
                    self._known[mark] = (now, until)
        for _, until in self._known.values():
            active = active or until > now
        self.active = active


def _mark(bucket: str) -> float:
    # A double has room for it, and two buckets of one job with the same mark only wait for each other.
    return zlib.crc32(bucket.encode("utf-8", "surrogatepass")) + 1.0
