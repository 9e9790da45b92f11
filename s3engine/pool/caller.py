"""Single calls from the parent (listing, buckets), with the deadlines and retries that tasks get in the workers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from s3engine.control.estimator import Estimator, OpClass
from s3engine.control.retry import Budget, Decider, RetryPolicy, Verdict
from s3engine.control.shared import SharedBlock
from s3engine.control.timeouts import TimeoutPolicy
from s3engine.credentials import CredentialSource
from s3engine.errors import ClockSkewed, FirstByteTimeout, S3EngineError, WrongRegion
from s3engine.transport import Timeouts

__all__ = ["Caller"]

R = TypeVar("R")


class Caller:
    """Calls a transport of its own, one at a time per thread."""

    def __init__(
        self, transport: Any, block: SharedBlock, index: int, policy: TimeoutPolicy, retry_policy: RetryPolicy,
        credentials: CredentialSource, *, give_up_after_s: float = 900.0, clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep, rng: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self.transport = transport
        self._estimator = Estimator(
            block, index, gain=policy.gain, deviation_gain=policy.deviation_gain, minimum_bytes=policy.minimum_bytes
        )
        self._budget = Budget(block, index, retry_policy)
        self._decider = Decider(retry_policy, self._budget, rng)
        self._policy = policy
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self._give_up_after_s = give_up_after_s
        self._offset_s = 0.0
        self._lock = threading.Lock()

    def call(self, op: OpClass, bucket: str, function: Callable[[Timeouts], R]) -> R:
        """``function(timeouts)`` until it succeeds or its error is final, which is raised."""
        failed = free_used = paid = 0
        began = self._clock()
        while True:
            with self._lock:
                timeouts = self._policy.timeouts(op, 0, failed, self._estimator.estimate(op))
            started = self._clock()
            try:
                result = function(timeouts)
            except S3EngineError as error:
                now = self._clock()
                with self._lock:
                    if isinstance(error, FirstByteTimeout):
                        present = self._policy.timeouts(op, 0, 0, self._estimator.estimate(op))
                        if self._policy.learns_from_timeout(timeouts, present):
                            self._estimator.observe_timeout(op, min(error.timeout_s, present.first_byte_s))
                    decision = self._decider.decide(error, attempt=failed, free_used=free_used, now=now)
                if not decision.retry:
                    raise
                if decision.verdict >= Verdict.RECONNECT:
                    free_used |= 1 << decision.verdict
                    self._mend(bucket, error)
                    continue
                failed += 1
                self._sleep(decision.delay_s)
                while decision.waiting:
                    if self._clock() - began > self._give_up_after_s:
                        raise
                    with self._lock:
                        decision = self._decider.admit(decision.verdict, now=self._clock())
                    self._sleep(decision.delay_s)
                paid += decision.cost
            else:
                with self._lock:
                    self._estimator.observe_latency(op, self._clock() - started)
                    if paid:
                        self._budget.refund(paid)
                    else:
                        self._budget.earn()
                return result

    @property
    def clock_offset_s(self) -> float:
        """What was found to be missing from our clock; 0.0 when it is right, or not known."""
        return self._offset_s

    def _mend(self, bucket: str, error: S3EngineError) -> None:
        if isinstance(error, ClockSkewed):
            self._offset_s += error.offset_s if abs(error.offset_s) > 1.0 else 0.0
            self.transport.set_clock_offset(self._offset_s)
        elif isinstance(error, WrongRegion):
            self.transport.set_region(bucket, error.region)
        else:
            self.transport.set_credentials(self._credentials.current())
