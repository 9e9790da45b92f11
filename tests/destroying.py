"""Jobs that destroy, without a pool: tasks are answered at once, by a store that is a function."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from s3engine.errors import NotFound, PreconditionFailed, S3EngineError
from s3engine.jobs.base import Job
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.transport import HeadResult, ObjectInfo

Answer = Callable[[Task], tuple[Any, ...]]


def outcome(
    task: Task, *, etag: str = "tag", detail: Any = None, error: S3EngineError | None = None
) -> tuple[Any, ...]:
    """What a worker would say of a task."""
    return (task[0], 1, 0.1, 0.2, 1e6, 30.0, 200, "id", 1, etag, detail, error, "", "")


class Store:
    """Keys with their ETags, as a store that heeds ETags in DeleteObjects, or not, or refuses them."""

    def __init__(self, held: dict[str, str], *, heeds: bool = True, refusal: S3EngineError | None = None) -> None:
        self.held = held
        self.heeds = heeds
        self.refusal = refusal
        self.deletes: list[list[tuple[str, str]]] = []

    def __call__(self, task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            if task[3] in self.held:
                return outcome(task, detail=HeadResult(1, self.held[task[3]]))
            return outcome(task, error=NotFound("no", code="NoSuchKey"))
        if task[2] != Kind.DELETE:
            return outcome(task)
        self.deletes.append(task[5])
        failed: list[tuple[str, S3EngineError]] = []
        for key, etag in task[5]:
            if etag and self.refusal is not None:
                failed.append((key, self.refusal))
            elif etag and self.heeds and key not in self.held:
                failed.append((key, NotFound("gone", code="NoSuchKey")))
            elif etag and self.heeds and self.held[key] != etag:
                failed.append((key, PreconditionFailed("another", code="PreconditionFailed")))
            else:
                self.held.pop(key, None)
        return outcome(task, detail=failed)


def run(job: Job, answer: Answer, reports: list[RequestReport]) -> dict[str, S3EngineError | None]:
    """Do the job; the error of each key."""
    job.start_reading()
    give_up_at = time.monotonic() + 10
    while not job.finished:
        assert time.monotonic() < give_up_at, "the job does not end"
        for task in job.next_large(64) + job.next_tasks(64):
            job.done(task, answer(task))
        time.sleep(0.0005)
    errors = {report.key: report.error for report in reports}
    assert len(errors) == len(reports)
    return errors


def listed(keys: str, etag: str = "tag") -> list[ObjectInfo]:
    return [ObjectInfo(key, 1, etag) for key in keys]
