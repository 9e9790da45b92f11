"""Tasks without a request are done beside the lane, and end with their batch."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from s3engine.errors import Cancelled, SinkError
from s3engine.pool.actions import ACTIONS
from s3engine.pool.item import Action, Item, WorkerContext
from s3engine.pool.local_work import LocalWork
from s3engine.pool.messages import Context, Kind
from tests.helpers import eventually


class Core:
    """Notes what becomes of items."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def clock(self) -> float:
        return 1.0

    def local_done(self, item: Item, ended: Any, now: float) -> None:
        self.done.append(ended.detail)

    def local_failed(self, item: Item, error: Exception, now: float) -> None:
        self.done.append(error)

    def cancelled(self, item: Item, now: float) -> None:
        self.done.append("cancelled")


def _item(path: Path, context_id: int = 1) -> Item:
    task = (1, context_id, Kind.READ_FILE, "k", 1, (str(path), "md5", 0))
    return Item(task, WorkerContext(Context(id=context_id, bucket="b")))


def test_files_are_read_and_what_cannot_be_is_told(tmp_path: Path) -> None:
    """A file's checksum comes as the outcome; a file that is not there is an error of its object."""
    core: Any = Core()
    woken = threading.Event()
    work = LocalWork(core, woken.set)
    (tmp_path / "f").write_bytes(b"hello")
    work.start(_item(tmp_path / "f"))
    work.start(_item(tmp_path / "none"))

    def collected() -> bool:
        work.collect()
        return not work.under_way

    eventually(collected)
    work.close()
    assert woken.is_set()
    assert core.done[0] == hashlib.md5(b"hello").digest()
    assert isinstance(core.done[1], SinkError)


def test_a_cancelled_batch_is_left(tmp_path: Path, monkeypatch: Any) -> None:
    """What is under way stops soon, what waits is not begun; other batches go on."""
    begun, go_on = threading.Event(), threading.Event()

    def begin(item: Item, _api: Any, _timeouts: Any) -> bytes:
        begun.set()
        go_on.wait(10)
        if item.stopped:
            raise Cancelled("stopped")
        return b"read"

    monkeypatch.setitem(ACTIONS, Kind.READ_FILE, Action(0, None, begin, ACTIONS[Kind.READ_FILE].end))
    core: Any = Core()
    work = LocalWork(core, lambda: None)
    for context_id in (1, 1, 2):
        work.start(_item(tmp_path / "f", context_id))
    assert begun.wait(10)
    work.cancel(1)
    go_on.set()

    def collected() -> bool:
        work.collect()
        return not work.under_way

    eventually(collected)
    work.close()
    assert sorted(map(str, core.done)) == sorted(["cancelled", "stopped", str(b"read")])
