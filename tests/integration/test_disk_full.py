"""Downloads to disks that are full, read-only or in the way: told by name, nothing half-written, the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import Engine
from s3engine.embedded import EmbeddedServer
from s3engine.errors import SinkError, UnsafeKey
from s3engine.jobs.download import DownloadJob
from s3engine.report import RequestReport
from s3engine.testing.conformance.scripted import Say, Scripted, answer
from s3engine.transport import ObjectInfo
from tests.helpers import S3Probe, eventually, point_at

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _engine(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Engine:
    point_at(monkeypatch, server)
    return Engine(workers=1, **settings)


def _object(body: bytes) -> Say:
    """An object whose ETag is no MD5, so that nothing is compared with it."""
    return answer(200, body, ("ETag", '"e-1"'), ("Content-Type", "text/plain"))


def _failed(reports: list[RequestReport]) -> dict[str, Exception | None]:
    return {report.key: report.error for report in reports if not report.ok}


def _left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_full_disk(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits is there and whole; what does not is told with path and way out; nothing half-written stays."""
    bodies = {f"k{number}": bytes([number]) * 400_000 for number in range(5)} | {"small": b"s"}
    for key, body in bodies.items():
        probe.put(bucket, key, body)
    with _engine(seaweed, monkeypatch) as engine:
        reports = list(engine.download(bucket, sorted(bodies), small_disk))
    failed = _failed(reports)
    assert len(failed) == 3
    assert _left(small_disk) == sorted(set(bodies) - set(failed))
    for key in set(bodies) - set(failed):
        assert (small_disk / key).read_bytes() == bodies[key]
    for key, error in failed.items():
        assert type(error) is SinkError
        assert f"cannot write '{small_disk}/{key}': No space left on device; the disk is full" in str(error)


def test_large_object_and_a_full_disk(small_disk: Path) -> None:
    """For an object in parts room is set aside first: where there is none not a byte of it is fetched."""
    with Scripted(_object(b"x")) as store:
        info = ObjectInfo("large", 100 * MIB, "e-13")
        with Engine(endpoint_url=store.endpoint_url, anonymous=True, workers=1) as engine:
            reports = list(engine.download("bucket", [info], small_disk))
        assert [request for request in store.requests if request.method == "GET"] == []
    assert "No space left" in str(reports[0].error)
    assert f"'{small_disk}/large'" in str(reports[0].error)
    assert _left(small_disk) == []


def test_a_full_disk_costs_few_requests(small_disk: Path) -> None:
    """Once the disk has refused a file room is asked for before each request: of a thousand objects few are fetched."""
    body = b"x" * 100_000
    with Scripted(_object(body)) as store:
        infos = [ObjectInfo(f"k{number}", len(body), "") for number in range(1000)]
        with Engine(endpoint_url=store.endpoint_url, anonymous=True, workers=1, concurrency=16) as engine:
            reports = list(engine.download("bucket", infos, small_disk))
        asked = len(store.requests)
    failed = _failed(reports)
    assert len(reports) == 1000
    assert 985 <= len(failed) <= 995
    assert {type(error) for error in failed.values()} == {SinkError}
    assert asked < 100
    assert len(_left(small_disk)) == 1000 - len(failed)


def test_what_is_in_the_way(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for a file, a file for a folder, a long name, a link that leads out: each by name; the rest goes on."""
    keys = ["folder", "file/x", "link/x", "good", "a/" + "y" * 255, *["z" * 200 + "/" + "/".join(["z" * 100] * 4)]]
    for key in keys:
        probe.put(bucket, key, b"body")
    root = tmp_path / "root"
    (root / "folder" / "mine").mkdir(parents=True)
    (root / "file").write_bytes(b"mine")
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    with _engine(seaweed, monkeypatch) as engine:
        failed = _failed(list(engine.download(bucket, [*keys, "n" * 256], root)))
    assert {key[:6] for key in failed} == {"folder", "file/x", "link/x", "nnnnnn"}
    assert "a folder is in the way" in str(failed["folder"])
    assert "a file is in the way" in str(failed["file/x"])
    assert type(failed["link/x"]) is UnsafeKey
    assert "longer than 255 bytes" in str(failed["n" * 256])
    assert (root / "good").read_bytes() == b"body"
    assert (root / "file").read_bytes() == b"mine"
    assert os.listdir(tmp_path / "outside") == []
    assert [name for name in _left(root) if ".s3engine-" in name] == []


def test_a_folder_that_is_read_only(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only file system is named as such."""
    probe.put(bucket, "k", b"body")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with _engine(seaweed, monkeypatch) as engine:
        failed = _failed(list(engine.download(bucket, ["k"], small_disk)))
    assert "Read-only file system; the file system is read-only" in str(failed["k"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder one may not write to is named, with what to do."""
    probe.put(bucket, "k", b"body")
    (tmp_path / "root").mkdir(mode=0o500)
    with _engine(seaweed, monkeypatch) as engine:
        failed = _failed(list(engine.download(bucket, ["k"], tmp_path / "root")))
    assert "no permission" in str(failed["k"])


def test_a_killed_worker_leaves_nothing(tmp_path: Path) -> None:
    """A worker that is killed while it writes: another one does it again, and its temporary file is gone in the end."""
    body = b"x" * MIB
    slow = Say(_object(body).data[: MIB // 2], then="hang")
    with (
        Scripted(slow, _object(body)) as store,
        Engine(endpoint_url=store.endpoint_url, anonymous=True, workers=1) as engine,
    ):
        batch = engine.download("bucket", ["k"], tmp_path / "out")
        eventually(lambda: bool(_left(tmp_path)))
        time.sleep(0.1)
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        reports = list(batch)
    assert [report.error for report in reports] == [None]
    assert _left(tmp_path) == ["out/k"]
    assert (tmp_path / "out" / "k").read_bytes() == body


def test_moves_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync=auto: what a move deletes from the store is on the disk first; downloads only with always."""
    synced: list[bool] = []
    real = DownloadJob.__init__

    def init(job: DownloadJob, *arguments: Any, **keywords: Any) -> None:
        real(job, *arguments, **keywords)
        synced.append(job.context.fsync)

    monkeypatch.setattr(DownloadJob, "__init__", init)
    for setting, move in (("auto", True), ("auto", False), ("always", False), ("never", True)):
        with (
            Scripted(_object(b"x"), answer(204)) as store,
            Engine(endpoint_url=store.endpoint_url, anonymous=True, workers=1, fsync=setting) as engine,
        ):
            engine.download("bucket", ["k"], tmp_path / "out", remove_objects=move).wait()
        assert (tmp_path / "out" / "k").read_bytes() == b"x"
    assert synced == [True, False, True, False]
