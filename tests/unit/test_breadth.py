"""How many requests a worker has in flight (s3engine/control/breadth.py)."""

from __future__ import annotations

import pytest

from s3engine.control.breadth import AT_FIRST, Breadth, by_descriptors
from s3engine.control.estimator import Estimate, OpClass

PUT, GET = int(OpClass.PUT), int(OpClass.GET)


def known(latency_s: float, answers: int = 100) -> Estimate:
    """What the estimator says of a class after so many answers."""
    return Estimate(answers, latency_s, 0.0, 0, 0.0, 0.0)


def looked(breadth: Breadth, *latencies_s: float, op: int = PUT) -> list[int]:
    """What is allowed after each of these means."""
    found = []
    for latency_s in latencies_s:
        breadth.look(op, known(latency_s))
        found.append(breadth.allowed)
    return found


def test_late_answers_get_more_requests() -> None:
    """Where answers are late, and no later with more in flight, what is allowed doubles up to the limit."""
    assert looked(Breadth(600), 0.02, 0.021, 0.02, 0.022) == [256, 512, 600, 600]


def test_near_stores_get_no_more() -> None:
    """Answers within five milliseconds leave what is allowed as it is."""
    assert looked(Breadth(600), 0.001, 0.004, 0.0001) == [AT_FIRST] * 3


def test_a_queue_ends_it() -> None:
    """Answers that come half again as late as in calmer times are a queue: back to the first number."""
    assert looked(Breadth(600), 0.02, 0.025, 0.031, 0.031) == [256, 512, AT_FIRST, AT_FIRST]


def test_calm_is_known_by_class() -> None:
    """A class of operations that takes longer by nature is held to its own calm, not to that of a quicker one."""
    breadth = Breadth(600)
    assert looked(breadth, 0.01, op=GET) == [256]
    assert looked(breadth, 0.1, op=PUT) == [512]
    assert looked(breadth, 0.1, op=GET) == [AT_FIRST]


def test_a_few_answers_say_nothing() -> None:
    """Before 32 answers are known nothing changes."""
    breadth = Breadth(600)
    breadth.look(PUT, known(0.02, 31))
    assert breadth.allowed == AT_FIRST


@pytest.mark.parametrize("limit", [1, 7, AT_FIRST])
def test_a_small_limit_is_the_limit(limit: int) -> None:
    """A limit below the first number is what is allowed, from the start."""
    assert Breadth(limit).allowed == limit
    assert looked(Breadth(limit), 0.02, 0.02) == [limit, limit]


@pytest.mark.parametrize("soft_limit", [300, 1024, 4096, 65_536])
def test_descriptors_are_enough(soft_limit: int) -> None:
    """A socket and a file for each request, an eighth for folders and a hundred for all else fit into the limit."""
    assert 2 * by_descriptors(soft_limit) + soft_limit // 8 + 100 <= soft_limit


def test_few_descriptors_are_enough_for_one() -> None:
    """However low the limit is, one request may be in flight."""
    assert by_descriptors(64) == 1
