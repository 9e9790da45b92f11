"""The thread lane: blocking transports do all operations, fail, retry and are cancelled as in the loop lane."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FileSource, ObjectInfo
from s3engine.errors import Cancelled, NotFound, PreconditionFailed, RequestError, Throttled
from s3engine.testing import Fault, with_faults

MIB = 1024 * 1024
MEMORY = "s3engine.testing:MemoryTransport"
FAULTY = "s3engine.testing:FaultyTransport"
URL = "http://memory"


def open_engine(**settings: Any) -> Engine:
    """One worker, so that all requests meet the same memory."""
    settings = {"endpoint_url": URL, "transport": MEMORY, "workers": 1, "concurrency": 8, "anonymous": True, **settings}
    return Engine(**settings)


def faulty(*faults: Fault, **settings: Any) -> Engine:
    return open_engine(transport=FAULTY, endpoint_url=with_faults(URL, *faults, inner=MEMORY), **settings)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine over memory."""
    with open_engine() as engine:
        yield engine


def test_round_trip(engine: Engine, tmp_path: Path) -> None:
    """What is uploaded by bytes and by file, copied and downloaded is the same, and can be deleted."""
    (tmp_path / "f").write_bytes(b"file")
    sources: list[BytesSource | FileSource] = [BytesSource(b"bytes", "a"), FileSource(str(tmp_path / "f"), "b")]
    reports = {report.key: report for report in engine.upload("trip", sources)}
    assert reports["a"].etag == hashlib.md5(b"bytes").hexdigest()
    assert all(report.ok and report.attempts == 1 for report in reports.values())
    assert engine.copy("trip", ["a", "b"], "trip", key=lambda info: "c/" + info.key).wait().objects == 2
    assert engine.download("trip", ["a", "b", "c/a", "c/b"], tmp_path / "out").wait().ok
    files = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("[abc]")
             if path.is_file()}  # fmt: skip
    assert files == {"a": b"bytes", "b": b"file", "c/a": b"bytes", "c/b": b"file"}
    assert engine.delete("trip", ["a", "b"]).wait().objects == 2
    reports = {report.key: report for report in engine.download("trip", ["a", "c/a"], tmp_path / "again")}
    assert isinstance(reports["a"].error, NotFound)
    assert reports["c/a"].ok


def test_large_objects_go_in_parts(tmp_path: Path) -> None:
    """Multipart upload, ranged download and copy in parts carry every byte."""
    data = bytes(range(256)) * (12 * MIB // 256)
    (tmp_path / "f").write_bytes(data)
    sizes = {"multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB, "copy_threshold_bytes": 5 * MIB}
    with open_engine(**sizes, copy_part_size_bytes=5 * MIB) as engine:
        (up,) = engine.upload("large", [FileSource(str(tmp_path / "f"), "k")])
        assert up.ok
        assert up.etag.endswith("-3")
        assert engine.copy("large", [ObjectInfo("k", len(data), up.etag)], "large", key=lambda _: "c").wait().ok
        (down,) = engine.download("large", [ObjectInfo("c", len(data))], tmp_path / "out")
        assert down.ok, down.error
    assert (tmp_path / "out" / "c").read_bytes() == data


def test_move_deletes_its_sources(engine: Engine, tmp_path: Path) -> None:
    """After a move the copies are there and the sources are not."""
    engine.upload("move", [BytesSource(b"x", "a")]).wait()
    assert engine.copy("move", ["a"], "move", key=lambda _: "b", move=True).wait().ok
    reports = {report.key: report.ok for report in engine.download("move", ["a", "b"], tmp_path)}
    assert reports == {"a": False, "b": True}


def test_changed_object_is_not_taken_for_the_listed_one(engine: Engine, tmp_path: Path) -> None:
    """An object whose ETag is not the listed one any more is not downloaded."""
    engine.upload("changed", [BytesSource(b"new", "k")]).wait()
    (report,) = engine.download("changed", [ObjectInfo("k", 3, "old")], tmp_path)
    assert isinstance(report.error, PreconditionFailed)
    assert list(tmp_path.iterdir()) == []


def test_missing_bucket_fails_each_object(engine: Engine) -> None:
    """Every object of a bucket that is not there has its report, after one attempt."""
    reports = list(engine.upload("missing", [BytesSource(b"", f"k{n}") for n in range(20)]))
    assert [(type(report.error), report.attempts) for report in reports] == [(NotFound, 1)] * 20


def test_errors_are_retried() -> None:
    """An error that passes is retried and counted; neighbours are not."""
    with faulty(Fault("raise:ServerFault", "put_object", "k1", 2)) as engine:
        reports = {report.key: report for report in engine.upload("bbb", [BytesSource(b"", f"k{n}") for n in range(3)])}
    assert {key: (report.ok, report.attempts) for key, report in reports.items()} == {
        "k0": (True, 1), "k1": (True, 3), "k2": (True, 1),
    }  # fmt: skip


def test_attempts_end() -> None:
    """An error that does not pass ends its object after max_attempts, and nothing else."""
    fault = Fault("raise:Throttled", "put_object", "k1")
    with faulty(fault, max_attempts=3, retry_throttle_base_s=0.01) as engine:
        reports = {report.key: report for report in engine.upload("bbb", [BytesSource(b"", f"k{n}") for n in range(3)])}
    assert [reports[f"k{n}"].ok for n in range(3)] == [True, False, True]
    assert isinstance(reports["k1"].error, Throttled)
    # One more when the others were done before its first attempt: nothing succeeds any more, so the store is asked
    # whether it is well before the object is given up (control/outage.py).
    assert reports["k1"].attempts in (3, 4)


def test_attempts_are_max_attempts() -> None:
    """Against a store that never did anything well, attempts are just max_attempts."""
    fault = Fault("raise:Throttled", "put_object", "k1")
    with faulty(fault, max_attempts=3, retry_throttle_base_s=0.01) as engine:
        (report,) = engine.upload("bbb", [BytesSource(b"", "k1")])
    assert isinstance(report.error, Throttled)
    assert report.attempts == 3


def test_foreign_exception_is_a_report(tmp_path: Path) -> None:
    """What a client raises that is no error of ours fails its object alone, by name."""
    with faulty(Fault("raise:__name__", "put_object", "k1")) as engine:  # not a class: TypeError when called
        reports = {report.key: report for report in engine.upload("bbb", [BytesSource(b"", f"k{n}") for n in range(3)])}
    assert [reports[f"k{n}"].ok for n in range(3)] == [True, False, True]
    assert isinstance(reports["k1"].error, RequestError)
    assert "TypeError" in str(reports["k1"].error)


def test_cancel_ends_the_batch() -> None:
    """A cancelled batch is over when the calls under way are; what was not begun is reported as cancelled."""
    with faulty(Fault("block:0.2", "put_object")) as engine:
        batch = engine.upload("bbb", [BytesSource(b"", f"k{n}") for n in range(100)])
        reports = iter(batch)
        first = next(reports)
        batch.cancel()
        rest = list(reports)
    assert first.ok
    done = sum(report.ok for report in rest)
    assert done < 90
    assert {type(report.error) for report in rest if not report.ok} == {Cancelled}
    assert len({report.seq for report in [first, *rest]}) == len(rest) + 1
