"""A large object comes in ranges, and has its name only when what came is what the store speaks of."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3engine import checksums
from s3engine.errors import (
    AccessDenied,
    Cancelled,
    ChecksumMismatch,
    NotFound,
    PreconditionFailed,
    S3EngineError,
    SinkError,
)
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.reading import checksum_of_file
from s3engine.stored import composite
from s3engine.transport import Headers, HeadResult, ObjectInfo
from tests.tried_jobs import Bench, download, outcome

MIB = 1024 * 1024
SIZE = 20 * MIB
BODY = os.urandom(MIB) * 20
MD5 = hashlib.md5(BODY).hexdigest()
CRC32 = ("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode())


def etag_of(part_bytes: int) -> str:
    """The ETag of BODY uploaded in parts of this size."""
    parts = [BODY[start : start + part_bytes] for start in range(0, SIZE, part_bytes)]
    return f"{hashlib.md5(b''.join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"


class Store:
    """Answers tasks as workers would; the first ``wrong`` ranges that begin at byte 0 have a bit turned over."""

    def __init__(self, etag: str, headers: Headers = (), *, part_bytes: int = 0, wrong: int = 0) -> None:
        self.etag = etag
        self.headers = headers
        self.part_bytes = part_bytes
        self.wrong = wrong
        self.head_error: S3EngineError | None = None

    def __call__(self, task: Task) -> tuple[Any, ...]:
        kind, arg = task[2], task[5]
        if kind == Kind.HEAD:
            size = SIZE
            if arg and self.part_bytes:
                size = min(self.part_bytes, SIZE - (arg - 1) * self.part_bytes)
            return outcome(task, detail=HeadResult(size, self.etag, headers=self.headers), error=self.head_error)
        if kind == Kind.READ_FILE:
            return outcome(task, detail=checksum_of_file(arg[0], arg[1], arg[2], lambda: False))
        path, first, last, _etag, size, algorithm, _target = arg
        assert size == SIZE
        data = bytearray(BODY[first : last + 1])
        if not first and self.wrong:
            self.wrong -= 1
            data[5] ^= self.wrong + 1
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.pwrite(fd, data, first)
        os.close(fd)
        result = outcome(task, size_bytes=len(data), etag=self.etag)
        return (*result[:12], checksums.compute(algorithm, data) if algorithm else "", "")


def run(store: Callable[[Task], tuple[Any, ...]], root: Path, etag: str = "", **options: Any) -> tuple[Bench, Any]:
    """One download of SIZE bytes: the bench and the report."""
    bench = Bench(store)
    options = {"verify": True, "ask_checksums": True, **options}
    (report,) = bench.run(download(bench, [ObjectInfo("k", SIZE, etag)], root, **options))
    return bench, report


@pytest.mark.parametrize(
    ("store", "verified", "reads"),
    [
        (Store("x-3", (CRC32,)), "crc32", 0),
        (Store(MD5), "md5", 1),
        (Store(etag_of(8 * MIB), part_bytes=8 * MIB), "md5", 0),
        (Store(etag_of(5 * MIB), part_bytes=5 * MIB), "md5", 0),
        (Store(etag_of(5 * MIB)), "md5", 0),
        (Store(etag_of(7 * MIB), part_bytes=7 * MIB), "md5", 1),  # three parts, as ours, but cut otherwise
        (Store(etag_of(512 * 1024), part_bytes=512 * 1024), "md5", 1),  # too small for ranges
        (Store(etag_of(SIZE)), "md5", 1),
        (Store("unknown"), "length only", 0),
    ],
)
def test_each_kind_of_evidence(store: Store, verified: str, reads: int, tmp_path: Path) -> None:
    """A checksum of the whole, an MD5, and the MD5s of parts of any size prove the file; else the length stands."""
    bench, report = run(store, tmp_path, store.etag)
    assert (report.error, report.verified, report.attempts) == (None, verified, 1)
    assert bench.kinds()[Kind.READ_FILE] == reads
    assert (tmp_path / "k").read_bytes() == BODY


@pytest.mark.parametrize(
    "store",
    [
        Store("x-3", (CRC32,), wrong=1),
        Store(MD5, wrong=1),
        Store(etag_of(5 * MIB), part_bytes=5 * MIB, wrong=1),
        Store(etag_of(8 * MIB), wrong=1),
    ],
)
def test_wrong_range_is_fetched_again(store: Store, tmp_path: Path) -> None:
    """When the whole is not what it should be all ranges are fetched once more, and the file is right."""
    _, report = run(store, tmp_path, store.etag)
    assert report.error is None
    assert report.verified in ("crc32", "md5")
    assert report.attempts > 1
    assert (tmp_path / "k").read_bytes() == BODY


@pytest.mark.parametrize(
    "store", [Store("x-3", (CRC32,), wrong=2), Store(MD5, wrong=2), Store(etag_of(8 * MIB), wrong=2)]
)
def test_wrong_twice_is_an_error(store: Store, tmp_path: Path) -> None:
    """What is wrong in two ways was broken on the way twice: an error, and no file under any name."""
    _, report = run(store, tmp_path, store.etag)
    assert isinstance(report.error, ChecksumMismatch)
    assert report.verified == ""
    assert os.listdir(tmp_path) == []


def test_multipart_etag_of_another_making(tmp_path: Path) -> None:
    """An ETag of parts that the same bytes contradict twice is one of another making: length only, not an error."""
    store = Store("0" * 32 + "-3", part_bytes=8 * MIB)
    _, report = run(store, tmp_path, store.etag)
    assert (report.error, report.verified) == (None, "length only")
    assert (tmp_path / "k").read_bytes() == BODY


def test_parts_of_other_sizes(tmp_path: Path) -> None:
    """An upload in parts of several sizes is noticed without fetching it again."""
    store = Store("0" * 32 + "-3")

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD and task[5]:
            return outcome(task, detail=HeadResult({1: 8 * MIB, 2: 9 * MIB, 3: 3 * MIB}[task[5]], store.etag))
        return store(task)

    bench, report = run(answer, tmp_path, store.etag)
    assert (report.error, report.verified) == (None, "length only")
    assert bench.kinds()[Kind.GET_PART] == 3


def test_head_pins_what_was_not_listed(tmp_path: Path) -> None:
    """Where the listing had no ETag all ranges ask for the one that HEAD told."""
    bench, report = run(Store(MD5), tmp_path)
    assert report.ok
    assert {task[5][3] for task in bench.tasks if task[2] == Kind.GET_PART} == {MD5}


@pytest.mark.parametrize(("error", "done"), [(AccessDenied("no"), True), (NotFound("gone"), False)])
def test_head_that_fails(error: S3EngineError, done: bool, tmp_path: Path) -> None:
    """Who may not ask gets the object by its length; one that is not there is an error."""
    store = Store(MD5)
    store.head_error = error
    _, report = run(store, tmp_path, MD5)
    assert report.ok is done
    assert report.verified == ("length only" if done else "")


def test_nothing_is_asked_without_the_wish(tmp_path: Path) -> None:
    """With verify off there is no HEAD and no reading; a transport that cannot ask goes by the listed ETag."""
    bench, report = run(Store(MD5), tmp_path, MD5, verify=False)
    assert (report.verified, set(bench.kinds())) == ("length only", {Kind.GET_PART})
    bench, report = run(Store(MD5), tmp_path, MD5, ask_checksums=False)
    assert (report.verified, set(bench.kinds())) == ("md5", {Kind.GET_PART, Kind.READ_FILE})


def test_headers_of_the_first_answer_will_do(tmp_path: Path) -> None:
    """An object that a worker found to be large brings its evidence along: no HEAD is made."""
    store = Store(MD5)

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.GET_FILE:
            return outcome(task, error=NeedsParts("large", size_bytes=SIZE, etag=MD5, headers=(CRC32,)))
        return store(task)

    bench = Bench(answer)
    (report,) = bench.run(download(bench, ["k"], tmp_path, verify=True, ask_checksums=True))
    assert report.verified == "crc32"
    assert Kind.HEAD not in bench.kinds()


@pytest.mark.parametrize("part_bytes", [0, 1, 1000, MIB, 3 * MIB])
@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 1])
def test_file_read_back(tmp_path: Path, size: int, part_bytes: int) -> None:
    """A file is summed up as a whole or in parts, however it falls into pieces."""
    if size > 100 * part_bytes > 0:
        size = 100 * part_bytes
    body = os.urandom(size)
    (tmp_path / "f").write_bytes(body)
    expected = hashlib.sha256(body).digest()
    if part_bytes:
        starts = range(0, size, part_bytes)
        expected = composite("sha256", [hashlib.sha256(body[start : start + part_bytes]).digest() for start in starts])
    assert checksum_of_file(str(tmp_path / "f"), "sha256", part_bytes, lambda: False) == expected


def test_reading_back_ends_when_told(tmp_path: Path) -> None:
    """Reading stops with the batch, and a file that is gone is an error that names it."""
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(Cancelled):
        checksum_of_file(str(tmp_path / "f"), "md5", 0, lambda: True)
    with pytest.raises(SinkError, match="gone"):
        checksum_of_file(str(tmp_path / "gone"), "md5", 0, lambda: False)


@pytest.mark.parametrize("known", ["", "listed"])
def test_ranges_of_two_objects_are_not_joined(known: str, tmp_path: Path) -> None:
    """Ranges that were asked for together and come with two ETags are no file, also where nothing is verified."""
    store = Store("old")

    def answer(task: Task) -> tuple[Any, ...]:
        store.etag = "new" if task[2] == Kind.GET_PART and task[5][1] else "old"
        return store(task)

    _, report = run(answer, tmp_path, known, verify=False)
    assert isinstance(report.error, PreconditionFailed)
    assert os.listdir(tmp_path) == []
