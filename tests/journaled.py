"""A job with a journal, without a pool: tasks are answered at once, by a function."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from s3engine.errors import S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.upload import UploadJob
from s3engine.journal import Journal
from s3engine.journal.run import JournalRun
from s3engine.pool.messages import Task
from s3engine.report import RequestReport

MIB = 1024 * 1024
Answer = Callable[[Task], "tuple[Any, ...] | None"]
Make = Callable[[Callable[[RequestReport], None], Iterable[Any]], Job]


def outcome(
    task: Task, *, size_bytes: int = 1, etag: str = "etag", detail: Any = None, error: S3EngineError | None = None,
    checksum: str = "",
) -> tuple[Any, ...]:  # fmt: skip
    """What a worker would say of a task."""
    return (task[0], 1, 0.1, 0.2, 1e6, 30.0, 200, "id", size_bytes, etag, detail, error, checksum, "")


def uploads(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
    """An upload job."""
    return UploadJob(items, "b", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB)


class Crash(Exception):
    """The parent is gone: nothing more is done."""


class Driver:
    """Runs a job as the supervisor would. An answer of None means: the answer never comes.

    ``crash_after`` reports handed out, or when nothing more happens but for answers that never come, it ends as a
    killed process does: what is committed is committed, the lock is free, nothing else.
    """

    def __init__(
        self, path: Path | Journal, source: Iterable[Any], answer: Answer = outcome, *, make: Make = uploads,
        identity: dict[str, str] | None = None, at_most: int = 0, untold: bool = False,
    ) -> None:  # fmt: skip
        self.reports: list[RequestReport] = []
        self.tasks: list[Task] = []
        self.answer = answer
        stamp = getattr(source, "stamp", "")
        journal = path if isinstance(path, Journal) else Journal(path)
        self.run_ = JournalRun(
            journal, identity or {"operation": "upload"}, source, self.reports.append,
            untold=source if untold or stamp else None, stamp=stamp, below=getattr(source, "below", None),
        )  # fmt: skip
        self.job = make(self.run_.emit, self.run_.items())
        self.run_.attach(self.job, lambda: None, at_most)

    def run(self, crash_after: int | None = None) -> list[RequestReport]:
        """To the end, or to the crash; the reports."""
        job = self.job
        job.start_reading()
        silent_since = time.monotonic()
        began = silent_since
        unanswered = False
        while not job.finished:
            assert time.monotonic() - began < 20, "the job does not end"
            tasks = job.next_large(64) + job.next_tasks(64)
            if job.broken and not job.cancelled:
                job.cancel()
            self.tasks += tasks
            for task in tasks:
                answer = self.answer(task)
                if answer is None:
                    unanswered = True
                else:
                    job.done(task, answer)
            count = len(self.reports)
            job.turned()
            if tasks or len(self.reports) != count:
                silent_since = time.monotonic()
            if crash_after is not None and len(self.reports) >= crash_after:
                break
            if unanswered and time.monotonic() - silent_since > 0.6:
                break
            if not tasks:
                time.sleep(0.001)
        self.crash()
        if job.failure is not None:
            raise job.failure
        return self.reports

    def crash(self) -> None:
        """Let go of the files without another word."""
        self.job.reader.close()  # its thread ends with the next item
        self.run_.abandon()


def come_so_far(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Return as soon as ``condition`` holds, 30 s later at the latest; the process must still run then."""
    limit = time.monotonic() + 30
    while not condition() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.0005)  # so often, since what is waited for passes within milliseconds
    assert process.poll() is None, f"it ended before it could be killed: {process.communicate()}"
