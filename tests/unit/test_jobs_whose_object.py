"""Whose object it is, when the store does not know the upload any more that was to become it."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import NotFound
from s3engine.integrity.choice import Checking
from s3engine.pool.messages import Kind, Task
from s3engine.pool.uploads import checksum_of_parts
from s3engine.sources import FileSource
from s3engine.stored import combined_etag
from s3engine.transport import CompletedPart, HeadResult, ObjectInfo
from tests.tried_jobs import MIB, Answer, Bench, copy, large_upload, outcome, upload

PART_ETAGS = [hashlib.md5(bytes([number])).hexdigest() for number in (1, 2, 3)]
PART_CRCS = ["AAAAAA==", "AAAAAQ==", "AAAAAg=="]
COMBINED = combined_etag(PART_ETAGS)
LATER = format_datetime(datetime.now(timezone.utc) + timedelta(hours=1))
DATED = (("date", LATER),)  # the store's own clock


def _gone_at_complete(found: HeadResult | None, attempts: int, *, plain: bool = True) -> Answer:
    """NoSuchUpload at a Complete of so many attempts; ``plain``: the ETags of the parts are their MD5s."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.COMPLETE:
            return outcome(task, error=NotFound("gone", code="NoSuchUpload"), attempts=attempts)
        if task[2] == Kind.HEAD:
            return outcome(task, detail=found, error=None if found else NotFound("no key", code="NoSuchKey"))
        if task[2] == Kind.PART:
            result = outcome(task, etag=PART_ETAGS[task[5][1] - 1] if plain else f"x{task[5][1]}")
            return (*result[:12], f"crc32:{PART_CRCS[task[5][1] - 1]}" if task[5][3] else "", "")
        return large_upload(task)

    return answer


@pytest.mark.parametrize(
    ("found", "attempts", "good"),
    [
        (HeadResult(20 * MIB, COMBINED), 1, True),
        (HeadResult(20 * MIB, "x-3", last_modified=LATER, headers=DATED), 2, True),
        (HeadResult(20 * MIB, "x-3", last_modified=LATER, headers=DATED), 1, False),
        (HeadResult(20 * MIB, "x-3", last_modified="Fri, 02 Jan 2026 03:04:05 GMT", headers=DATED), 2, False),
        (HeadResult(20 * MIB, "x-2", last_modified=LATER, headers=DATED), 2, False),
        (HeadResult(20 * MIB - 1, COMBINED), 2, False),
        (None, 2, False),
    ],
    ids=["etag", "written-since", "no-doubt", "older", "other-parts", "other-size", "nothing"],
)
def test_upload_that_is_gone_at_complete_is_looked_for(found: HeadResult | None, attempts: int, good: bool) -> None:
    """NoSuchUpload at Complete is a success exactly when the object is there, and is the one of these parts.

    An object of another ETag can only be it when an attempt may have done it.
    """
    bench = Bench(_gone_at_complete(found, attempts))
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")]))
    assert getattr(report.error, "code", None) == (None if good else "NoSuchUpload")
    assert bench.kinds()[Kind.ABORT] == 0


@pytest.mark.parametrize("of_parts", [False, True])
@pytest.mark.parametrize("good", [False, True])
@pytest.mark.parametrize("attempts", [1, 2])
def test_stored_checksum_tells_whose_object_it_is(good: bool, of_parts: bool, attempts: int) -> None:
    """Where an ETag tells nothing, the checksum that the store keeps, of the whole or of its parts, decides alone."""

    class Known:
        def known(self) -> Checking:
            return Checking(parts="crc32")

    sizes = (8 * MIB, 8 * MIB, 4 * MIB)
    parts = [CompletedPart(n + 1, f"x{n + 1}", sizes[n], f"crc32:{PART_CRCS[n]}") for n in range(3)]
    value = checksum_of_parts(parts, full_object=not of_parts).partition(":")[2]
    value = value if good else "AAAAAA==" + value[8:]
    found = HeadResult(20 * MIB, "x-3", last_modified=LATER, headers=(("x-amz-checksum-crc32", value),))
    bench = Bench(_gone_at_complete(found, attempts, plain=False))
    (report,) = bench.run(upload(bench, [FileSource("/f", "k")], checks=Known()))
    assert report.ok is good


def test_file_is_kept_for_an_object_that_only_looks_like_it(tmp_path: Path) -> None:
    """An object of the same size, parts and time is good enough for a copy, reported by length, and for no deletion."""
    file = tmp_path / "f"
    file.touch()
    found = HeadResult(20 * MIB, "x-3", last_modified=LATER, headers=DATED)
    bench = Bench(_gone_at_complete(found, 2))
    (report,) = bench.run(upload(bench, [FileSource(str(file), "k")], remove_source=True))
    assert file.exists()
    assert str(report.error).startswith("an object of its size is at s3://b/k, and nothing proves that it is this one")
    bench = Bench(_gone_at_complete(found, 2))
    (report,) = bench.run(upload(bench, [FileSource(str(file), "k")]))
    assert (report.error, report.verified) == (None, "length only")


@pytest.mark.parametrize(
    ("headers", "deleted"), [((), False), ((("x-amz-checksum-crc32", "AAAAAA=="),), True)], ids=["length", "checksum"]
)
def test_source_is_kept_for_a_copy_that_only_looks_like_it(headers: Any, deleted: bool) -> None:
    """The same of a move in parts inside the store; a checksum of both is a proof."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.COMPLETE:
            return outcome(task, error=NotFound("gone", code="NoSuchUpload"), attempts=2)
        if task[2] == Kind.HEAD:
            etag = "tag" if task[3] == "k" else "x-3"
            return outcome(task, detail=HeadResult(20 * MIB, etag, last_modified=LATER, headers=(*DATED, *headers)))
        return outcome(task, detail="u1" if task[2] == Kind.CREATE else None)

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 20 * MIB, "tag")], move=True))
    assert (report.ok, bench.kinds()[Kind.DELETE]) == (deleted, int(deleted))
