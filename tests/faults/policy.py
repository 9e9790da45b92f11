"""Short timers, so that a table of faults takes minutes."""

from __future__ import annotations

from dataclasses import dataclass

from s3engine import AdaptiveTimeouts
from s3engine.control.estimator import Estimate, OpClass
from s3engine.transport import Timeouts


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortTimeouts(AdaptiveTimeouts):
    """The default policy with every timer cut to ``longest_s``, and the whole attempt to ``longest_attempt_s``."""

    longest_s: float = 1.0
    longest_attempt_s: float = 6.0

    def timeouts(self, op: OpClass, size_bytes: int, attempt: int, estimate: Estimate) -> Timeouts:
        """As the default, then cut."""
        # Not super(): a dataclass with slots is made anew, and super() without arguments means the one before.
        issued = AdaptiveTimeouts.timeouts(self, op, size_bytes, attempt, estimate)
        return issued._replace(
            connect_s=min(issued.connect_s, self.longest_s), stall_s=min(issued.stall_s, self.longest_s),
            first_byte_s=min(issued.first_byte_s, self.longest_s),
            attempt_s=min(issued.attempt_s, self.longest_attempt_s),
        )  # fmt: skip
