"""A move that was killed between the deletion of a source and the record of it: the next run knows that it is done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import NotFound, S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.upload import UploadJob
from s3engine.journal import Journal
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from s3engine.transport import HeadResult, ObjectInfo
from tests.helpers import file_state
from tests.journaled import MIB, Driver, Make, outcome

GONE = NotFound("no", code="NoSuchKey")
ITEMS = ["k", ObjectInfo("k", 5, "e1"), ObjectInfo("k", 5)]


def on_record(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT stored, size, made FROM objects").fetchall()


def copies(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
    """A move inside the store."""
    return CopyJob(
        items, "a", "b", lambda info: "t", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB, move=True
    )


def killed_after_the_delete(path: Path, item: Any, make: Make, answer: Callable[[Task], Any]) -> list[Any]:
    """What was on record when the source was deleted."""
    records: list[Any] = []

    def until_then(task: Task) -> Any:
        if task[2] == Kind.DELETE:
            records.extend(on_record(path))
            return None
        return answer(task)

    assert Driver(path, [item], until_then, make=make, identity={"operation": "move"}).run() == []
    return records


def run_again(path: Path, make: Make, answer: Callable[[Task], Any]) -> RequestReport:
    (report,) = Driver(path, [], answer, make=make, identity={"operation": "move"}).run()
    return report


@pytest.mark.parametrize("item", ITEMS, ids=["key", "listed", "listed without ETag"])
@pytest.mark.parametrize(
    ("target", "ok"), [(HeadResult(5, "of-copy"), True), (HeadResult(5, "another"), False), (None, False)]
)
def test_object_that_was_moved_counts_as_done(tmp_path: Path, item: Any, target: HeadResult | None, ok: bool) -> None:
    """A copy is on record before its source is deleted; which one is there is told by size and ETag."""

    def moving(task: Task) -> Any:
        if task[2] == Kind.COPY:
            return outcome(task, etag="of-copy")
        return outcome(task, detail=HeadResult(5, "e1" if task[3] == "k" else "of-copy"))

    assert killed_after_the_delete(tmp_path / "j", item, copies, moving) == [(1, 5, "of-copy")]

    def after(task: Task) -> Any:
        found = target if task[3] == "t" and task[2] == Kind.HEAD else None
        return outcome(task, error=GONE) if found is None else outcome(task, detail=found)

    report = run_again(tmp_path / "j", copies, after)
    assert (report.error is None) == ok
    if ok:
        assert (report.size_bytes, report.etag, report.verified) == (5, "of-copy", "length only")
    assert Journal(tmp_path / "j").counts().done == ok


def downloads(folder: Path) -> Make:
    """A move to disk."""

    def make(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
        return DownloadJob(
            items, "b", str(folder / "out"), lambda info: "f", emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB,
            move=True,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("item", ITEMS, ids=["key", "listed", "listed without ETag"])
@pytest.mark.parametrize(
    ("body", "error", "ok"),
    [(b"hello", GONE, True), (b"other size", GONE, False), (b"hello", NotFound("no", code="NoSuchBucket"), False)],
    ids=["gone", "another file", "no bucket"],
)
def test_object_that_was_fetched_and_deleted_counts_as_done(
    tmp_path: Path, item: Any, body: bytes, error: S3EngineError, ok: bool
) -> None:
    """As for copies, by the size of the file; a bucket that is not there says nothing of its objects."""
    make = downloads(tmp_path)
    path = tmp_path / "j"
    fetched = killed_after_the_delete(path, item, make, lambda task: outcome(task, size_bytes=5, etag="e1"))
    assert fetched == [(1, 5, "e1")]
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "f").write_bytes(body)
    report = run_again(path, make, lambda task: outcome(task, error=error))
    assert report.error is (None if ok else error)
    if ok:
        assert (report.size_bytes, report.etag, report.verified) == (5, "e1", "length only")


@pytest.mark.parametrize("error", [GONE, NotFound("no", code="NoSuchBucket")])
def test_file_of_its_size_does_not_make_an_object_moved(tmp_path: Path, error: S3EngineError) -> None:
    """What no run has put on record was not moved, whatever lies under its name."""
    make = downloads(tmp_path)
    identity = {"operation": "move"}
    Driver(tmp_path / "j", [ObjectInfo("k", 5, "e1")], lambda task: None, make=make, identity=identity).run()
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "f").write_bytes(b"stale")
    assert run_again(tmp_path / "j", make, lambda task: outcome(task, error=error)).error is error


def test_journal_of_the_first_format_is_taken_up(tmp_path: Path) -> None:
    """What it says of files that were stored still counts, and is kept in the new place."""
    file, path = tmp_path / "f", tmp_path / "j"
    file.write_bytes(b"body")

    def moves(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
        return UploadJob(
            items, "b", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB, remove_source=True
        )

    answer = lambda task: outcome(task, size_bytes=4, etag="e1", detail=file_state(file))  # noqa: E731
    driver = Driver(path, [FileSource(str(file), "k")], answer, make=moves, identity={"operation": "move"})
    driver.run_._writer.end = lambda row_id, report: driver.reports.append(report)  # type: ignore[method-assign]
    assert driver.run()
    assert not file.exists()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "UPDATE objects SET etag = made; ALTER TABLE objects DROP COLUMN made; PRAGMA user_version=1"
        )
    assert Journal(path).counts().planned == 1

    def after(task: Task) -> Any:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(4, "e1"))
        return outcome(task, error=GONE)

    report = run_again(path, moves, after)
    assert report.error is None
    assert on_record(path) == [(1, 4, "e1")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
