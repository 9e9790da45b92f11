"""Jobs that destroy delete only what is still what was listed."""

from __future__ import annotations

from typing import Any

import pytest

from s3engine.errors import (
    AccessDenied,
    ConfigError,
    InvalidRequest,
    NotSupported,
    PreconditionFailed,
    S3EngineError,
)
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.delete import DeleteConditions, DeleteJob
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.transport import Headers, HeadResult, ObjectInfo
from tests.destroying import Store, listed, outcome, run

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
    assert not conditions.refused
    assert len(store.deletes) == 1


def test_store_that_does_not_look_deletes() -> None:
    """Where the store does not look at ETags all keys are deleted, by one request."""
    store = Store(dict.fromkeys("abc", "newer"), heeds=False)
    assert delete(store, listed("abc"), DeleteConditions()) == dict.fromkeys("abc")
    assert (store.held, len(store.deletes)) == ({}, 1)


@pytest.mark.parametrize(
    "refusal", [NotSupported("no", status=501), InvalidRequest("no", status=400, code="MalformedXML")]
)
def test_store_that_refuses_etags_gets_the_keys_without(refusal: S3EngineError) -> None:
    """A store that refuses ETags twice gets the keys without them, and that is remembered."""
    store = Store(dict.fromkeys("abc", "tag"), refusal=refusal)
    conditions = DeleteConditions()
    assert delete(store, listed("abc"), conditions) == dict.fromkeys("abc")
    assert (store.held, len(store.deletes), conditions.refused) == ({}, 3, True)
    store.held["d"] = "tag"
    assert delete(store, listed("d"), conditions) == {"d": None}
    assert store.deletes[3:] == [[("d", "")]]


def test_no_right_to_read_does_not_switch_conditions_off() -> None:
    """Keys whose ETag may not be looked at are deleted without it; others of the bucket keep their condition."""
    store = Store(dict.fromkeys("abc", "tag"), refusal=AccessDenied("no right to read", code="AccessDenied"))
    conditions = DeleteConditions()
    assert delete(store, listed("abc"), conditions) == dict.fromkeys("abc")
    assert (store.held, conditions.refused) == ({}, False)


def test_error_of_one_key_is_not_taken_for_a_refusal() -> None:
    """What is wrong with one key is its own error, and no reason to leave conditions out."""
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
    assert (errors["b"], errors["c"], conditions.refused) == (None, None, False)


def test_key_that_cannot_be_costs_no_other_its_deletion() -> None:
    """An empty key and one that is not Unicode fail by themselves; the others of their request are deleted."""
    reports: list[RequestReport] = []
    store = Store(dict.fromkeys("abc", "tag"))
    errors = run(DeleteJob(["a", "", "b", "\udcff", "c"], "b", reports.append), store, reports)
    assert {key for key, error in errors.items() if error is None} == {"a", "b", "c"}
    assert type(errors[""]) is ConfigError
    assert "not Unicode" in str(errors["\udcff"])
    assert not store.held


def test_plain_keys_are_deleted_as_they_are() -> None:
    """Keys without an ETag need no condition, and nothing is tried for them."""
    store = Store(dict.fromkeys("ab", "tag"))
    conditions = DeleteConditions()
    assert delete(store, ["a", "b"], conditions) == dict.fromkeys("ab")
    assert not conditions.refused
    assert all(etag == "" for pairs in store.deletes for _, etag in pairs)


# ---- moves of what was given without an ETag


class CopyingStore:
    """Sources ``s/...`` and copies. ``etags``: what HEAD says of the source, one after the other."""

    def __init__(self, *etags: str, size_bytes: int = 1, headers: Headers = ()) -> None:
        self.etags = list(etags)
        self.size_bytes = size_bytes
        self.headers = headers
        self.tasks: list[Task] = []

    def __call__(self, task: Task) -> tuple[Any, ...]:
        self.tasks.append(task)
        if task[2] == Kind.HEAD and task[3].startswith("s/"):
            etag = self.etags.pop(0) if len(self.etags) > 1 else self.etags[0]
            return outcome(task, detail=HeadResult(self.size_bytes, etag, headers=self.headers))
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(self.size_bytes, "copied", headers=self.headers))
        if task[2] == Kind.CREATE:
            return outcome(task, detail="upload")
        return outcome(task, etag="copied", detail=() if task[2] == Kind.DELETE else None)

    def of(self, kind: int) -> list[Any]:
        """Arguments of the tasks of this kind."""
        return [task[5] for task in self.tasks if task[2] == kind]


def move(store: CopyingStore, given: ObjectInfo, *, moving: bool = True) -> S3EngineError | None:
    reports: list[RequestReport] = []
    job = CopyJob(
        [given], "b", "c", lambda info: "to/" + info.key, reports.append, template=None, threshold_bytes=100,
        part_bytes=100, move=moving, conditions=DeleteConditions() if moving else None, verify=True,
        ask_checksums=True,
    )  # fmt: skip
    return run(job, store, reports)[given.key]


@pytest.mark.parametrize("headers", [(), (("x-amz-checksum-crc32", "AAAAAA=="),)])
def test_move_asks_for_an_etag_that_is_not_known(headers: Headers) -> None:
    """The copy and the delete are held to the object that HEAD found, whether the store shows checksums or not."""
    store = CopyingStore("tag", headers=headers)
    assert move(store, ObjectInfo("s/k", 1)) is None
    assert store.of(Kind.COPY) == [("s/k", "tag", None)]
    assert store.of(Kind.DELETE) == [[("s/k", "tag")]]


def test_move_of_a_listed_object_asks_nothing() -> None:
    """Where the input tells the ETag no HEAD goes ahead of the copy."""
    store = CopyingStore("tag")
    assert move(store, ObjectInfo("s/k", 1, "tag")) is None
    assert store.tasks[0][2] == Kind.COPY


def test_source_without_any_etag_is_kept() -> None:
    """Where even the store does not tell it nothing is deleted, and the report names the way out."""
    store = CopyingStore("")
    error = move(store, ObjectInfo("s/k", 1))
    assert isinstance(error, PreconditionFailed)
    assert "copied to s3://c/to/s/k; its source was not deleted" in str(error)
    assert "--unconditional" in str(error)
    assert store.of(Kind.DELETE) == []


@pytest.mark.parametrize("moving", [False, True])
def test_parts_of_a_copy_are_of_one_object(moving: bool) -> None:
    """Each part asks for the ETag that HEAD found; metadata come from the same HEAD."""
    store = CopyingStore("tag", size_bytes=250, headers=(("content-type", "text/x"),))
    assert move(store, ObjectInfo("s/k", 250), moving=moving) is None
    assert [arg[5] for arg in store.of(Kind.PART_COPY)] == ["tag"] * 3
    assert store.of(Kind.CREATE) == [(("content-type", "text/x"),)]
    assert store.of(Kind.DELETE) == ([[("s/k", "tag")]] if moving else [])


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("etag", ["", "tag"])
def test_parts_from_a_store_that_heeds_no_condition_are_looked_after(moving: bool, etag: str) -> None:
    """A source that is another one once its parts are copied fails, and a move keeps it."""
    store = CopyingStore("tag", "newer", size_bytes=250, headers=(("content-type", "text/x"),))
    error = move(store, ObjectInfo("s/k", 250, etag), moving=moving)
    assert isinstance(error, PreconditionFailed)
    assert "written again" in str(error)
    assert store.of(Kind.DELETE) == []
