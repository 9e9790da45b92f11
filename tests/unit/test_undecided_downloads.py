"""What nobody could decide is not written: downloads onto files that are there already."""

from __future__ import annotations

import time
from pathlib import Path

from s3engine.decided import Decided
from s3engine.errors import TransferError
from s3engine.jobs.download import DownloadJob
from s3engine.pool.messages import Task
from s3engine.report import RequestReport
from s3engine.transport import ObjectInfo


def test_what_could_not_be_decided_is_left_as_it_is(tmp_path: Path) -> None:
    """An object of which nobody knows whether it is newer is not fetched; its report says why, others go on."""
    reports: list[RequestReport] = []
    unknown = TransferError("the store tells no time")
    items = [Decided(ObjectInfo("a", 1, "x"), error=unknown), Decided(ObjectInfo("b", 1, "x"))]
    job = DownloadJob(
        items, "b", str(tmp_path), lambda info: info.key, reports.append, threshold_bytes=100, part_bytes=100
    )
    job.start_reading()
    tasks: list[Task] = []
    give_up_at = time.monotonic() + 10
    while not tasks or not reports:
        assert time.monotonic() < give_up_at
        tasks += job.next_tasks(64)
        time.sleep(0.0005)
    assert [task[3] for task in tasks] == ["b"]
    assert [(report.key, report.error) for report in reports] == [("a", unknown)]
