"""The journal of large uploads, and of moves: another run goes on, or begins anew and leaves no parts behind."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import (
    AccessDenied,
    ConnectionLost,
    InvalidRequest,
    NotFound,
    NotSupported,
    S3EngineError,
    SourceError,
)
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.upload import UploadJob
from s3engine.journal import Journal
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from s3engine.transport import HeadResult, ObjectInfo
from tests.helpers import eventually, file_state
from tests.journaled import MIB, Driver, outcome

SIZE = 40 * MIB  # five parts


class Store:
    """What is behind the tasks of uploads in parts."""

    def __init__(self) -> None:
        self.mtime_ns = 1
        self.uploads: dict[str, dict[int, tuple[str, int]]] = {}
        self.objects: dict[str, HeadResult] = {}
        self.sent: list[int] = []
        self.silent_after = 10**9
        self.error: S3EngineError | None = None
        self.deaf_to: set[int] = set()

    def __call__(self, task: Task) -> tuple[Any, ...] | None:
        kind, arg = task[2], task[5]
        if kind in self.deaf_to:
            return None
        if kind == Kind.PUT_FILE:
            error = self.error if isinstance(self.error, SourceError) else None
            return outcome(task, error=error or NeedsParts("large", size_bytes=SIZE, mtime_ns=self.mtime_ns))
        if kind == Kind.CREATE:
            upload_id = f"upload-{len(self.uploads)}-{task[3]}"
            self.uploads[upload_id] = {}
            return outcome(task, detail=upload_id)
        if kind == Kind.PART:
            if len(self.sent) >= self.silent_after:
                return None if self.error is None else outcome(task, error=self.error)
            self.sent.append(arg[1])
            etag = hashlib.md5(bytes([arg[1]])).hexdigest()
            self.uploads[arg[0]][arg[1]] = (etag, task[4])
            return outcome(task, etag=etag, size_bytes=task[4], checksum=f"crc32:{arg[1]}")
        if kind == Kind.LIST_PARTS:
            if arg[0] not in self.uploads:
                return outcome(task, error=NotFound("gone", code="NoSuchUpload"))
            listed = [(number, *part, "") for number, part in sorted(self.uploads[arg[0]].items())]
            return outcome(task, detail=(listed, ""))
        if kind == Kind.ABORT:
            if self.uploads.pop(arg, None) is None:
                return outcome(task, error=NotFound("gone", code="NoSuchUpload"))
            return outcome(task)
        if kind == Kind.HEAD:
            found = self.objects.get(task[3])
            return outcome(task, error=NotFound("no")) if found is None else outcome(task, detail=found)
        assert kind == Kind.COMPLETE, kind
        parts = self.uploads.pop(arg[0])
        assert [part[:2] for part in arg[1]] == [(number, parts[number][0]) for number in range(1, 6)]
        joined = b"".join(bytes.fromhex(etag) for etag, _ in (parts[number] for number in range(1, 6)))
        self.objects[task[3]] = HeadResult(SIZE, f"{hashlib.md5(joined).hexdigest()}-5")
        return outcome(task, etag=self.objects[task[3]].etag)


SOURCE = [FileSource("/f", "k")]


def crashed(path: Path, store: Store, after: int = 3) -> None:
    """A run that is gone after so many parts."""
    store.silent_after = after
    assert Driver(path, SOURCE, store).run() == []
    store.silent_after = 10**9


def test_upload_goes_on_with_the_parts_that_are_missing(tmp_path: Path) -> None:
    """Parts that are on record and at the store are not sent again; nothing is created twice."""
    store = Store()
    crashed(tmp_path / "j", store)
    assert sorted(store.sent) == [1, 2, 3]
    second = Driver(tmp_path / "j", SOURCE, store)
    (report,) = second.run()
    assert report.ok
    assert report.retries == 0
    assert sorted(store.sent) == [1, 2, 3, 4, 5]
    assert Counter(task[2] for task in second.tasks)[Kind.CREATE] == 0
    assert list(store.objects) == ["k"]
    assert not store.uploads
    assert Driver(tmp_path / "j", SOURCE, store).run() == []


@pytest.mark.parametrize("change", ["source", "etag", "size", "lost part"])
def test_upload_begins_anew_where_something_differs(tmp_path: Path, change: str) -> None:
    """A source that was written to, or a store that has other parts: the old upload is aborted, all is sent again."""
    store = Store()
    crashed(tmp_path / "j", store)
    (parts,) = store.uploads.values()
    etag, size = parts[2]
    if change == "source":
        store.mtime_ns = 2
    elif change == "lost part":
        del parts[2]
    else:
        parts[2] = ("0" * 32, size) if change == "etag" else (etag, size - 1)
    (report,) = Driver(tmp_path / "j", SOURCE, store).run()
    assert report.ok
    assert len(store.sent) == 3 + 5
    assert not store.uploads


@pytest.mark.parametrize("error", [AccessDenied("no right to list"), NotSupported("no such request")])
def test_upload_goes_on_where_its_parts_cannot_be_listed(tmp_path: Path, error: S3EngineError) -> None:
    """It is not stuck for ever: the parts on record count, and Complete names each by its ETag."""
    store = Store()
    crashed(tmp_path / "j", store)

    def answer(task: Task) -> tuple[Any, ...] | None:
        return outcome(task, error=error) if task[2] == Kind.LIST_PARTS else store(task)

    (report,) = Driver(tmp_path / "j", SOURCE, answer).run()
    assert report.ok
    assert sorted(store.sent) == [1, 2, 3, 4, 5]


def test_upload_that_somebody_aborted_begins_anew(tmp_path: Path) -> None:
    """An upload that is gone is no error."""
    store = Store()
    crashed(tmp_path / "j", store)
    store.uploads.clear()
    (report,) = Driver(tmp_path / "j", SOURCE, store).run()
    assert report.ok
    assert len(store.sent) == 3 + 5


def test_upload_that_was_completed_before_the_crash_is_done(tmp_path: Path) -> None:
    """The answer to Complete was lost: the object is known by its ETag, and nothing is sent again."""
    store = Store()
    store.deaf_to = {Kind.COMPLETE}
    assert Driver(tmp_path / "j", SOURCE, store).run() == []
    store.deaf_to = set()
    ((upload_id, parts),) = store.uploads.items()
    store((0, 0, Kind.COMPLETE, "k", 0, (upload_id, [(number, parts[number][0]) for number in range(1, 6)])))
    (report,) = Driver(tmp_path / "j", SOURCE, store).run()
    assert report.ok
    assert report.etag == store.objects["k"].etag
    assert len(store.sent) == 5

    store.objects["k"] = HeadResult(SIZE, "f" * 32 + "-5")  # somebody else's object is not taken for it
    other = tmp_path / "other"
    store.deaf_to = {Kind.COMPLETE}
    Driver(other, SOURCE, store).run()
    store.deaf_to = set()
    store.uploads.clear()
    Driver(other, SOURCE, store).run()
    assert len(store.sent) == 5 + 5 + 5


@pytest.mark.parametrize(("error", "kept"), [(ConnectionLost("reset"), True), (InvalidRequest("no"), False)])
def test_failed_upload_is_kept_for_another_run_only_where_one_can_help(
    tmp_path: Path, error: S3EngineError, kept: bool
) -> None:
    """After a failure of the network the parts stay, after a final one they are aborted; both are tried again."""
    store = Store()
    store.silent_after, store.error = 3, error
    (report,) = Driver(tmp_path / "j", SOURCE, store).run()
    assert report.error is error
    assert len(store.uploads) == kept
    store.silent_after, store.error = 10**9, None
    (report,) = Driver(tmp_path / "j", SOURCE, store).run()
    assert report.ok
    assert len(store.sent) == (5 if kept else 8)
    assert not store.uploads


def test_upload_whose_source_is_gone_is_aborted(tmp_path: Path) -> None:
    """What nobody can go on with is not left at the store."""
    store = Store()
    crashed(tmp_path / "j", store)
    store.error = SourceError("gone")
    (report,) = Driver(tmp_path / "j", SOURCE, store).run()
    assert not report.ok
    assert not store.uploads


def test_abort_that_did_not_happen_is_made_up_for(tmp_path: Path) -> None:
    """An upload that was to be aborted when the parent died is aborted by the next run, though all else is done."""
    store = Store()
    crashed(tmp_path / "j", store)
    store.mtime_ns = 2
    store.deaf_to = {Kind.ABORT}
    Driver(tmp_path / "j", SOURCE, store).run(crash_after=1)
    assert len(store.uploads) == 1
    store.deaf_to = set()
    Driver(tmp_path / "j", SOURCE, store).run()
    assert not store.uploads
    assert Journal(tmp_path / "j").counts().done == 1


def moves(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> UploadJob:
    """A move of files."""
    return UploadJob(
        items, "b", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB, remove_source=True
    )


def test_source_is_removed_when_it_is_on_record_that_it_is_stored(tmp_path: Path) -> None:
    """A crash right after the removal costs nothing: the next run finds the object and counts it as done."""
    path = tmp_path / "f"
    path.write_bytes(b"body")
    stored = HeadResult(4, "e1")

    def answer(task: Task) -> tuple[Any, ...] | None:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=stored)
        assert task[2] == Kind.PUT_FILE
        if not path.exists():
            return outcome(task, error=SourceError("gone"))
        return outcome(task, size_bytes=4, etag="e1", detail=file_state(path))

    driver = Driver(tmp_path / "j", [FileSource(str(path), "k")], answer, make=moves)
    driver.job.start_reading()
    eventually(lambda: bool(driver.job.reader.queue))
    (task,) = driver.job.next_tasks(1)
    given = answer(task)
    assert given is not None
    driver.job.done(task, given)
    assert path.exists(), "removed before it was on record"
    driver.run_._emit = lambda report: None
    driver.run_._writer.end = lambda row_id, report: None  # type: ignore[method-assign]  # the crash: no report
    eventually(lambda: bool(driver.run_._writer.released))
    driver.job.turned()
    assert not path.exists()
    driver.crash()
    (report,) = Driver(tmp_path / "j", [], answer, make=moves).run()
    assert report.ok
    assert (report.size_bytes, report.etag, report.verified) == (4, "e1", "length only")
    assert Journal(tmp_path / "j").counts().done == 1


def test_source_that_is_gone_with_another_object_in_its_place_has_failed(tmp_path: Path) -> None:
    """Only the object that was stored proves that the source was."""
    path = tmp_path / "f"
    path.write_bytes(b"body")
    with_record = Driver(tmp_path / "j", [FileSource(str(path), "k")], lambda task: None, make=moves)
    with_record.run()
    path.unlink()
    gone = SourceError("gone")
    (report,) = Driver(tmp_path / "j", [], lambda task: outcome(task, error=gone), make=moves).run()
    assert report.error is gone


@pytest.mark.parametrize(("etag", "pinned"), [("e1", True), ("", True), ("e1", False)])
def test_copy_goes_on_only_with_parts_of_what_the_source_is_now(tmp_path: Path, etag: str, pinned: bool) -> None:
    """Parts that were pinned to no ETag may be of another object than is there by now: all are copied anew."""

    def make(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> CopyJob:
        return CopyJob(
            items, "a", "b", lambda info: "t", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB,
            pinned=pinned,
        )  # fmt: skip

    copied: list[int] = []
    store = Store()
    store.silent_after = 3

    def answer(task: Task) -> tuple[Any, ...] | None:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(SIZE, etag))
        if task[2] != Kind.PART_COPY:
            return store(task)
        if len(copied) == store.silent_after:
            return None
        number = task[5][1]
        copied.append(number)
        store.uploads[task[5][0]][number] = (hashlib.md5(bytes([number])).hexdigest(), task[4])
        return outcome(task, etag=store.uploads[task[5][0]][number][0], size_bytes=task[4])

    source, identity = [ObjectInfo("k", SIZE, etag)], {"operation": "copy"}
    assert Driver(tmp_path / "j", source, answer, make=make, identity=identity).run() == []
    store.silent_after = 10**9
    (report,) = Driver(tmp_path / "j", source, answer, make=make, identity=identity).run()
    assert report.ok
    assert len(copied) == (5 if etag and pinned else 3 + 5)
    assert not store.uploads
