"""Each row once: duplicates, marks, and what a batch makes of rejected rows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from s3engine import distinct
from s3engine.errors import ConfigError, DeleteLimitExceeded, DuplicateKey, MalformedRow
from s3engine.inputs import files_from, items, objects_from
from s3engine.jobs.copy import CopyJob
from s3engine.jobs.delete import DeleteJob
from s3engine.jobs.download import DownloadJob
from s3engine.jobs.upload import UploadJob
from s3engine.limits import DeleteLimit, within
from s3engine.sources import FileSource, Rejected
from s3engine.transport import ObjectInfo


def write(path: Path, names: list[str]) -> Path:
    path.write_text("".join(name + "\n" for name in names))
    return path


def test_each_key_once_and_each_duplicate_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a filter far too small, and many chunks on disk, it still comes out exactly: nothing lost, nothing twice."""
    monkeypatch.setattr(distinct, "_WORDS", 64)
    monkeypatch.setattr(distinct, "_CHUNK", 300)
    monkeypatch.setattr(distinct.Aside.__init__, "__defaults__", (300,))
    rng = random.Random(5)
    names = [f"k{rng.randrange(1500)}" for _ in range(3000)]
    path = write(tmp_path / "names", names)
    found = list(objects_from(path, "bucket", "p/"))
    first: dict[str, int] = {}
    repeated = []
    for line, name in enumerate(names, 1):
        if name in first:
            repeated.append((f"p/{name}", line, first[name]))
        else:
            first[name] = line
    assert sorted(item for item in found if isinstance(item, str)) == sorted(f"p/{name}" for name in first)
    rejected = [item for item in found if isinstance(item, Rejected)]
    assert all(type(item.error) is DuplicateKey for item in rejected)
    told = [(item.key, item.error.line, item.error.first_line) for item in rejected]  # type: ignore[attr-defined]
    assert sorted(told) == sorted(repeated)


def test_duplicates_over_several_files(tmp_path: Path) -> None:
    """Two files are one input: the second occurrence is told with both places."""
    one, two = write(tmp_path / "one", ["a", "b"]), write(tmp_path / "two", ["c", "a"])
    found = list(objects_from([one, two], "bucket"))
    assert found[:3] == ["a", "b", "c"]
    assert isinstance(found[3], Rejected)
    assert f"{two}:2: 'a' comes twice; {one}:1 had it first" in str(found[3].error)


@pytest.mark.parametrize("words", [1 << 22, 64])
def test_marks_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: int) -> None:
    """Going on behind any mark gives all that had not come out before it, rows set aside included."""
    monkeypatch.setattr(distinct, "_WORDS", words)
    monkeypatch.setattr(items, "_MARKED_ASIDE", 5)
    names = [f"k{number}" for number in range(400)]
    given = objects_from([write(tmp_path / "one", names[:150]), write(tmp_path / "two", names[150:])], "bucket")
    pairs = list(given.marked())
    assert sorted(str(item) for item, _ in pairs) == sorted(names)
    for index in range(0, len(pairs), 7):
        came = {item for item, _ in pairs[: index + 1]}
        rest = [item for item, _ in given.marked(pairs[index][1])]
        assert came | set(rest) == set(names), index
        if words > 64:
            assert not came & set(rest)


def test_no_mark_is_refused(tmp_path: Path) -> None:
    """A text that no input gave as a mark is an error at once."""
    with pytest.raises(ConfigError, match="no mark"):
        objects_from(write(tmp_path / "names", ["a"]), "bucket").marked("soon")


def test_files_of_a_folder(tmp_path: Path) -> None:
    """Names as find gives them; what leads out of the folder is a bad row; filters see the name."""
    path = write(tmp_path / "names", ["./a", "/b/c", "../x", "d/../../x", "..e", "skip.tmp", "."])
    found = list(files_from(path, "/data", "p/", wanted=lambda name: not name.endswith(".tmp")))
    assert [item for item in found if isinstance(item, FileSource)] == [
        FileSource("/data/a", "p/a"), FileSource("/data/b/c", "p/b/c"), FileSource("/data/..e", "p/..e")
    ]  # fmt: skip
    bad = [item.error for item in found if isinstance(item, Rejected)]
    assert [(type(error), error.line) for error in bad] == [  # type: ignore[attr-defined]
        (MalformedRow, 3), (MalformedRow, 4), (MalformedRow, 7)
    ]  # fmt: skip
    assert str(bad[0]) == f"{path}:3: it leads out of '/data'"


def _jobs(given: Any, emit: Any, folder: Path) -> list[Any]:
    sizes: dict[str, Any] = {"threshold_bytes": 1 << 20, "part_bytes": 1 << 20}
    return [
        UploadJob(given, "b", emit, template=None, **sizes),
        DownloadJob(given, "b", str(folder), lambda info: info.key, emit, **sizes),
        CopyJob(given, "b", "b", lambda info: "to/" + info.key, emit, template=None, **sizes),
        CopyJob(given, "b", "c", lambda info: info.key, emit, template=None, **sizes),
        DeleteJob(given, "b", emit),
    ]


def test_every_job_reports_a_rejected_item(tmp_path: Path) -> None:
    """It gets its number and its own error, and no request is made for it."""
    error = MalformedRow("names:3: why", key="k", file="names", line=3)
    for number in range(5):
        reports: list[Any] = []
        job = _jobs([Rejected("k", error)], reports.append, tmp_path)[number]
        job.reader.read(job)
        assert job.next_tasks(10) == []
        assert [(report.seq, report.key, str(report.error)) for report in reports] == [(0, "k", str(error))]
        assert type(reports[0].error) is MalformedRow
        assert reports[0].error.line == 3
        assert job.finished


def test_rejected_target_is_no_overlap(tmp_path: Path) -> None:
    """In a copy inside one bucket a row that cannot be used is no source that others could overwrite."""
    reports: list[Any] = []
    given = [Rejected("to/a", MalformedRow("x")), ObjectInfo("a", 1)]
    job = _jobs(given, reports.append, tmp_path)[2]
    job.reader.read(job)
    assert [task[3] for task in job.next_tasks(10)] == ["to/a"]
    assert [report.key for report in reports] == ["to/a"]


def test_max_delete_counts_what_would_go(tmp_path: Path) -> None:
    """Rejected rows are no objects for a limit, and come through it as they were."""
    given = objects_from(write(tmp_path / "names", ["a", "b", "a"]), "bucket")
    found = list(within(given, DeleteLimit.parse(2)))
    assert found[:2] == ["a", "b"]
    assert isinstance(found[2], Rejected)
    assert "names:3: 'a' comes twice" in str(found[2].error)
    with pytest.raises(DeleteLimitExceeded, match="2 objects would be deleted"):
        list(within(given, DeleteLimit.parse(1)))
