"""What a file system refuses is told with a way out, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from s3engine.disk import fold_of, preallocate, sink_error, sync_folder
from s3engine.errors import DuplicateKey, SinkError
from s3engine.folders import OpenFolders
from s3engine.jobs.download import DownloadJob
from s3engine.paths import FolderGuard
from s3engine.pool.messages import NeedsParts
from s3engine.report import RequestReport
from s3engine.sinks import FileSink, PartSink
from s3engine.transport import GetResult

LARGE = 300 * 1024  # beyond what a FileSink keeps until commit


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file of this process may be larger: writing fails with EFBIG (Python ignores the signal SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


KEPT = pytest.mark.parametrize("kept", [False, True], ids=["by path", "by folder"])


def _begun(path: Path, body: bytes, kept: bool = False, **keywords: Any) -> FileSink:
    """A sink that has got its head; ``kept``: it names its files relative to their open folder."""
    if kept:
        folders = OpenFolders(FolderGuard(str(path.parent)))
        sink = FileSink(path.name, "t", 0, NeedsParts, folders=folders, **keywords)
    else:
        sink = FileSink(str(path), "t", 0, NeedsParts, **keywords)
    sink.begin(GetResult(len(body), "e", 0, len(body), "", "", "", 200, ()))
    return sink


def _write(sink: FileSink, body: bytes) -> None:
    sink.write(memoryview(body))
    sink.commit()


@KEPT
@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_limit_of_the_file_size(tmp_path: Path, size: int, kept: bool) -> None:
    """A file that grows beyond what is allowed raises SinkError with path, reason and way out; nothing is left."""
    body = b"x" * size
    sink = _begun(tmp_path / "f", body, kept)
    with pytest.raises(SinkError, match=r"cannot write '.*/f': File too large; .*ulimit") as caught, largest_file(500):
        _write(sink, body)
    sink.discard()
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == []
    assert sink.failed


@KEPT
@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize("call", ["write", "close", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_whatever_call_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, call: str, number: int, kept: bool
) -> None:
    """Disk full, quota and I/O errors in write, in close (network file systems) and in rename: told, nothing left."""
    (tmp_path / "f").write_bytes(b"before")
    sink = _begun(tmp_path / "f", b"x" * size, kept)
    real = getattr(os, call)

    def failing(*arguments: Any, **_: Any) -> Any:
        if call == "close":
            real(*arguments)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(f"s3engine.sinks.os.{call}", failing)
        with pytest.raises(SinkError, match=os.strerror(number)) as caught:
            _write(sink, b"x" * size)
        sink.discard()
        sink.discard()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.errno, str(again)) == (str(tmp_path / "f"), number, str(caught.value))
    assert ";" in str(again)
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"before"


def test_a_part_whose_close_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part counts as written only when close says so; a second close is harmless."""
    sink = PartSink(str(tmp_path / "f"), 0, 9, "e")
    sink.begin(GetResult(10, "e", 0, 10, "", "", "", 206, ()))
    real = os.close

    def failing(fd: int) -> None:
        real(fd)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patched:
        patched.setattr("s3engine.sinks.os.close", failing)
        with pytest.raises(SinkError, match="quota"):
            sink.close()
    sink.close()


@KEPT
def test_links_under_the_temporary_name_are_not_followed(tmp_path: Path, kept: bool) -> None:
    """A link planted where the temporary file will be is refused; what it points to is not touched."""
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / ".s3engine-t.part").symlink_to(tmp_path / "outside")
    body = b"x" * LARGE
    with pytest.raises(SinkError, match="link is in the way"):
        _begun(tmp_path / "f", body, kept).write(memoryview(body))
    with pytest.raises(SinkError, match="link is in the way"):
        PartSink(str(tmp_path / ".s3engine-t.part"), 0, 9, "").begin(GetResult(10, "", 0, 10, "", "", "", 206, ()))
    with pytest.raises(SinkError, match="link is in the way"):
        preallocate(str(tmp_path / ".s3engine-t.part"), 10)
    assert (tmp_path / "outside").read_bytes() == b"mine"


@KEPT
def test_links_under_the_final_name_are_replaced(tmp_path: Path, kept: bool) -> None:
    """A link under the final name is replaced by the file; what it points to is not touched."""
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "f").symlink_to(tmp_path / "outside")
    sink = _begun(tmp_path / "f", b"body", kept)
    sink.write(memoryview(b"body"))
    sink.commit()
    assert stat.S_ISREG(os.lstat(tmp_path / "f").st_mode)
    assert ((tmp_path / "f").read_bytes(), (tmp_path / "outside").read_bytes()) == (b"body", b"mine")


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """Segments that fit in a path that does not: SinkError names the path and the way out."""
    relative = "/".join(["x" * 200] * 30)
    with pytest.raises(SinkError, match=r"File name too long; .*path="):
        FolderGuard(str(tmp_path)).ready(relative + "/f")


def test_a_file_where_a_folder_is_due(tmp_path: Path) -> None:
    """The other way round: a file in the way of a folder is named, with what to do."""
    (tmp_path / "a").write_bytes(b"")
    for relative in ("a/f", "a/b/f"):
        with pytest.raises(SinkError, match="a file is in the way"):
            FolderGuard(str(tmp_path)).ready(relative)


@KEPT
def test_reserve(tmp_path: Path, kept: bool) -> None:
    """Room is asked for before the request where a file was refused before; the file is as long as its body."""
    sink = _begun(tmp_path / "f", b"body", kept)
    sink.reserve(4096)
    sink.write(memoryview(b"body"))
    sink.commit()
    assert (tmp_path / "f").read_bytes() == b"body"
    with pytest.raises(SinkError, match=r"cannot write '.*/g': "):
        _begun(tmp_path / "g", b"", kept).reserve(1 << 62)


def test_preallocation_leaves_the_length(tmp_path: Path) -> None:
    """What is set aside is no content: the length stays 0, so a part that is missing is still seen."""
    preallocate(str(tmp_path / "f"), 1024 * 1024)
    assert os.stat(tmp_path / "f").st_size == 0


@KEPT
@pytest.mark.parametrize("size", [4, 500_000])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, size: int, kept: bool) -> None:
    """A FIFO of that name stays, and nothing half-written beside it; a symbolic link is replaced, not followed."""
    os.mkfifo(tmp_path / "f")
    sink = _begun(tmp_path / "f", b"b" * size, kept)
    sink.write(memoryview(b"b" * size))
    with pytest.raises(SinkError, match="FIFO"):
        sink.commit()
    assert (os.listdir(tmp_path), stat.S_ISFIFO(os.lstat(tmp_path / "f").st_mode)) == (["f"], True)
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "link").symlink_to("other")
    sink = _begun(tmp_path / "link", b"b" * size, kept)
    sink.write(memoryview(b"b" * size))
    sink.commit()
    assert (tmp_path / "link").read_bytes() == b"b" * size
    assert (tmp_path / "other").read_bytes() == b"other"


@KEPT
def test_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """With fsync the file is on the disk before it has its name, and the name before commit ends; without, nothing."""
    done: list[str] = []
    monkeypatch.setattr("s3engine.sinks.os.fsync", lambda fd: done.append("file"))
    real = os.replace

    def replace(source: str, target: str) -> None:
        done.append("rename")
        real(source, target)

    monkeypatch.setattr("s3engine.sinks.os.replace", replace)
    monkeypatch.setattr("s3engine.sinks.give_name", lambda *_: done.append("rename"))
    monkeypatch.setattr("s3engine.sinks.sync_folder", lambda *_: done.append("folder"))
    for fsync in (False, True):
        sink = _begun(tmp_path / "f", b"body", kept, fsync=fsync)
        sink.write(memoryview(b"body"))
        sink.commit()
        assert done == (["file", "rename", "folder"] if fsync else ["rename"])
        done.clear()


def test_sync_folder(tmp_path: Path) -> None:
    """A folder that is there can be synced; one that is not raises OSError."""
    sync_folder(str(tmp_path / "f"))
    with pytest.raises(FileNotFoundError):
        sync_folder(str(tmp_path / "absent" / "f"))


def test_errors_without_a_way_out() -> None:
    """An error that nobody thought of is told as the system tells it."""
    assert str(sink_error("/p", OSError(errno.ENXIO, "No such device"))) == "cannot write '/p': No such device"


def _folding(folder: Path, monkeypatch: pytest.MonkeyPatch, known: Callable[[str, list[str]], bool]) -> Any:
    """fold_of() on a file system that finds a name where ``known`` says so."""
    monkeypatch.setattr(
        "s3engine.disk.os.path.lexists", lambda path: known(os.path.basename(path), os.listdir(os.path.dirname(path)))
    )
    return fold_of(str(folder))


def test_a_file_system_that_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case and normal forms are tried in the folder itself, which is made, and nothing is left in it."""
    exact = fold_of(str(tmp_path / "new"))
    assert (tmp_path / "new").is_dir()
    assert exact("A") != exact("a")
    assert exact("\u00e9") != exact("e\u0301")
    with monkeypatch.context() as patched:
        fold = _folding(tmp_path, patched, lambda name, names: name.lower() in [one.lower() for one in names])
    assert fold("STRASSE/\u00c9") == fold("Stra\u00dfe/e\u0301")
    with monkeypatch.context() as patched:
        fold = _folding(tmp_path, patched, lambda name, names: "K" not in name)
    assert fold("\u00e9") == fold("e\u0301")
    assert fold("A") != fold("a")
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]
    assert fold_of("/proc/absent")("A") == "A"


@pytest.mark.parametrize(("folds", "refused"), [(False, 0), (True, 2)])
def test_names_that_fall_together_are_refused(tmp_path: Path, folds: bool, refused: int) -> None:
    """Where the file system folds case the second of two such names is a DuplicateKey that says so; else both go."""
    reports: list[RequestReport] = []
    fold: Callable[[str], str] = str.casefold if folds else str
    keys = ["a/README", "a/readme", "A/ReadMe"]
    job = DownloadJob(
        keys, "b", str(tmp_path), lambda info: info.key, reports.append, threshold_bytes=1, part_bytes=1,
        fold=lambda _: fold,
    )  # fmt: skip
    job.start_reading()
    tasks = []
    while not job.reader.exhausted or job.reader.queue:
        tasks += job.next_tasks(10)
    assert len(tasks) + len(job.next_tasks(10)) == 3 - refused
    assert [type(report.error) for report in reports] == [DuplicateKey] * refused
    assert all("upper and lower case" in str(report.error) for report in reports)
