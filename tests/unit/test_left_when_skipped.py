"""What a killed run left of an object that its next run leaves out: nobody goes on with it, so it does not stay."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.decided import Decided
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.upload import UploadJob
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from s3engine.transport import HeadResult, ObjectInfo
from tests.journaled import MIB, Driver, Make, outcome

SIZES: dict[str, Any] = {"template": None, "threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB}


def copies(emit: Any, items: Iterable[Any]) -> Job:
    """From one bucket to another."""
    return CopyJob(items, "a", "b", lambda info: "t", emit, **SIZES)


def decided(job: Callable[..., Job], skip: str) -> Make:
    def make(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
        return job(emit, (Decided(item, skip=skip) for item in items))

    return make


def half(task: Task) -> tuple[Any, ...] | None:
    """An upload in parts that is killed with its first part."""
    if task[2] == Kind.PUT_FILE:
        return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, mtime_ns=1))
    if task[2] == Kind.HEAD:
        return outcome(task, detail=HeadResult(20 * MIB, "e1"))
    return outcome(task, detail="upload-1") if task[2] == Kind.CREATE else None


def transfers(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM transfers").fetchone()[0])


@pytest.mark.parametrize(
    ("job", "item"),
    [
        (lambda emit, items: UploadJob(items, "b", emit, **SIZES), FileSource("/f", "t")),
        (copies, ObjectInfo("k", 20 * MIB, "e1")),
    ],
    ids=["upload", "copy"],
)
def test_upload_in_parts_is_aborted_when_its_object_is_left_out(tmp_path: Path, job: Any, item: Any) -> None:
    """The run that leaves it out aborts it, not the one after that."""
    path = tmp_path / "j"
    assert Driver(path, [item], half, make=decided(job, "")).run() == []
    assert transfers(path) == 1
    again = Driver(path, [item], make=decided(job, "exists"))
    (report,) = again.run()
    assert report.skipped == "exists"
    assert [(task[3], task[5]) for task in again.tasks if task[2] == Kind.ABORT] == [("t", "upload-1")]
    assert transfers(path) == 0


@pytest.mark.parametrize("size_bytes", [5, 20 * MIB])
@pytest.mark.parametrize("move", [False, True])
def test_temporary_file_is_removed_when_its_object_is_left_out(tmp_path: Path, size_bytes: int, move: bool) -> None:
    """Of a small object and of a large one; the file that is there stays."""

    def downloads(emit: Any, items: Iterable[Any]) -> Job:
        return DownloadJob(
            items, "b", str(tmp_path / "out"), lambda info: "f", emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB,
            move=move,
        )  # fmt: skip

    path, item = tmp_path / "j", ObjectInfo("k", size_bytes, "e1")
    out = tmp_path / "out"
    out.mkdir()
    first = Driver(path, [item], lambda task: None, make=decided(downloads, ""))
    first.run()
    if size_bytes == 5:
        (task,) = first.tasks
        (out / f".s3engine-{task[5][2]}.part").write_bytes(b"half")
    with closing(sqlite3.connect(path)) as connection, connection:  # killed: its end is not on record
        connection.execute("UPDATE runs SET ended = NULL")
    assert len(os.listdir(out)) == 1
    (out / "f").write_bytes(b"another's")
    found = HeadResult(size_bytes, "e1")
    (report,) = Driver(path, [item], lambda task: outcome(task, detail=found), make=decided(downloads, "exists")).run()
    assert report.skipped == "exists"
    assert os.listdir(out) == ["f"]
    assert transfers(path) == 0
