"""What a worker does about a small file before it is sent: read whole, and known not to have changed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from s3engine.errors import SourceChanged
from s3engine.pool.actions import ACTIONS
from s3engine.pool.item import Item, WorkerContext
from s3engine.pool.messages import Context, Kind

OLD_NS = 1_700_000_000_000_000_000


def _read(path: Path) -> Item:
    context = Context(id=1, bucket="b", threshold_bytes=1000)
    item = Item((1, 1, Kind.PUT_FILE, "k", -1, (str(path), None)), WorkerContext(context))
    prepare = ACTIONS[Kind.PUT_FILE].prepare
    assert prepare is not None
    prepare(item)
    return item


def _while_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have ``change`` called when the file has just been read."""
    read = os.read

    def reading(fd: int, size: int) -> bytes:
        data = read(fd, size)
        change()
        return data

    monkeypatch.setattr("s3engine.pool.actions.put.os.read", reading)


def test_a_file_at_rest_is_read(tmp_path: Path) -> None:
    """Body and size are those of the file, whether it was written just now or long ago."""
    path = tmp_path / "f"
    for old in (False, True):
        path.write_bytes(b"body")
        if old:
            os.utime(path, ns=(OLD_NS, OLD_NS))
        assert (_read(path).body, _read(path).size_bytes) == (b"body", 4)


def test_a_change_that_the_time_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is written to while it is read raises SourceChanged, though its size is the same."""
    path = tmp_path / "f"
    path.write_bytes(b"old!")
    os.utime(path, ns=(OLD_NS, OLD_NS))
    _while_read(monkeypatch, lambda: path.write_bytes(b"new!"))
    with pytest.raises(SourceChanged):
        _read(path)


def test_a_change_that_the_time_alone_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the same size with another time, both long ago, raises: its bytes are not read a second time."""
    path = tmp_path / "f"
    path.write_bytes(b"old!")
    os.utime(path, ns=(OLD_NS, OLD_NS))

    def change() -> None:
        path.write_bytes(b"new!")
        os.utime(path, ns=(OLD_NS, OLD_NS + 1_000_000_000))

    _while_read(monkeypatch, change)
    with pytest.raises(SourceChanged):
        _read(path)


def test_a_change_within_a_tick_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has the same new time before and after it is read is compared, and raises when it changed."""
    path = tmp_path / "f"
    path.write_bytes(b"old!")
    before = path.stat()

    def change() -> None:
        path.write_bytes(b"new!")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    _while_read(monkeypatch, change)
    monkeypatch.setattr("s3engine.pool.actions.put.time.time_ns", lambda: before.st_mtime_ns + 1_000_000)
    with pytest.raises(SourceChanged):
        _read(path)
