"""Uploads in parts: cut, completed, measured, and aborted when they come to nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import (
    AccessDenied,
    Cancelled,
    ChecksumMismatch,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    S3EngineError,
    ServerFault,
    SourceChanged,
    SourceError,
)
from s3engine.integrity.lost import may_be_orphan
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from s3engine.stored import combined_etag
from s3engine.transport import HeadResult
from tests.helpers import eventually, file_state
from tests.tried_jobs import MIB, Answer, Bench, large_upload, outcome, upload

# ---- parts


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
    sent = {"good": file_state(good), "bad": file_state(bad)}

    def answer(task: Task) -> tuple[Any, ...]:
        error = AccessDenied("no") if task[3] == "bad" else None
        return outcome(task, size_bytes=0, detail=sent[task[3]], error=error)

    bench = Bench(answer)
    items = [FileSource(str(good), "good"), FileSource(str(bad), "bad")]
    reports = bench.run(upload(bench, items, remove_source=True))
    assert (good.exists(), bad.exists()) == (False, True)
    assert {report.operation for report in reports} == {"move"}


def test_file_that_was_written_to_after_it_was_sent_is_kept(tmp_path: Path) -> None:
    """A move does not remove a file that is no longer the one that was stored."""
    path = tmp_path / "f"
    path.write_bytes(b"new")
    bench = Bench(lambda task: outcome(task, size_bytes=3, detail=(path.stat().st_mtime_ns - 1, 0, 0)))
    (report,) = bench.run(upload(bench, [FileSource(str(path), "k")], remove_source=True))
    assert isinstance(report.error, SourceChanged)
    assert path.exists()


def test_another_file_in_the_place_of_the_one_that_was_sent_is_kept(tmp_path: Path) -> None:
    """A move does not remove a file of the same size and time that was put where the one was that is stored."""
    path, other = tmp_path / "f", tmp_path / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"new")
    sent = file_state(path)
    os.utime(other, ns=(sent[0], sent[0]))
    other.replace(path)
    bench = Bench(lambda task: outcome(task, size_bytes=3, detail=sent))
    (report,) = bench.run(upload(bench, [FileSource(str(path), "k")], remove_source=True))
    assert isinstance(report.error, SourceChanged)
    assert path.read_bytes() == b"new"


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
