"""Is it this request, or is the store down? What a request that has used up its attempts is taken for.

A store behind a gateway that is restarted answers 502 to everything for a while, and eight attempts last a few seconds.
An object that alone is refused for ever must fail all the same. What tells them apart is what happens to the others: a
failure counts against the request when, after it, the store did something well. Failures that nothing good has followed
are open; a request with too many of them is not given up. Instead the store is asked something harmless
(HeadBucket), over all workers once a second. When it answers, the request is sent once more, and its failures count.

So in an outage nothing fails before ``give_up_after_s``, and one object that always fails takes one attempt more than
``max_attempts`` when nothing else is going on.

Nothing here reads a clock or does I/O.
"""

from __future__ import annotations

from s3engine.control.retry import Verdict, classify
from s3engine.errors import NetworkError, RequestError, S3EngineError, Throttled

__all__ = ["OpenFailures", "shows_life"]

_PASSING_STATUS = 408


def shows_life(error: S3EngineError) -> bool:
    """Whether the store itself did its work, though it did not do what was asked: a 404, say, or half a good body."""
    if not isinstance(error, RequestError) or isinstance(error, Throttled):
        return False
    if classify(error) == Verdict.FINAL and not isinstance(error, NetworkError):
        return 0 < error.status < 500
    return 200 <= error.status < 500 and error.status != _PASSING_STATUS


class OpenFailures:
    """The failures of one request that nothing good has followed yet."""

    __slots__ = ("count", "since_s")

    def __init__(self) -> None:
        self.count = 0
        self.since_s = 0.0

    def add(self, well_at_s: float, now: float) -> None:
        """One more failure. ``well_at_s`` is when the store was well for the last time."""
        if not self.count or well_at_s > self.since_s:
            self.count = 0
            self.since_s = now
        self.count += 1

    def may_be_outage(self, failed: int, max_attempts: int) -> bool:
        """Whether it may be the store and not the request, of whose attempts ``failed`` have failed.

        Half of the attempts must have been followed by something good: the last ones never are, and the first few of
        an outage are, by answers that were under way.
        """
        return max_attempts > 1 and 2 * (failed - self.count) < max_attempts - 1

    def settled(self, well_at_s: float) -> bool:
        """Whether something good has happened since."""
        return well_at_s > self.since_s
