"""What a store must say before a delete goes out without the ETag of its listing, and what keeps the object."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from s3engine.errors import AccessDenied, InvalidRequest, NotSupported, PreconditionFailed, S3EngineError
from s3engine.jobs.delete import DeleteConditions, DeleteJob
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.transport import HeadResult, ObjectInfo

KEYS = ["a", "b"]
Refusal = Callable[[int, list[tuple[str, str]]], "S3EngineError | None"]


class Store:
    """Deletes what it does not refuse. ``refuses(n, pairs)``: the error of request ``n`` as a whole, from 1 on."""

    def __init__(self, refuses: Refusal, *, head: str = "tag") -> None:
        self.refuses = refuses
        self.head = head
        self.requests: list[list[tuple[str, str]]] = []
        self.gone: list[str] = []

    def __call__(self, task: Task) -> tuple[Any, ...]:
        detail: Any = HeadResult(1, self.head)
        if task[2] == Kind.DELETE:
            self.requests.append(task[5])
            error = self.refuses(len(self.requests), task[5])
            detail = [(key, error) for key, _ in task[5] if error is not None]
            self.gone += [key for key, _ in task[5] if error is None]
        return (task[0], 1, 0.1, 0.2, 1e6, 30.0, 200, "id", 1, "tag", detail, None, "", "")

    def delete(self, conditions: DeleteConditions) -> dict[str, S3EngineError | None]:
        """Delete KEYS as they were listed; the error of each."""
        reports: list[RequestReport] = []
        items = [ObjectInfo(key, 1, "tag") for key in KEYS]
        job = DeleteJob(items, "b", reports.append, conditions=conditions)
        job.start_reading()
        give_up_at = time.monotonic() + 10
        while not job.finished:
            assert time.monotonic() < give_up_at, "the job does not end"
            for task in job.next_tasks(64):
                job.done(task, self(task))
            time.sleep(0.0005)
        assert len(reports) == len(KEYS)
        return {report.key: report.error for report in reports}


LISTED = [(key, "tag") for key in KEYS]
BARE = [(key, "") for key in KEYS]


def whole(status: int, code: str) -> S3EngineError:
    """The answer to a request, not to one of its keys."""
    cls = {400: InvalidRequest, 403: AccessDenied, 501: NotSupported}[status]
    return cls("no", status=status, code=code)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "MalformedXML"), (400, "InvalidArgument"), (403, "AccessDenied"), (501, "")]
)
def test_one_refusal_is_asked_about_again(status: int, code: str) -> None:
    """What is refused once is asked for once more by its ETag; taken then, nothing was ever sent without."""
    store = Store(lambda n, pairs: whole(status, code) if n == 1 else None)
    conditions = DeleteConditions()
    assert store.delete(conditions) == dict.fromkeys(KEYS)
    assert store.requests == [LISTED, LISTED]
    assert not conditions.refused


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "RequestHeaderSectionTooLarge"), (400, "KeyTooLongError"), (400, ""), (403, ""), (403, "Forbidden"),
        (403, "SignatureDoesNotMatch"), (403, "InvalidAccessKeyId"),
    ],
)  # fmt: skip
def test_refusal_for_another_reason_keeps_the_objects(status: int, code: str) -> None:
    """A code that is not about ETags is the error of the keys, and they are not sent without, now or later."""
    store = Store(lambda n, pairs: whole(status, code))
    conditions = DeleteConditions()
    errors = store.delete(conditions)
    assert {getattr(error, "code", None) for error in errors.values()} == {code}
    assert store.requests == [LISTED]
    assert not conditions.refused


def test_two_refusals_that_differ_keep_the_objects() -> None:
    """The second refusal must be the first one again; else it is the error."""
    store = Store(lambda n, pairs: whole(400, "MalformedXML" if n == 1 else "InvalidArgument"))
    conditions = DeleteConditions()
    errors = store.delete(conditions)
    assert {getattr(error, "code", None) for error in errors.values()} == {"InvalidArgument"}
    assert store.requests == [LISTED, LISTED]
    assert not conditions.refused


def test_refusal_of_bare_keys_too_is_not_about_etags() -> None:
    """What is refused without ETags as well was refused for another reason: later keys keep their condition."""
    store = Store(lambda n, pairs: whole(400, "InvalidRequest"))
    conditions = DeleteConditions()
    assert all(isinstance(error, InvalidRequest) for error in store.delete(conditions).values())
    assert store.requests == [LISTED, LISTED, BARE]
    assert not conditions.refused


def test_no_right_to_read_is_never_taken_for_the_stores_way() -> None:
    """AccessDenied to a whole request sends these keys without their ETags the third time, and no others."""
    store = Store(lambda n, pairs: whole(403, "AccessDenied") if pairs[0][1] else None)
    conditions = DeleteConditions()
    assert store.delete(conditions) == dict.fromkeys(KEYS)
    assert store.requests == [LISTED, LISTED, BARE]
    assert not conditions.refused


def test_old_answer_of_head_deletes_nothing() -> None:
    """A HEAD that still gives the listed ETag after a 412 may be a cache's: the object stays, and so does the rule."""
    store = Store(lambda n, pairs: PreconditionFailed("no", code="PreconditionFailed"))
    conditions = DeleteConditions()
    errors = store.delete(conditions)
    assert {type(error) for error in errors.values()} == {PreconditionFailed}
    assert all("--unconditional" in str(error) for error in errors.values())
    assert store.requests == [LISTED]
    assert not store.gone
    assert not conditions.refused
