"""Batches of the engine on a real server: reports, errors in the caller's code, waiting, cancelling, closing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3engine import BytesSource, Engine, FileSource, RequestReport
from s3engine.errors import Cancelled, EngineClosed
from tests.helpers import S3Probe, eventually
from tests.integration.engine_common import LARGE, SETTINGS, fill, tree


def test_one_report_per_object(engine: Engine, bucket: str) -> None:
    """Every object is in exactly one report, numbered in the order of the input, and progress saw each."""
    seen: list[RequestReport] = []
    sources = [BytesSource(b"x", f"k{n}") for n in range(700)] + [BytesSource(b"y", "k5")]
    reports = list(engine.upload(bucket, sources, progress=seen.append))
    assert {report.seq: report.key for report in reports} == {n: source.key for n, source in enumerate(sources)}
    assert len(reports) == len(sources)
    assert sorted(report.seq for report in seen) == list(range(701))
    assert [report.seq for report in reports if not report.ok] == [700]


def test_error_in_progress_is_raised(engine: Engine, bucket: str) -> None:
    """What progress raises ends the batch early and is raised by wait()."""
    taken = itertools.count()

    def progress(_report: RequestReport) -> None:
        raise LookupError("mine")

    sources = (BytesSource(b"x", f"k{next(taken)}") for _ in range(100_000))
    with pytest.raises(LookupError, match="mine"):
        engine.upload(bucket, sources, progress=progress).wait()
    assert next(taken) < 50_000


def test_error_in_the_input_is_raised(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """What the input iterator raises comes after the reports of what it gave before."""

    def sources() -> Iterator[BytesSource]:
        yield BytesSource(b"x", "k")
        raise LookupError("mine")

    reports = iter(engine.upload(bucket, sources()))
    assert next(reports).ok
    with pytest.raises(LookupError, match="mine"):
        next(reports)
    assert probe.get(bucket, "k") == b"x"


def test_wait_with_a_limit(engine: Engine, bucket: str) -> None:
    """wait(timeout_s) raises TimeoutError while the input goes on; the batch goes on too."""
    release = threading.Event()

    def sources() -> Iterator[BytesSource]:
        yield BytesSource(b"x", "a")
        release.wait(30)
        yield BytesSource(b"x", "b")

    batch = engine.upload(bucket, sources())
    with pytest.raises(TimeoutError):
        batch.wait(timeout_s=0.2)
    release.set()
    assert batch.wait(timeout_s=30).objects == 2


def test_cancel(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """After a cancel the batch is over soon; what was stored and what was reported agree."""
    batch = engine.upload(bucket, (BytesSource(b"x", f"k{n}") for n in range(100_000)))
    reports = iter(batch)
    got = [next(reports) for _ in range(50)]
    batch.cancel()
    got += list(reports)
    assert batch.over
    stored = {report.key for report in got if report.ok}
    assert len(stored) < 50_000
    assert {type(report.error) for report in got if not report.ok} == {Cancelled}
    # What was in flight when the grace was over may be stored and still be reported as cancelled, never the reverse.
    assert stored <= set(probe.list_keys(bucket))


def test_cancel_of_a_download_leaves_nothing_half(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A cancelled download leaves whole files and no temporary ones, in parts or not."""
    (tmp_path / "f").write_bytes(LARGE)
    path = str(tmp_path / "f")
    keys = [f"large{n}" for n in range(4)]
    assert engine.upload(bucket, [(path, key) for key in keys]).wait().ok
    fill(engine, bucket, [f"small{n}" for n in range(200)])
    out = tmp_path / "out"
    batch = engine.list(bucket).download(out)
    reports = iter(batch)
    next(reports)
    batch.cancel()
    list(reports)
    for name, body in tree(out).items():
        assert body == (LARGE if name.startswith("large") else name.encode()), name


def test_cancel_of_large_uploads_leaves_no_parts(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A cancelled multipart upload is aborted."""
    (tmp_path / "f").write_bytes(LARGE * 2)
    taken = threading.Event()

    def sources() -> Iterator[tuple[str, str]]:
        yield from [(str(tmp_path / "f"), f"k{n}") for n in range(6)]
        taken.set()  # the uploads by which the store is asked what it compares are over as well

    batch = engine.upload(bucket, sources())
    assert taken.wait(30)
    eventually(lambda: b"<Upload>" in probe.request("GET", f"/{bucket}", "uploads=").body or batch.over)
    batch.cancel()
    reports = list(batch)
    assert sorted(report.key for report in reports) == [f"k{n}" for n in range(6)]
    assert b"<Upload>" not in probe.request("GET", f"/{bucket}", "uploads=").body
    assert sorted(probe.list_keys(bucket)) == sorted(report.key for report in reports if report.ok)


def test_two_batches_at_once(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """Two threads use one engine at once; each batch gets its own reports, and all of them."""
    fill(engine, bucket, [f"down/{n}" for n in range(300)])
    results: dict[str, list[RequestReport]] = {}

    def up() -> None:
        results["up"] = list(engine.upload(bucket, [BytesSource(b"x", f"up/{n}") for n in range(300)]))

    def down() -> None:
        results["down"] = list(engine.download(bucket, [f"down/{n}" for n in range(300)], tmp_path))

    threads = [threading.Thread(target=target) for target in (up, down)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for name, reports in results.items():
        assert sorted(report.key for report in reports) == sorted(f"{name}/{n}" for n in range(300))
        assert all(report.ok for report in reports)


def test_unread_reports_hold_the_batch_back(environment: pytest.MonkeyPatch, bucket: str, probe: S3Probe) -> None:
    """With max_buffered_reports the batch waits for its reader, and is whole when it has been read."""
    with Engine(**{**SETTINGS, "concurrency": 4, "max_buffered_reports": 10}) as engine:
        batch = engine.upload(bucket, (BytesSource(b"x", f"k{n}") for n in range(3000)))
        time.sleep(1.0)
        assert batch.summary().objects < 1500
        assert sum(report.ok for report in batch) == 3000


@pytest.mark.parametrize("lane", ["threads", "loop"])
def test_both_lanes_do_all(environment: pytest.MonkeyPatch, bucket: str, tmp_path: Path, lane: str) -> None:
    """The raw transport does every operation in either lane, large objects included."""
    (tmp_path / "f").write_bytes(LARGE)
    with Engine(**SETTINGS, lane=lane) as engine:
        sources = [BytesSource(b"x", f"k{n}") for n in range(100)]
        assert engine.upload(bucket, [*sources, FileSource(str(tmp_path / "f"), "large")]).wait().objects == 101
        assert engine.list(bucket).copy(key=lambda info: "c/" + info.key).wait().objects == 101
        assert engine.list(bucket, "c/").move_to_prefix("d/").wait().objects == 101
        assert engine.list(bucket, "d/").download(tmp_path / "out").wait().objects == 101
        assert engine.list(bucket).delete().wait().objects == 202
        assert engine.list(bucket).count() == 0
    assert tree(tmp_path / "out") == {**{f"k{n}": b"x" for n in range(100)}, "large": LARGE}


def test_closed_engine(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """Leaving the engine waits for its batches and ends its workers; afterwards it refuses by name."""
    with Engine(**SETTINGS) as engine:
        batch = engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(50)])
        pids = engine.worker_pids
    assert batch.over
    assert batch.summary().objects == 50
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(EngineClosed):
        engine.upload(bucket, [])
    with pytest.raises(EngineClosed):
        list(engine.list(bucket))
    engine.close()


def test_error_in_the_block_cancels(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """An exception inside the with block cancels what is under way and is the one that comes out."""
    with pytest.raises(LookupError, match="mine"), Engine(**SETTINGS) as engine:  # noqa: PT012  (the block is the test)
        batch = engine.upload(bucket, (BytesSource(b"x", f"k{n}") for n in itertools.count()))
        raise LookupError("mine")
    assert batch.over


def test_empty_batch(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """No objects: every operation is over at once with nothing done."""
    for batch in (
        engine.upload(bucket, []), engine.delete(bucket, iter(())), engine.list(bucket).download(tmp_path),
        engine.list(bucket).move_to_prefix("x/"),
    ):  # fmt: skip
        assert batch.wait(timeout_s=30).objects == 0
