"""The journal: the same call again does what is not done, and nothing else."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import AccessDenied, ConfigError, ConnectionLost, DuplicateKey, StallTimeout
from s3engine.jobs.download import DownloadJob
from s3engine.journal import Journal
from s3engine.operations import ObjectHeaders
from s3engine.pool.messages import Kind
from s3engine.sources import BytesSource, FileSource, Rejected
from s3engine.transport import ObjectInfo
from tests.journal_inputs import Positioned, files, keys, never
from tests.journaled import Driver, outcome

MIB = 1024 * 1024


def test_second_run_does_nothing(tmp_path: Path) -> None:
    """A job that is done is done: its input is not even opened."""
    path = tmp_path / "j"
    assert len(Driver(path, files(100)).run()) == 100

    def unread() -> Iterator[Any]:
        raise AssertionError("the input was read")
        yield

    assert Driver(path, unread(), never).run() == []
    counts = Journal(path).counts()
    assert (counts.done, counts.failed, counts.planned, counts.finished) == (100, 0, 0, True)


def test_what_was_under_way_is_done_by_the_next_run(tmp_path: Path) -> None:
    """After a crash the same call does what has no record of being done, and nothing that has one."""
    path = tmp_path / "j"
    first = Driver(path, files(100), lambda task: None if task[3] in ("k7", "k70") else outcome(task))
    done = keys(first.run())
    assert len(done) == 98
    second = Driver(path, files(100)).run()
    assert keys(second) == ["k7", "k70"]
    assert sorted(report.seq for report in second) == [0, 1]


def test_walk_that_was_cut_off_is_walked_again(tmp_path: Path) -> None:
    """An input without marks that broke off is read again; what the journal knows is not done again."""

    def broken() -> Iterator[FileSource]:
        yield from files(50)
        raise OSError("the disk is gone")

    path = tmp_path / "j"
    with pytest.raises(OSError, match="the disk is gone"):
        Driver(path, broken()).run()
    assert Journal(path).counts()[:3] == (50, 0, 0)
    assert not Journal(path).counts().input_read
    assert keys(Driver(path, files(80)).run()) == sorted(f"k{n}" for n in range(50, 80))
    assert Driver(path, files(0), never).run() == []


def test_positioned_input_goes_on_where_it_was(tmp_path: Path) -> None:
    """What an input with marks gave before is not read again."""
    path = tmp_path / "j"
    first = Positioned(10_000, wait_at=5000)
    done = len(Driver(path, first, lambda task: None if task[3] == "k20" else outcome(task)).run())
    first.go_on.set()
    assert done == 4999
    second = Positioned(10_000)
    reports = Driver(path, second).run()
    counts = Journal(path).counts()
    assert (counts.done, counts.planned, counts.finished) == (10_000, 0, True)
    assert "k20" in keys(reports)
    assert second.read == list(range(5000, 10_000))


def test_input_that_repeats_some_after_a_mark_is_not_done_twice(tmp_path: Path) -> None:
    """A listing may give a page again: what is known of it is left out."""

    class Repeating(Positioned):
        def marked(self, after: str = "") -> Iterator[tuple[FileSource, str]]:
            return super().marked(str(max(0, int(after) - 500)) if after else "")

    path = tmp_path / "j"
    Driver(path, Repeating(5000)).run(crash_after=10)
    Driver(path, Repeating(5000)).run()
    assert Journal(path).counts()[:3] == (5000, 0, 0)


def test_failed_objects_are_tried_again(tmp_path: Path) -> None:
    """What failed is kept with class, message and attempts, and is done by the same call again."""
    path = tmp_path / "j"
    lost = ConnectionLost("reset")
    Driver(path, files(10), lambda task: outcome(task, error=lost if task[3] in ("k3", "k4") else None)).run()
    journal = Journal(path)
    assert [(one.name, one.key, one.error, one.message, one.attempts) for one in journal.failed()] == [
        ("/f3", "k3", "ConnectionLost", "reset", 1), ("/f4", "k4", "ConnectionLost", "reset", 1),
    ]  # fmt: skip
    assert journal.counts().by_error == {"ConnectionLost": 2}
    assert keys(Driver(path, files(10)).run()) == ["k3", "k4"]
    assert not list(journal.failed())


def test_only_failed_of_a_class(tmp_path: Path) -> None:
    """A run for one class of error, its subclasses included, does those and reads no input."""
    path = tmp_path / "j"
    errors = {"k1": StallTimeout("slow"), "k2": AccessDenied("no"), "k3": None}
    Driver(path, files(5), lambda task: outcome(task, error=errors.get(task[3]))).run()
    again = Journal(path).only_failed("NetworkError")
    assert keys(Driver(again, iter(()), outcome).run()) == ["k1"]
    assert [one.key for one in Journal(path).failed()] == ["k2"]
    with pytest.raises(ConfigError, match="'Nonsense' is no class of error"):
        Journal(path).only_failed("Nonsense")


def test_of_two_with_one_key_the_first_stands_in_the_next_run_too(tmp_path: Path) -> None:
    """A duplicate is not uploaded over the first one because the job was run again."""
    path = tmp_path / "j"
    twice = [FileSource("/first", "k"), FileSource("/second", "k")]
    for _ in range(2):
        reports = Driver(path, twice).run()
        assert [type(report.error) for report in reports if not report.ok] == [DuplicateKey]
    assert [one.name for one in Journal(path).failed()] == ["/second"]

    def cut_off() -> Iterator[FileSource]:
        yield twice[0]
        raise OSError

    path = tmp_path / "other"
    with pytest.raises(OSError):  # noqa: PT011  (it is made up here)
        Driver(path, cut_off()).run()
    (report,) = Driver(path, twice, never).run()
    assert isinstance(report.error, DuplicateKey)


def test_rejected_items_are_on_record(tmp_path: Path) -> None:
    """What the input itself could not make sense of is reported by each run, until the input is mended."""
    path = tmp_path / "j"
    for _ in range(2):
        reports = Driver(path, [Rejected("line 3", ConfigError("no key")), FileSource("/f", "k")]).run()
        assert [str(report.error) for report in reports if not report.ok] == ["no key"]
    assert [(one.name, one.error) for one in Journal(path).failed()] == [("line 3", "ConfigError")]


def test_bodies_in_memory_are_asked_for_again(tmp_path: Path) -> None:
    """A body in memory is not in the journal: it comes out of the input again, those that are done are left out."""
    path = tmp_path / "j"
    sources = [BytesSource(b"1", "a"), FileSource("/f", "b"), BytesSource(b"2", "c")]
    Driver(path, sources, lambda task: None if task[3] != "a" else outcome(task)).run()
    assert keys(Driver(path, sources).run()) == ["b", "c"]
    assert Journal(path).counts()[:3] == (3, 0, 0)


def test_names_come_back_as_they_were(tmp_path: Path) -> None:
    """Keys and paths of any kind, and headers of a single source, survive the journal."""
    headers = ObjectHeaders(content_type="a/b", metadata={"x": "ü".encode().hex()})
    sources = [
        FileSource("/a\nb", "a\x1b\0b"), FileSource(os.fsdecode(b"/\xff"), "k2"), FileSource("/é", "é", headers),
    ]  # fmt: skip
    path = tmp_path / "j"
    Driver(path, sources, lambda task: None).run()
    second = Driver(path, [])
    second.run()
    assert [(task[3], task[5]) for task in second.tasks] == [
        ("a\x1b\0b", ("/a\nb", None)), ("k2", (os.fsdecode(b"/\xff"), None)), ("é", ("/é", headers.as_headers())),
    ]  # fmt: skip


def test_cancelled_objects_are_planned_still(tmp_path: Path) -> None:
    """What was interrupted has not failed."""
    path = tmp_path / "j"
    driver = Driver(path, files(100))
    driver.job.start_reading()
    while len(driver.job.reader.queue) < 100:
        pass
    driver.job.cancel()
    driver.run_.abandon()
    driver.job.turned()
    counts = Journal(path).counts()
    assert (counts.done, counts.failed, counts.planned) == (0, 0, 100)
    assert len(driver.reports) == 100


def test_no_more_is_begun_than_may_be_done_again(tmp_path: Path) -> None:
    """While nothing can be recorded, workers get no more tasks than were allowed in all; then the job goes on."""
    driver = Driver(tmp_path / "j", [BytesSource(b"x", f"k{n}") for n in range(20)], at_most=4)
    driver.job.start_reading()
    limit = time.monotonic() + 10
    while len(driver.job.reader.queue) < 20 and time.monotonic() < limit:
        time.sleep(0.001)
    begun = 0
    with driver.run_._writer.lock:
        for _ in range(50):
            tasks = driver.job.next_large(64) + driver.job.next_tasks(64)
            for task in tasks:
                driver.job.done(task, outcome(task))
            begun += len(tasks)
            driver.job.turned()
            time.sleep(0.001)
    assert begun == 4
    driver.job.start_reading = lambda: None  # type: ignore[method-assign]
    assert len(driver.run()) == 20
    assert Journal(tmp_path / "j").counts().done == 20


def test_what_a_killed_run_left_of_a_small_download_is_removed(tmp_path: Path) -> None:
    """The next run removes the temporary files of its own journal's killed runs, and no others."""

    def downloads(emit: Any, items: Any) -> Any:
        return DownloadJob(
            items, "b", str(tmp_path / "out"), lambda info: info.key, emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB
        )  # fmt: skip

    first = Driver(tmp_path / "j", ["a", "d/b"], lambda task: None, make=downloads, identity={"operation": "download"})
    first.run(crash_after=99)
    left = [tmp_path / "out" / "a", tmp_path / "out" / "d" / "b"]
    left = [path.parent / f".s3engine-{task[5][2]}.part" for path, task in zip(left, first.tasks, strict=True)]
    with closing(sqlite3.connect(tmp_path / "j")) as connection, connection:  # killed: its end is not on record
        connection.execute("UPDATE runs SET ended = NULL")
    (tmp_path / "out" / "d").mkdir(parents=True)
    other = tmp_path / "out" / ".s3engine-other-1.part"
    for path in (*left, other):
        path.write_bytes(b"half")
    second = Driver(tmp_path / "j", ["a", "d/b"], make=downloads, identity={"operation": "download"})
    assert len(second.run()) == 2
    assert [path.exists() for path in (*left, other)] == [False, False, True]
    assert not {task[5][2] for task in first.tasks} & {task[5][2] for task in second.tasks}


def test_little_of_a_large_object_is_in_flight_at_a_time(tmp_path: Path) -> None:
    """A thirty-second of its parts, at least four; the next object is begun meanwhile."""

    def downloads(emit: Any, items: Any) -> Any:
        return DownloadJob(
            items, "b", str(tmp_path / "out"), lambda info: info.key, emit, threshold_bytes=MIB, part_bytes=MIB
        )  # fmt: skip

    objects = [ObjectInfo("a", 256 * MIB, "e1"), ObjectInfo("b", 10 * MIB, "e2"), ObjectInfo("c", 10 * MIB, "e3")]
    driver = Driver(tmp_path / "j", objects, lambda task: None, make=downloads, identity={"operation": "download"})
    driver.run(crash_after=99)
    assert Counter(task[3] for task in driver.tasks if task[2] == Kind.GET_PART) == {"a": 8, "b": 4, "c": 4}
