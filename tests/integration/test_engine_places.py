"""The engine on a real server: downloads, copies, moves and deletes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FileSource, ObjectHeaders
from s3engine.errors import ConfigError, DuplicateKey, EngineClosed, NotFound, SinkError, UnsafeKey
from tests.helpers import S3Probe, point_at
from tests.integration.engine_common import SETTINGS, fill, md5, tree
from tests.servers import Ministack

# ---- download


def test_download_of_a_prefix(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """Objects land relative to the prefix, bytes equal, and no temporary file is left."""
    fill(engine, bucket, ["p/a", "p/sub/b", "other"])
    reports = list(engine.list(bucket, "p/").download(tmp_path / "out"))
    assert tree(tmp_path / "out") == {"a": b"p/a", "sub/b": b"p/sub/b"}
    for report in reports:
        assert report.ok
        assert Path(report.target).read_bytes() == report.key.encode()
        assert (report.size_bytes, report.etag) == (len(report.key), md5(report.key.encode()))


def test_download_under_other_names(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A path function names each file."""
    fill(engine, bucket, ["a", "b"])
    assert engine.download(bucket, ["a", "b"], tmp_path, path=lambda info: f"x/{info.key}.bin").wait().ok
    assert tree(tmp_path) == {"x/a.bin": b"a", "x/b.bin": b"b"}


def test_download_replaces_a_file_whole(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A file that was there is replaced when the new one is whole, and kept when the download fails."""
    fill(engine, bucket, ["a"])
    for name in ("a", "missing"):
        (tmp_path / name).write_bytes(b"old")
    reports = {report.key: report for report in engine.download(bucket, ["a", "missing"], tmp_path)}
    assert isinstance(reports["missing"].error, NotFound)
    assert tree(tmp_path) == {"a": b"a", "missing": b"old"}


def test_download_into_a_place_that_is_taken(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A folder where the file should go fails that object alone, by name, and leaves nothing."""
    fill(engine, bucket, ["a", "b"])
    (tmp_path / "a").mkdir()
    reports = {report.key: report for report in engine.download(bucket, ["a", "b"], tmp_path)}
    assert isinstance(reports["a"].error, SinkError)
    assert tree(tmp_path) == {"b": b"b"}


def test_keys_never_leave_the_folder(ministack: Ministack, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys that would escape fail by name; nothing outside is written, links are not followed out, others come."""
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "in" / "target"
    target.mkdir(parents=True)
    (target / "link").symlink_to(outside)
    bad = ["../up", "a/../../up", "/rooted", "a//b", "./dot", "link/through"]
    with (
        S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe,
        pytest.MonkeyPatch.context() as patch,
    ):
        point_at(patch, ministack)
        probe.create_bucket("escape")
        for key in [*bad, "good"]:
            probe.put("escape", key, b"x")
        with Engine(**SETTINGS) as engine:
            reports = {report.key: report for report in engine.list("escape").download(target)}
    assert sorted(reports) == sorted([*bad, "good"])
    assert {key: type(reports[key].error) for key in bad} == dict.fromkeys(bad, UnsafeKey)
    assert reports["good"].ok
    assert tree(tmp_path) == {"in/target/good": b"x"}


# ---- copy, move, delete


def test_copy_with_a_key_function(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Each object is copied inside the store under the key that the function gives, its source kept."""
    fill(engine, bucket, ["a/1", "a/2"])
    reports = list(engine.list(bucket, "a/").copy(key=lambda info: info.key.replace("a/", "b/")))
    assert sorted(report.target for report in reports) == [f"s3://{bucket}/b/1", f"s3://{bucket}/b/2"]
    assert {key: probe.get(bucket, key) for key in probe.list_keys(bucket)} == {
        "a/1": b"a/1", "a/2": b"a/2", "b/1": b"a/1", "b/2": b"a/2",
    }  # fmt: skip


def test_copy_keeps_and_replaces_metadata(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A copy keeps its source's metadata; a template replaces it."""
    probe.put(bucket, "k", b"x", {"x-amz-meta-a": "1", "content-type": "text/x"})
    assert engine.copy(bucket, ["k"], bucket, key=lambda _: "kept").wait().ok
    new = ObjectHeaders(metadata={"a": "2"}, content_type="text/y")
    assert engine.copy(bucket, ["k"], bucket, key=lambda _: "replaced", template=new).wait().ok
    for key, value, kind in (("kept", "1", "text/x"), ("replaced", "2", "text/y")):
        head = probe.head(bucket, key) or {}
        assert (head["x-amz-meta-a"], head["content-type"]) == (value, kind)


def test_copy_to_another_bucket(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Copies go to another bucket under the same keys when nothing else is said."""
    fill(engine, bucket, ["a"])
    other = bucket + "-o"
    probe.create_bucket(other)
    try:
        assert engine.list(bucket).copy(other).wait().ok
        assert probe.get(other, "a") == b"a"
    finally:
        probe.delete_all(other)


def test_move_leaves_no_source(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A move has copies in the place of the sources; an object that is not there fails and harms nobody."""
    fill(engine, bucket, [f"a/{n}" for n in range(30)])
    reports = list(engine.list(bucket, "a/").move(key=lambda info: "b/" + info.key))
    assert all(report.ok and report.operation == "move" for report in reports)
    assert sorted(probe.list_keys(bucket)) == sorted(f"b/a/{n}" for n in range(30))
    (lost,) = engine.copy(bucket, ["none"], bucket, key=lambda _: "x", move=True)
    assert isinstance(lost.error, NotFound)


def test_move_whose_targets_are_sources_loses_nothing(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Moving log.1 to log.2 while log.2 goes to log.3 leaves log.1 where it is and says so."""
    probe.put(bucket, "log.1", b"one")
    probe.put(bucket, "log.2", b"two")
    batch = engine.list(bucket, "log.").move(key=lambda info: f"log.{int(info.key[4:]) + 1}")
    reports = {report.key: report for report in batch}
    assert isinstance(reports["log.1"].error, DuplicateKey)
    assert reports["log.2"].ok
    assert {key: probe.get(bucket, key) for key in probe.list_keys(bucket)} == {"log.1": b"one", "log.3": b"two"}


def test_path_that_no_system_takes_concerns_one_object(engine: Engine, bucket: str) -> None:
    """A path with a NUL byte fails by name, and costs no worker."""
    engine.start()
    pids = engine.worker_pids
    sources: list[Any] = [FileSource("a\0b", "bad"), BytesSource(b"x", "good")]
    reports = {report.key: report for report in engine.upload(bucket, sources)}
    assert "null byte" in str(reports["bad"].error)
    assert reports["good"].ok
    assert engine.worker_pids == pids


def test_bug_in_the_supervisor_ends_batches_and_closes_the_engine(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """If the engine's own thread dies its batches end with the reason, and later ones are refused, not left waiting."""
    engine = Engine(**SETTINGS)
    engine.start()
    supervisor = engine._runtime.supervisor
    assert supervisor is not None
    environment.setattr(threading, "excepthook", lambda info: None)  # its traceback is expected here
    go_on = threading.Event()
    batch = engine.upload(bucket, (BytesSource(b"x", f"k{n}") for n in range(3) if go_on.wait(20)))
    environment.setattr(supervisor._dealer, "deal", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batch.wait(timeout_s=20)
    go_on.set()
    with pytest.raises(EngineClosed, match="ZeroDivisionError"):
        engine.upload(bucket, [BytesSource(b"x", "k")])
    engine.close(cancel=True)


@pytest.mark.parametrize("new_prefix", ["b/", "a/sub/", "a/a/"])
def test_move_to_prefix(engine: Engine, bucket: str, probe: S3Probe, new_prefix: str) -> None:
    """Every object gets the new prefix exactly once, also when that lies below the old one."""
    names = [f"{n:03}" for n in range(120)] + ["a/x"]
    fill(engine, bucket, ["a/" + name for name in names])
    reports = list(engine.list(bucket, "a/").move_to_prefix(new_prefix))
    assert [report.error for report in reports if not report.ok] == []
    assert len(reports) == len(names)
    assert sorted(probe.list_keys(bucket)) == sorted(new_prefix + name for name in names)


def test_move_onto_itself_is_refused(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A move whose target is its source does not delete it."""
    fill(engine, bucket, ["k"])
    (report,) = engine.list(bucket).move()
    assert isinstance(report.error, ConfigError)
    assert probe.get(bucket, "k") == b"k"


def test_delete_of_thousands(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Over a thousand keys go in a few requests, one report each; keys that are not there are no errors."""
    keys = [f"{n:04}" for n in range(1200)]
    fill(engine, bucket, keys)
    reports = list(engine.delete(bucket, [*keys, "none"]))
    assert sorted(report.key for report in reports) == [*keys, "none"]
    assert all(report.ok for report in reports)
    assert probe.list_keys(bucket) == []


def test_moves_between_disk_and_store(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """remove_sources removes files that are stored, remove_objects deletes objects that are on disk."""
    (tmp_path / "f").write_bytes(b"x")
    assert engine.upload(bucket, [(str(tmp_path / "f"), "k")], remove_sources=True).wait().ok
    assert not (tmp_path / "f").exists()
    assert engine.list(bucket).download(tmp_path, remove_objects=True).wait().ok
    assert (tmp_path / "k").read_bytes() == b"x"
    assert probe.list_keys(bucket) == []
