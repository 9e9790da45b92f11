"""A copy inside one bucket that goes on from a journal: what an earlier run has done is no target."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from s3engine.errors import DuplicateKey
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.report import RequestReport
from s3engine.transport import ObjectInfo
from tests.journaled import Driver


def test_copy_onto_a_source_that_an_earlier_run_copied_is_refused(tmp_path: Path) -> None:
    """A run that goes on knows the sources that are done: none of them is written over."""

    def copies(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
        return CopyJob(
            items, "b", "b", lambda info: "p/x/" + info.key[2:], emit, template=None, threshold_bytes=100, part_bytes=10
        )

    given = [ObjectInfo("p/x/z", 1, "e"), ObjectInfo("p/z", 1, "e"), ObjectInfo("p/a", 1, "e")]

    def run() -> tuple[list[str], dict[str, type]]:
        driver = Driver(tmp_path / "j", given, make=copies, identity={"operation": "copy"})
        reports = driver.run()
        failed = {report.key: type(report.error) for report in reports if report.error}
        return sorted(task[5][0] for task in driver.tasks), failed

    assert run() == (["p/a", "p/x/z"], {"p/z": DuplicateKey})
    with closing(sqlite3.connect(tmp_path / "j")) as connection, connection:  # the refusal had not reached the disk
        connection.execute("UPDATE objects SET state = 0, error = NULL, message = NULL WHERE key = 'p/z'")
    assert run() == ([], {"p/z": DuplicateKey})
