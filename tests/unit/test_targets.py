"""What stands where a download is to be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from s3engine import Existing
from s3engine.decided import Decided
from s3engine.errors import SinkError
from s3engine.targets import FileTargets, Target
from s3engine.transport import ObjectInfo


def _found(folder: Path, policy: str) -> list[tuple[str, str]]:
    """(skipped because, error) for each name of the folder, in order."""
    names = sorted(os.listdir(folder))
    objects = [ObjectInfo(name, 4, "e", "2030-01-01T00:00:00Z") for name in names]
    # An Existing asks the engine only where the listing does not tell size and time.
    decided = Existing(policy).downloads(None, "b", objects, folder, lambda info: info.key)  # type: ignore[arg-type]
    found = [one for one in decided if isinstance(one, Decided)]
    return [(one.skip, type(one.error).__name__ if one.error else "") for one in found]


def _fill(folder: Path) -> None:
    """A FIFO, a link to nowhere, a link to a folder, a link to a file."""
    os.mkfifo(folder / "1-fifo")
    (folder / "2-dangling").symlink_to("/nonexistent-folder-of-a-test/x")
    (folder / "3-to-a-folder").symlink_to(folder)
    (folder.parent / "file").write_bytes(b"body")
    (folder / "4-to-a-file").symlink_to(folder.parent / "file")


def test_keep_keeps_whatever_is_there(tmp_path: Path) -> None:
    """With keep nothing that has the name is written over, be it a file or not."""
    folder = tmp_path / "out"
    folder.mkdir()
    _fill(folder)
    assert _found(folder, "keep") == [("exists", "")] * 4


@pytest.mark.parametrize("policy", ["if-size-differs", "if-source-newer"])
def test_what_cannot_be_compared_is_an_error(tmp_path: Path, policy: str) -> None:
    """What has no size and time to compare with is not written over; a link to a file is compared as the file."""
    folder = tmp_path / "out"
    folder.mkdir()
    _fill(folder)
    last = ("same size", "") if policy == "if-size-differs" else ("", "")
    assert _found(folder, policy) == [("", "SinkError")] * 3 + [last]


def test_nothing_there(tmp_path: Path) -> None:
    """No such name, a folder of that name, or a file where a folder is needed: the writer's to tell."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    targets = FileTargets(str(tmp_path))
    assert [targets.find(name) for name in ("none", "folder", "file/x", "n" * 300)] == [None] * 4
    assert targets.find("file") == Target(0, (tmp_path / "file").stat().st_mtime)


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    """Where the file system does not say what is there, nothing is decided: SinkError, with the path."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SinkError, match="loop/x"):
        FileTargets(str(tmp_path)).find("loop/x")
