"""The journal of large downloads: another run goes on inside the file, or fetches it anew."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.checksums import compute
from s3engine.errors import PreconditionFailed
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.ranges import FileFromRanges
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.report import RequestReport
from s3engine.transport import HeadResult, ObjectInfo
from tests.journaled import MIB, Driver, outcome

SIZE = 40 * MIB  # five ranges


class Remote:
    """What is behind the tasks of a download in ranges."""

    def __init__(self) -> None:
        self.etag = "e1"
        self.fetched: list[int] = []
        self.silent_after = 10**9

    def __call__(self, task: Task) -> tuple[Any, ...] | None:
        kind, arg = task[2], task[5]
        if kind == Kind.GET_FILE:
            return outcome(task, error=NeedsParts("large", size_bytes=SIZE, etag=self.etag, headers=()))
        if kind == Kind.HEAD:
            return outcome(task, detail=HeadResult(SIZE, self.etag))
        assert kind == Kind.GET_PART, kind
        if arg[3] and arg[3] != self.etag:
            return outcome(task, error=PreconditionFailed("changed"))
        if len(self.fetched) >= self.silent_after:
            return None
        first, last = arg[1], arg[2]
        self.fetched.append(first // (8 * MIB))
        data = self.body()[first : last + 1]
        fd = os.open(arg[0], os.O_WRONLY | os.O_CREAT)
        os.pwrite(fd, data, first)
        os.close(fd)
        return outcome(task, etag=self.etag, size_bytes=len(data), checksum=compute(arg[5], data) if arg[5] else "")

    def body(self) -> bytes:
        return b"".join(bytes([65 + n]) * (8 * MIB) for n in range(5)) if self.etag == "e1" else b"z" * SIZE


def fetch(folder: Path, remote: Remote, source: Iterable[Any] = ()) -> list[RequestReport]:
    """One run; ``source`` is what a listing tells now unless it is given."""

    def make(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> DownloadJob:
        return DownloadJob(
            items, "b", str(folder / "out"), lambda info: info.key, emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB
        )

    source = source or [ObjectInfo("k", SIZE, remote.etag)]
    return Driver(folder / "j", source, remote, make=make, identity={"operation": "download"}).run()


def test_download_goes_on_with_the_ranges_that_are_missing(tmp_path: Path) -> None:
    """Ranges that are on record and in the temporary file are not fetched again."""
    remote = Remote()
    remote.silent_after = 3
    assert fetch(tmp_path, remote) == []
    assert len(remote.fetched) == 3
    remote.silent_after = 10**9
    (report,) = fetch(tmp_path, remote)
    assert report.ok
    assert sorted(remote.fetched) == [0, 1, 2, 3, 4]
    assert (tmp_path / "out" / "k").read_bytes() == remote.body()
    assert os.listdir(tmp_path / "out") == ["k"]


def test_range_that_never_reached_the_disk_is_fetched_again(tmp_path: Path) -> None:
    """After a power cut the journal may know of bytes that the file does not have: they are read before they count."""
    remote = Remote()
    remote.silent_after = 3
    fetch(tmp_path, remote)
    (temporary,) = (tmp_path / "out").iterdir()
    with open(temporary, "r+b") as file:
        file.seek(8 * MIB + 5)
        file.write(b"\0" * 100)
    remote.silent_after = 10**9
    (report,) = fetch(tmp_path, remote)
    assert report.ok
    assert sorted(remote.fetched) == [0, 1, 1, 2, 3, 4]
    assert (tmp_path / "out" / "k").read_bytes() == remote.body()


def test_object_that_changed_is_fetched_anew(tmp_path: Path) -> None:
    """Nothing of the old object is in the file, and the old temporary file is gone."""
    remote = Remote()
    remote.silent_after = 3
    fetch(tmp_path, remote)
    remote.silent_after, remote.etag = 10**9, "e2"
    reports = fetch(tmp_path, remote)
    if not reports[0].ok:  # it was listed with another ETag: told, and fetched as it is by the next run
        assert isinstance(reports[0].error, PreconditionFailed)
        reports = fetch(tmp_path, remote)
    assert reports[0].ok
    assert (tmp_path / "out" / "k").read_bytes() == remote.body()
    assert os.listdir(tmp_path / "out") == ["k"]


@pytest.mark.parametrize("on_record", [3, 5], ids=["some ranges", "all ranges"])
def test_ranges_of_an_object_that_was_replaced_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_record: int
) -> None:
    """A key whose object has another ETag than its ranges on record, and their size, is fetched as it is now."""
    remote = Remote()
    remote.silent_after = on_record
    with monkeypatch.context() as patched:
        patched.setattr(FileFromRanges, "all_parts_done", lambda self: None)  # killed before the file had its name
        assert fetch(tmp_path, remote, ["k"]) == []
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        assert connection.execute("SELECT count(*) FROM parts").fetchone() == (on_record,)
    remote.silent_after, remote.etag = 10**9, "e2"
    remote.fetched.clear()
    (report,) = fetch(tmp_path, remote, ["k"])
    assert report.error is None
    assert report.etag == "e2"
    assert (tmp_path / "out" / "k").read_bytes() == remote.body()
    assert sorted(remote.fetched) == [0, 1, 2, 3, 4]
    assert os.listdir(tmp_path / "out") == ["k"]
