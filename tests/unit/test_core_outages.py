"""A store that is down is waited for, and a bucket that throttles is left alone, by all workers."""

from __future__ import annotations

from typing import Any

import pytest

from s3engine.control.shared import SharedBlock
from s3engine.errors import AccessDenied, ConnectFailed, S3EngineError, ServerFault, Throttled
from s3engine.pool.item import Ended, Item
from s3engine.pool.messages import Kind, StoreIsWell
from tests.tried_core import Bench

# ---- a store that is down


def _was_well(bench: Bench, now: float) -> None:
    bench.core.succeeded(bench.item(), Ended(), now)
    bench.core.take_outcomes()


def test_unreachable_store_that_was_well_is_waited_for(block: SharedBlock) -> None:
    """Refused connections do not use up attempts; after give_up_after_s without any success the item fails."""
    bench = Bench(block, max_attempts=3)
    _was_well(bench, 1.0)
    item = bench.item()
    refused = ConnectFailed("refused")
    now = 2.0
    while now < 2.0 + 900.0:
        decision = bench.core.failed(item, refused, now)
        while decision is not None and decision.waiting:
            now += decision.delay_s
            decision = bench.core.admit(item, now)
        if decision is None:
            break
        now += max(decision.delay_s, 0.01)
    assert now >= 2.0 + 900.0
    (outcome,) = bench.outcomes()
    assert outcome.error is refused


def test_unreachable_store_that_never_answered_fails_by_attempts(block: SharedBlock) -> None:
    """Where nothing has ever worked attempts count, and when one item has used them up the others do not go on."""
    bench = Bench(block, max_attempts=3)
    item, other = bench.item(), bench.item()
    refused = ConnectFailed("refused")
    assert bench.core.failed(other, refused, 2.0) is not None
    assert [bench.core.failed(item, refused, 2.0) is not None for _ in range(3)] == [True, True, False]
    assert bench.core.failed(other, refused, 2.1) is None


def test_empty_budget_of_a_store_that_was_well_fails_no_item(block: SharedBlock) -> None:
    """Without tokens one probe a second goes out over all workers, and none of them counts as an attempt."""
    benches = [Bench(block, 0, max_attempts=3, budget_tokens=14), Bench(block, 1, max_attempts=3, budget_tokens=14)]
    for bench in benches:
        _was_well(bench, 100.0)
    items = [[bench.item() for _ in range(5)] for bench in benches]
    fault = ServerFault("down", status=500)
    probes = 0
    now = 101.0
    for _ in range(600):
        now += 0.1
        for bench, mine in zip(benches, items, strict=True):
            for item in mine:
                waits = item.verdict is not None and not item.probe
                decision = bench.core.admit(item, now) if waits else bench.core.failed(item, fault, now)
                assert decision is not None
                probes += item.probe
    assert 50 <= probes <= 62
    assert all(bench.outcomes() == [] for bench in benches)


def _fail(bench: Bench, item: Item, now: float, times: int) -> Any:
    decision: Any = None
    for _ in range(times):
        decision = bench.core.failed(item, ServerFault("bad gateway", status=502), now)
    return decision


def test_attempts_are_not_used_up_by_an_outage(block: SharedBlock) -> None:
    """Out of attempts while nothing succeeds: the item asks whether the store is well, and then goes on."""
    bench = Bench(block, max_attempts=4)
    item = bench.item()
    _was_well(bench, 1.0)
    assert _fail(bench, item, 2.0, 4).waiting
    asked = bench.core.admit(item, 3.0)
    assert asked is not None
    assert (asked.waiting, item.kind) == (False, Kind.ASK)
    assert bench.core.failed(item, ServerFault("bad gateway", status=502), 3.1).waiting  # type: ignore[union-attr]
    _was_well(bench, 4.0)
    again = bench.core.admit(item, 4.1)
    assert again is not None
    assert (again.waiting, item.kind, item.size_bytes) == (False, Kind.PUT_BYTES, 10)
    bench.core.succeeded(item, Ended(), 4.2)
    assert [outcome.error for outcome in bench.outcomes()] == [None]


def test_object_that_alone_is_refused_fails(block: SharedBlock) -> None:
    """Others succeed between its failures: max_attempts, no more."""
    bench = Bench(block, max_attempts=4)
    item = bench.item()
    for now in (1.0, 2.0, 3.0):
        _was_well(bench, now)
        assert _fail(bench, item, now + 0.5, 1) is not None
    _was_well(bench, 4.0)
    assert _fail(bench, item, 4.5, 1) is None


@pytest.mark.parametrize("answer", [StoreIsWell("well"), AccessDenied("no", status=403)])
def test_object_that_alone_is_left_fails_soon(block: SharedBlock, answer: S3EngineError) -> None:
    """Nothing else is going on: the store answers the question, so the next failure is the object's own."""
    bench = Bench(block, max_attempts=4)
    item = bench.item()
    _was_well(bench, 1.0)
    _fail(bench, item, 2.0, 4)
    assert bench.core.admit(item, 3.0) is not None
    again = bench.core.failed(item, answer, 3.1)
    assert again is not None
    assert (again.waiting, item.kind) == (False, Kind.PUT_BYTES)
    assert _fail(bench, item, 3.2, 1) is None
    (outcome,) = bench.outcomes()
    assert (type(outcome.error), outcome.size_bytes) == (ServerFault, 10)


def test_outage_that_does_not_end_is_given_up(block: SharedBlock) -> None:
    """An item that asks in vain fails after give_up_after_s, with what it failed with."""
    bench = Bench(block, max_attempts=4)
    item = bench.item()
    _was_well(bench, 1.0)
    _fail(bench, item, 2.0, 4)
    assert bench.core.admit(item, 901.0) is not None
    assert bench.core.admit(item, 903.0) is None
    assert [type(outcome.error) for outcome in bench.outcomes()] == [ServerFault]


def test_outage_is_counted_from_its_first_failure(block: SharedBlock) -> None:
    """An engine that was idle for an hour does not give up at the first failure after it."""
    bench = Bench(block)
    _was_well(bench, 1.0)
    assert bench.core.failed(bench.item(), ConnectFailed("refused"), 3600.0) is not None


# ---- pauses


def test_retry_after_pauses_the_bucket_in_all_workers(block: SharedBlock) -> None:
    """A throttled request with Retry-After holds back new ones of its bucket, here and in the other worker."""
    bench, other = Bench(block), Bench(block, 1)
    bench.core.failed(bench.item(), Throttled("slow", retry_after_s=60.0), 2.0)
    other.core.tick(2.1)
    for core in (bench.core, other.core):
        assert core.pauses.active
        assert 6.0 < core.pauses.wait_s("b", 2.0) <= 9.0  # 1 s and 5 s more, and up to half as much of jitter
        assert core.pauses.wait_s("another", 2.0) == 0.0
        core.tick(8.5)
        assert not core.pauses.active


def test_pauses_are_one_per_epoch(block: SharedBlock) -> None:
    """Twenty throttled at once make one pause; one that follows at once is longer, up to the cap and no more."""
    bench = Bench(block)
    waits = []
    now = 2.0
    for _ in range(6):
        items = [bench.item() for _ in range(20)]
        for item in items:
            item.started_at = now
        for item in items:
            bench.core.failed(item, Throttled("slow", retry_after_s=60.0), now)
        waits.append(bench.core.pauses.wait_s("b", now))
        now += waits[-1]
    assert waits == [7.5, 8.75, 11.25, 15.5, 22.5, 22.5]  # pauses of 6, 7, 9, 13, 20, 20 s, each with its jitter


def test_throttling_without_retry_after_pauses_nothing(block: SharedBlock) -> None:
    """SlowDown alone delays its own request, not the others."""
    bench = Bench(block)
    bench.core.failed(bench.item(), Throttled("slow"), 2.0)
    assert not bench.core.pauses.active
