"""Jobs that destroy: what they do when their input fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from s3engine.errors import Cancelled, S3EngineError, ServerFault
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.delete import DeleteConditions, DeleteJob
from s3engine.jobs.upload import UploadJob
from s3engine.pool.messages import Kind, Task, cancelled_error
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from tests.destroying import Answer, Store, listed, outcome, run


def broken(items: list[Any], before_failing: Callable[[], object] = lambda: None) -> Iterator[Any]:
    """A listing that fails after ``items``."""
    yield from items
    before_failing()
    raise ServerFault("page 7")


def test_nothing_is_begun_after_the_listing_failed() -> None:
    """Keys that are collected when the listing fails stay, and each is reported as not begun."""
    reports: list[RequestReport] = []
    store = Store(dict.fromkeys("abc", "tag"))
    job = DeleteJob(broken(listed("abc")), "b", reports.append, conditions=DeleteConditions())
    job.start_reading()
    while not job.reader.exhausted:
        time.sleep(0.001)
    errors = run_on(job, store, reports)
    assert store.deletes == []
    assert {key: type(error) for key, error in errors.items()} == dict.fromkeys("abc", Cancelled)
    assert str(errors["a"]).startswith("not begun: the listing")
    assert isinstance(job.failure, ServerFault)
    assert job.stopped


def run_on(job: Job, answer: Answer, reports: list[RequestReport]) -> dict[str, S3EngineError | None]:
    """As run, for a job that reads already."""
    job.start_reading = lambda: None  # type: ignore[method-assign]
    return run(job, answer, reports)


def test_what_workers_have_is_waited_for() -> None:
    """Deletes under way when the listing fails are reported with what became of them."""
    reports: list[RequestReport] = []
    store = Store({"a": "tag", "b": "tag"})
    sent: list[Task] = []

    def wait_until_sent() -> None:
        while not sent:
            time.sleep(0.001)

    job = DeleteJob(broken(listed("a"), wait_until_sent), "b", reports.append)
    job.start_reading()
    while not sent:
        sent += job.next_tasks(64)
    while not job.reader.exhausted:
        time.sleep(0.001)
    assert job.next_tasks(64) == []
    assert not job.finished
    job.done(sent[0], store(sent[0]))
    assert job.finished
    assert [(report.key, report.error) for report in reports] == [("a", None)]


def test_copy_that_is_whole_keeps_its_source_once_the_listing_failed() -> None:
    """A move whose copy ends after the listing failed deletes no source, and says what is where."""
    reports: list[RequestReport] = []
    sent: list[Task] = []

    def wait_until_sent() -> None:
        while not sent:
            time.sleep(0.001)

    job = CopyJob(
        broken(listed("a"), wait_until_sent), "b", "c", lambda info: "to/" + info.key, reports.append,
        template=None, threshold_bytes=100, part_bytes=10, move=True,
    )  # fmt: skip
    job.start_reading()
    while not sent:
        sent += job.next_tasks(64)
    while not job.reader.exhausted:
        time.sleep(0.001)
    assert job.next_tasks(64) == []
    job.done(sent[0], outcome(sent[0]))
    assert job.next_tasks(64) == []
    assert job.finished
    (report,) = reports
    assert isinstance(report.error, Cancelled)
    assert str(report.error).startswith("copied to s3://c/to/a; its source was not deleted: not begun: the listing")


def test_upload_under_way_keeps_its_file_once_the_input_failed(tmp_path: Path) -> None:
    """A move to the store removes no file after its input failed."""
    file = tmp_path / "f"
    file.write_bytes(b"x")
    reports: list[RequestReport] = []
    sent: list[Task] = []

    def wait_until_sent() -> None:
        while not sent:
            time.sleep(0.001)

    job = UploadJob(
        broken([FileSource(str(file), "k")], wait_until_sent), "b", reports.append, template=None,
        threshold_bytes=100, part_bytes=10, remove_source=True,
    )  # fmt: skip
    job.start_reading()
    while not sent:
        sent += job.next_tasks(64)
    while not job.reader.exhausted:
        time.sleep(0.001)
    job.next_tasks(64)
    job.done(sent[0], outcome(sent[0]))
    assert file.exists()
    assert isinstance(reports[0].error, Cancelled)


def test_what_destroys_nothing_goes_on() -> None:
    """A copy does what was listed before the listing failed."""
    reports: list[RequestReport] = []
    job = CopyJob(
        broken(listed("abc")), "b", "c", lambda info: info.key, reports.append, template=None, threshold_bytes=100,
        part_bytes=10,
    )  # fmt: skip
    assert run(job, outcome, reports) == dict.fromkeys("abc")
    assert isinstance(job.failure, ServerFault)


def test_request_in_flight_that_is_given_up_is_not_called_undone() -> None:
    """After the grace of a cancel nobody knows whether the store did what was under way; the error says so."""
    assert "not known" in str(cancelled_error(Kind.DELETE, "", begun=True))
    assert "not known" in str(cancelled_error(Kind.PUT_FILE, "k", begun=True))
    assert "not known" not in str(cancelled_error(Kind.PUT_FILE, "k", begun=False))
    assert "not known" not in str(cancelled_error(Kind.GET_FILE, "k", begun=True))
