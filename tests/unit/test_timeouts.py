"""The policies: bounds of every timer, backing off, and what a burst of timeouts or a slower line does to them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.control.estimator import Estimate, Estimator, OpClass
from s3engine.control.shared import SharedBlock
from s3engine.control.timeouts import FIRST_BYTE, AdaptiveTimeouts, SeedTimeouts, TimeoutPolicy
from s3engine.errors import ConfigError

UNKNOWN = Estimate(0, 0.0, 0.0, 0, 0.0, 0.0)
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

OPS = st.sampled_from(list(OpClass))
SIZES = st.integers(0, 5 * GIB)
ATTEMPTS = st.integers(0, 1200)
ESTIMATES = st.builds(
    Estimate, st.integers(0, 500), st.floats(0, 1e4), st.floats(0, 1e4),
    st.integers(0, 500), st.floats(0, 1e-2), st.floats(0, 1e-2),
)  # fmt: skip
POLICIES: list[TimeoutPolicy] = [AdaptiveTimeouts(), SeedTimeouts()]


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    made = SharedBlock.create(1)
    yield made
    made.close()


@given(op=OPS, size_bytes=SIZES, attempt=ATTEMPTS, estimate=ESTIMATES)
def test_adaptive_timers_stay_in_bounds(op: OpClass, size_bytes: int, attempt: int, estimate: Estimate) -> None:
    """Whatever was learnt, each timer lies between its floor and its ceiling (first byte: twice that on retries)."""
    issued = AdaptiveTimeouts().timeouts(op, size_bytes, attempt, estimate)
    _, floor_s, ceiling_s = FIRST_BYTE[op]

    assert 3.1 <= issued.connect_s <= 10.0
    assert 10.0 <= issued.stall_s <= 30.0
    assert floor_s <= issued.first_byte_s <= ceiling_s * (2 if attempt else 1)
    assert 30.0 <= issued.attempt_s <= 3600.0
    assert issued.first_byte_s <= issued.attempt_s


@pytest.mark.parametrize("policy", POLICIES)
@given(op=OPS, size_bytes=SIZES, attempt=ATTEMPTS, estimate=ESTIMATES)
def test_no_timer_shrinks_on_retry(
    policy: TimeoutPolicy, op: OpClass, size_bytes: int, attempt: int, estimate: Estimate
) -> None:
    """Every timer of a retry is at least that of the attempt before."""
    issued = policy.timeouts(op, size_bytes, attempt, estimate)
    after = policy.timeouts(op, size_bytes, attempt + 1, estimate)

    assert all(later >= earlier for earlier, later in zip(issued, after, strict=True))


@pytest.mark.parametrize("policy", POLICIES)
@given(op=OPS, sizes=st.tuples(SIZES, SIZES), attempt=ATTEMPTS, estimate=ESTIMATES)
def test_no_timer_shrinks_with_size(
    policy: TimeoutPolicy, op: OpClass, sizes: tuple[int, int], attempt: int, estimate: Estimate
) -> None:
    """A larger body never gets less time."""
    small = policy.timeouts(op, min(sizes), attempt, estimate)
    large = policy.timeouts(op, max(sizes), attempt, estimate)

    assert all(larger >= smaller for smaller, larger in zip(small, large, strict=True))


@pytest.mark.parametrize(
    ("op", "size_bytes", "first_byte_s", "attempt_s"),
    [
        (OpClass.GET, 0, 5.0, 30.0),
        (OpClass.GET, 64 * MIB, 5.0, 30.0 + 1024.0),
        (OpClass.HEAD, 0, 5.0, 30.0),
        (OpClass.PUT, 10 * KIB, 5.0, 30.0 + 10 / 64),
        (OpClass.PUT, 8 * MIB, 10.0, 30.0 + 128.0),
        (OpClass.LIST, 0, 10.0, 30.0),
        (OpClass.DELETE, 0, 30.0, 33.1),
        (OpClass.COPY, 0, 60.0, 63.1),
        (OpClass.COMPLETE, 0, 600.0, 603.1),
    ],
)
def test_start_values(op: OpClass, size_bytes: int, first_byte_s: float, attempt_s: float) -> None:
    """While nothing is known each class has its start value, and the deadline has room for the timers in it."""
    assert AdaptiveTimeouts().timeouts(op, size_bytes, 0, UNKNOWN) == pytest.approx(
        (3.1, 10.0, first_byte_s, attempt_s)
    )


def test_retries_multiply_by_the_table() -> None:
    """Connect 3.1, 6, 10 s; stall x1.5 to 30 s; first byte and deadline x2."""
    policy = AdaptiveTimeouts()
    issued = [policy.timeouts(OpClass.GET, 0, attempt, UNKNOWN) for attempt in range(5)]

    assert [each.connect_s for each in issued] == [3.1, 6.0, 10.0, 10.0, 10.0]
    assert [each.stall_s for each in issued] == [10.0, 15.0, 22.5, 30.0, 30.0]
    assert [each.first_byte_s for each in issued] == [5.0, 10.0, 20.0, 40.0, 40.0]
    assert [each.attempt_s for each in issued] == [30.0, 60.0, 120.0, 240.0, 480.0]


def test_nineteen_samples_are_not_enough() -> None:
    """The learnt value replaces the start value with the twentieth sample."""
    policy = AdaptiveTimeouts()
    known = Estimate(20, 1.0, 0.5, 0, 0.0, 0.0)

    assert policy.timeouts(OpClass.GET, 0, 0, known._replace(latency_n=19)).first_byte_s == 5.0
    assert policy.timeouts(OpClass.GET, 0, 0, known).first_byte_s == pytest.approx(1.5 * (1.0 + 4 * 0.5))


def test_an_upload_is_not_thrown_away_before_it_pays() -> None:
    """The answer to a PUT is waited for at least as long as sending it again would take."""
    slow_line = Estimate(100, 0.1, 0.0, 100, 1e-6, 0.0)
    issued = AdaptiveTimeouts().timeouts(OpClass.PUT, 20_000_000, 0, slow_line)

    assert issued.first_byte_s == pytest.approx(20.1)
    assert issued.attempt_s >= 20.0 + issued.first_byte_s


def test_small_uploads_say_nothing_about_the_first_large_ones() -> None:
    """A large PUT keeps the start value until large ones were answered, however quick the small ones were."""
    small_ones = Estimate(1000, 0.004, 0.001, 0, 0.0, 0.0)
    policy = AdaptiveTimeouts()

    assert policy.timeouts(OpClass.PUT, 5 * MIB, 0, small_ones).first_byte_s == 10.0
    assert policy.timeouts(OpClass.PUT, 5 * KIB, 0, small_ones).first_byte_s == 1.0
    both = small_ones._replace(transfer_n=100, s_per_byte_mean=1e-8)
    assert policy.timeouts(OpClass.PUT, 5 * MIB, 0, both).first_byte_s == 1.0


def test_a_copy_gets_time_by_its_size() -> None:
    """The store moves the bytes of a copy itself, so the first byte may come as late as they need."""
    known = Estimate(100, 10.0, 0.0, 100, 1e-8, 0.0)

    issued = AdaptiveTimeouts().timeouts(OpClass.COPY, 5_000_000_000, 0, known)

    assert issued.first_byte_s == pytest.approx(1.5 * 10.0 + 50.0)


def test_a_known_line_sets_the_deadline() -> None:
    """With latency and bandwidth known: 1.5 times their 99th percentiles."""
    known = Estimate(100, 1.0, 0.25, 100, 1e-6, 0.25e-6)
    issued = AdaptiveTimeouts().timeouts(OpClass.GET, 100_000_000, 0, known)

    assert issued.attempt_s == pytest.approx(1.5 * (2.0 + 200.0))


def _burst(estimator: Estimator, *, epoch_rule: bool) -> tuple[int, float, float]:
    """32 GETs, issued together, time out together: how many taught, the timeout they had, the one afterwards."""
    policy = AdaptiveTimeouts()
    for _ in range(100):
        estimator.observe_latency(OpClass.GET, 0.8)
    issued = policy.timeouts(OpClass.GET, 0, 0, estimator.estimate(OpClass.GET))
    taught = 0
    for _ in range(32):
        now = policy.timeouts(OpClass.GET, 0, 0, estimator.estimate(OpClass.GET))
        if not epoch_rule or policy.learns_from_timeout(issued, now):
            estimator.observe_timeout(OpClass.GET, issued.first_byte_s)
            taught += 1
    return taught, issued.first_byte_s, estimator.estimate(OpClass.GET).latency_mean_s


def test_attempts_that_die_together_teach_once(block: SharedBlock) -> None:
    """Of 32 attempts timing out together one raises the estimate; without the epoch rule it would run away."""
    taught, issued_s, mean_s = _burst(Estimator(block, 0), epoch_rule=True)
    assert taught == 1
    assert mean_s < issued_s

    wild = SharedBlock.create(1)
    _, issued_s, mean_s = _burst(Estimator(wild, 0), epoch_rule=False)
    wild.close()
    assert mean_s > 1.9 * issued_s


def test_a_burst_of_timeouts_is_forgotten(block: SharedBlock) -> None:
    """Thirty ordinary answers after a burst bring the timeout back near to what it was."""
    estimator = Estimator(block, 0)
    _, issued_s, _ = _burst(estimator, epoch_rule=True)
    for _ in range(30):
        estimator.observe_latency(OpClass.GET, 0.8)

    assert AdaptiveTimeouts().timeouts(OpClass.GET, 0, 0, estimator.estimate(OpClass.GET)).first_byte_s < 1.2 * issued_s


def _attempts_needed(policy: TimeoutPolicy, estimator: Estimator, size_bytes: int, bytes_per_s: float) -> int:
    """Attempts until one has time for the body, or one more than the policy allows; a success teaches."""
    duration_s = size_bytes / bytes_per_s
    allowed = policy.max_attempts or 8
    for attempt in range(allowed):
        issued = policy.timeouts(OpClass.PUT, size_bytes, attempt, estimator.estimate(OpClass.PUT))
        if issued.attempt_s >= duration_s:
            estimator.observe_transfer(OpClass.PUT, size_bytes, duration_s)
            return attempt + 1
    return allowed + 1


@pytest.mark.parametrize("policy", POLICIES)
def test_a_line_ten_times_slower_does_not_fail_for_ever(policy: TimeoutPolicy, block: SharedBlock) -> None:
    """After bandwidth falls to a tenth every 8 MiB upload still ends within its attempts, soon at the first."""
    estimator = Estimator(
        block, 0, gain=policy.gain, deviation_gain=policy.deviation_gain, minimum_bytes=policy.minimum_bytes
    )
    for _ in range(50):
        assert _attempts_needed(policy, estimator, 8 * MIB, 10e6) == 1
    needed = [_attempts_needed(policy, estimator, 8 * MIB, 1e6) for _ in range(20)]

    assert max(needed) <= (policy.max_attempts or 8)
    assert needed[1:] == [1] * 19


@given(size_bytes=SIZES, attempt=st.integers(0, 8), backoff=st.floats(1.01, 3.0))
def test_seed_really_backs_off(size_bytes: int, attempt: int, backoff: float) -> None:
    """Attempt k has backoff**k times the time of attempt 0, whose time is the plain formula."""
    policy = SeedTimeouts(backoff=backoff)
    issued_s = policy.timeouts(OpClass.PUT, size_bytes, attempt, UNKNOWN).attempt_s

    assert issued_s == pytest.approx(min((0.5 + 1.5 * size_bytes * 1e-6) * backoff**attempt, 86_400.0))


def test_seed_uses_what_was_learnt() -> None:
    """One sample replaces the initial seconds per byte."""
    known = UNKNOWN._replace(transfer_n=1, s_per_byte_mean=4e-6)

    assert SeedTimeouts().timeouts(OpClass.GET, 1_000_000, 0, known).attempt_s == pytest.approx(0.5 + 6.0)


def test_seed_weighs_the_new_sample_with_avg_power(block: SharedBlock) -> None:
    """avg_power is the weight of the new sample, and bodies below the minimum teach nothing."""
    policy = SeedTimeouts()
    estimator = Estimator(block, 0, gain=policy.gain, minimum_bytes=policy.minimum_bytes)
    estimator.observe_transfer(OpClass.GET, 1_000_000, 1.0)
    estimator.observe_transfer(OpClass.GET, 1_000_000, 2.0)
    estimator.observe_transfer(OpClass.GET, 499_999, 100.0)

    assert estimator.estimate(OpClass.GET).s_per_byte_mean == pytest.approx(1.7e-6)


def test_seed_tries_nine_times() -> None:
    """Eight retries are nine attempts; the default policy leaves the number to the engine."""
    assert SeedTimeouts().max_attempts == 9
    assert AdaptiveTimeouts().max_attempts is None


@pytest.mark.parametrize("policy", [AdaptiveTimeouts(backoff=3.0), SeedTimeouts(base_timeout=2.0)])
def test_policies_travel(policy: TimeoutPolicy) -> None:
    """A policy comes out of a pickle equal to what went in."""
    assert pickle.loads(pickle.dumps(policy)) == policy


@pytest.mark.parametrize("policy_class", [AdaptiveTimeouts, SeedTimeouts])
@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), True, "2"])
def test_a_bad_backoff_is_named(policy_class: Any, value: object) -> None:
    """A value out of bounds, not a number or of the wrong type is refused with field, value and bounds."""
    with pytest.raises(ConfigError) as caught:
        policy_class(backoff=value)

    assert str(caught.value) == f"{policy_class.__name__}.backoff is {value!r}; it must be a number from 1 to 10"


@pytest.mark.parametrize(
    ("field", "value"),
    [("connect_s", ()), ("connect_s", (0.0,)), ("stall_ceiling_s", 5.0), ("gain", 0), ("max_attempts", 0)],
)
def test_adaptive_fields_are_checked(field: str, value: object) -> None:
    """Each field has bounds, those that depend on other fields included."""
    bad: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError, match=f"AdaptiveTimeouts.{field} is"):
        AdaptiveTimeouts(**bad)
