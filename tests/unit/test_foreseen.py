"""What a dry run knows of local files before anything is asked of the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from s3engine.cli.app import run as main
from s3engine.cli.foreseen import TargetFolder, unreadable

Captured = pytest.CaptureFixture[str]


def test_files_that_cannot_be_uploaded(tmp_path: Path) -> None:
    """A link to nowhere, a FIFO and a name that is not there are told; a file and a link to it are not."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "nowhere").symlink_to("not-there")
    os.mkfifo(tmp_path / "fifo")
    assert unreadable(str(tmp_path / "file")) is None
    assert unreadable(str(tmp_path / "link")) is None
    for name, why in (("nowhere", "No such file"), ("fifo", "not a regular file"), ("gone", "No such file")):
        assert why in str(unreadable(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["x", "x!", "x/y", "x0"], "x/y"), (["x", "x!", "x/"], "x/"), (["a/x", "a/x/y/z"], "a/x/y/z"),
        (["x/", "x/y"], ""), (["x", "xy/z", "y"], ""),
    ],
)  # fmt: skip
def test_files_where_folders_are_needed(tmp_path: Path, names: list[str], wrong: str) -> None:
    """Of the keys ``x`` and ``x/y`` one cannot be a file: told of the second."""
    folder = TargetFolder(str(tmp_path))
    errors = {name: folder.wrong(name, 0) for name in names}
    assert [name for name, error in errors.items() if error is not None] == ([wrong] if wrong else [])
    assert "a file is in the way" in str(errors.get(wrong, "a file is in the way"))


def test_targets_that_are_taken(tmp_path: Path) -> None:
    """What is in the way on the disk is told: a folder, a FIFO, a file where a folder is needed."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "fifo")
    folder = TargetFolder(str(tmp_path))
    for name, why in (("sub", "a folder is in the way"), ("fifo", "a FIFO"), ("file/x/y", "a file is in the way")):
        assert why in str(folder.wrong(name, 1))
    for name in ("file", "sub/new", "new/deep/er"):
        assert folder.wrong(name, 1) is None
    assert folder.wrong("sub/", 0) is None


def test_targets_that_no_download_reaches(tmp_path: Path) -> None:
    """Told, too: a link that leads out, a path that is too long, a marker of a folder that has a body."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to("/etc")
    (tmp_path / "out" / "within").symlink_to(".")
    folder = TargetFolder(str(tmp_path / "out"))
    assert "a link that leads out of it" in str(folder.wrong("link/x", 1))
    assert "too long" in str(folder.wrong("/".join(["x" * 200] * 30), 1))
    assert "ends in / and has a body" in str(folder.wrong("dir/", 5))
    assert folder.wrong("within/x", 1) is None
    assert TargetFolder(str(tmp_path / "new" / "one")).wrong("a/b", 1) is None


def test_dry_run_of_an_upload_that_would_fail(tmp_path: Path, capsys: Captured) -> None:
    """It names what would fail, exits 1, and says so when there is nothing at all."""
    (tmp_path / "good").write_text("x")
    (tmp_path / "nowhere").symlink_to("not-there")
    assert main(["cp", str(tmp_path), "s3://bucket/", "--dry-run", "--endpoint-url", "http://127.0.0.1:9"]) == 1
    out, err = capsys.readouterr()
    assert "would upload" in out
    assert out.count("\n") == 1
    assert "would fail" in err
    assert "nowhere" in err
    (tmp_path / "none").mkdir()
    (tmp_path / "names").write_text("")
    for more, said in (([], "nothing below"), (["--from", str(tmp_path / "names")], "no names in it")):
        assert main(["cp", str(tmp_path / "none"), "s3://bucket/", "--dry-run", *more]) == 0
        assert said in capsys.readouterr().err
