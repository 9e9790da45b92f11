"""Complete listings: kept flat, read as often as one likes; limits of what may be deleted."""

from __future__ import annotations

import os
import stat
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3engine.distinct import Aside
from s3engine.errors import ConfigError, DeleteLimitExceeded
from s3engine.limits import DeleteLimit, within
from s3engine.spool import Spool, objects_of
from s3engine.transport import ObjectInfo


def rows(count: int) -> Iterator[ObjectInfo]:
    for n in range(count):
        yield ObjectInfo(f"p/{n:08}-\udcff-é", n, f"{n:032x}", "2026-11-23T06:09:42.000Z", "STANDARD")


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 2000, 2001, 12_345])
def test_rows_come_back_as_often_as_wished(count: int) -> None:
    """What goes in comes out, in order, from memory and from the file, also in two iterations at once."""
    with Spool(memory_rows=10) as spool:
        for info in rows(count):
            spool.append(info)
        assert len(spool) == count
        assert (spool.file_bytes > 0) == (count > 10)
        both = list(zip(objects_of(spool), objects_of(spool), strict=True))
        assert both == [(info, info) for info in rows(count)]


def test_large_listing_needs_little_memory() -> None:
    """Thirty thousand rows need less than 4 MB of memory and 160 bytes each of the disk."""
    with Spool(memory_rows=1000) as spool:
        tracemalloc.start()
        try:
            for info in rows(30_000):
                spool.append(info)
            assert sum(1 for _ in spool) == 30_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000
        assert spool.file_bytes < 160 * 30_000


def test_files_have_no_name_and_are_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spooled lies in a file below TMPDIR that nobody else can open: no name, 0600, whatever the umask."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.umask(0)
    try:
        with Spool(memory_rows=1) as spool:
            aside = Aside(chunk=1)
            for info in rows(3):
                spool.append(info)
                aside.add(info)
            for file in (spool._file, aside._file):
                assert file is not None
                status = os.fstat(file.fileno())
                assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 0)
                assert status.st_dev == tmp_path.stat().st_dev
            assert os.listdir(tmp_path) == []
            assert [entry for chunk in aside.chunks() for entry in chunk] == list(rows(3))
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("limit", "count", "total", "allowed"),
    [
        (0, 0, 5, True), (0, 1, 5, False), ("10", 10, 10, True), ("10", 11, 100, False), ("50%", 5, 10, True),
        ("50%", 6, 10, False), ("0%", 0, 0, True), ("0%", 1, 1000, False), ("100%", 7, 7, True),
        ("33.333333%", 1, 3, False), ("33.4%", 1, 3, True),
    ],
)  # fmt: skip
def test_limits(limit: int | str, count: int, total: int, allowed: bool) -> None:
    """A number is a number of objects, a percentage one of all there are; the limit itself is allowed."""
    assert DeleteLimit.parse(limit).allows(count, total) is allowed


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "101%", "%", "1e3", "5 %", True, "٣", "100.1%"])
def test_bad_limits_are_named(value: int | str) -> None:
    """What is no limit is refused with the forms that are."""
    with pytest.raises(ConfigError, match=r"max_delete must be a number of objects or a percentage"):
        DeleteLimit.parse(value)


def test_input_is_counted_before_any_of_it_comes_out() -> None:
    """Above the limit nothing comes out, and the error tells limit and count."""
    with pytest.raises(DeleteLimitExceeded, match="3 objects would be deleted, more than the limit of 2;") as caught:
        next(iter(within("abc", DeleteLimit.parse(2))))
    assert (caught.value.limit, caught.value.count, caught.value.total) == ("2", 3, -1)
    mixed: list[str | ObjectInfo] = ["a", ObjectInfo("b", 1, "e")]
    assert list(within(mixed, DeleteLimit.parse(2))) == mixed


def test_part_of_what_is_no_listing() -> None:
    """A percentage of an iterator of unknown extent is refused."""
    with pytest.raises(ConfigError, match="part of a listing"):
        next(iter(within("abc", DeleteLimit.parse("50%"))))
