"""What of a job with a journal is on the disk, and whose locks guard its file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from s3engine.disk import sync_file_system
from s3engine.jobs.base import Job
from s3engine.jobs.download import DownloadJob
from s3engine.journal import Journal
from s3engine.report import RequestReport
from s3engine.sources import FileSource
from s3engine.transport import ObjectInfo
from tests.journaled import MIB, Driver, outcome


def downloads(folder: Path, *, sync_first: bool) -> Callable[..., Job]:
    """Makes download jobs."""

    def make(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
        return DownloadJob(
            items, "b", str(folder), lambda info: info.key, emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB,
            sync_first=sync_first,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("sync_first", [True, False])
def test_downloads_are_synced_before_they_are_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_first: bool
) -> None:
    """Nothing is recorded as done whose file system was not synced after it was written."""
    folders: list[str] = []
    recorded: list[int] = []

    def sync(folder: str) -> None:
        folders.append(folder)
        recorded.append(Journal(tmp_path / "j").counts().done)

    monkeypatch.setattr("s3engine.journal.run.sync_file_system", sync)
    objects = [ObjectInfo(f"k{number}", 1) for number in range(5)]
    identity = {"operation": "download"}
    Driver(tmp_path / "j", objects, make=downloads(tmp_path, sync_first=sync_first), identity=identity).run()
    assert Journal(tmp_path / "j").counts().done == 5
    assert set(folders) == ({str(tmp_path)} if sync_first else set())
    assert recorded[:1] == ([0] if sync_first else [])


def test_disk_that_fails_on_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be synced is not on record as done, and its report says so."""

    def sync(folder: str) -> None:
        raise OSError(5, "Input/output error", folder)

    monkeypatch.setattr("s3engine.journal.run.sync_file_system", sync)
    driver = Driver(
        tmp_path / "j", [ObjectInfo("k", 1)], make=downloads(tmp_path, sync_first=True),
        identity={"operation": "download"},
    )  # fmt: skip
    with pytest.raises(Exception, match="Input/output error"):
        driver.run()
    assert Journal(tmp_path / "j").counts().done == 0
    assert ["Input/output error" in str(report.error) for report in driver.reports] == [True]


def test_sync_of_a_folder(tmp_path: Path) -> None:
    """A folder can be synced; one that is not there has nothing to be synced."""
    sync_file_system(str(tmp_path))
    sync_file_system(str(tmp_path / "none"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        sync_file_system(str(tmp_path / "file"))


def test_locks_outlive_a_look_at_the_journal(tmp_path: Path) -> None:
    """A program may read its own journal while it runs: another process sees that it is in use, and leaves its log."""
    path = tmp_path / "j"
    log = tmp_path / "j-wal"
    answered: list[Any] = []

    def answer(task: Any) -> Any:
        if not answered:
            assert Journal(path).counts().done == 0
            list(Journal(path).failed())
            show = [sys.executable, "-m", "s3engine", "journal", "show", str(path)]
            subprocess.run(show, check=True, stdout=subprocess.DEVNULL)
            assert log.exists()
        answered.append(task)
        return outcome(task)

    sources = [FileSource(f"/nowhere/{number}", f"k{number}") for number in range(3)]
    Driver(path, sources, answer).run()
    assert len(answered) == 3
    assert Journal(path).counts().done == 3
