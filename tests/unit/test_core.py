"""What follows an attempt: outcome, retry or remedy, the same for both lanes."""

from __future__ import annotations

from typing import Any

import pytest

from s3engine.control.estimator import OpClass
from s3engine.control.retry import Verdict
from s3engine.control.shared import REQUESTS, RETRIES, SharedBlock
from s3engine.control.timeouts import SeedTimeouts
from s3engine.errors import (
    AccessDenied,
    Cancelled,
    ClockSkewed,
    ConnectionLost,
    CredentialsExpired,
    FirstByteTimeout,
    NotFound,
    ServerFault,
    Throttled,
    WrongRegion,
)
from s3engine.pool.actions import ACTIONS
from s3engine.pool.item import Ended
from s3engine.pool.messages import Kind, NeedsParts
from s3engine.transport import DeleteFailure
from tests.tried_core import Bench


def test_success_is_an_outcome(block: SharedBlock) -> None:
    """Attempts, times and answer of a task that is done are told once."""
    bench = Bench(block)
    item = bench.item()
    item.attempts, item.started_at = 3, 4.0
    bench.core.succeeded(item, Ended("tag", "id", 200), 5.0)
    (outcome,) = bench.outcomes()
    assert (outcome.attempts, outcome.success_s, outcome.total_s, outcome.etag) == (3, 1.0, 4.0, "tag")
    assert outcome.error is None
    assert bench.outcomes() == []
    assert block.slots[0][REQUESTS] == 1


@pytest.mark.parametrize("error", [AccessDenied("no", status=403), NotFound("no", status=404)])
def test_final_answer_ends_the_task(block: SharedBlock, error: Any) -> None:
    """403 and 404 are not retried: the outcome is there after one attempt, with status and error."""
    bench = Bench(block)
    assert bench.core.failed(bench.item(), error, 2.0) is None
    (outcome,) = bench.outcomes()
    assert (outcome.attempts, outcome.status, outcome.error) == (1, error.status, error)


def test_fault_is_retried_until_attempts_are_spent(block: SharedBlock) -> None:
    """A passing fault is retried max_attempts - 1 times, then it is the outcome."""
    bench = Bench(block, max_attempts=3)
    item = bench.item()
    fault = ServerFault("broken", status=500)
    decisions = [bench.core.failed(item, fault, 2.0) for _ in range(3)]
    assert [decision is not None for decision in decisions] == [True, True, False]
    assert decisions[0] is not None
    assert 0 < decisions[0].delay_s <= 0.05
    assert bench.outcomes()[0].error is fault
    assert block.slots[0][RETRIES] == 2


def test_throttling_waits_longer(block: SharedBlock) -> None:
    """SlowDown waits on the longer scale, and Retry-After prolongs it within limits."""
    bench = Bench(block)
    slow = bench.core.failed(bench.item(), Throttled("slow"), 2.0)
    told = bench.core.failed(bench.item(), Throttled("slow", retry_after_s=60.0), 2.0)
    assert slow is not None
    assert told is not None
    assert slow.delay_s == 0.5
    assert told.delay_s == 5.5


def test_stale_connection_is_free_once(block: SharedBlock) -> None:
    """A reused connection that was closed costs no attempt and no wait; the second time it counts."""
    bench = Bench(block)
    item = bench.item()
    stale = ConnectionLost("closed", stale=True)
    first = bench.core.failed(item, stale, 2.0)
    second = bench.core.failed(item, stale, 2.0)
    assert first is not None
    assert second is not None
    assert (first.verdict, first.delay_s, second.verdict) == (Verdict.RECONNECT, 0.0, Verdict.TRANSIENT)
    assert item.failed == 1


def test_clock_is_corrected_for_all_workers(block: SharedBlock) -> None:
    """A skewed clock is corrected by what was missing, and the other worker takes it over at its next tick."""
    bench, other = Bench(block), Bench(block, 1)
    assert bench.core.failed(bench.item(), ClockSkewed("skew", offset_s=3600.0), 2.0) is not None
    other.core.tick(3.0)
    assert bench.transport.told == [("clock", 3600.0)]
    assert other.transport.told == [("clock", 3600.0)]


def test_skews_that_come_together_are_corrected_once(block: SharedBlock) -> None:
    """Many requests signed with one wrong clock are refused: their offsets are the same one, and not added up."""
    bench = Bench(block)
    for offset_s in (3600.0, 3600.4, 3599.6):
        assert bench.core.failed(bench.item(), ClockSkewed("skew", offset_s=offset_s), 2.0) is not None
    bench.core.tick(3.0)
    assert set(bench.transport.told) == {("clock", 3600.0)}


def test_second_skew_of_an_item_is_final(block: SharedBlock) -> None:
    """A remedy that did not help is not tried again."""
    bench = Bench(block)
    item = bench.item()
    skew = ClockSkewed("skew", offset_s=3600.0)
    assert bench.core.failed(item, skew, 2.0) is not None
    assert bench.core.failed(item, skew, 2.0) is None


def test_region_and_credentials_are_mended(block: SharedBlock) -> None:
    """The named region is set for the bucket; fresh credentials are asked for."""
    bench = Bench(block)
    bench.core.failed(bench.item(), WrongRegion("there", region="eu-west-1"), 2.0)
    bench.core.failed(bench.item(), CredentialsExpired("old"), 2.0)
    assert bench.transport.told == [("region", "b", "eu-west-1")]
    assert bench.asked == 1


def test_too_large_is_told_not_retried(block: SharedBlock) -> None:
    """A source that must go in parts is handed back at once and costs no retry."""
    bench = Bench(block)
    large = NeedsParts("large", size_bytes=1)
    assert bench.core.failed(bench.item(), large, 2.0) is None
    assert bench.outcomes()[0].error is large
    assert block.slots[0][RETRIES] == 0


def test_each_key_of_a_failed_delete_has_its_error(block: SharedBlock) -> None:
    """A DeleteObjects that failed tells every key's own error: the earlier ones, and the last for the rest."""
    bench = Bench(block)
    item = bench.item(Kind.DELETE, [("b", ""), ("c", "")])
    early = AccessDenied("locked")
    item.failures = [("a", early)]
    bench.core.cancelled(item, 2.0)
    (outcome,) = bench.outcomes()
    assert outcome.error is None
    assert outcome.detail[0] == ("a", early)
    assert [(key, type(error)) for key, error in outcome.detail[1:]] == [("b", Cancelled), ("c", Cancelled)]


@pytest.mark.parametrize("code", ["SlowDown", "AccessDenied", "NoSuchKey"])
@pytest.mark.parametrize("key", ["another", ""])
def test_a_failed_delete_that_nobody_asked_for_fails_them_all(block: SharedBlock, key: str, code: str) -> None:
    """A failure of a key that was not asked for fails the request: the retry asks for the same keys as before."""
    item = Bench(block).item(Kind.DELETE, [("a", ""), ("b", "")])
    failures = [DeleteFailure("a", "AccessDenied", ""), DeleteFailure(key, code, "")]
    with pytest.raises(ServerFault, match="not asked for"):
        ACTIONS[Kind.DELETE].end(item, failures)
    assert (item.arg, item.failures) == ([("a", ""), ("b", "")], None)


def test_only_the_keys_that_may_pass_are_deleted_again(block: SharedBlock) -> None:
    """Of a partly failed DeleteObjects each key that may pass is retried once; refused ones keep their error."""
    item = Bench(block).item(Kind.DELETE, [(key, "") for key in "abcd"])
    codes = {"a": "AccessDenied", "b": "SlowDown", "d": "NoSuchKey"}
    with pytest.raises(Throttled):
        ACTIONS[Kind.DELETE].end(item, [DeleteFailure(key, code, "") for key, code in codes.items()] * 2)
    assert item.arg == [("b", "")]
    assert item.failures is not None
    assert [(key, type(error)) for key, error in item.failures] == [("a", AccessDenied)]


def test_timeouts_of_one_epoch_teach_once(block: SharedBlock) -> None:
    """Many answers that fail to come together do not drive the limit up many times."""
    bench = Bench(block)
    for _ in range(64):
        bench.core.estimator.observe_latency(OpClass.PUT, 0.01)
    bench.core.tick(1.0)
    limit_s = bench.core.deadlines.timeouts(OpClass.PUT, 10, 0).first_byte_s
    for item in [bench.item() for _ in range(32)]:
        bench.core.failed(item, FirstByteTimeout("late", timeout_s=limit_s), 2.0)
    bench.core.tick(3.0)
    assert bench.core.deadlines.timeouts(OpClass.PUT, 10, 0).first_byte_s <= 8 * limit_s


def test_seed_policy_has_its_own_attempts() -> None:
    """The seed's policy brings the seed's number of retries."""
    assert SeedTimeouts(n_retries=4).max_attempts == 5
