"""Single calls from the parent (listing, buckets), with the deadlines and retries that tasks get in the workers.

They keep the pauses of buckets and wait for a store that is down, as tasks do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from s3engine.control.estimator import Estimator, OpClass
from s3engine.control.outage import OpenFailures, shows_life
from s3engine.control.pauses import Pauses
from s3engine.control.retry import Budget, Decider, RetryPolicy, Verdict, classify
from s3engine.control.shared import LAST_SUCCESS_S, SharedBlock
from s3engine.control.timeouts import TimeoutPolicy
from s3engine.credentials import CredentialSource
from s3engine.errors import (
    ClockSkewed,
    ConnectFailed,
    ConnectTimeout,
    FirstByteTimeout,
    S3EngineError,
    Throttled,
    WrongRegion,
)
from s3engine.transport import Timeouts

__all__ = ["Caller"]

R = TypeVar("R")

_PASSING = (Verdict.TRANSIENT, Verdict.THROTTLE)


class Caller:
    """Calls a transport of its own, one at a time per thread."""

    def __init__(
        self, transport: Any, block: SharedBlock, index: int, policy: TimeoutPolicy, retry_policy: RetryPolicy,
        credentials: CredentialSource, *, give_up_after_s: float = 900.0, clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep, rng: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        rng = rng or _uniform
        self.transport = transport
        self._estimator = Estimator(
            block, index, gain=policy.gain, deviation_gain=policy.deviation_gain, minimum_bytes=policy.minimum_bytes
        )
        self._budget = Budget(block, index, retry_policy)
        self._decider = Decider(retry_policy, self._budget, rng)
        self._pauses = Pauses(block, index, retry_policy, rng)
        self._max_attempts = retry_policy.max_attempts
        self._block = block
        self._last_success_s = 0.0  # not told to the workers: a listing that works says little about uploads
        self._well_at_s = 0.0
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
        open_failures = OpenFailures()
        while True:
            self._keep_pause(bucket)
            with self._lock:
                timeouts = self._policy.timeouts(op, 0, failed, self._estimator.estimate(op))
            started = self._clock()
            try:
                result = function(timeouts)
            except S3EngineError as error:
                now = self._clock()
                with self._lock:
                    well_at_s = self._note(error, op, bucket, timeouts, started, now)
                    was_well = self._succeeded_at_s() > 0
                    open_failures.add(well_at_s, now)
                    # A store that cannot be reached says nothing about the request: as in the workers (core.py).
                    uncounted = was_well and isinstance(error, (ConnectFailed, ConnectTimeout))
                    attempt = min(failed, max(self._max_attempts - 2, 0)) if uncounted else failed
                    decision = self._decider.decide(error, attempt=attempt, free_used=free_used, now=now)
                if not decision.retry:
                    outage = was_well and not shows_life(error) and decision.verdict in _PASSING
                    if not (outage and open_failures.may_be_outage(failed + 1, self._max_attempts)):
                        raise
                    failed += 1
                    if not self._wait_until_well(bucket, open_failures, decision.verdict, timeouts, began):
                        raise
                    continue
                if uncounted and self._is_given_up(began):
                    raise
                if decision.verdict >= Verdict.RECONNECT:
                    free_used |= 1 << decision.verdict
                    self._mend(bucket, error)
                    continue
                failed += 1
                self._sleep(decision.delay_s)
                while decision.waiting:
                    if self._is_given_up(began):
                        raise
                    with self._lock:
                        decision = self._decider.admit(decision.verdict, now=self._clock())
                    self._sleep(decision.delay_s)
                paid += decision.cost
            else:
                with self._lock:
                    self._last_success_s = self._clock()
                    self._estimator.observe_latency(op, self._last_success_s - started)
                    if paid:
                        self._budget.refund(paid)
                    else:
                        self._budget.earn()
                return result

    def _keep_pause(self, bucket: str) -> None:
        """Wait while the bucket gets no new requests, whoever was told so."""
        while True:
            now = self._clock()
            with self._lock:
                self._pauses.sync(now)
                wait_s = self._pauses.wait_s(bucket, now) if self._pauses.active else 0.0
            if wait_s <= 0:
                return
            self._sleep(wait_s)

    def _note(
        self, error: S3EngineError, op: OpClass, bucket: str, timeouts: Timeouts, started: float, now: float
    ) -> float:
        """Learn from a failure; returns when the store was well for the last time."""
        if isinstance(error, FirstByteTimeout):
            present = self._policy.timeouts(op, 0, 0, self._estimator.estimate(op))
            if self._policy.learns_from_timeout(timeouts, present):
                self._estimator.observe_timeout(op, min(error.timeout_s, present.first_byte_s))
        if isinstance(error, Throttled):
            self._pauses.throttled(bucket, error.retry_after_s, started, now)
        if shows_life(error):
            self._well_at_s = now
        return max(self._well_at_s, self._succeeded_at_s())

    def _succeeded_at_s(self) -> float:
        """When a request succeeded for the last time, here or in a worker; 0.0: never."""
        return max(self._last_success_s, *(slot[LAST_SUCCESS_S] for slot in self._block.slots))

    def _is_given_up(self, began: float) -> bool:
        return self._clock() - max(self._succeeded_at_s(), began) > self._give_up_after_s

    def _wait_until_well(
        self, bucket: str, open_failures: OpenFailures, verdict: Verdict, timeouts: Timeouts, began: float
    ) -> bool:
        """Wait for the end of what may be an outage (control/outage.py); False when it is given up."""
        decision = self._decider.wait(verdict)
        while not self._is_given_up(began):
            self._sleep(decision.delay_s)
            with self._lock:
                if open_failures.settled(max(self._well_at_s, self._succeeded_at_s())):
                    return True
                decision = self._decider.turn(verdict, now=self._clock())
            if decision.waiting:
                continue
            if not bucket:
                return True  # nothing else to ask: the request itself
            try:
                self.transport.head_bucket(bucket, timeouts=timeouts)
            except S3EngineError as answer:
                if classify(answer) in (*_PASSING, Verdict.RECONNECT) and not shows_life(answer):
                    decision = self._decider.wait(verdict)
                    continue
            with self._lock:
                self._well_at_s = self._clock()
            return True
        return False

    @property
    def clock_offset_s(self) -> float:
        """What was found to be missing from our clock; 0.0 when it is right, or not known."""
        return self._offset_s

    def _mend(self, bucket: str, error: S3EngineError) -> None:
        if isinstance(error, ClockSkewed):
            if abs(error.offset_s - self._offset_s) > 1.0:
                self._offset_s = error.offset_s
            self.transport.set_clock_offset(self._offset_s)
        elif isinstance(error, WrongRegion):
            self.transport.set_region(bucket, error.region)
        else:
            self.transport.set_credentials(self._credentials.current())


def _uniform() -> float:
    from random import random  # lazy: 2 ms, for a retry

    return random()
