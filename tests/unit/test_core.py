"""What follows an attempt: outcome, retry or remedy, the same for both lanes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from s3engine.checksums import compute
from s3engine.control.estimator import OpClass
from s3engine.control.retry import RetryPolicy, Verdict
from s3engine.control.shared import REQUESTS, RETRIES, SharedBlock
from s3engine.control.timeouts import AdaptiveTimeouts, SeedTimeouts
from s3engine.errors import (
    AccessDenied,
    Cancelled,
    ClockSkewed,
    ConnectFailed,
    ConnectionLost,
    CredentialsExpired,
    FirstByteTimeout,
    NotFound,
    PreconditionFailed,
    S3EngineError,
    ServerFault,
    Throttled,
    WrongRegion,
)
from s3engine.pool.actions import ACTIONS
from s3engine.pool.core import Core
from s3engine.pool.item import Ended, Item
from s3engine.pool.messages import Context, Kind, NeedsParts, Outcome, StoreIsWell
from s3engine.transport import DeleteFailure, HeadResult


class Remedies:
    """A transport that only remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def set_clock_offset(self, offset_s: float) -> None:
        self.told.append(("clock", offset_s))

    def set_region(self, bucket: str, region: str) -> None:
        self.told.append(("region", bucket, region))


class Bench:
    """A core with its transport; each ``item()`` is a new task."""

    def __init__(self, block: SharedBlock, index: int = 0, **policy: Any) -> None:
        self.transport = Remedies()
        self.asked = 0
        self.core = Core(
            self.transport, block, index, AdaptiveTimeouts(), RetryPolicy(**policy), need_credentials=self._ask,
            clock=lambda: 0.0, rng=lambda: 0.5,
        )  # fmt: skip
        self.core.add_context(Context(id=1, bucket="b"))
        self._tasks = 0

    def _ask(self) -> None:
        self.asked += 1

    def item(self, kind: int = Kind.PUT_BYTES, arg: Any = (b"", None)) -> Item:
        self._tasks += 1
        item = self.core.item((self._tasks, 1, kind, "k", 10, arg))
        item.first_at = item.started_at = 1.0
        item.attempts = 1
        item.timeouts = self.core.deadlines.timeouts(OpClass.PUT, 10, 0)
        return item

    def outcomes(self) -> list[Outcome]:
        return [Outcome(*values) for values in self.core.take_outcomes()]


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    """Shared memory for two workers."""
    block = SharedBlock.create(2)
    yield block
    block.close()


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


# ---- 412 after an attempt whose answer was lost


def _body_item(bench: Bench, body: bytes, *, doubtful: bool = True) -> Item:
    item = bench.item(arg=(body, None))
    item.body, item.size_bytes = body, len(body)
    if doubtful:
        assert bench.core.failed(item, ConnectionLost("lost"), 2.0) is not None
    return item


def _found(body: bytes, etag: str = "", **headers: str) -> HeadResult:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HeadResult(len(body), etag or hashlib.md5(body).hexdigest(), headers=named)


def _looked(bench: Bench, item: Item, found: HeadResult) -> Outcome:
    """The outcome after the item, refused, looked at its object and found this."""
    decision = bench.core.failed(item, REFUSED, 3.0)
    assert decision is not None
    assert (item.kind, decision.delay_s) == (Kind.LOOK, 0.0)
    refused: PreconditionFailed | None = None
    try:
        bench.core.succeeded(item, ACTIONS[Kind.LOOK].end(item, found), 4.0)
    except PreconditionFailed as error:
        refused = error
    assert refused is None or bench.core.failed(item, refused, 4.0) is None
    (outcome,) = bench.outcomes()
    return outcome


REFUSED = PreconditionFailed("there is one", status=412)


@pytest.mark.parametrize("known_by", ["md5", "checksum"])
def test_own_write_that_refuses_its_retry_is_success(block: SharedBlock, known_by: str) -> None:
    """412 after a lost answer, and the object has our bytes by its ETag or a stored checksum: it is done."""
    bench = Bench(block)
    found = _found(b"ours")
    if known_by == "checksum":
        checksum = compute("sha256", b"ours").partition(":")[2]
        found = _found(b"ours", "0" * 32, x_amz_checksum_sha256=checksum)
    outcome = _looked(bench, _body_item(bench, b"ours"), found)
    assert (outcome.error, outcome.etag, outcome.size_bytes) == (None, found.etag, 4)


@pytest.mark.parametrize(
    "found",
    [
        _found(b"else"), _found(b"longer"), _found(b"ours", "opaque"),
        _found(b"ours", "0" * 32, x_amz_checksum_sha256=compute("sha256", b"else").partition(":")[2]),
    ],
    ids=["bytes", "size", "no-evidence", "checksum"],
)  # fmt: skip
def test_write_of_another_stays_refused(block: SharedBlock, found: HeadResult) -> None:
    """Other bytes, another size, or nothing that tells: the 412 is the outcome."""
    bench = Bench(block)
    outcome = _looked(bench, _body_item(bench, b"ours"), found)
    assert (outcome.error, outcome.status, outcome.size_bytes) == (REFUSED, 412, 4)


def test_refusal_of_a_first_attempt_is_final(block: SharedBlock) -> None:
    """412 to a request that was never sent before is nobody's own doing: no look."""
    bench = Bench(block)
    assert bench.core.failed(_body_item(bench, b"ours", doubtful=False), REFUSED, 3.0) is None
    assert bench.outcomes()[0].error is REFUSED


def test_refused_connection_leaves_no_doubt(block: SharedBlock) -> None:
    """An attempt that found no connection cannot have written anything."""
    bench = Bench(block)
    item = _body_item(bench, b"ours", doubtful=False)
    assert bench.core.failed(item, ConnectFailed("refused"), 2.0) is not None
    assert bench.core.failed(item, REFUSED, 3.0) is None


def test_look_that_fails_leaves_the_refusal(block: SharedBlock) -> None:
    """When the object cannot be looked at, the 412 is what is reported, with the size of the body."""
    bench = Bench(block)
    item = _body_item(bench, b"ours")
    assert bench.core.failed(item, REFUSED, 3.0) is not None
    assert bench.core.failed(item, AccessDenied("no", status=403), 4.0) is None
    (outcome,) = bench.outcomes()
    assert (outcome.error, outcome.size_bytes) == (REFUSED, 4)


def test_copy_that_was_done_is_known_by_its_source(block: SharedBlock) -> None:
    """A copy refused after a lost answer is done when the target has the ETag of the source."""
    bench = Bench(block)
    item = bench.item(Kind.COPY, ("source", "tag", None))
    assert bench.core.failed(item, ConnectionLost("lost"), 2.0) is not None
    assert _looked(bench, item, HeadResult(10, "tag")).error is None


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
