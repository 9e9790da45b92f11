"""A move with a policy for what exists, after a crash: a target that is one's own is no reason to leave a source."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from s3engine.decided import Decided
from s3engine.errors import NotFound, SourceChanged, SourceError, TransferError
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.upload import UploadJob
from s3engine.journal import Journal
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.reading import checksum_of_file
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from s3engine.stored import combined_etag
from s3engine.transport import Headers, HeadResult, ObjectInfo
from tests.helpers import eventually
from tests.journaled import MIB, Driver, Make, outcome

BODY = b"hello"
MD5 = hashlib.md5(BODY).hexdigest()


class Store:
    """What HEAD tells of objects by key; what was deleted; the number of each kind of task."""

    def __init__(self, **objects: HeadResult) -> None:
        self.objects = objects
        self.deleted: list[tuple[str, str]] = []
        self.kinds: list[int] = []

    def __call__(self, task: Task) -> tuple[Any, ...] | None:
        kind, key, arg = task[2], task[3], task[5]
        self.kinds.append(kind)
        if kind == Kind.HEAD:
            found = self.objects.get(key)
            return outcome(task, error=NotFound("no")) if found is None else outcome(task, detail=found)
        if kind == Kind.READ_FILE:
            path, algorithm, part_bytes = arg
            return outcome(task, detail=checksum_of_file(path, algorithm, part_bytes, lambda: False))
        if kind == Kind.DELETE:
            self.deleted += arg
            return outcome(task)
        return None  # a transfer whose answer never comes


def head(body: bytes = BODY, *, etag: str | None = None, headers: Headers = ()) -> HeadResult:
    return HeadResult(len(body), hashlib.md5(body).hexdigest() if etag is None else etag, headers=headers)


def made(job: Callable[..., Job], *, exists: bool) -> Make:
    """The job, with what an ``Existing`` would decide."""

    def make(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
        return job(emit, (Decided(item, skip="exists" if exists else "") for item in items))

    return make


def killed_and_again(path: Path, source: Any, job: Callable[..., Job], store: Store) -> RequestReport:
    """The report of a run after one that was killed while the transfer was under way."""
    identity = {"operation": "move"}
    assert Driver(path, [source], lambda task: None, make=made(job, exists=False), identity=identity).run() == []
    (report,) = Driver(path, [source], store, make=made(job, exists=True), identity=identity).run()
    return report


def upload(emit: Any, items: Any) -> Job:
    return UploadJob(items, "b", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB, remove_source=True)


def copy(emit: Any, items: Any) -> Job:
    return CopyJob(
        items, "a", "b", lambda info: "t", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB, move=True
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(BODY)
    return path


KEPT = TransferError, "nothing tells whether an earlier run"


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (head(), None),
        (head(b"other"), "exists"),
        (head(b"larger than it"), "exists"),
        (head(etag="no-md5"), KEPT),
        (head(etag="0" * 32 + "-3"), KEPT),
        (head(headers=(("x-amz-server-side-encryption", "aws:kms"),)), KEPT),
    ],
    ids=["same bytes", "other bytes", "other size", "no MD5", "parts of what size", "encrypted"],
)
def test_file_that_was_sent_is_removed(tmp_path: Path, file: Path, found: HeadResult, wrong: Any) -> None:
    """The target has the bytes of the file: the move goes on. It has others: it stays. Nobody knows: told as failed."""
    report = killed_and_again(tmp_path / "j", FileSource(str(file), "t"), upload, Store(t=found))
    assert file.exists() == (wrong is not None)
    assert report.skipped == (wrong if isinstance(wrong, str) else "")
    if wrong is KEPT:
        with pytest.raises(KEPT[0], match=KEPT[1]):
            raise report.error or AssertionError(report)
    assert Journal(tmp_path / "j").counts().failed == (wrong is KEPT)


def test_policy_of_a_first_run_asks_for_nothing(tmp_path: Path, file: Path) -> None:
    """What no earlier run can have begun is left out without a request, as without a journal."""
    store = Store(t=head())
    source = [FileSource(str(file), "t")]
    (report,) = Driver(tmp_path / "j", source, store, make=made(upload, exists=True)).run()
    assert report.skipped == "exists"
    assert not store.kinds
    assert file.exists()


def test_file_that_is_gone_is_no_reason_to_call_it_skipped(tmp_path: Path, file: Path) -> None:
    """Without a record that it was stored, a source that is gone has failed."""
    driver = Driver(tmp_path / "j", [FileSource(str(file), "t")], lambda task: None, make=made(upload, exists=False))
    driver.run()
    file.unlink()
    (report,) = Driver(tmp_path / "j", [], Store(t=head()), make=made(upload, exists=True)).run()
    assert isinstance(report.error, SourceError)


def test_file_that_was_written_to_after_it_was_sent_stays_and_is_told(tmp_path: Path, file: Path) -> None:
    """The target is one's own, of the file as it was: neither skipped nor removed."""

    def sent(task: Task) -> tuple[Any, ...]:
        status = file.stat()
        seen = (status.st_mtime_ns - 1, status.st_ino, status.st_ctime_ns)
        return outcome(task, size_bytes=5, etag=MD5, detail=seen)

    source = [FileSource(str(file), "t")]
    for answer, exists in ((sent, False), (Store(t=head()), True)):
        file.write_bytes(b"HELLO")
        (report,) = Driver(tmp_path / "j", source, answer, make=made(upload, exists=exists)).run()
        assert isinstance(report.error, SourceChanged)
        assert file.exists()
        assert Journal(tmp_path / "j").counts().failed == 1


@pytest.mark.parametrize(("body", "skipped"), [(BODY, ""), (b"other", "exists")])
def test_object_that_was_fetched_is_deleted(tmp_path: Path, body: bytes, skipped: str) -> None:
    """As for uploads: only if the file that is there has its bytes; by the ETag that was compared."""

    def download(emit: Any, items: Any) -> Job:
        return DownloadJob(
            items, "b", str(tmp_path / "out"), lambda info: "f", emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB,
            move=True,
        )  # fmt: skip

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f").write_bytes(body)
    store = Store(k=head())
    report = killed_and_again(tmp_path / "j", ObjectInfo("k", 5, MD5), download, store)
    assert report.ok
    assert report.skipped == skipped
    assert [key for key, _ in store.deleted] == ([] if skipped else ["k"])


CRC = (("x-amz-checksum-crc32", "NhCmhg=="),)


@pytest.mark.parametrize(
    ("found", "skipped", "failed"),
    [
        (head(), "", False),
        (head(etag="of-parts-2", headers=CRC), "", False),
        (head(b"other"), "exists", False),
        (head(etag="of-parts-2"), "", True),
    ],
    ids=["same ETag", "same checksum", "other ETag", "nothing to compare"],
)
def test_object_that_was_copied_is_deleted(tmp_path: Path, found: HeadResult, skipped: str, failed: bool) -> None:
    """As for uploads, by ETag or by the checksums that the store keeps of both."""
    store = Store(k=head(headers=CRC), t=found)
    report = killed_and_again(tmp_path / "j", ObjectInfo("k", 5, MD5), copy, store)
    assert report.skipped == skipped
    assert report.ok != failed
    assert [key for key, _ in store.deleted] == ([] if skipped or failed else ["k"])


LARGE = 20 * MIB
PART_ETAGS = [hashlib.md5(bytes([number])).hexdigest() for number in (1, 2, 3)]
MADE = HeadResult(LARGE, combined_etag(PART_ETAGS))
"""What the parts of a large object make."""


def all_but_told(task: Task, needs: NeedsParts | None = None) -> tuple[Any, ...] | None:
    """All parts arrive, and the parent is gone before it is known whether they were put together."""
    kind, arg = task[2], task[5]
    if kind == Kind.PUT_FILE:
        return outcome(task, error=needs)
    if kind == Kind.HEAD:
        return outcome(task, detail=HeadResult(LARGE, "e1"))
    if kind == Kind.CREATE:
        return outcome(task, detail="upload")
    if kind in (Kind.PART, Kind.PART_COPY):
        return outcome(task, etag=PART_ETAGS[arg[1] - 1], size_bytes=task[4])
    return None


@pytest.mark.parametrize("written_again", [False, True])
def test_large_file_that_was_written_again_is_not_what_an_earlier_run_stored(
    tmp_path: Path, written_again: bool
) -> None:
    """Parts on record prove the file that they were read from: one written since, of the same size, stays."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGE)
    status = path.stat()
    needs = NeedsParts(
        "large", size_bytes=LARGE, mtime_ns=status.st_mtime_ns, inode=status.st_ino, ctime_ns=status.st_ctime_ns
    )
    source = [FileSource(str(path), "t")]
    Driver(tmp_path / "j", source, lambda task: all_but_told(task, needs), make=made(upload, exists=False)).run()
    if written_again:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    (report,) = Driver(tmp_path / "j", source, Store(t=MADE), make=made(upload, exists=True)).run()
    assert path.exists() == written_again
    assert isinstance(report.error, TransferError) == written_again


@pytest.mark.parametrize("etag", ["e1", "e2", ""])
def test_large_object_that_was_written_again_is_not_what_an_earlier_run_copied(tmp_path: Path, etag: str) -> None:
    """As for files, by the ETag that the parts were pinned to."""
    identity = {"operation": "move"}
    source = [ObjectInfo("k", LARGE, "e1")]
    Driver(tmp_path / "j", source, all_but_told, make=made(copy, exists=False), identity=identity).run()
    store = Store(k=HeadResult(LARGE, etag), t=MADE)
    (report,) = Driver(tmp_path / "j", source, store, make=made(copy, exists=True), identity=identity).run()
    assert [key for key, _ in store.deleted] == (["k"] if etag == "e1" else [])
    assert report.ok == (etag == "e1")


@pytest.mark.parametrize("count", [1, 300])
def test_move_with_a_policy_begins_what_is_on_record(tmp_path: Path, file: Path, count: int) -> None:
    """An object goes out when its plan is on record: after a crash it is known that its target may be one's own."""
    identity = {"operation": "move", "existing": "keep"}
    source = [FileSource(str(file), f"t{number}") for number in range(count)]
    driver = Driver(tmp_path / "j", source, lambda task: None, make=made(upload, exists=False), identity=identity)
    writer, job, may_write = driver.run_._writer, driver.job, threading.Event()
    commit, woken = writer._commit, []

    def slow_commit(chunk: list[Any]) -> None:
        assert may_write.wait(10)
        commit(chunk)

    writer._commit = slow_commit  # type: ignore[method-assign]
    job.wake = lambda: woken.append(True)
    job.start_reading()
    eventually(lambda: job.reader.exhausted)
    woken.clear()
    assert job.next_tasks(1000) == []
    assert len(job.reader.queue) == count
    assert not woken, "it would be asked again and again"
    may_write.set()
    eventually(lambda: writer.planned == count and bool(woken))
    assert len(job.next_tasks(1000)) == count
    assert Journal(tmp_path / "j").counts().planned == count
    driver.crash()
