"""Folders become sources: every file once, with its key, whatever stands in the way."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import ConfigError
from s3engine.sources import FileSource, _walk, files_recursive


def _keys(folder: Path, prefix: str = "") -> list[str]:
    return sorted(source.key for source in files_recursive(folder, prefix))


def _make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_all_files_below(tmp_path: Path) -> None:
    """Each file comes once; its key is the prefix and its path below the folder, its path can be opened."""
    names = ["a", "d/b", "d/e/c", ".hidden", "d/.x/y"]
    _make(tmp_path, *names)
    (tmp_path / "empty").mkdir()
    assert _keys(tmp_path) == sorted(names)
    assert _keys(tmp_path, "p/") == sorted(f"p/{name}" for name in names)
    assert _keys(tmp_path, "p-") == sorted(f"p-{name}" for name in names)
    for source in files_recursive(tmp_path):
        assert Path(source.path).read_bytes().decode() == source.key


@given(st.sets(st.text("ab /\\%+\n\té😀.-", min_size=1, max_size=6).filter(lambda name: "/" not in name), max_size=5))
def test_odd_names(names: set[str]) -> None:
    """Names with spaces, signs, newlines and any letters come out exactly."""
    import tempfile

    names = {f"n{name}" for name in names}
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), *(f"{name}/{name}" for name in names))
        assert set(_keys(Path(folder))) == {f"{name}/{name}" for name in names}


def test_names_in_no_encoding(tmp_path: Path) -> None:
    """A name that is no UTF-8 comes too; who sends it will say what is wrong with the key."""
    with open(os.fsencode(tmp_path) + b"/\xff", "wb"):
        pass
    assert _keys(tmp_path) == ["\udcff"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    """A link to a folder is walked, one that leads back up is not: also over two corners."""
    _make(tmp_path, "a/f", "b/g")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "to-b").symlink_to("../b")
    (tmp_path / "b" / "to-a").symlink_to("../a")
    assert _keys(tmp_path) == ["a/f", "a/to-b/g", "b/g", "b/to-a/f"]


def test_links_to_nowhere_come_by_name(tmp_path: Path) -> None:
    """A link whose target is missing, or that is its own target, is handed out to fail by name; the walk goes on."""
    _make(tmp_path, "a", "z")
    (tmp_path / "broken").symlink_to("missing")
    (tmp_path / "loop").symlink_to("loop")
    assert _keys(tmp_path) == ["a", "broken", "loop", "z"]


def test_what_is_no_file_comes_by_name(tmp_path: Path) -> None:
    """A FIFO is not left out silently."""
    os.mkfifo(tmp_path / "fifo")
    assert _keys(tmp_path) == ["fifo"]


def test_a_folder_that_cannot_be_read_comes_by_name(tmp_path: Path) -> None:
    """A folder that cannot be read is handed out to fail by name; the rest of the walk goes on."""
    _make(tmp_path, "a", "locked/b", "z/c")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with mock.patch("os.scandir", refusing):
        found = sorted(files_recursive(tmp_path, "p/"))
    assert [source.key for source in found] == ["p/a", "p/locked", "p/z/c"]
    assert found[1] == FileSource(str(tmp_path / "locked"), "p/locked")


def test_very_deep_folders(tmp_path: Path) -> None:
    """Folders deeper than Python's stack are walked (as deep as a path may be long)."""
    depth = 1_200
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("f", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = depth + 200
    if soft < wanted and hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("not enough file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        assert _keys(tmp_path) == ["d/" * depth + "f"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        _remove(tmp_path)


def _remove(folder: Path) -> None:
    # pytest's own removal is recursive in Python and would fail at this depth.
    import subprocess

    subprocess.run(["rm", "-rf", str(folder / "d")], check=True)


def test_no_folder(tmp_path: Path) -> None:
    """A file or nothing in place of the folder raises ConfigError at once, with its name."""
    _make(tmp_path, "f")
    for path in (tmp_path / "f", tmp_path / "missing"):
        with pytest.raises(ConfigError, match=f"{path.name}' is not a folder"):
            files_recursive(path)


def test_an_abandoned_walk_closes_its_folders(tmp_path: Path) -> None:
    """A walk that is given up leaves no folder open."""
    _make(tmp_path, *(f"a/b/c/{number}" for number in range(100)))  # more than are read ahead
    walk = files_recursive(tmp_path)
    next(walk)
    before = len(os.listdir("/proc/self/fd"))
    walk.close()
    assert len(os.listdir("/proc/self/fd")) == before - 4
    assert list(walk) == []


def test_files_come_one_by_one_or_in_chunks(tmp_path: Path) -> None:
    """Whoever takes some one by one, and the rest in chunks, has each once and in the same order."""
    _make(tmp_path, *(f"d{number % 7}/{number}" for number in range(600)))
    (tmp_path / "d3" / "broken").symlink_to("missing")
    whole = list(files_recursive(tmp_path, "p/"))
    assert len(whole) == 601
    for count in (0, 1, 16, 17, 300, 601):
        walk = files_recursive(tmp_path, "p/")
        found = [next(walk) for _ in range(count)]
        found += [file for chunk in walk.chunks() for file in chunk]
        assert found == whole
        assert {type(file) for file in found} == {FileSource}


def test_chunks_leave_out_what_is_unwanted(tmp_path: Path) -> None:
    """In chunks as one by one, a file that is not meant does not come."""
    _make(tmp_path, "a", "b", "d/a")
    for in_chunks in (False, True):
        walk = files_recursive(tmp_path)
        walk.leave_out(lambda path: path.endswith("a"))
        found = [file for chunk in walk.chunks() for file in chunk] if in_chunks else list(walk)
        assert [file.key for file in found] == ["b"]


def test_files_do_not_wait_for_a_slow_folder(tmp_path: Path) -> None:
    """What was found goes out before the next folder is opened, where that takes long."""
    _make(tmp_path, *(f"d{number}/f" for number in range(5)))
    clock = iter(range(100))
    chunks = list(_walk(str(tmp_path), "", clock=lambda: float(next(clock))))
    assert [len(chunk) for chunk in chunks] == [1] * 5
