"""The averages: what they learn, what they refuse to learn, and how workers share them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.control.estimator import WEIGHT_CAP, Estimator, OpClass, _merge
from s3engine.control.shared import HEARTBEAT_S, SharedBlock

SECONDS = st.floats(1e-4, 1e3)
AVERAGES = st.tuples(st.floats(1.0, WEIGHT_CAP), SECONDS, SECONDS)
MIB = 1 << 20


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    made = SharedBlock.create(3)
    yield made
    made.close()


def test_nothing_is_known_at_first(block: SharedBlock) -> None:
    """Without samples all counts are 0."""
    estimate = Estimator(block, 0).estimate(OpClass.GET)

    assert estimate.latency_n == 0
    assert estimate.transfer_n == 0


def test_follows_rfc_6298(block: SharedBlock) -> None:
    """First sample: mean x, deviation x/2; then the deviation moves by 1/4 and the mean by 1/8."""
    estimator = Estimator(block, 0)
    estimator.observe_latency(OpClass.PUT, 0.8)
    first = estimator.estimate(OpClass.PUT)
    estimator.observe_latency(OpClass.PUT, 1.6)
    second = estimator.estimate(OpClass.PUT)

    assert (first.latency_n, first.latency_mean_s, first.latency_dev_s) == pytest.approx((1, 0.8, 0.4))
    assert (second.latency_n, second.latency_mean_s, second.latency_dev_s) == pytest.approx((2, 0.9, 0.5))


@given(samples=st.lists(SECONDS, min_size=1, max_size=50), gain=st.floats(0.01, 1.0))
def test_mean_stays_inside_the_samples(samples: list[float], gain: float) -> None:
    """The mean never leaves the range of the samples, whatever the gain; the deviation never exceeds that range."""
    block = SharedBlock.create(1)
    estimator = Estimator(block, 0, gain=gain)
    for sample in samples:
        estimator.observe_latency(OpClass.GET, sample)
    estimate = estimator.estimate(OpClass.GET)
    block.close()

    low, high = min(samples), max(samples)
    assert low * (1 - 1e-9) <= estimate.latency_mean_s <= high * (1 + 1e-9)
    assert 0.0 <= estimate.latency_dev_s <= max(high - low, samples[0] / 2) * (1 + 1e-9)


def test_transfer_is_seconds_per_byte(block: SharedBlock) -> None:
    """A body teaches its time over its size, and nothing about latency."""
    estimator = Estimator(block, 0)
    estimator.observe_transfer(OpClass.GET, MIB, 2.0)
    estimate = estimator.estimate(OpClass.GET)

    assert estimate.s_per_byte_mean == pytest.approx(2.0 / MIB)
    assert (estimate.transfer_n, estimate.latency_n) == (1, 0)


@pytest.mark.parametrize(("minimum_bytes", "size_bytes"), [(262_144, 262_143), (262_144, 0), (0, 0)])
def test_small_bodies_teach_no_bandwidth(block: SharedBlock, minimum_bytes: int, size_bytes: int) -> None:
    """Below the minimum, and without any byte, a transfer is ignored: its time is latency."""
    estimator = Estimator(block, 0, minimum_bytes=minimum_bytes)
    estimator.observe_transfer(OpClass.PUT, size_bytes, 1.0)

    assert estimator.estimate(OpClass.PUT).transfer_n == 0


def test_classes_do_not_mix(block: SharedBlock) -> None:
    """What one class learns changes no other."""
    estimator = Estimator(block, 0)
    estimator.observe_latency(OpClass.COMPLETE, 60.0)

    assert [op for op in OpClass if estimator.estimate(op).latency_n] == [OpClass.COMPLETE]


def test_timeout_counts_as_twice_its_length(block: SharedBlock) -> None:
    """A timed-out attempt is a latency sample of 2T."""
    estimator = Estimator(block, 0)
    estimator.observe_timeout(OpClass.GET, 3.0)

    assert estimator.estimate(OpClass.GET).latency_mean_s == 6.0


def test_workers_learn_from_each_other(block: SharedBlock) -> None:
    """After both have synced, a worker without samples estimates as the other does."""
    teacher, pupil = Estimator(block, 0), Estimator(block, 1)
    for _ in range(30):
        teacher.observe_latency(OpClass.GET, 0.25)
    assert pupil.estimate(OpClass.GET).latency_n == 0
    teacher.sync(now=10.0)
    pupil.sync(now=10.1)

    assert pupil.estimate(OpClass.GET) == teacher.estimate(OpClass.GET)
    assert block.slots[0][HEARTBEAT_S] == 10.0


def test_merged_deviation_includes_the_spread_of_the_means(block: SharedBlock) -> None:
    """Two workers that agree with themselves but not with each other make a wide estimate."""
    workers = [Estimator(block, 0), Estimator(block, 1)]
    for worker, latency_s in zip(workers, (1.0, 3.0), strict=True):
        for _ in range(200):
            worker.observe_latency(OpClass.GET, latency_s)
        worker.sync(now=1.0)
    estimate = workers[1].estimate(OpClass.GET)

    assert estimate.latency_mean_s == pytest.approx(2.0)
    assert estimate.latency_dev_s == pytest.approx(1.0)


def test_a_long_history_weighs_no_more_than_the_cap(block: SharedBlock) -> None:
    """A worker with 10 000 samples counts like one with 128."""
    old, young = Estimator(block, 0), Estimator(block, 1)
    for _ in range(10_000):
        old.observe_latency(OpClass.GET, 1.0)
    for _ in range(128):
        young.observe_latency(OpClass.GET, 2.0)
    old.sync(now=1.0)
    young.sync(now=1.0)
    estimate = young.estimate(OpClass.GET)

    assert estimate.latency_n == 256
    assert estimate.latency_mean_s == pytest.approx(1.5)


def test_own_samples_count_without_sync(block: SharedBlock) -> None:
    """A worker sees its own newest sample at once, and the same object again while nothing is new."""
    estimator = Estimator(block, 0)
    estimator.observe_latency(OpClass.GET, 1.0)
    before = estimator.estimate(OpClass.GET)
    again = estimator.estimate(OpClass.GET)
    estimator.observe_latency(OpClass.GET, 2.0)

    assert again is before
    assert estimator.estimate(OpClass.GET).latency_mean_s > before.latency_mean_s


def test_a_respawned_worker_goes_on_where_the_dead_one_was(block: SharedBlock) -> None:
    """A new estimator in a used slot starts with the averages that were published there."""
    dead = Estimator(block, 2)
    for latency_s in (0.1, 0.2, 0.3):
        dead.observe_latency(OpClass.LIST, latency_s)
    dead.sync(now=1.0)

    assert Estimator(block, 2).estimate(OpClass.LIST) == dead.estimate(OpClass.LIST)


@given(a=AVERAGES, b=AVERAGES, c=AVERAGES)
def test_the_order_of_merging_does_not_matter(
    a: tuple[float, float, float], b: tuple[float, float, float], c: tuple[float, float, float]
) -> None:
    """Merging is associative, so the others' averages may be merged ahead of the own."""
    assert _merge(_merge(a, b), c) == pytest.approx(_merge(a, _merge(b, c)), rel=1e-6)
