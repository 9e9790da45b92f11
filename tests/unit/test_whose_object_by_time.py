"""An object that only its time tells to be ours: both times are the store's, whatever our own clock says."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from s3engine.errors import NotFound
from s3engine.pool.messages import Kind, Task
from s3engine.sources import FileSource
from s3engine.transport import Headers, HeadResult
from tests.tried_jobs import MIB, Bench, large_upload, outcome, upload

NOW_S = 1_790_000_000.0  # of the store


def dated(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


@pytest.mark.parametrize(
    ("written_s", "headers", "good"),
    [
        (NOW_S, (("date", dated(NOW_S)),), True),
        (NOW_S - 1800, (("date", dated(NOW_S)),), False),
        (NOW_S - 3600, (("date", dated(NOW_S - 3600)), ("age", "3600")), False),
        (NOW_S, (("date", dated(NOW_S - 3600)), ("age", "3600")), True),
        (NOW_S, (), False),
        (NOW_S, (("date", "some day"),), False),
    ],
    ids=["now", "half-an-hour-ago", "cached", "cached-and-new", "no-date", "no-real-date"],
)
@pytest.mark.parametrize("ours_off_s", [0.0, -3600.0, 3600.0])
def test_time_of_an_object_is_measured_by_the_stores_clock(
    written_s: float, headers: Headers, good: bool, ours_off_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With our clock an hour slow an older object is not taken for ours, with an hour fast our own one is."""
    monkeypatch.setattr(time, "time", lambda: NOW_S + ours_off_s)
    found = HeadResult(20 * MIB, "x-3", last_modified=dated(written_s), headers=headers)

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.COMPLETE:
            return outcome(task, error=NotFound("gone", code="NoSuchUpload"), attempts=2)
        return outcome(task, detail=found) if task[2] == Kind.HEAD else large_upload(task)

    bench = Bench(answer)
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert report.ok is good
