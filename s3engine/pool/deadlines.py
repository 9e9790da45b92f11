"""The deadlines of a worker's requests, and what they learn from answers that did not come."""

from __future__ import annotations

from s3engine.control.estimator import Estimator, OpClass
from s3engine.control.timeouts import TimeoutPolicy
from s3engine.transport import Timeouts

__all__ = ["Deadlines"]

_WINDOW_ANSWERS = 1000.0
_COMMON = 0.02
_KNOWN_LATENCY = 20  # answers
_SMALL_SIZE_BITS = 16  # sizes below 64 KiB share their deadlines


class Deadlines:
    """See the module. ``op`` is an OpClass as a plain number."""

    def __init__(self, estimator: Estimator, policy: TimeoutPolicy) -> None:
        self._estimator = estimator
        self._policy = policy
        self._limits: dict[tuple[int, int, int], Timeouts] = {}
        self._start_bytes_per_s = policy.start_bytes_per_s
        self.bytes_per_s = [self._start_bytes_per_s] * len(OpClass)
        """The bandwidth estimate of each class as of the last tick. Always the same list."""
        self.answered = [0.0] * len(OpClass)
        """Good answers of each class, halved now and then; counted by the caller."""
        self._lost = [0.0] * len(OpClass)

    def timeouts(self, op: int, size_bytes: int, attempt: int) -> Timeouts:
        """The deadlines of an attempt; kept for sizes within a factor of two until the next tick."""
        bits = max(size_bytes, 0).bit_length()
        key = (op, bits if bits > _SMALL_SIZE_BITS else 0, attempt)
        found = self._limits.get(key)
        if found is None:
            size = 1 << max(bits, _SMALL_SIZE_BITS) if size_bytes > 0 else 0
            found = self._policy.timeouts(OpClass(op), size, attempt, self._estimator.estimate(op))
            self._limits[key] = found
        return found

    def expect_s(self, op: int) -> float:
        """How long to wait for 100 Continue: as long as answers take, at most a second."""
        estimate = self._estimator.estimate(op)
        if estimate.latency_n < _KNOWN_LATENCY:
            return 1.0
        return min(1.0, max(0.05, estimate.latency_mean_s + 4.0 * estimate.latency_dev_s))

    def unanswered(self, op: int, size_bytes: int, issued: Timeouts, waited_s: float) -> None:
        """No answer came within ``waited_s`` to a request with the deadlines ``issued``."""
        present = self._policy.timeouts(OpClass(op), size_bytes, 0, self._estimator.estimate(op))
        # Epoch rule: of many attempts that die together only those issued with today's estimate teach.
        if self._are_common(op) and self._policy.learns_from_timeout(issued, present):
            self._estimator.observe_timeout(op, min(waited_s, present.first_byte_s))
            self._limits.clear()

    def _are_common(self, op: int) -> bool:
        """Count one more answer that did not come, and say whether they are too many to be chance.

        The limit stands for the 99th percentile, so one in a hundred may pass it for ever without being wrong: a few
        lost answers must not undo what a thousand good ones taught. A line that slows down is soon above two in a
        hundred, and then each epoch doubles the limit.
        """
        lost, good = self._lost, self.answered
        lost[op] += 1.0
        if lost[op] + good[op] > _WINDOW_ANSWERS:
            lost[op] /= 2
            good[op] /= 2
        return lost[op] > _COMMON * (lost[op] + good[op])

    def tick(self) -> None:
        """About ten times a second: go by what was learnt since."""
        self._limits.clear()
        for op in OpClass:
            s_per_byte = self._estimator.estimate(op).s_per_byte_mean
            self.bytes_per_s[op] = 1.0 / s_per_byte if s_per_byte else self._start_bytes_per_s
