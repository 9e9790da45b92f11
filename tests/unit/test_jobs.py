"""Jobs keep their books: each item of the input ends in one report, whatever becomes of its tasks."""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import (
    AccessDenied,
    Cancelled,
    ChecksumMismatch,
    ConfigError,
    DuplicateKey,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    S3EngineError,
    ServerFault,
    SourceChanged,
    SourceError,
    UnsafeKey,
)
from s3engine.integrity.lost import may_be_orphan
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.delete import DeleteJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.key_guard import KeyGuard
from s3engine.jobs.upload import UploadJob
from s3engine.operations import ObjectHeaders
from s3engine.pool.actions.put import content_type_headers
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.report import RequestReport
from s3engine.sources import BytesSource, FileSource
from s3engine.stored import combined_etag
from s3engine.transport import HeadResult, ObjectInfo
from tests.helpers import eventually

MIB = 1024 * 1024
Answer = Callable[[Task], tuple[Any, ...]]


def outcome(
    task: Task, *, size_bytes: int = 1, etag: str = "etag", detail: Any = None, error: S3EngineError | None = None,
    attempts: int = 1,
) -> tuple[Any, ...]:  # fmt: skip
    """What a worker would say of a task."""
    return (task[0], attempts, 0.1, 0.2, 1e6, 30.0, 200, "id", size_bytes, etag, detail, error, "", "")


class Bench:
    """Does a job's tasks at once, as ``answer`` says, and keeps tasks and reports."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.reports: list[RequestReport] = []
        self.tasks: list[Task] = []

    def emit(self, report: RequestReport) -> None:
        self.reports.append(report)

    def turn(self, job: Job, count: int = 64) -> list[Task]:
        tasks = job.next_large(count) + job.next_tasks(count)
        self.tasks += tasks
        return tasks

    def run(self, job: Job) -> list[RequestReport]:
        job.start_reading()
        give_up_at = time.monotonic() + 10
        while not job.finished:
            assert time.monotonic() < give_up_at, "the job does not end"
            tasks = self.turn(job)
            for task in tasks:
                job.done(task, self.answer(task))
            if not tasks:
                time.sleep(0.001)
        return self.reports

    def kinds(self) -> Counter[int]:
        return Counter(task[2] for task in self.tasks)


def upload(bench: Bench, items: Any, **options: Any) -> UploadJob:
    options = {"template": None, "threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB, **options}
    return UploadJob(items, "b", bench.emit, **options)


def copy(bench: Bench, items: Any, key: Callable[[ObjectInfo], str] | None = None, **options: Any) -> CopyJob:
    options = {"template": None, "threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB, **options}
    return CopyJob(items, "b", "b", key or (lambda info: "to/" + info.key), bench.emit, **options)


def download(bench: Bench, items: Any, root: Path, **options: Any) -> DownloadJob:
    options = {"threshold_bytes": 16 * MIB, "part_bytes": 8 * MIB, **options}
    return DownloadJob(items, "b", str(root), lambda info: info.key, bench.emit, **options)


def test_each_item_has_one_report() -> None:
    """Items come out once each, numbered as they came in, good and bad ones alike."""
    denied = AccessDenied("no")
    bench = Bench(lambda task: outcome(task, error=denied if task[3] == "k3" else None))
    reports = bench.run(upload(bench, (FileSource(f"/f{n}", f"k{n}") for n in range(300))))
    assert sorted((report.seq, report.key) for report in reports) == [(n, f"k{n}") for n in range(300)]
    assert [report.key for report in reports if not report.ok] == ["k3"]


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\udcff"])
def test_bad_key_is_refused_by_name(key: str) -> None:
    """A key that S3 does not take fails alone, and nothing is sent for it."""
    bench = Bench(outcome)
    reports = bench.run(upload(bench, [FileSource("/f", key), FileSource("/f", "good")]))
    assert {report.key: type(report.error) for report in reports} == {key: ConfigError, "good": type(None)}
    assert [task[3] for task in bench.tasks] == ["good"]


def test_second_source_of_a_key_is_refused() -> None:
    """Of two sources with one key the first is sent and the second reported."""
    bench = Bench(outcome)
    reports = bench.run(upload(bench, [BytesSource(b"1", "k"), BytesSource(b"2", "k")]))
    assert [(report.seq, type(report.error)) for report in reports if report.error] == [(1, DuplicateKey)]
    assert [task[5][0] for task in bench.tasks] == [b"1"]


def test_plain_pairs_will_do() -> None:
    """A (path, key) pair is a FileSource."""
    bench = Bench(outcome)
    bench.run(upload(bench, [("/f", "k")]))
    assert [(task[2], task[3], task[5]) for task in bench.tasks] == [(Kind.PUT_FILE, "k", ("/f", None))]


def test_template_function_gives_headers_of_each() -> None:
    """A template function is asked for each source; a source's own headers go before it."""
    bench = Bench(outcome)
    own = ObjectHeaders(cache_control="own")
    items = [FileSource("/f", "a"), FileSource("/f", "b", own)]
    bench.run(upload(bench, items, template=lambda source: ObjectHeaders(cache_control=source.key)))
    assert [task[5][1] for task in bench.tasks] == [(("cache-control", "a"),), (("cache-control", "own"),)]


def _broken_function(_source: object) -> Any:
    raise LookupError("no headers")


@pytest.mark.parametrize(
    "broken",
    [
        lambda bench: upload(bench, [("/f", "a"), ("/f", "b")], template=_broken_function),
        lambda bench: upload(bench, [("/f", "a"), 17]),
        lambda bench: copy(bench, ["a", "b"], _broken_function),
        lambda bench: DeleteJob(["a", 17], "b", bench.emit),
    ],
)
def test_error_in_a_callers_function_ends_the_job(broken: Callable[[Bench], Job]) -> None:
    """What a template or key function raises, or an item that is none, ends the batch and is handed to the caller."""
    bench = Bench(outcome)
    job = broken(bench)
    bench.run(job)
    assert isinstance(job.failure, (LookupError, TypeError, AttributeError))
    assert len({report.seq for report in bench.reports}) == len(bench.reports)


def test_error_in_the_input_ends_the_job() -> None:
    """What came before the error is done, and the error is kept for the caller."""

    def items() -> Iterator[FileSource]:
        yield FileSource("/f", "a")
        raise LookupError("gone")

    bench = Bench(outcome)
    job = upload(bench, items())
    assert [report.key for report in bench.run(job)] == ["a"]
    assert isinstance(job.failure, LookupError)


def test_endless_input_is_read_at_the_pace_of_the_work() -> None:
    """The reader is never more than a few thousand items ahead."""
    taken = itertools.count()

    def items() -> Iterator[FileSource]:
        while True:
            yield FileSource("/f", f"k{next(taken)}")

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    eventually(lambda: len(bench.turn(job, 1)) == 1)
    time.sleep(0.2)
    assert next(taken) < 5000
    job.cancel()


def test_bodies_in_memory_are_bounded() -> None:
    """Bodies that are read ahead and under way are held to tens of MiB, however many items that is."""
    taken = itertools.count()

    def items() -> Iterator[BytesSource]:
        while True:
            yield BytesSource(bytes(MIB), f"k{next(taken)}")

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    time.sleep(0.5)
    assert next(taken) < 100
    for _ in range(200):  # done work makes room
        for task in bench.turn(job, 8):
            job.done(task, outcome(task))
        time.sleep(0.001)
    assert next(taken) > 110
    job.cancel()


def test_cancel_reports_what_was_taken() -> None:
    """After a cancel everything taken from the input has its report: done, in flight, or cancelled."""
    taken: list[str] = []

    def items() -> Iterator[FileSource]:
        for n in range(10_000):
            taken.append(f"k{n}")
            yield FileSource("/f", taken[-1])

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    in_flight: list[Task] = []
    while len(in_flight) < 10:
        in_flight += bench.turn(job, 10)
    eventually(lambda: len(taken) >= 2000)
    time.sleep(0.1)  # the reader waits for room now
    job.cancel()
    for task in in_flight:
        job.done(task, outcome(task))
    eventually(lambda: not bench.turn(job) and job.finished)
    assert sorted(report.key for report in bench.reports) == sorted(taken)
    assert sum(report.ok for report in bench.reports) == len(in_flight)
    assert {type(report.error) for report in bench.reports if not report.ok} == {Cancelled}


def test_cancel_ends_though_the_input_hangs() -> None:
    """An input that waits for ever does not keep a cancelled batch."""
    released = threading.Event()

    def items() -> Iterator[FileSource]:
        yield FileSource("/f", "k")
        released.wait(30)

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    eventually(lambda: bool(bench.turn(job)))
    job.done(bench.tasks[0], outcome(bench.tasks[0]))
    job.cancel()
    try:
        eventually(lambda: not bench.turn(job) and job.finished, within_s=5)
    finally:
        released.set()
    assert [report.key for report in bench.reports] == ["k"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.html", "text/html"), ("a.tar.gz", "application/octet-stream"), ("noext", "application/octet-stream")],
)
def test_content_type_of_a_name(name: str, kind: str) -> None:
    """The type follows the name; a compressed file is served as what it is; one that is given stands."""
    assert content_type_headers(name, (("a", "b"),), True) == (("a", "b"), ("content-type", kind))
    assert content_type_headers(name, (("content-type", "own"),), True) == (("content-type", "own"),)
    assert content_type_headers(name, (), False) == ()


# ---- parts


def large_upload(task: Task) -> tuple[Any, ...]:
    """A worker that finds every file to be 20 MiB."""
    if task[2] == Kind.PUT_FILE:
        return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, mtime_ns=7))
    if task[2] == Kind.CREATE:
        return outcome(task, detail="u1")
    if task[2] == Kind.HEAD:  # the answer to Complete says nothing of the whole
        return outcome(task, detail=HeadResult(20 * MIB, "whole-3"))
    return outcome(task, etag=f"e{task[5][1]}" if task[2] == Kind.PART else "whole-3")


def test_large_file_goes_in_parts() -> None:
    """The parts cover the file, Complete names them in order, and one report tells the whole."""
    bench = Bench(large_upload)
    (report,) = bench.run(upload(bench, [FileSource("/f.txt", "k")]))
    parts = [task[5][2] for task in bench.tasks if task[2] == Kind.PART]
    assert [(part.offset, part.length) for part in parts] == [(0, 8 * MIB), (8 * MIB, 8 * MIB), (16 * MIB, 4 * MIB)]
    assert {(part.mtime_ns, part.file_bytes) for part in parts} == {(7, 20 * MIB)}
    (complete,) = [task for task in bench.tasks if task[2] == Kind.COMPLETE]
    assert complete[5] == (
        "u1", [(1, "e1", 8 * MIB, ""), (2, "e2", 8 * MIB, ""), (3, "e3", 4 * MIB, "")], False
    )  # fmt: skip
    assert (report.ok, report.size_bytes, report.etag, report.attempts) == (True, 20 * MIB, "whole-3", 1)


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (HeadResult(20 * MIB, "whole-3"), None),
        (HeadResult(16 * MIB, "whole-2"), ChecksumMismatch),
        (NotFound("nothing", status=404), NotFound),
        (AccessDenied("may only write", status=403), None),
    ],
)
def test_completed_object_that_proves_nothing_is_measured(found: Any, error: type[S3EngineError] | None) -> None:
    """A store that leaves a part out of the object, and says nothing of the whole, is not believed."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] != Kind.HEAD:
            return large_upload(task)
        return outcome(task, error=found) if isinstance(found, S3EngineError) else outcome(task, detail=found)

    bench = Bench(answer)
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert type(report.error) is (error or type(None))
    assert bench.kinds()[Kind.ABORT] == 0


def test_upload_that_vanishes_among_its_parts_is_begun_anew() -> None:
    """Once: a store may drop it for one bad part. All parts are sent again, to the new one."""

    def run(vanishing: set[str]) -> tuple[Bench, RequestReport]:
        ids = iter(("u1", "u2", "u3"))

        def answer(task: Task) -> tuple[Any, ...]:
            if task[2] == Kind.CREATE:
                return outcome(task, detail=next(ids))
            if task[2] == Kind.PART and task[5][0] in vanishing and task[5][1] > 1:
                return outcome(task, error=NotFound("gone", status=404, code="NoSuchUpload"))
            return large_upload(task)

        bench = Bench(answer)
        (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
        return bench, report

    bench, report = run({"u1"})
    assert report.error is None
    assert [task[5][1] for task in bench.tasks if task[2] == Kind.PART and task[5][0] == "u2"] == [1, 2, 3]
    (complete,) = [task for task in bench.tasks if task[2] == Kind.COMPLETE]
    assert (complete[5][0], [etag for _, etag, *_ in complete[5][1]]) == ("u2", ["e1", "e2", "e3"])
    bench, report = run({"u1", "u2"})
    assert (type(report.error), bench.kinds()[Kind.CREATE]) == (NotFound, 2)


@pytest.mark.parametrize(("etag", "good"), [("", True), ("0" * 32 + "-3", False)])
def test_contradiction_of_complete_is_looked_at(etag: str, good: bool) -> None:
    """The answer may be what was changed on its way: the object counts."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.PART:
            return outcome(task, etag=PART_ETAGS[task[5][1] - 1])
        if task[2] == Kind.COMPLETE:
            return outcome(task, etag="f" * 32 + "-3", detail="another ETag")
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(20 * MIB, etag or COMBINED))
        return large_upload(task)

    (report,) = (bench := Bench(answer)).run(upload(bench, [FileSource("/f", "k")]))
    assert type(report.error) is (type(None) if good else ChecksumMismatch)
    assert not good or report.etag == COMBINED


def test_relisted_part_of_another_md5_is_not_taken() -> None:
    """InvalidPart, and the list has an ETag that is another than the MD5 that was sent: ChecksumMismatch, aborted."""
    sums = [base64.b64encode(bytes.fromhex(etag)).decode() for etag in PART_ETAGS]

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.PART:
            index = task[5][1] - 1
            return (*outcome(task, etag=PART_ETAGS[index])[:12], f"md5:{sums[index]}", "md5")
        if task[2] == Kind.COMPLETE:
            return outcome(task, error=InvalidRequest("no such part", status=400, code="InvalidPart"))
        if task[2] == Kind.LIST_PARTS:
            sizes = (8 * MIB, 8 * MIB, 4 * MIB)
            etags = (PART_ETAGS[0], "0" * 32, PART_ETAGS[2])
            return outcome(task, detail=(list(zip((1, 2, 3), etags, sizes, strict=True)), ""))
        return large_upload(task)

    bench = Bench(answer)
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert isinstance(report.error, ChecksumMismatch)
    assert (bench.kinds()[Kind.ABORT], bench.kinds()[Kind.COMPLETE]) == (1, 1)


def test_retries_of_parts_are_attempts_of_the_object() -> None:
    """Attempts beyond one per request count as retries of the object."""
    bench = Bench(lambda task: (*large_upload(task)[:1], 3 if task[2] == Kind.PART else 1, *large_upload(task)[2:]))
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert report.attempts == 7


def test_failed_part_aborts_the_upload() -> None:
    """When a part fails for good the rest is not sent, the upload is aborted and the part's error reported."""
    fault = ServerFault("broken")

    def answer(task: Task) -> tuple[Any, ...]:
        return outcome(task, error=fault) if task[2] == Kind.PART else large_upload(task)

    bench = Bench(answer)
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert report.error is fault
    assert bench.kinds()[Kind.ABORT] == 1
    assert bench.kinds()[Kind.COMPLETE] == 0


PART_ETAGS = [hashlib.md5(bytes([number])).hexdigest() for number in (1, 2, 3)]
COMBINED = combined_etag(PART_ETAGS)
LATER = format_datetime(datetime.now(timezone.utc) + timedelta(hours=1))


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (HeadResult(20 * MIB, COMBINED), True),
        (HeadResult(20 * MIB, "x-3", last_modified=LATER), True),
        (HeadResult(20 * MIB, "x-3", last_modified="Fri, 02 Jan 2026 03:04:05 GMT"), False),
        (HeadResult(20 * MIB, "x-2", last_modified=LATER), False),
        (HeadResult(20 * MIB - 1, COMBINED), False),
        (None, False),
    ],
    ids=["etag", "written-since", "older", "other-parts", "other-size", "nothing"],
)
def test_upload_that_is_gone_at_complete_is_looked_for(found: HeadResult | None, good: bool) -> None:
    """NoSuchUpload at Complete is a success exactly when the object is there, and is the one of these parts."""
    gone = NotFound("gone", code="NoSuchUpload")

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.COMPLETE:
            return outcome(task, error=gone)
        if task[2] == Kind.HEAD:
            return outcome(task, detail=found, error=None if found else NotFound("no key", code="NoSuchKey"))
        return outcome(task, etag=PART_ETAGS[task[5][1] - 1]) if task[2] == Kind.PART else large_upload(task)

    bench = Bench(answer)
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert report.error is (None if good else gone)
    assert bench.kinds()[Kind.ABORT] == 0


@pytest.mark.parametrize(
    ("attempts", "etag", "good"), [(2, COMBINED, True), (1, COMBINED, False), (2, "0" * 32 + "-3", False)]
)
def test_refused_complete_that_was_done_is_success(attempts: int, etag: str, good: bool) -> None:
    """412 at a Complete that was sent again is success when the object is ours, else it stands and the upload ends."""
    refused = PreconditionFailed("there is one", status=412)

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.COMPLETE:
            return outcome(task, error=refused, attempts=attempts)
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(20 * MIB, etag))
        return outcome(task, etag=PART_ETAGS[task[5][1] - 1]) if task[2] == Kind.PART else large_upload(task)

    bench = Bench(answer)
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert report.error is (None if good else refused)
    assert bench.kinds()[Kind.ABORT] == (0 if good else 1)


# ---- CreateMultipartUpload whose answer was lost

OURS = ("k", "u1", "2026-01-02T03:04:10.000Z")
LOST = ("k", "lost", "2026-01-02T03:04:08.000Z")


def _with_uploads(bench_uploads: list[tuple[str, str, str]], parts: dict[str, int], attempts: int) -> Answer:
    def answer(task: Task) -> tuple[Any, ...]:
        kind = task[2]
        if kind == Kind.CREATE:
            # 5 s from the first attempt to the answer that came
            return (task[0], attempts, 0.1, 5.0, 1e6, 30.0, 200, "id", 0, "", "u1", None, "", "")
        if kind == Kind.LIST_UPLOADS:
            return outcome(task, detail=(bench_uploads, "", ""))
        if kind == Kind.LIST_PARTS:
            return outcome(task, detail=([(1, "e", 1)] * parts.get(task[5][0], 0), ""))
        return large_upload(task)

    return answer


@pytest.mark.parametrize(
    ("uploads", "parts", "attempts", "aborted"),
    [
        ([OURS, LOST], {}, 2, ["lost"]),
        ([OURS, LOST], {}, 1, []),
        ([OURS, LOST], {"lost": 1}, 2, []),
        ([LOST], {}, 2, []),
        ([OURS, ("k2", "other key", LOST[2])], {}, 2, []),
        ([OURS, ("k", "before", "2026-01-02T03:04:00.000Z")], {}, 2, []),
        ([OURS, ("k", "newer", "2026-01-02T03:04:15.000Z")], {}, 2, []),
        ([OURS, LOST, ("k", "also", "2026-01-02T03:04:09.000Z")], {}, 2, []),
        ([OURS, LOST, ("k", "also", "2026-01-02T03:04:09.000Z")], {}, 3, ["lost", "also"]),
    ],
    ids=[
        "orphan", "nothing-lost", "has-parts", "ours-unknown", "other-key", "was-there-before", "newer",
        "more-than-were-lost", "two-lost",
    ],
)  # fmt: skip
def test_upload_begun_by_a_lost_answer_is_aborted(
    uploads: list[tuple[str, str, str]], parts: dict[str, int], attempts: int, aborted: list[str]
) -> None:
    """Of our key and time, without parts, and no more than answers were lost: aborted. Anything else stays."""
    bench = Bench(_with_uploads(uploads, parts, attempts))
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert report.ok
    assert [task[5] for task in bench.tasks if task[2] == Kind.ABORT] == aborted


def test_time_that_cannot_be_read_is_no_orphan() -> None:
    """An upload whose beginning is unknown may be anybody's."""
    assert may_be_orphan("2026-01-02T03:04:08+00:00", OURS[2], 5.0)
    assert not may_be_orphan("yesterday", OURS[2], 5.0)
    assert not may_be_orphan(LOST[2], "", 5.0)


def test_cancel_aborts_parts_under_way() -> None:
    """A large upload that is cancelled takes no more parts, waits for those in flight and is aborted."""
    bench = Bench(large_upload)
    job = upload(bench, [FileSource("/f", "k")])
    job.start_reading()
    part: list[Task] = []
    while not part:
        for task in job.next_tasks(1):
            job.done(task, large_upload(task))
        part = job.next_large(1)
    job.cancel()
    assert job.next_large(9) == []
    assert not bench.reports
    job.done(part[0], outcome(part[0]))
    (abort,) = job.next_tasks(9)
    assert (abort[2], abort[5]) == (Kind.ABORT, "u1")
    job.done(abort, outcome(abort))
    assert isinstance(bench.reports[0].error, Cancelled)
    eventually(lambda: job.finished)


def test_upload_move_removes_files_that_are_stored(tmp_path: Path) -> None:
    """With remove_source a file goes when its object is stored, and only then."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.touch()
    bad.touch()
    sent_ns = good.stat().st_mtime_ns

    def answer(task: Task) -> tuple[Any, ...]:
        error = AccessDenied("no") if task[3] == "bad" else None
        return outcome(task, size_bytes=0, detail=sent_ns, error=error)

    bench = Bench(answer)
    items = [FileSource(str(good), "good"), FileSource(str(bad), "bad")]
    reports = bench.run(upload(bench, items, remove_source=True))
    assert (good.exists(), bad.exists()) == (False, True)
    assert {report.operation for report in reports} == {"move"}


def test_file_that_was_written_to_after_it_was_sent_is_kept(tmp_path: Path) -> None:
    """A move does not remove a file that is no longer the one that was stored."""
    path = tmp_path / "f"
    path.write_bytes(b"new")
    bench = Bench(lambda task: outcome(task, size_bytes=3, detail=path.stat().st_mtime_ns - 1))
    (report,) = bench.run(upload(bench, [FileSource(str(path), "k")], remove_source=True))
    assert isinstance(report.error, SourceChanged)
    assert path.exists()


def test_file_that_cannot_be_removed_is_said(tmp_path: Path) -> None:
    """A move whose file cannot be removed is not called done."""
    bench = Bench(outcome)
    (report,) = bench.run(upload(bench, [FileSource(str(tmp_path / "gone"), "k")], remove_source=True))
    assert isinstance(report.error, SourceError)


def test_cancel_during_complete_waits_for_its_answer() -> None:
    """An upload that is being put together is reported once, by what Complete answers, whatever a cancel says."""
    bench = Bench(large_upload)
    job = upload(bench, [FileSource("/f", "k")])
    job.start_reading()
    eventually(lambda: bool(bench.turn(job)))
    job.done(bench.tasks[0], large_upload(bench.tasks[0]))
    job.next_large(1)
    (create,) = job.next_tasks(9)
    job.done(create, large_upload(create))
    for part in job.next_large(3):
        job.done(part, large_upload(part))
    (complete,) = job.next_tasks(9)
    assert complete[2] == Kind.COMPLETE
    job.cancel()
    assert bench.reports == []
    job.done(complete, large_upload(complete))
    (head,) = job.next_tasks(9)
    job.done(head, large_upload(head))
    assert [report.error for report in bench.reports] == [None]
    assert not job.next_tasks(9)


# ---- copy inside one bucket


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("as_info", [False, True])
def test_target_that_is_a_source_is_refused(move: bool, as_info: bool) -> None:
    """No copy overwrites, and no move deletes, what another object of the batch still needs."""
    keys = ["p/p/x", "p/x"]
    items = [ObjectInfo(key, 1, "etag") for key in keys] if as_info else keys

    def answer(task: Task) -> tuple[Any, ...]:
        return outcome(task, detail=HeadResult(1, "etag") if task[2] == Kind.HEAD else None)

    bench = Bench(answer)
    reports = {r.key: r for r in bench.run(copy(bench, items, lambda info: "p/" + info.key, move=move))}
    assert isinstance(reports["p/x"].error, DuplicateKey)
    assert reports["p/p/x"].ok
    assert [task[3] for task in bench.tasks if task[2] == Kind.COPY] == ["p/p/p/x"]
    deleted = [key for task in bench.tasks if task[2] == Kind.DELETE for key, _ in task[5]]
    assert deleted == (["p/p/x"] if move else [])


def test_template_that_fails_after_the_head_breaks_the_job() -> None:
    """A template that raises for an object whose size had to be asked for is reported and handed to the caller."""

    def template(info: ObjectInfo) -> ObjectHeaders:
        raise LookupError(info.key)

    bench = Bench(lambda task: outcome(task, detail=HeadResult(1, "etag")))
    job = copy(bench, ["k"], template=template)
    (report,) = bench.run(job)
    assert "LookupError" in str(report.error)
    assert isinstance(job.failure, LookupError)
    assert job.broken


# ---- download


@pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/./b", "a\0b", "..", "s/" + "x" * 256])
def test_unsafe_key_is_refused(key: str, tmp_path: Path) -> None:
    """A key without a safe place below the folder fails by name, and nothing is asked for it."""
    bench = Bench(outcome)
    (report,) = bench.run(download(bench, [key], tmp_path))
    assert isinstance(report.error, UnsafeKey)
    assert not bench.tasks


def test_large_object_comes_in_ranges_of_one_version(tmp_path: Path) -> None:
    """Ranges cover the object, each asks for the listed ETag, and the file has its name only when all are there."""
    size = 20 * MIB

    def answer(task: Task) -> tuple[Any, ...]:
        path, _first, last, *_ = task[5]
        with open(path, "ab") as file:
            file.truncate(last + 1)
        assert not (tmp_path / "k").exists()
        return outcome(task, size_bytes=task[4])

    bench = Bench(answer)
    (report,) = bench.run(download(bench, [ObjectInfo("k", size, "tag")], tmp_path))
    assert [task[5][1:4] for task in bench.tasks] == [
        (0, 8 * MIB - 1, "tag"), (8 * MIB, 16 * MIB - 1, "tag"), (16 * MIB, size - 1, "tag"),
    ]  # fmt: skip
    assert report.ok
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("k", size)]


def test_failed_range_leaves_no_file(tmp_path: Path) -> None:
    """When a range fails for good no file is left, under no name."""

    def answer(task: Task) -> tuple[Any, ...]:
        Path(task[5][0]).touch()
        return outcome(task, error=ServerFault("broken"))

    bench = Bench(answer)
    (report,) = bench.run(download(bench, [ObjectInfo("k", 20 * MIB)], tmp_path))
    assert isinstance(report.error, ServerFault)
    assert list(tmp_path.iterdir()) == []


def test_download_move_deletes_objects_that_are_here(tmp_path: Path) -> None:
    """With move the objects that came are deleted together, and reported only then."""
    bench = Bench(lambda task: outcome(task, error=NotFound("no") if task[3] == "lost" else None))
    reports = bench.run(download(bench, ["a", "b", "lost"], tmp_path, move=True))
    assert [sorted(key for key, _ in task[5]) for task in bench.tasks if task[2] == Kind.DELETE] == [["a", "b"]]
    assert {report.key: report.ok for report in reports} == {"a": True, "b": True, "lost": False}


# ---- copy and delete


def test_copy_to_itself_is_refused() -> None:
    """A copy whose target is its source is refused by name."""
    bench = Bench(outcome)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 1)], lambda info: info.key))
    assert isinstance(report.error, ConfigError)


def test_move_deletes_only_what_is_whole() -> None:
    """A source is deleted when its copy has its ETag or, by HEAD, its size; otherwise it stays and fails."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(5 if task[3] == "to/size" else 4, "other"))
        return outcome(task, etag="tag" if task[3] == "to/etag" else "other")

    bench = Bench(answer)
    items = [ObjectInfo("etag", 5, "tag"), ObjectInfo("size", 5, "tag"), ObjectInfo("short", 5, "tag")]
    reports = bench.run(copy(bench, items, move=True))
    deleted = [key for task in bench.tasks if task[2] == Kind.DELETE for key, _ in task[5]]
    assert sorted(deleted) == ["etag", "size"]
    assert {report.key: report.ok for report in reports} == {"etag": True, "size": True, "short": False}


CRC = ("x-amz-checksum-crc32", "AAAAAA==")


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize(
    ("source", "copied", "verified"),
    [
        ((CRC,), (CRC,), "crc32"), ((), (CRC,), "length only"), ((CRC,), (), "length only"),
        ((CRC,), ((CRC[0], "BBBBBA=="),), ""),
    ],
)  # fmt: skip
def test_copy_with_another_etag_is_looked_at(source: Any, copied: Any, verified: str, move: bool) -> None:
    """A copy whose ETag tells nothing is proven by a checksum of both, or its length; another checksum is an error."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(5, "tag", headers=source if task[3] == "k" else copied))
        return outcome(task, etag="other")

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 5, "tag")], move=move, verify=True, ask_checksums=True))
    assert (report.ok, report.verified) == (bool(verified), verified)
    assert bench.kinds()[Kind.DELETE] == int(move and bool(verified))


def test_copy_says_by_what_it_is_known() -> None:
    """The ETag of the source proves a copy; without the wish to verify nothing is asked, and nothing claimed."""
    bench = Bench(lambda task: outcome(task, etag="tag" if task[3] == "to/same" else "other"))
    reports = bench.run(copy(bench, [ObjectInfo("same", 5, "tag"), ObjectInfo("other", 5, "tag")]))
    assert {report.key: report.verified for report in reports} == {"same": "etag", "other": ""}
    assert set(bench.kinds()) == {Kind.COPY}


def test_move_keeps_a_source_that_was_written_again() -> None:
    """A source that is another one by the time its copy is looked at is not deleted."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(5, "new" if task[3] == "k" else "other", headers=(CRC,)))
        return outcome(task, etag="other")

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 5, "tag")], move=True, verify=True, ask_checksums=True))
    assert isinstance(report.error, PreconditionFailed)
    assert Kind.DELETE not in bench.kinds()


def test_move_whose_delete_fails_is_not_done() -> None:
    """A key whose delete is refused fails, its neighbours do not."""
    denied = AccessDenied("locked")

    def answer(task: Task) -> tuple[Any, ...]:
        return outcome(task, etag="tag", detail=[("b", denied)] if task[2] == Kind.DELETE else None)

    bench = Bench(answer)
    reports = bench.run(copy(bench, [ObjectInfo(key, 1, "tag") for key in "abc"], move=True))
    errors = {report.key: report.error for report in reports if report.error is not None}
    assert {key: type(error) for key, error in errors.items()} == {"b": AccessDenied}
    assert str(errors["b"]) == "copied to s3://b/to/b; its source was not deleted: locked"


def test_large_copy_keeps_metadata() -> None:
    """A copy in parts names what CopyObject would have kept, and asks for the ETag that was listed in each part."""
    headers = (("content-type", "text/x"), ("x-amz-meta-a", "1"), ("server", "s"), ("cache-control", "c"))

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(20 * MIB, "tag", headers=headers))
        return outcome(task, detail="u1" if task[2] == Kind.CREATE else None)

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 20 * MIB, "tag")]))
    assert report.ok
    (create,) = [task for task in bench.tasks if task[2] == Kind.CREATE]
    assert create[5] == (headers[0], headers[1], headers[3])
    parts = [task[5] for task in bench.tasks if task[2] == Kind.PART_COPY]
    assert [(part[1], part[2], part[5]) for part in parts] == [(1, "k", "tag"), (2, "k", "tag"), (3, "k", "tag")]


def test_deletes_go_by_the_thousand() -> None:
    """Keys are sent 1000 to a request, those that XML cannot hold alone, and each has its report."""
    keys = [f"k{n}" for n in range(2500)] + ["bad\x01key"]
    bench = Bench(lambda task: outcome(task, detail=[("k7", AccessDenied("no"))]))
    reports = bench.run(DeleteJob(iter(keys), "b", bench.emit))
    assert sorted(report.key for report in reports) == sorted(keys)
    assert [report.key for report in reports if not report.ok] == ["k7"]
    sizes = sorted(len(task[5]) for task in bench.tasks)
    assert max(sizes) <= 1000
    assert [("bad\x01key", "")] in [task[5] for task in bench.tasks]


def test_key_guard_remembers_enough() -> None:
    """A key is known again among at least the last 131 072, in bounded memory."""
    guard = KeyGuard()
    assert not any(guard.seen(f"k{n}") for n in range(300_000))
    assert all(guard.seen(f"k{n}") for n in range(170_000, 300_000, 997))
