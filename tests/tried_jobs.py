"""Jobs without workers: their tasks are done at once, as a test says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s3engine.errors import S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.upload import UploadJob
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.report import RequestReport
from s3engine.transport import HeadResult, ObjectInfo

MIB = 1024 * 1024
Answer = Callable[[Task], tuple[Any, ...]]


def outcome(
    task: Task, *, size_bytes: int = 1, etag: str = "etag", detail: Any = None, error: S3EngineError | None = None,
    attempts: int = 1,
) -> tuple[Any, ...]:  # fmt: skip
    """What a worker would say of a task."""
    return (task[0], attempts, 0.1, 0.2, 1e6, 30.0, 200, "id", size_bytes, etag, detail, error, "", "")


class Bench:
    """Does a job's tasks at once, as ``answer`` says, and keeps tasks and reports."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.reports: list[RequestReport] = []
        self.tasks: list[Task] = []

    def emit(self, report: RequestReport) -> None:
        self.reports.append(report)

    def turn(self, job: Job, count: int = 64) -> list[Task]:
        tasks = job.next_large(count) + job.next_tasks(count)
        self.tasks += tasks
        return tasks

    def run(self, job: Job) -> list[RequestReport]:
        job.start_reading()
        give_up_at = time.monotonic() + 10
        while not job.finished:
            assert time.monotonic() < give_up_at, "the job does not end"
            tasks = self.turn(job)
            for task in tasks:
                job.done(task, self.answer(task))
            if not tasks:
                time.sleep(0.001)
        return self.reports

    def kinds(self) -> Counter[int]:
        return Counter(task[2] for task in self.tasks)


def upload(bench: Bench, items: Any, **options: Any) -> UploadJob:
    options = {"template": None, "threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB, **options}
    return UploadJob(items, "b", bench.emit, **options)


def copy(bench: Bench, items: Any, key: Callable[[ObjectInfo], str] | None = None, **options: Any) -> CopyJob:
    options = {"template": None, "threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB, **options}
    return CopyJob(items, "b", "b", key or (lambda info: "to/" + info.key), bench.emit, **options)


def download(bench: Bench, items: Any, root: Path, **options: Any) -> DownloadJob:
    options = {"threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB, **options}
    return DownloadJob(items, "b", str(root), lambda info: info.key, bench.emit, **options)


def large_upload(task: Task) -> tuple[Any, ...]:
    """A worker that finds every file to be 20 MiB."""
    if task[2] == Kind.PUT_FILE:
        return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, mtime_ns=7))
    if task[2] == Kind.CREATE:
        return outcome(task, detail="u1")
    if task[2] == Kind.HEAD:  # the answer to Complete says nothing of the whole
        return outcome(task, detail=HeadResult(20 * MIB, "whole-3"))
    return outcome(task, etag=f"e{task[5][1]}" if task[2] == Kind.PART else "whole-3")
