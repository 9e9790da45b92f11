"""Folders that are kept open: files go into the folder that was looked at, whatever becomes of its name meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import disk
from s3engine.disk import give_name
from s3engine.errors import SinkError, UnsafeKey
from s3engine.folders import OpenFolders
from s3engine.paths import FolderGuard
from s3engine.pool.messages import NeedsParts
from s3engine.sinks import FileSink
from s3engine.transport import GetResult


class Clock:
    """Moves when told to."""

    now = 1.0

    def __call__(self) -> float:
        return self.now


def _folders(root: Path | str, **keywords: object) -> OpenFolders:
    return OpenFolders(FolderGuard(str(root)), **keywords)  # type: ignore[arg-type]


def _put(folders: OpenFolders, relative: str, body: bytes = b"body") -> None:
    sink = FileSink(relative, "t", 0, NeedsParts, folders=folders)
    sink.begin(GetResult(len(body), "e", 0, len(body)))
    sink.write(memoryview(body))
    sink.commit()


def _leads_to(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


names = st.sampled_from(["a", "b", "link-in", "link-up", "link-out", "link-to-nothing", "file", "new"])
places = st.lists(names, min_size=1, max_size=4).map("/".join)


def _tree(root: str) -> None:
    for folder in ("root/a/b", "root/b", "out/a"):
        os.makedirs(os.path.join(root, folder))
    for place in ("root", "root/a", "root/b"):
        at = os.path.join(root, place)
        os.symlink(os.path.join(root, "root/b"), os.path.join(at, "link-in"))
        os.symlink(os.path.join(root, "root"), os.path.join(at, "link-up"))
        os.symlink(os.path.join(root, "out"), os.path.join(at, "link-out"))
        os.symlink(os.path.join(root, "root/nothing"), os.path.join(at, "link-to-nothing"))
        with open(os.path.join(at, "file"), "wb"):
            pass


@given(st.lists(places, min_size=1, max_size=5), st.sampled_from([1, 2, 128]))
def test_same_folders_as_by_path(wanted: list[str], most: int) -> None:
    """The open folder is the one that its path leads to, or the same kind of error is raised; however few stay open."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        _tree(one)
        _tree(other)
        guard = FolderGuard(os.path.join(one, "root"))
        folders = _folders(os.path.join(other, "root"), most=most)
        for place in wanted:
            found: list[str] = []
            for ready in (lambda: guard.ready(place + "/f"), lambda: folders.of(place + "/f")):  # noqa: B023
                try:
                    ready()
                    found.append("")
                except (UnsafeKey, SinkError) as error:
                    found.append(type(error).__name__)
            assert found[0] == found[1], place
            if not found[1]:
                status = os.stat(os.path.join(other, "root", place))
                assert _leads_to(folders.of(place + "/f").fd) == (status.st_dev, status.st_ino)
        trees = [
            sorted(os.path.relpath(os.path.join(at, name), root) for at, within, _ in os.walk(root) for name in within)
            for root in (one, other)
        ]
        assert trees[0] == trees[1]


@pytest.mark.parametrize("at", ["a", "a/b"])
def test_a_folder_that_becomes_a_link(tmp_path: Path, at: str) -> None:
    """A link that takes the place of a folder after the look gets no file: not at once, and not later."""
    clock = Clock()
    (tmp_path / "out" / "b").mkdir(parents=True)
    folders = _folders(tmp_path / "root", clock=clock)
    sink = FileSink("a/b/f", "t", 0, NeedsParts, folders=folders)
    folders.of("a/b/f")
    (tmp_path / "root" / at).rename(tmp_path / "moved")
    (tmp_path / "root" / at).symlink_to(tmp_path / "out")
    sink.begin(GetResult(1, "e", 0, 1))
    sink.write(memoryview(b"x"))
    sink.commit()
    assert (tmp_path / "moved" / ("b/f" if at == "a" else "f")).read_bytes() == b"x"
    clock.now += 1
    with pytest.raises(UnsafeKey, match="leads out"):
        _put(folders, "a/b/g")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_folder_that_was_moved_out_and_linked_to(tmp_path: Path) -> None:
    """A link to the very folder, which stands elsewhere now, gets nothing more after the next look."""
    clock = Clock()
    folders = _folders(tmp_path / "root", clock=clock)
    _put(folders, "a/one")
    (tmp_path / "root" / "a").rename(tmp_path / "moved")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "moved")
    clock.now += 1
    with pytest.raises(UnsafeKey, match="leads out"):
        _put(folders, "a/two")
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["one"]


def test_a_large_body_whose_folder_becomes_a_link(tmp_path: Path) -> None:
    """What is written already is not renamed through the link, and nothing of it stays where the link leads."""
    clock = Clock()
    (tmp_path / "out").mkdir()
    folders = _folders(tmp_path / "root", clock=clock)
    sink = FileSink("a/f", "t", 0, NeedsParts, folders=folders)
    body = memoryview(bytes(600_000))
    sink.begin(GetResult(len(body), "e", 0, len(body)))
    sink.write(body)
    (tmp_path / "root" / "a").rename(tmp_path / "moved")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "out")
    clock.now += 1
    with pytest.raises(UnsafeKey, match="leads out"):
        sink.commit()
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_is_moved_away_or_removed(tmp_path: Path) -> None:
    """Soon after, files go into the folder that has the name now, made anew if there is none."""
    clock = Clock()
    folders = _folders(tmp_path / "root", clock=clock)
    _put(folders, "a/b/f")
    (tmp_path / "root" / "a").rename(tmp_path / "moved")
    clock.now += 1
    _put(folders, "a/b/g")
    _put(folders, "a/h")
    assert (tmp_path / "root/a/b/g").read_bytes() == (tmp_path / "root/a/h").read_bytes() == b"body"
    assert sorted(os.listdir(tmp_path / "moved/b")) == ["f"]
    os.rename(tmp_path / "root", tmp_path / "old")
    clock.now += 1
    _put(folders, "f")
    assert sorted(path.name for path in (tmp_path / "root").rglob("*")) == ["f"]


def test_a_new_folder_in_one_that_was_moved(tmp_path: Path) -> None:
    """A folder that is seen for the first time is looked for by its path, also where its parent is known."""
    clock = Clock()
    folders = _folders(tmp_path / "root", clock=clock)
    _put(folders, "a/f")
    (tmp_path / "root" / "a").rename(tmp_path / "moved")
    (tmp_path / "root" / "a").mkdir()
    _put(folders, "a/new/f")
    assert (tmp_path / "root/a/new/f").read_bytes() == b"body"


def _open_below(root: Path) -> int:
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed
            found += os.readlink(f"/proc/self/fd/{fd}").startswith(str(root))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_few_descriptors_are_enough(tmp_path: Path) -> None:
    """More folders than may be open at once all get their files; few are open at a time, and none in the end."""
    folders = _folders(tmp_path, most=1)
    for number in range(100):
        _put(folders, f"{number}/{number % 3}/f")
    assert len(list(tmp_path.rglob("f"))) == 100
    assert 1 <= _open_below(tmp_path) <= 17
    del folders
    assert _open_below(tmp_path) == 0


def test_out_of_descriptors(tmp_path: Path) -> None:
    """Where the process has no descriptor left those that are kept are given back first."""
    folders = _folders(tmp_path, most=1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(map(int, os.listdir("/dev/fd")))
    for number in range(20):
        folders.of(f"{number}/f")
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + 12, hard))
    try:
        for number in range(20, 60):
            folders.of(f"{number}/f")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir(tmp_path)) == 60


def test_path_that_is_too_long_to_be_opened(tmp_path: Path) -> None:
    """Segments that fit, in a path that nobody could open: refused, though a descriptor would get there."""
    relative = "/".join(["x" * 200] * 30)
    for key in (relative + "/f", "/".join(["x" * 200] * 19) + "/" + "y" * 255):
        with pytest.raises(SinkError, match=r"File name too long; .*path="):
            _folders(tmp_path).of(key)
    assert os.listdir(tmp_path) == []


def test_names_of_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sync each folder's name is on the disk before a file is put into it; again when it had to be made anew."""
    synced: list[str] = []
    monkeypatch.setattr("s3engine.paths.sync_folder", lambda path: synced.append(os.path.relpath(path, tmp_path)))
    clock = Clock()
    folders = OpenFolders(FolderGuard(str(tmp_path / "root"), sync=True), clock=clock)
    folders.of("a/b/f")
    assert {"root", "root/a", "root/a/b"} <= set(synced)
    synced.clear()
    folders.of("a/b/g")
    folders.of("a/c/g")
    assert synced == ["root/a/c"]
    synced.clear()
    (tmp_path / "root" / "a").rename(tmp_path / "moved")
    clock.now += 1
    folders.of("a/b/h")
    assert {"root/a", "root/a/b"} <= set(synced)


# ---- the name of a file


def _nothing(at: Path) -> None:
    """Nothing is there."""


def _file(at: Path) -> None:
    at.write_bytes(b"old")


def _link(at: Path) -> None:
    at.symlink_to(at.parent / "elsewhere")


def _folder(at: Path) -> None:
    at.mkdir()


def _full_folder(at: Path) -> None:
    at.mkdir()
    (at / "x").write_bytes(b"")


def _fifo(at: Path) -> None:
    os.mkfifo(at)


def _no_source(at: Path) -> None:
    (at.parent / "t").unlink()


@pytest.mark.parametrize("there", [_nothing, _file, _link, _folder, _full_folder, _fifo, _no_source])
def test_both_ways_to_give_a_name(
    tmp_path: Path, there: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has the name, renaming in one call where the name is free ends as looking and renaming does."""
    monkeypatch.setattr(disk, "_plain_renames", 0)
    ends: list[tuple[str, dict[str, int]]] = []
    for way in (None, lambda *_: errno.EINVAL, disk._rename_without_replacing()):
        folder = tmp_path / str(len(ends))
        folder.mkdir()
        (folder / "t").write_bytes(b"new")
        there(folder / "f")
        monkeypatch.setattr(disk, "_rename_new", way)
        fd = os.open(folder, os.O_RDONLY)
        try:
            give_name("t", "f", "/shown/f", fd)
            end = ""
        except SinkError as error:
            end = str(error)
        except OSError as error:
            end = f"{type(error).__name__} {error.errno}"
        finally:
            os.close(fd)
        ends.append((end, {one.name: stat.S_IFMT(one.lstat().st_mode) for one in folder.iterdir()}))
        if not end:
            assert (folder / "f").read_bytes() == b"new"
    assert ends[0] == ends[1] == ends[2]


def test_the_fast_way_begins_after_some_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs to load is loaded when many files have come; all of them have their names."""
    loaded: list[int] = []
    monkeypatch.setattr(disk, "_plain_renames", 3)
    monkeypatch.setattr(disk, "_rename_new", None)
    real = disk._rename_without_replacing

    def load() -> Any:
        loaded.append(1)
        return real()

    monkeypatch.setattr(disk, "_rename_without_replacing", load)
    folders = _folders(tmp_path)
    for number in range(6):
        _put(folders, f"f{number}")
        assert len(loaded) == (number >= 2)
    assert sorted(os.listdir(tmp_path)) == [f"f{number}" for number in range(6)]
