"""Downloads, copies, moves and deletes: nothing outside the folder, nothing deleted that is not whole elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import (
    AccessDenied,
    ConfigError,
    DuplicateKey,
    NotFound,
    PreconditionFailed,
    ServerFault,
    UnsafeKey,
)
from s3engine.jobs.delete import DeleteJob
from s3engine.jobs.key_guard import KeyGuard
from s3engine.operations import ObjectHeaders
from s3engine.pool.messages import Kind, Task
from s3engine.transport import HeadResult, ObjectInfo
from tests.tried_jobs import MIB, Bench, copy, download, outcome

# ---- copy inside one bucket


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("as_info", [False, True])
def test_target_that_is_a_source_is_refused(move: bool, as_info: bool) -> None:
    """No copy overwrites, and no move deletes, what another object of the batch still needs."""
    keys = ["p/p/x", "p/x"]
    items = [ObjectInfo(key, 1, "etag") for key in keys] if as_info else keys

    def answer(task: Task) -> tuple[Any, ...]:
        return outcome(task, detail=HeadResult(1, "etag") if task[2] == Kind.HEAD else None)

    bench = Bench(answer)
    reports = {r.key: r for r in bench.run(copy(bench, items, lambda info: "p/" + info.key, move=move))}
    assert isinstance(reports["p/x"].error, DuplicateKey)
    assert reports["p/p/x"].ok
    assert [task[3] for task in bench.tasks if task[2] == Kind.COPY] == ["p/p/p/x"]
    deleted = [key for task in bench.tasks if task[2] == Kind.DELETE for key, _ in task[5]]
    assert deleted == (["p/p/x"] if move else [])


def test_template_that_fails_after_the_head_breaks_the_job() -> None:
    """A template that raises for an object whose size had to be asked for is reported and handed to the caller."""

    def template(info: ObjectInfo) -> ObjectHeaders:
        raise LookupError(info.key)

    bench = Bench(lambda task: outcome(task, detail=HeadResult(1, "etag")))
    job = copy(bench, ["k"], template=template)
    (report,) = bench.run(job)
    assert "LookupError" in str(report.error)
    assert isinstance(job.failure, LookupError)
    assert job.broken


# ---- download


@pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/./b", "a\0b", "..", "s/" + "x" * 256])
def test_unsafe_key_is_refused(key: str, tmp_path: Path) -> None:
    """A key without a safe place below the folder fails by name, and nothing is asked for it."""
    bench = Bench(outcome)
    (report,) = bench.run(download(bench, [key], tmp_path))
    assert isinstance(report.error, UnsafeKey)
    assert not bench.tasks


def test_large_object_comes_in_ranges_of_one_version(tmp_path: Path) -> None:
    """Ranges cover the object, each asks for the listed ETag, and the file has its name only when all are there."""
    size = 20 * MIB

    def answer(task: Task) -> tuple[Any, ...]:
        path, _first, last, *_ = task[5]
        with open(path, "ab") as file:
            file.truncate(last + 1)
        assert not (tmp_path / "k").exists()
        return outcome(task, size_bytes=task[4])

    bench = Bench(answer)
    (report,) = bench.run(download(bench, [ObjectInfo("k", size, "tag")], tmp_path))
    assert [task[5][1:4] for task in bench.tasks] == [
        (0, 8 * MIB - 1, "tag"), (8 * MIB, 16 * MIB - 1, "tag"), (16 * MIB, size - 1, "tag"),
    ]  # fmt: skip
    assert report.ok
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("k", size)]


def test_failed_range_leaves_no_file(tmp_path: Path) -> None:
    """When a range fails for good no file is left, under no name."""

    def answer(task: Task) -> tuple[Any, ...]:
        Path(task[5][0]).touch()
        return outcome(task, error=ServerFault("broken"))

    bench = Bench(answer)
    (report,) = bench.run(download(bench, [ObjectInfo("k", 20 * MIB)], tmp_path))
    assert isinstance(report.error, ServerFault)
    assert list(tmp_path.iterdir()) == []


def test_download_move_deletes_objects_that_are_here(tmp_path: Path) -> None:
    """With move the objects that came are deleted together, and reported only then."""
    bench = Bench(lambda task: outcome(task, error=NotFound("no") if task[3] == "lost" else None))
    reports = bench.run(download(bench, ["a", "b", "lost"], tmp_path, move=True))
    assert [sorted(key for key, _ in task[5]) for task in bench.tasks if task[2] == Kind.DELETE] == [["a", "b"]]
    assert {report.key: report.ok for report in reports} == {"a": True, "b": True, "lost": False}


# ---- copy and delete


def test_copy_to_itself_is_refused() -> None:
    """A copy whose target is its source is refused by name."""
    bench = Bench(outcome)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 1)], lambda info: info.key))
    assert isinstance(report.error, ConfigError)


def test_move_deletes_only_what_is_whole() -> None:
    """A source is deleted when its copy has its ETag or, by HEAD, its size; otherwise it stays and fails."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(5 if task[3] == "to/size" else 4, "other"))
        return outcome(task, etag="tag" if task[3] == "to/etag" else "other")

    bench = Bench(answer)
    items = [ObjectInfo("etag", 5, "tag"), ObjectInfo("size", 5, "tag"), ObjectInfo("short", 5, "tag")]
    reports = bench.run(copy(bench, items, move=True))
    deleted = [key for task in bench.tasks if task[2] == Kind.DELETE for key, _ in task[5]]
    assert sorted(deleted) == ["etag", "size"]
    assert {report.key: report.ok for report in reports} == {"etag": True, "size": True, "short": False}


CRC = ("x-amz-checksum-crc32", "AAAAAA==")


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize(
    ("source", "copied", "verified"),
    [
        ((CRC,), (CRC,), "crc32"), ((), (CRC,), "length only"), ((CRC,), (), "length only"),
        ((CRC,), ((CRC[0], "BBBBBA=="),), ""),
    ],
)  # fmt: skip
def test_copy_with_another_etag_is_looked_at(source: Any, copied: Any, verified: str, move: bool) -> None:
    """A copy whose ETag tells nothing is proven by a checksum of both, or its length; another checksum is an error."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(5, "tag", headers=source if task[3] == "k" else copied))
        return outcome(task, etag="other")

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 5, "tag")], move=move, verify=True, ask_checksums=True))
    assert (report.ok, report.verified) == (bool(verified), verified)
    assert bench.kinds()[Kind.DELETE] == int(move and bool(verified))


def test_copy_says_by_what_it_is_known() -> None:
    """The ETag of the source proves a copy; without the wish to verify nothing is asked, and nothing claimed."""
    bench = Bench(lambda task: outcome(task, etag="tag" if task[3] == "to/same" else "other"))
    reports = bench.run(copy(bench, [ObjectInfo("same", 5, "tag"), ObjectInfo("other", 5, "tag")]))
    assert {report.key: report.verified for report in reports} == {"same": "etag", "other": ""}
    assert set(bench.kinds()) == {Kind.COPY}


def test_move_keeps_a_source_that_was_written_again() -> None:
    """A source that is another one by the time its copy is looked at is not deleted."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(5, "new" if task[3] == "k" else "other", headers=(CRC,)))
        return outcome(task, etag="other")

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 5, "tag")], move=True, verify=True, ask_checksums=True))
    assert isinstance(report.error, PreconditionFailed)
    assert Kind.DELETE not in bench.kinds()


def test_move_whose_delete_fails_is_not_done() -> None:
    """A key whose delete is refused fails, its neighbours do not."""
    denied = AccessDenied("locked")

    def answer(task: Task) -> tuple[Any, ...]:
        return outcome(task, etag="tag", detail=[("b", denied)] if task[2] == Kind.DELETE else None)

    bench = Bench(answer)
    reports = bench.run(copy(bench, [ObjectInfo(key, 1, "tag") for key in "abc"], move=True))
    errors = {report.key: report.error for report in reports if report.error is not None}
    assert {key: type(error) for key, error in errors.items()} == {"b": AccessDenied}
    assert str(errors["b"]) == "copied to s3://b/to/b; its source was not deleted: locked"


def test_large_copy_keeps_metadata() -> None:
    """A copy in parts names what CopyObject would have kept, and asks for the ETag that was listed in each part."""
    headers = (("content-type", "text/x"), ("x-amz-meta-a", "1"), ("server", "s"), ("cache-control", "c"))

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.HEAD:
            return outcome(task, detail=HeadResult(20 * MIB, "tag", headers=headers))
        return outcome(task, detail="u1" if task[2] == Kind.CREATE else None)

    bench = Bench(answer)
    (report,) = bench.run(copy(bench, [ObjectInfo("k", 20 * MIB, "tag")]))
    assert report.ok
    (create,) = [task for task in bench.tasks if task[2] == Kind.CREATE]
    assert create[5] == (headers[0], headers[1], headers[3])
    parts = [task[5] for task in bench.tasks if task[2] == Kind.PART_COPY]
    assert [(part[1], part[2], part[5]) for part in parts] == [(1, "k", "tag"), (2, "k", "tag"), (3, "k", "tag")]


def test_deletes_go_by_the_thousand() -> None:
    """Keys are sent 1000 to a request, those that XML cannot hold alone, and each has its report."""
    keys = [f"k{n}" for n in range(2500)] + ["bad\x01key"]
    bench = Bench(lambda task: outcome(task, detail=[("k7", AccessDenied("no"))]))
    reports = bench.run(DeleteJob(iter(keys), "b", bench.emit))
    assert sorted(report.key for report in reports) == sorted(keys)
    assert [report.key for report in reports if not report.ok] == ["k7"]
    sizes = sorted(len(task[5]) for task in bench.tasks)
    assert max(sizes) <= 1000
    assert [("bad\x01key", "")] in [task[5] for task in bench.tasks]


def test_key_guard_remembers_enough() -> None:
    """A key is known again among at least the last 131 072, in bounded memory."""
    guard = KeyGuard()
    assert not any(guard.seen(f"k{n}") for n in range(300_000))
    assert all(guard.seen(f"k{n}") for n in range(170_000, 300_000, 997))
