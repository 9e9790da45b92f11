"""What both lanes of a worker share: what follows a failed attempt, outcomes. No socket, no thread."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from s3engine.control.estimator import Estimator
from s3engine.control.outage import OpenFailures, shows_life
from s3engine.control.pauses import Pauses
from s3engine.control.retry import Budget, Decider, Decision, RetryPolicy, Verdict, classify
from s3engine.control.shared import LAST_SUCCESS_S, REQUESTS, RETRIES, THROTTLES, SharedBlock
from s3engine.control.timeouts import TimeoutPolicy
from s3engine.errors import (
    Cancelled,
    ClockSkewed,
    ConnectFailed,
    ConnectTimeout,
    FirstByteTimeout,
    NetworkError,
    PreconditionFailed,
    RequestError,
    S3EngineError,
    WrongRegion,
)
from s3engine.pool.actions import ACTIONS
from s3engine.pool.deadlines import Deadlines
from s3engine.pool.item import Ended, Item, WorkerContext, abandon, start_asking, stop_asking
from s3engine.pool.messages import Context, Kind, NeedsParts, Task, cancelled_error
from s3engine.pool.own_writes import leaves_doubt, may_be_ours, start_looking
from s3engine.pool.room import Room

__all__ = ["Core"]

_ANNOUNCE_S = 30.0  # so long after a throttled answer the store may still refuse


class Core:
    """State of one worker. ``emit`` takes outcome tuples; ``now`` is ``time.monotonic`` wherever it stands."""

    def __init__(
        self, transport: Any, block: SharedBlock, index: int, policy: TimeoutPolicy, retry_policy: RetryPolicy, *,
        need_credentials: Callable[[], None], give_up_after_s: float = 900.0,
        clock: Callable[[], float] = time.monotonic, rng: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self.transport = transport
        self.clock = clock
        self.estimator = Estimator(
            block, index, gain=policy.gain, deviation_gain=policy.deviation_gain, minimum_bytes=policy.minimum_bytes
        )
        self.deadlines = Deadlines(self.estimator, policy)
        self.contexts: dict[int, WorkerContext] = {}
        self.room = Room()
        """For bodies that are read before they are sent."""
        self.doubtful: set[int] = set()
        """Tasks to come that a worker which died may have done."""
        self.throttled_until = 0.0
        """Large bodies are announced until then instead of being sent in vain."""
        self.outcomes: list[tuple[Any, ...]] = []
        self._retry_policy = retry_policy
        self._rng = rng
        self._budget = Budget(block, index, retry_policy)
        self._decider = Decider(retry_policy, self._budget, rng)
        self.pauses = Pauses(block, index, retry_policy, rng)
        self._block = block
        self._index = index
        self._clock_offset_s = 0.0
        self._give_up_after_s = give_up_after_s
        self._last_success_s = 0.0
        self._outage_since_s = 0.0  # the first failure after the last success; older than that success: none
        self._well_at_s = 0.0  # an answer that was no success, but the store's own
        self._never_answered = False  # a request used up its attempts, and none ever succeeded
        self._need_credentials = need_credentials

    # ---- tasks in

    def add_context(self, context: Context) -> None:
        """Know a batch."""
        from_file = hasattr(self.transport, "exchanges")
        self.contexts[context.id] = WorkerContext(context, self.room, from_file=from_file)
        if context.source is not None:
            self.add_context(context.source)
        self._outage_since_s = 0.0  # what an earlier batch waited in vain does not count against this one

    def item(self, task: Task) -> Item:
        """A task as it is worked on."""
        item = Item(task, self.contexts[task[1]])
        if self.doubtful and task[0] in self.doubtful:
            self.doubtful.discard(task[0])
            item.doubtful = True
            if item.kind in (Kind.CREATE, Kind.COMPLETE):
                item.attempts = 1  # the one of the worker that died: what it did is looked for (jobs/transfer.py)
        return item

    # ---- around an attempt

    def succeeded(self, item: Item, ended: Ended, now: float) -> None:
        """The task is done."""
        if item.held_bytes:
            self._let_go(item)
        if item.failed or item.paid:
            self._budget.refund(item.paid)
        else:
            self._budget.earn()
        timeouts = item.timeouts
        op = ACTIONS[item.kind].op
        self.deadlines.answered[op] += 1.0
        self._last_success_s = now
        self.outcomes.append(
            (
                item.task_id, item.attempts, now - item.started_at, now - item.first_at,
                item.bytes_per_s, timeouts.attempt_s if timeouts else 0.0, ended.status,
                ended.request_id, item.size_bytes, ended.etag, ended.detail, None, ended.checksum,
                ended.verified,
            )
        )  # fmt: skip

    def local_done(self, item: Item, ended: Ended, now: float) -> None:
        """A task without a request is done: that says nothing about the store."""
        self.outcomes.append(
            (
                item.task_id, 0, now - item.started_at, now - item.first_at, 0.0, 0.0, 0, "", item.size_bytes,
                ended.etag, ended.detail, None, ended.checksum, ended.verified,
            )
        )  # fmt: skip

    def local_failed(self, item: Item, error: S3EngineError, now: float) -> None:
        """A task without a request failed: it would fail again."""
        item.attempts = 0
        self._end(item, error, now)

    def failed(self, item: Item, error: S3EngineError, now: float) -> Decision | None:
        """An attempt failed: what to do, or None when that was the end and the outcome is written."""
        if item.held_bytes:
            self._let_go(item)
        if isinstance(error, NeedsParts):
            self._end(item, error, now)
            return None
        if item.asking is not None:
            return self._asked(item, error, now)
        if may_be_ours(item, error):
            assert isinstance(error, PreconditionFailed)
            start_looking(item, error)
            return Decision(True, 0.0, Verdict.TRANSIENT)
        attempt = item.failed
        was_well = self._last_success_s > 0
        if shows_life(error):
            self._well_at_s = now
        if item.open_failures is None:
            item.open_failures = OpenFailures()
        item.open_failures.add(self._well_s, now)
        uncounted = was_well and (item.probe or isinstance(error, (ConnectFailed, ConnectTimeout)))
        if uncounted:
            # A store that cannot be reached, or that is only asked whether it is back, says nothing about this object:
            # not the number of attempts ends this, but give_up_after_s.
            attempt = min(attempt, max(self._retry_policy.max_attempts - 2, 0))
        decision = self._decider.decide(error, attempt=attempt, free_used=item.free_used, now=now)
        if was_well and not decision.retry and self._may_be_outage(item, error, decision.verdict):
            decision = self._decider.wait(decision.verdict)
            start_asking(item)
        slot = self._block.slots[self._index]
        if isinstance(error, FirstByteTimeout) and item.timeouts is not None:
            self.deadlines.unanswered(ACTIONS[item.kind].op, item.size_bytes, item.timeouts, error.timeout_s)
        if decision.verdict == Verdict.THROTTLE and isinstance(error, RequestError):
            self.pauses.throttled(item.context.bucket, error.retry_after_s, item.started_at, now)
        if self._outage_since_s <= self._last_success_s:
            self._outage_since_s = now
        hopeless = self._never_answered and isinstance(error, NetworkError) and not was_well
        if not decision.retry or hopeless or (uncounted and self._is_given_up(now)):
            if decision.verdict == Verdict.TRANSIENT and not was_well:
                self._never_answered = True
            self._end(item, error, now)
            return None
        if decision.waiting and not was_well:
            # Waiting is for a store that was well before. Here nothing has ever worked: let attempts count.
            delay_s = self._retry_policy.delay_s(item.failed, decision.verdict, None, self._rng)
            decision = decision._replace(delay_s=delay_s, waiting=False)
        item.error = error
        item.doubtful = item.doubtful or leaves_doubt(error)
        slot[RETRIES] += 1.0
        verdict = decision.verdict
        if verdict >= Verdict.RECONNECT:
            item.free_used |= 1 << verdict
            self._mend(item, error, verdict, now)
        else:
            if not uncounted:
                item.failed += 1
            item.probe = was_well and self._is_probe(decision)
            item.paid += decision.cost
            if verdict == Verdict.THROTTLE:
                slot[THROTTLES] += 1.0
                self.throttled_until = now + _ANNOUNCE_S
        item.verdict = verdict
        item.exchange = None
        return decision

    def _may_be_outage(self, item: Item, error: S3EngineError, verdict: Verdict) -> bool:
        """The item has used up its attempts: whether that may be the store's fault (control/outage.py)."""
        if verdict not in (Verdict.TRANSIENT, Verdict.THROTTLE) or shows_life(error) or item.open_failures is None:
            return False
        return item.open_failures.may_be_outage(item.failed + 1, self._retry_policy.max_attempts)

    def _asked(self, item: Item, error: S3EngineError, now: float) -> Decision | None:
        """An item has asked whether the store is well; the answer is ``error``, a StoreIsWell if it is."""
        item.attempts = max(item.attempts - 1, 0)  # none of this object
        item.exchange = None
        verdict = classify(error)
        if verdict in (Verdict.TRANSIENT, Verdict.THROTTLE, Verdict.RECONNECT) and not shows_life(error):
            return self._decider.wait(item.verdict)
        self._well_at_s = now
        return self.admit(item, now)

    @property
    def _well_s(self) -> float:
        """When the store did something well for the last time, as far as this worker knows."""
        return max(self._well_at_s, self._last_success_s)

    def admit(self, item: Item, now: float) -> Decision | None:
        """Ask again for an item that waited because the budget was empty, or the store may be down."""
        if self._is_given_up(now) and item.error is not None:
            self._end(item, item.error, now)
            return None
        if item.asking is not None:
            if item.open_failures is not None and not item.open_failures.settled(self._well_s):
                return self._decider.turn(item.verdict, now=now)
            stop_asking(item)
        decision = self._decider.admit(item.verdict, now=now)
        item.paid += decision.cost
        item.probe = self._is_probe(decision)
        return decision

    def _is_given_up(self, now: float) -> bool:
        """Nothing has succeeded for ``give_up_after_s``, counted from the first failure after the last success."""
        return now - max(self._last_success_s, self._outage_since_s) > self._give_up_after_s

    def _is_probe(self, decision: Decision) -> bool:
        """Let through without tokens, on a turn of its own: the one a second that all workers have together."""
        return not (decision.waiting or decision.cost) and self._retry_policy.cost_of(decision.verdict) > 0

    def _mend(self, item: Item, error: S3EngineError, verdict: Verdict, now: float) -> None:
        if verdict == Verdict.CLOCK and isinstance(error, ClockSkewed):
            # Not added up: many requests that were signed with the same clock fail together.
            if abs(error.offset_s - self._clock_offset_s) > 1.0:
                self._clock_offset_s = error.offset_s
            self.transport.set_clock_offset(self._clock_offset_s)
            self._block.publish_clock_offset(self._index, self._clock_offset_s, now)
        elif verdict == Verdict.REGION and isinstance(error, WrongRegion):
            self.transport.set_region(item.context.bucket, error.region)
        elif verdict == Verdict.CREDENTIALS:
            self._need_credentials()

    def cancelled(self, item: Item, now: float) -> None:
        """The task will not be done."""
        stop_asking(item)
        self._end(item, cancelled_error(item.kind, item.key, begun=item.attempts > 0), now)

    def _end(self, item: Item, error: S3EngineError, now: float) -> None:
        if item.held_bytes:
            self._let_go(item)
        stop_asking(item)
        abandon(item)
        if item.looking is not None and not isinstance(error, Cancelled):
            item.size_bytes = item.looking.size_bytes
            error = item.looking.refusal  # what became of the look says less than what it was about
        detail: Any = None
        failure: S3EngineError | None = error
        if item.kind == Kind.DELETE:
            # Some keys of the batch may be gone already: each key has its own answer.
            detail = [*(item.failures or ()), *((key, error) for key, _ in item.arg)]
            failure = None
        timeouts = item.timeouts
        status = error.status if isinstance(error, RequestError) else 0
        request_id = error.request_id if isinstance(error, RequestError) else ""
        started = item.started_at or now
        self.outcomes.append(
            (
                item.task_id, item.attempts, now - started, now - (item.first_at or now), item.bytes_per_s,
                timeouts.attempt_s if timeouts else 0.0, status, request_id, max(item.size_bytes, 0), "", detail,
                failure, "", "",
            )
        )  # fmt: skip

    def _let_go(self, item: Item) -> None:
        """The next attempt, if there is one, reads its body anew: waiting for it takes no memory."""
        self.room.give_back(item.held_bytes)
        item.held_bytes = 0
        item.body = b""
        item.exchange = None

    def take_outcomes(self) -> list[tuple[Any, ...]]:
        """The outcomes since the last call."""
        outcomes = self.outcomes
        self.outcomes = []
        self._block.slots[self._index][REQUESTS] += len(outcomes)
        return outcomes

    def tick(self, now: float) -> None:
        """About ten times a second: publish what was learnt, read what others learnt."""
        self.estimator.sync(now)
        self._budget.sync()
        self.pauses.sync(now)
        slots = self._block.slots
        slots[self._index][LAST_SUCCESS_S] = max(self._last_success_s, slots[self._index][LAST_SUCCESS_S])
        self._last_success_s = max(slot[LAST_SUCCESS_S] for slot in slots)
        self.deadlines.tick()
        offset_s = self._block.newest_clock_offset()
        if offset_s != self._clock_offset_s:
            self._clock_offset_s = offset_s
            self.transport.set_clock_offset(offset_s)
