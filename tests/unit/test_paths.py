"""Downloads never leave their folder, whatever the key says."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import SinkError, UnsafeKey
from s3engine.paths import FolderGuard, _examined, safe_relative

segments = st.one_of(
    st.sampled_from(
        ["", ".", "..", "...", "a", "a b", "~", "C:", "\\", "..\\x", "\n", "é", "😀", "x" * 255, "x" * 256, "é" * 128]
    ),
    st.text(max_size=8),
)
keys = st.one_of(st.lists(segments, max_size=5).map("/".join), st.text(max_size=30))


@given(keys)
def test_never_outside_the_folder(key: str) -> None:
    """A key is refused, or its path is the key's own place strictly below the folder."""
    try:
        relative = safe_relative(key)
    except UnsafeKey:
        return
    place = os.path.normpath(os.path.join("/target", relative))
    assert place.startswith("/target/")
    assert place == "/target/" + key.removesuffix("/")
    assert "\0" not in relative


plain_segments = st.one_of(
    segments, st.text(st.characters(max_codepoint=130), max_size=4), st.sampled_from([".s3", "x" * 127])
)


@given(st.one_of(keys, st.lists(plain_segments, max_size=5).map("/".join)))
def test_keys_that_are_let_through_at_one_go(key: str) -> None:
    """A key that is plainly safe is one to which a look at every segment finds nothing to object."""
    ends = []
    for look in (safe_relative, _examined):
        try:
            ends.append((look(key), ""))
        except UnsafeKey as error:
            ends.append(("", str(error)))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "//a",
        "a//b",
        "..",
        "../a",
        "a/../b",
        "a/..",
        ".",
        "./a",
        "a/.",
        "a\0b",
        "a//",
        "x" * 256,
        "\ud800",
    ],
)
def test_unsafe_keys(key: str) -> None:
    """What would leave the folder, fold together with another key or have no file name is refused by name."""
    with pytest.raises(UnsafeKey, match="target folder") as caught:
        safe_relative(key)
    assert caught.value.key == key


@pytest.mark.parametrize("key", ["a", "a/b", "dir/", "a/dir/", "...", "..a", "a..", " ", "-rf", "a\nb", "x" * 255])
def test_safe_keys_stay_as_they_are(key: str) -> None:
    """Every other key is its own path."""
    assert safe_relative(key) == key


@given(keys)
def test_the_guard_makes_folders_below_its_root_only(key: str) -> None:
    """For every key that is let through a file can be made, and it is really below the root."""
    try:
        relative = safe_relative(key)
    except UnsafeKey:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        path = FolderGuard(root).ready(relative)
        assert os.path.realpath(path).startswith(os.path.realpath(root) + "/")
        if not relative.endswith("/"):
            with open(path, "wb"):
                pass
        assert os.listdir(folder) == ["root"]


def test_folders_are_made_once(tmp_path: Path) -> None:
    """Root and folders are made as needed; what is there is no error."""
    guard = FolderGuard(str(tmp_path / "new" / "root"))
    assert guard.ready("a/b/c") == str(tmp_path / "new/root/a/b/c")
    assert guard.ready("a/b/d") == str(tmp_path / "new/root/a/b/d")
    assert (tmp_path / "new/root/a/b").is_dir()
    assert FolderGuard(str(tmp_path / "new" / "root")).ready("marker/") == f"{tmp_path}/new/root/marker/"
    assert (tmp_path / "new/root/marker").is_dir()


@pytest.mark.parametrize("target", ["outside", "..", ".", "/", "/nonexistent-folder-of-a-test/x"])
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    """A link below the root that leads anywhere but below the root is not followed: not out, not up, not to nowhere."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / target if target in ("outside", ".") else target)
    with pytest.raises(UnsafeKey, match="leads out"):
        FolderGuard(str(root)).ready("link/a")
    with pytest.raises(UnsafeKey, match="leads out"):
        FolderGuard(str(root)).ready("link/sub/a")
    assert os.listdir(tmp_path / "outside") == []


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    """A link to a folder below the root is as good as the folder; the root itself may be a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "sub").mkdir()
    (tmp_path / "real" / "link").symlink_to("sub")
    (tmp_path / "root").symlink_to("real")
    assert FolderGuard(str(tmp_path / "root")).ready("link/a") == str(tmp_path / "root/link/a")


def test_relative_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that is given relative to the current folder, also that folder itself, works."""
    monkeypatch.chdir(tmp_path)
    for root in ("out", "out/", ".", "./x/y"):
        path = FolderGuard(root).ready("a/b")
        assert os.path.isdir(os.path.dirname(path))


def test_names_of_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sync each folder's name is on the disk before a file is put into it, whoever made it; once each."""
    synced: list[str] = []
    monkeypatch.setattr("s3engine.paths.sync_folder", lambda path: synced.append(os.path.relpath(path, tmp_path)))
    (tmp_path / "root" / "a").mkdir(parents=True)
    guard = FolderGuard(str(tmp_path / "root"), sync=True)
    guard.ready("a/b/f")
    assert synced[:3] == ["root/a/b", "root/a", "root"]
    assert all(path.startswith("..") or path == "." for path in synced[3:])
    synced.clear()
    guard.ready("a/c/f")
    guard.ready("a/c/g")
    assert synced == ["root/a/c"]
    FolderGuard(str(tmp_path / "root")).ready("d/f")
    assert synced == ["root/a/c"]


def test_a_file_where_a_folder_is_due(tmp_path: Path) -> None:
    """A file in the way of a folder raises SinkError with its name."""
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(SinkError, match=r"a/b"):
        FolderGuard(str(tmp_path)).ready("a/b/c")
