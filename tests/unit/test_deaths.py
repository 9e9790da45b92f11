"""What the deaths of workers are taken for: a task that kills, a hand from outside, a machine where none can live."""

from __future__ import annotations

import signal

import pytest

from s3engine.pool.deaths import Deaths, Next

CRASH = -signal.SIGSEGV
FROM_OUTSIDE = -signal.SIGKILL


@pytest.mark.parametrize("code", [CRASH, FROM_OUTSIDE])
def test_task_is_tried_alone_after_two_deaths(code: int) -> None:
    """The first death with a task among others is chance, the second makes it a suspect."""
    deaths = Deaths()
    assert deaths.judge(7, code, alone=False) is Next.AGAIN
    assert deaths.judge(7, code, alone=False) is Next.ALONE


def test_task_that_kills_alone_is_given_up() -> None:
    """A worker that dies by its own doing with one task alone proves that task guilty; its count is forgotten."""
    deaths = Deaths()
    deaths.judge(7, CRASH, alone=False)
    assert deaths.judge(7, CRASH, alone=True) is Next.NEVER
    assert deaths.by_task == {}


def test_kills_from_outside_prove_little() -> None:
    """A suspect whose worker was killed from outside is tried alone again, though not for ever."""
    deaths = Deaths()
    for _ in range(2):
        deaths.judge(7, FROM_OUTSIDE, alone=False)
    verdicts = [deaths.judge(7, FROM_OUTSIDE, alone=True) for _ in range(10)]
    assert verdicts == [Next.ALONE] * 9 + [Next.NEVER]


def test_workers_that_never_get_ready_end_it() -> None:
    """Eight in a row that die before they are ready are no use; one that got ready in between begins the count anew."""
    deaths = Deaths()
    for _ in range(7):
        assert deaths.count(1, ready=False, held_tasks=False) is None
    deaths.worker_ready()
    for _ in range(7):
        assert deaths.count(1, ready=False, held_tasks=False) is None
    assert "before they are ready" in str(deaths.count(1, ready=False, held_tasks=False))


def test_workers_that_get_nothing_done_end_it() -> None:
    """Sixty in a row that die with tasks in hand are no use; one task that was done begins the count anew."""
    deaths = Deaths()
    for _ in range(59):
        assert deaths.count(CRASH, ready=True, held_tasks=True) is None
    deaths.tasks_done()
    for _ in range(59):
        assert deaths.count(CRASH, ready=True, held_tasks=True) is None
    assert "no task done" in str(deaths.count(CRASH, ready=True, held_tasks=True))
