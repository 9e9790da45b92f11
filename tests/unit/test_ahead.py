"""Values drawn ahead in a thread: in order, not too many, errors where they belong, and an end that is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from s3engine.ahead import Ahead


def _numbers(drawn: list[int], end: int, reached: threading.Semaphore | None = None) -> Iterator[int]:
    for number in range(end):
        drawn.append(number)
        if reached is not None:
            reached.release()
        yield number


def test_all_values_in_order() -> None:
    """Whatever the thread draws comes out, once and in its order; nothing of nothing."""
    with Ahead(_numbers([], 1000), "test") as ahead:
        assert list(ahead) == list(range(1000))
    with Ahead(iter(()), "test") as ahead:
        assert list(ahead) == []


def test_no_more_than_two_ahead() -> None:
    """Before the first value is taken one is drawn; later two wait at most."""
    drawn: list[int] = []
    reached = threading.Semaphore(0)
    with Ahead(_numbers(drawn, 100, reached), "test") as ahead:
        assert reached.acquire(timeout=10)
        assert drawn == [0]
        for taken, _ in enumerate(ahead, 1):
            assert len(drawn) <= taken + 2


def test_an_error_comes_behind_what_was_drawn_before_it() -> None:
    """Values before an error are given, then the error itself is raised."""

    def failing() -> Iterator[int]:
        yield 1
        raise LookupError("lost")

    with Ahead(failing(), "test") as ahead:
        values = iter(ahead)
        assert next(values) == 1
        with pytest.raises(LookupError, match="lost"):
            next(values)


def test_leaving_ends_the_thread() -> None:
    """A user who leaves early finds the thread over, and nothing is drawn any more."""
    before = threading.active_count()
    drawn: list[int] = []
    with Ahead(_numbers(drawn, 10**9), "test") as ahead:
        assert next(iter(ahead)) == 0
    assert threading.active_count() == before
    count = len(drawn)
    assert count <= 3
    assert drawn == list(range(count))
