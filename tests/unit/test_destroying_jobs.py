"""Jobs that destroy: what they do when their input fails, and how they delete only what is still what was listed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import (
    AccessDenied,
    Cancelled,
    InvalidRequest,
    NotFound,
    NotSupported,
    PreconditionFailed,
    S3EngineError,
    ServerFault,
)
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.delete import DeleteConditions, DeleteJob
from s3engine.jobs.upload import UploadJob
from s3engine.pool.messages import Kind, Task, cancelled_error
from s3engine.report import RequestReport
from s3engine.sources import FileSource
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


def broken(items: list[Any], before_failing: Callable[[], object] = lambda: None) -> Iterator[Any]:
    """A listing that fails after ``items``."""
    yield from items
    before_failing()
    raise ServerFault("page 7")


# ---- the input fails


def test_nothing_is_begun_after_the_listing_failed() -> None:
    """Keys that are collected when the listing fails stay, and each is reported as not begun."""
    reports: list[RequestReport] = []
    store = Store(dict.fromkeys("abc", "tag"))
    job = DeleteJob(broken(listed("abc")), "b", reports.append, conditions=DeleteConditions())
    job.start_reading()
    while not job._exhausted:
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
    while not job._exhausted:
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
    while not job._exhausted:
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
    while not job._exhausted:
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


# ---- deletes by ETag


def delete(store: Store, items: list[Any], conditions: DeleteConditions | None) -> dict[str, S3EngineError | None]:
    reports: list[RequestReport] = []
    return run(DeleteJob(items, "b", reports.append, conditions=conditions), store, reports)


def test_what_was_written_again_is_kept() -> None:
    """Where the store heeds ETags an object that has another one by now stays, and its report says so."""
    store = Store({"a": "tag", "b": "newer", "c": "tag"})
    conditions = DeleteConditions()
    errors = delete(store, listed("abcd"), conditions)
    assert store.held == {"b": "newer"}
    assert type(errors.pop("b")) is PreconditionFailed
    assert errors == dict.fromkeys("acd")
    assert conditions.heeded is True
    assert [pair[1] for pair in store.deletes[0]] != ["tag"]


@pytest.mark.parametrize("first", ["newer", ""])
def test_first_key_tells_nothing_false(first: str) -> None:
    """The key that is tried first may be another one by now, or gone: both are told for what they are."""
    held = {"b": "tag"} | ({"a": first} if first else {})
    store = Store(held)
    errors = delete(store, listed("ab"), DeleteConditions())
    assert errors["b"] is None
    assert type(errors["a"]) is (PreconditionFailed if first else type(None))
    assert store.held == ({"a": "newer"} if first else {})


@pytest.mark.parametrize(
    ("heeds", "refusal"),
    [
        (False, None), (True, NotSupported("no", code="NotImplemented")), (True, InvalidRequest("no", status=400)),
        (True, AccessDenied("no right to read", status=403)),
    ],
)  # fmt: skip
def test_store_that_cannot_deletes_all(heeds: bool, refusal: S3EngineError | None) -> None:
    """Where the store does not heed ETags, or refuses them, all keys are deleted, and that is remembered."""
    store = Store(dict.fromkeys("abc", "tag"), heeds=heeds, refusal=refusal)
    conditions = DeleteConditions()
    assert delete(store, listed("abc"), conditions) == dict.fromkeys("abc")
    assert store.held == {}
    assert conditions.heeded is False
    assert sum(etag != "" for pairs in store.deletes for _, etag in pairs) == 1
    store.held["d"] = "tag"
    assert delete(store, listed("d"), conditions) == {"d": None}
    assert store.deletes[-1] == [("d", "")]


def test_error_of_one_key_is_not_taken_for_a_refusal() -> None:
    """What is wrong with the key that is tried is its own error; the next one is tried."""
    store = Store(dict.fromkeys("abc", "tag"))

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.DELETE and "a" in dict(task[5]):
            rest = [pair for pair in task[5] if pair[0] != "a"]
            done = store((*task[:5], rest))
            return outcome(task, detail=[("a", InvalidRequest("archived", code="InvalidObjectState")), *done[10]])
        return store(task)

    reports: list[RequestReport] = []
    conditions = DeleteConditions()
    errors = run(DeleteJob(listed("abc"), "b", reports.append, conditions=conditions), answer, reports)
    assert str(errors["a"]) == "archived"
    assert (errors["b"], errors["c"], conditions.heeded) == (None, None, True)


def test_store_that_does_not_know_its_own_etags() -> None:
    """When the store refuses the ETag that HEAD gives, ETags are of no use there: the object is deleted without."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(1, "tag"))
        failed = [(key, PreconditionFailed("no", code="PreconditionFailed")) for key, etag in task[5] if etag]
        return outcome(task, detail=failed)

    reports: list[RequestReport] = []
    conditions = DeleteConditions()
    errors = run(DeleteJob(listed("abc"), "b", reports.append, conditions=conditions), answer, reports)
    assert errors == dict.fromkeys("abc")
    assert conditions.heeded is False


def test_plain_keys_are_deleted_as_they_are() -> None:
    """Keys without an ETag need no condition, and nothing is tried for them."""
    store = Store(dict.fromkeys("ab", "tag"))
    conditions = DeleteConditions()
    assert delete(store, ["a", "b"], conditions) == dict.fromkeys("ab")
    assert conditions.heeded is None
    assert all(etag == "" for pairs in store.deletes for _, etag in pairs)


def test_many_batches_wait_for_one_answer() -> None:
    """While it is tried whether the store heeds ETags no more than the queue is taken in, and none is lost."""
    keys = [f"k{n}" for n in range(9000)]
    store = Store(dict.fromkeys(keys, "tag"))
    reports: list[RequestReport] = []
    job = DeleteJob([ObjectInfo(key, 1, "tag") for key in keys], "b", reports.append, conditions=DeleteConditions())
    job.start_reading()
    first: list[Task] = []
    while not first:
        first = job.next_tasks(64)
    for _ in range(50):
        assert job.next_tasks(64) == []
        time.sleep(0.001)
    assert job._deleter.held <= 2000
    for task in first:
        job.done(task, store(task))
    assert run_on(job, store, reports) == dict.fromkeys(keys)
    assert store.held == {}


def test_cancel_while_it_is_tried_tells_of_all() -> None:
    """Keys that wait for the trial when the batch is cancelled are reported as not begun."""
    store = Store(dict.fromkeys("abc", "tag"))
    reports: list[RequestReport] = []
    job = DeleteJob(listed("abc"), "b", reports.append, conditions=DeleteConditions())
    job.start_reading()
    sent: list[Task] = []
    while not sent:
        sent = job.next_tasks(64)
    while len(job._queue) + job._deleter.held + len(sent) < 3:
        time.sleep(0.001)
    job.cancel()
    for task in sent:
        job.done(task, store(task))
    assert job.finished
    assert store.held == dict.fromkeys("abc", "tag")
    assert sorted(report.key for report in reports) == ["a", "b", "c"]
    assert all(isinstance(report.error, Cancelled) for report in reports)
