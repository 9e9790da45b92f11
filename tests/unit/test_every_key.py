"""A move never takes two sources to one target: the second would overwrite the first, and both would be deleted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import DuplicateKey
from s3engine.jobs.base import Job
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.every_key import EveryKey
from s3engine.jobs.upload import UploadJob
from s3engine.report import RequestReport
from s3engine.sources import BytesSource
from s3engine.transport import ObjectInfo
from tests.journaled import Driver, outcome

FAR = 140_000  # beyond what other operations remember
Emit = Callable[[RequestReport], None]


@pytest.mark.parametrize("recent", [1, 7, 100, 5000])
def test_every_key_is_noticed(recent: int) -> None:
    """Whatever came before is noticed, and nothing else is, however little is kept in memory."""
    keys = EveryKey(recent)
    chance = random.Random(recent)
    before: set[str] = set()
    for _ in range(3000):
        key = f"k{chance.randrange(2000)}"
        assert keys.seen(key) == (key in before)
        before.add(key)
    keys.close()


def _copies(emit: Emit, items: Any) -> Job:
    return CopyJob(
        items, "a", "b", lambda info: info.key.removeprefix("twin-"), emit, template=None, threshold_bytes=100,
        part_bytes=10, move=True,
    )  # fmt: skip


def _downloads(emit: Emit, items: Any) -> Job:
    return DownloadJob(
        items, "a", "out", lambda info: info.key.removeprefix("twin-"), emit, threshold_bytes=100, part_bytes=10,
        move=True, fold=lambda _root: str,
    )  # fmt: skip


def _uploads(emit: Emit, items: Any) -> Job:
    sources = (BytesSource(b"", info.key.removeprefix("twin-")) for info in items)
    return UploadJob(sources, "b", emit, template=None, threshold_bytes=100, part_bytes=10, remove_source=True)


@pytest.mark.parametrize("make", [_copies, _downloads, _uploads])
def test_targets_that_lie_far_apart(make: Callable[[Emit, Any], Job]) -> None:
    """140 000 objects lie between two that come out at one target: the second is kept, and its report says so."""
    reports: list[RequestReport] = []
    job = make(reports.append, [])
    job.admit(0, _item(make, "k0"))
    for n in range(1, FAR):
        job._guard.seen(f"k{n}")  # type: ignore[attr-defined]
    job.admit(1, _item(make, "twin-k0"))
    assert [type(report.error) for report in reports] == [DuplicateKey]
    assert len(job.next_tasks(10)) == 1


def _item(make: Any, key: str) -> Any:
    return BytesSource(b"", key.removeprefix("twin-")) if make is _uploads else ObjectInfo(key, 1, "etag")


def test_next_run_knows_all_targets_of_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a move that goes on what was given out by earlier runs is not free, though it is long ago."""
    monkeypatch.setattr("s3engine.journal.items._REMEMBERED", 5)
    monkeypatch.setattr("s3engine.journal.items._PAGE", 7)

    def uploads(emit: Emit, items: Any) -> Job:
        return UploadJob(items, "b", emit, template=None, threshold_bytes=100, part_bytes=10, remove_source=True)

    path = tmp_path / "j"
    first = [BytesSource(b"", f"k{n}") for n in range(50)]

    def cut() -> Any:
        yield from first
        raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        Driver(path, cut(), outcome, make=uploads).run()
    done = len([report for report in Driver(path, first, outcome, make=uploads).run() if report.ok])
    assert done <= 50
    run = Driver(path, [], outcome, make=uploads)
    assert [run.job._guard.seen(f"k{n}") for n in (0, 25, 49)] == [True] * 3  # type: ignore[attr-defined]
    run.crash()
