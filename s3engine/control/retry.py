"""Whether, when and at whose expense a failed request is sent again.

Runs in every worker but for :func:`govern_budget`, which the parent calls. Nothing here sleeps or reads a clock:
delays are returned, the time and the random numbers are arguments.

The numbers are those of the AWS SDKs' standard mode of 2026 (botocore, ``retries/standard.py``): full jitter from
50 ms (1 s when throttled) doubling up to 20 s, and a budget of 500 tokens: 14 for a retry (5 when throttled), 1 back
for every clean success, all back for a success after retries. In the long run about 7 % of the requests can be retries,
so a store that is down is not made worse by its clients. One thing differs, as this is a batch: without tokens an item
waits, it does not fail.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from s3engine.control.shared import BUDGET_CORRECTION, BUDGET_EARNED, BUDGET_SPENT, PROBE_S, SharedBlock
from s3engine.control.timeouts import check_bounds
from s3engine.errors import (
    ChecksumMismatch,
    ClockSkewed,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    CredentialsExpired,
    NetworkError,
    RequestError,
    S3EngineError,
    ServerFault,
    Throttled,
    WrongRegion,
)

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from s3engine.frozen import dataclass

__all__ = ["Budget", "Decider", "Decision", "RetryPolicy", "Verdict", "classify", "govern_budget"]


class Verdict(enum.IntEnum):
    """What a failure calls for. From RECONNECT on: free, once each per item, at once, without tokens."""

    FINAL = 0
    """The same request would get the same answer."""
    TRANSIENT = 1
    THROTTLE = 2
    """As TRANSIENT, but slower."""
    RECONNECT = 3
    """A reused connection had been closed by the other side: another connection."""
    CLOCK = 4
    """Correct the clock and sign again."""
    CREDENTIALS = 5
    """Get fresh credentials and sign again."""
    REGION = 6
    """Go to the region that the answer named."""


def classify(error: S3EngineError) -> Verdict:
    """The verdict on an error, by its class. Errors that do not come from a request are final."""
    if isinstance(error, ConnectionLost) and error.stale:
        return Verdict.RECONNECT
    if isinstance(error, (ConnectFailed, ChecksumMismatch)) and error.permanent:
        return Verdict.FINAL
    if isinstance(error, (NetworkError, ServerFault, Conflict)):
        return Verdict.TRANSIENT
    if isinstance(error, Throttled):
        return Verdict.THROTTLE
    if isinstance(error, ClockSkewed):
        return Verdict.CLOCK
    if isinstance(error, CredentialsExpired):
        return Verdict.CREDENTIALS
    if isinstance(error, WrongRegion) and error.region:
        return Verdict.REGION
    return Verdict.FINAL


_LARGEST_EXPONENT: Final = 60  # base * 2**60 is far above any cap, and still a float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, how late and how many retries. Times in seconds."""

    max_attempts: int = 8
    """Attempts per request, the first included; 1: never retry. Free retries are not counted."""
    base_s: float = 0.05
    throttle_base_s: float = 1.0
    cap_s: float = 20.0
    """Longest delay. Also of Retry-After: some stores send 60 s with every 503."""
    retry_after_extra_s: float = 5.0
    """Retry-After prolongs a delay by no more than this."""
    budget_tokens: int = 500
    cost: int = 14
    throttle_cost: int = 5

    def __post_init__(self) -> None:
        """Raises ConfigError naming the field, its value and the bounds."""
        check_bounds(self, "max_attempts", 1, 1000)
        check_bounds(self, "base_s", 0.0, 3600.0)
        check_bounds(self, "throttle_base_s", 0.0, 3600.0)
        check_bounds(self, "cap_s", 0.0, 3600.0)
        check_bounds(self, "retry_after_extra_s", 0.0, 3600.0)
        check_bounds(self, "budget_tokens", 1, 1_000_000_000)
        # A cost above the tokens could never be paid.
        check_bounds(self, "cost", 0, self.budget_tokens)
        check_bounds(self, "throttle_cost", 0, self.budget_tokens)

    def delay_s(
        self, retry: int, verdict: Verdict, retry_after_s: float | None, random: Callable[[], float]
    ) -> float:
        """Time to wait before a retry: full jitter, ``random()*min(base*2**retry, cap)``.

        Args:
            retry: Retries before this one.
            verdict: THROTTLE takes the longer base.
            retry_after_s: What the store asked for, None when it did not. It is honoured within limits:
                ``max(t, min(retry_after_s, cap_s, t + retry_after_extra_s))``.
            random: Uniform numbers from 0 to below 1.
        """
        base_s = self.throttle_base_s if verdict == Verdict.THROTTLE else self.base_s
        delay_s = random() * min(base_s * 2.0 ** min(retry, _LARGEST_EXPONENT), self.cap_s)
        if retry_after_s is None:
            return delay_s
        return max(delay_s, min(retry_after_s, self.cap_s, delay_s + self.retry_after_extra_s))

    def cost_of(self, verdict: Verdict) -> int:
        """Tokens of a retry; 0 for the free ones."""
        if verdict == Verdict.TRANSIENT:
            return self.cost
        return self.throttle_cost if verdict == Verdict.THROTTLE else 0


def govern_budget(block: SharedBlock, policy: RetryPolicy) -> float:
    """Cut the shared budget back to its size; the parent calls it every 100 ms. Returns the level.

    Workers earn by what they saw at their last sync, so together they may earn more than was missing. The counters have
    one writer each and cannot be lowered; the parent publishes a correction instead.
    """
    level = policy.budget_tokens + block.total(BUDGET_EARNED) - block.total(BUDGET_SPENT)
    level += block.control[BUDGET_CORRECTION]
    excess = level - policy.budget_tokens
    if excess > 0:
        block.control[BUDGET_CORRECTION] -= excess
        return float(policy.budget_tokens)
    return level


class Budget:
    """The retry tokens of all workers together, seen from one of them.

    The level is ``tokens + sum(earned) - sum(spent) + correction``, at most ``tokens``. Two workers that spend at the
    same instant may overdraw it by one retry each; that is the price of having no lock. Threads of one worker may share
    a Budget.
    """

    __slots__ = ("_block", "_level", "_lock", "_policy", "_slot", "_tokens")

    def __init__(self, block: SharedBlock, worker_index: int, policy: RetryPolicy) -> None:
        self._block = block
        self._slot = block.slots[worker_index]
        self._policy = policy
        self._tokens = float(policy.budget_tokens)
        self._lock = threading.Lock()
        self._level = 0.0
        self.sync()

    @property
    def level(self) -> float:
        """Tokens left, as of the last look."""
        return self._level

    def sync(self) -> None:
        """Look at everybody's counters. Called about ten times a second, and before every spending."""
        block = self._block
        level = self._tokens + block.total(BUDGET_EARNED) - block.total(BUDGET_SPENT)
        self._level = min(level + block.control[BUDGET_CORRECTION], self._tokens)

    def try_spend(self, verdict: Verdict) -> bool:
        """Pay for a retry; False, and nothing paid, when there are too few tokens."""
        cost = self._policy.cost_of(verdict)
        with self._lock:
            self.sync()
            if self._level < cost:
                return False
            self._slot[BUDGET_SPENT] += cost
            self._level -= cost
            return True

    def earn(self) -> None:
        """A request succeeded at its first attempt: one token, unless the budget is full. Called for every request."""
        if self._level < self._tokens:
            self.refund(1)

    def refund(self, tokens: float) -> None:
        """An item succeeded after retries: give back what they cost (the sum of its ``Decision.cost``)."""
        with self._lock:
            self._slot[BUDGET_EARNED] += tokens
            self._level = min(self._level + tokens, self._tokens)

    def probe_due(self, now: float) -> bool:
        """Whether one request may go without tokens, to find out if the store is back: one per second, all workers.

        True takes the turn. Two workers that ask within the same microsecond may both get it.
        """
        with self._lock:
            if now - max(slot[PROBE_S] for slot in self._block.slots) < 1.0:
                return False
            self._slot[PROBE_S] = now
            return True


class Decision(NamedTuple):
    """What to do with a failed attempt."""

    retry: bool
    delay_s: float
    verdict: Verdict
    cost: int = 0
    """Tokens paid; to be refunded when the item succeeds in the end."""
    waiting: bool = False
    """The budget was empty: when the delay is over ask :meth:`Decider.admit` instead of sending."""


class Decider:
    """Puts verdict, policy and budget together."""

    __slots__ = ("_budget", "_policy", "_random")

    def __init__(self, policy: RetryPolicy, budget: Budget, random: Callable[[], float]) -> None:
        self._policy = policy
        self._budget = budget
        self._random = random

    def decide(self, error: S3EngineError, *, attempt: int, free_used: int, now: float) -> Decision:
        """Decide about an item whose attempt ``attempt`` (from 0, free retries not counted) failed with ``error``.

        Args:
            error: What the attempt raised.
            attempt: Attempts that this item had before this one.
            free_used: Free verdicts this item has had: the bits ``1 << verdict``.
            now: ``time.monotonic()``.
        """
        verdict = classify(error)
        if verdict >= Verdict.RECONNECT:
            if not free_used & (1 << verdict):
                return Decision(True, 0.0, verdict)
            # The remedy did not help. A connection may be lost twice; the others would go in circles.
            verdict = Verdict.TRANSIENT if verdict == Verdict.RECONNECT else Verdict.FINAL
        if verdict == Verdict.FINAL or attempt + 1 >= self._policy.max_attempts:
            return Decision(False, 0.0, verdict)
        cost = self._pay(verdict, now)
        if cost is None:
            return self._wait(verdict)
        retry_after_s = error.retry_after_s if isinstance(error, RequestError) else None
        return Decision(True, self._policy.delay_s(attempt, verdict, retry_after_s, self._random), verdict, cost)

    def admit(self, verdict: Verdict, *, now: float) -> Decision:
        """Ask again for an item that waits for tokens: not ``waiting`` any more when it may be sent at once."""
        cost = self._pay(verdict, now)
        return self._wait(verdict) if cost is None else Decision(True, 0.0, verdict, cost)

    def wait(self, verdict: Verdict) -> Decision:
        """For an item that waits until the store is known to be well: when the delay is over ask :meth:`turn`."""
        return self._wait(verdict)

    def turn(self, verdict: Verdict, *, now: float) -> Decision:
        """Not ``waiting`` any more when it is this caller's turn to ask whether the store is well."""
        return Decision(True, 0.0, verdict) if self._budget.probe_due(now) else self._wait(verdict)

    def _pay(self, verdict: Verdict, now: float) -> int | None:
        if self._budget.try_spend(verdict):
            return self._policy.cost_of(verdict)
        return 0 if self._budget.probe_due(now) else None

    def _wait(self, verdict: Verdict) -> Decision:
        # Spread over a second, so that those who wait do not all come back in one instant.
        return Decision(True, 1.0 + self._random(), verdict, waiting=True)
