"""A journal among the data it is about, and paths that are spelled in several ways."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from s3engine.cli.journaled import journal_from
from s3engine.cli.local import upload_sources
from s3engine.errors import ConfigError, SourceError, UnsafeKey
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.upload import UploadJob
from s3engine.journal import Journal
from s3engine.journal.files import JournalFiles, RowPaths
from s3engine.paths import normal_path
from s3engine.sources import FileSource, files_recursive
from tests.journaled import MIB, Driver, outcome


def moves(emit: Any, items: Iterable[Any]) -> UploadJob:
    return UploadJob(
        items, "b", emit, template=None, threshold_bytes=16 * MIB, part_bytes=8 * MIB, remove_source=True
    )  # fmt: skip


def sent(task: Any) -> tuple[Any, ...]:
    """As a worker says of a file: with what tells whether it is still the one that was sent."""
    status = os.stat(task[5][0])
    return outcome(task, detail=(status.st_mtime_ns, status.st_ino, status.st_ctime_ns))


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize("spelled", ["mvs/in.journal", "link.journal", "mvs/sub/../in.journal"])
def test_journal_inside_the_source_is_left_out_of_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    """A move of a folder with the journal in it takes the data, and leaves the journal whole and where it is."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "mvs", "a", "sub/b", "sub/in.journal")
    (tmp_path / "link.journal").symlink_to(tmp_path / "mvs" / "in.journal")
    (tmp_path / "mvs" / "again.journal").symlink_to("sub/in.journal")
    reports = Driver(Path(spelled), files_recursive("mvs"), sent, make=moves, identity={"operation": "move"}).run()
    assert sorted(report.key for report in reports) == ["a", "again.journal", "sub/b", "sub/in.journal"]
    assert all(report.ok for report in reports), reports
    assert sorted(os.listdir("mvs")) == ["in.journal", "sub"]
    counts = Journal("mvs/in.journal").counts()
    assert (counts.done, counts.finished) == (4, True)


def test_link_to_the_journal_is_left_out_too(tmp_path: Path) -> None:
    """The name by which the journal was given stays, also where that is a link in the folder."""
    tree(tmp_path / "src", "a")
    (tmp_path / "src" / "j").symlink_to(tmp_path / "real")
    reports = Driver(tmp_path / "src" / "j", files_recursive(tmp_path / "src"), sent, make=moves).run()
    assert [report.key for report in reports] == ["a"]
    assert os.listdir(tmp_path / "src") == ["j"]


def test_journal_that_was_named_is_refused_by_itself(tmp_path: Path) -> None:
    """Who names the journal among the sources is told so; the rest goes on."""
    tree(tmp_path, "a")
    sources: list[Any] = [(str(tmp_path / "a"), "a"), FileSource(str(tmp_path / "j-wal"), "k"), (f"{tmp_path}//j", "j")]
    reports = {report.key: report for report in Driver(tmp_path / "j", sources, sent, make=moves).run()}
    assert reports["a"].ok
    assert isinstance(reports["k"].error, SourceError)
    assert isinstance(reports["j"].error, SourceError)
    assert "belongs to the journal of this job" in str(reports["j"].error)
    assert Journal(tmp_path / "j").counts().failed == 2
    with pytest.raises(ConfigError, match="belongs to the journal"):
        upload_sources(str(tmp_path / "j"), "p/", "j", None, JournalFiles(tmp_path / "j"))


def test_download_does_not_write_over_its_journal(tmp_path: Path) -> None:
    """A key that falls on a file of the journal fails by itself; the others are fetched."""

    def downloads(emit: Any, items: Any) -> DownloadJob:
        return DownloadJob(
            items, "b", str(tmp_path), lambda info: info.key, emit, threshold_bytes=16 * MIB, part_bytes=8 * MIB
        )  # fmt: skip

    keys = ["j", "j-wal", "j-shm", "j-lock", "sub/j", "j2"]
    driver = Driver(tmp_path / "j", keys, make=downloads, identity={"operation": "download"})
    reports = {report.key: report.error for report in driver.run()}
    assert [key for key in keys if isinstance(reports[key], UnsafeKey)] == ["j", "j-wal", "j-shm", "j-lock"]
    assert sorted(task[3] for task in driver.tasks) == ["j2", "sub/j"]
    assert "over the journal of this job" in str(reports["j"])


@pytest.mark.parametrize(
    ("first", "then"), [(".", "{cwd}"), ("../med", "../med/."), ("../med/", "../med/../med"), ("./d/..", "..//med")]
)
def test_another_spelling_of_the_source_is_the_same_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    """A walk that was cut off and goes on from another spelling of its folder does not take what is done for new."""
    tree(tmp_path / "med", *(f"d/{n}" for n in range(30)))
    monkeypatch.chdir(tmp_path / "med")

    def broken() -> Any:
        for count, file in enumerate(files_recursive(first)):
            if count == 20:
                raise OSError("killed")
            yield file

    with pytest.raises(OSError, match="killed"):
        Driver(tmp_path / "j", broken()).run()
    again = files_recursive(then.format(cwd=tmp_path / "med"))
    assert again.identity == files_recursive(first).identity
    reports = Driver(tmp_path / "j", again).run()
    assert [report.error for report in reports] == [None] * 10
    assert Journal(tmp_path / "j").counts().done == 30


def test_normal_form_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One spelling for what the system takes for the same; ".." goes up from where a link leads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")
    here = os.getcwd()
    spellings = {"a": "/a", "./a": "/a", "a//": "/a", ".": "", "link": "/link", "link/../a/.": "/far/a", "x/../a": "/a"}
    assert {path: normal_path(path) for path in spellings} == {path: here + end for path, end in spellings.items()}
    assert [normal_path(path) for path in ("/", "//a", "/..")] == ["/", "/a", "/"]
    rows = RowPaths(here)
    monkeypatch.chdir("/")
    assert {path: rows(path) for path in spellings} == {path: here + end for path, end in spellings.items()}
    assert [rows(path) for path in ("/", "//a", "/a", "/..", "a\0/../b")] == ["/", "/a", "/a", "/", f"{here}/a\0/../b"]


def test_command_that_is_kept_means_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every local path of a command is kept as an absolute one: a retry may come from another folder."""
    monkeypatch.chdir(tmp_path)
    values = {
        "config_file": "conf.toml", "ca_bundle": "./ca.pem", "from_files": ("names", "-", "s3://b/manifest.json"),
        "journal": "j", "workers": 2,
    }  # fmt: skip
    journal = journal_from("cp", {"src": "med/", "dst": "s3://b/p/"}, values)
    assert journal is not None
    here = os.getcwd()
    assert journal.options["values"] == {
        "src": f"{here}/med", "dst": "s3://b/p/", "config_file": f"{here}/conf.toml", "ca_bundle": f"{here}/ca.pem",
        "from_files": (f"{here}/names", "-", "s3://b/manifest.json"), "workers": 2,
    }  # fmt: skip
    assert not {"config_file", "ca_bundle"} & set(journal.command)
    assert journal.command["src"] == f"{here}/med"
