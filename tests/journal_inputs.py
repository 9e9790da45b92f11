"""Inputs of jobs with a journal, and what is asked of their reports."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from s3engine.pool.messages import Task
from s3engine.report import RequestReport
from s3engine.sources import FileSource


def files(count: int) -> Iterator[FileSource]:
    return (FileSource(f"/f{n}", f"k{n}") for n in range(count))


class Positioned:
    """An input with marks that tells how much of it was read."""

    def __init__(self, count: int, wait_at: int = -1) -> None:
        self.count = count
        self.read: list[int] = []
        self.wait_at = wait_at
        self.go_on = threading.Event()

    def __iter__(self) -> Iterator[FileSource]:
        raise AssertionError("read from its beginning")

    def marked(self, after: str = "") -> Iterator[tuple[FileSource, str]]:
        for n in range(int(after or 0), self.count):
            if n == self.wait_at:
                self.go_on.wait(30)
            self.read.append(n)
            yield FileSource(f"/f{n}", f"k{n}"), str(n + 1)


def never(task: Task) -> tuple[Any, ...]:
    raise AssertionError(f"{task[3]} was begun")


def keys(reports: list[RequestReport]) -> list[str]:
    return sorted(report.key for report in reports)
