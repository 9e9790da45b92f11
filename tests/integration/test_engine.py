"""The engine against SeaweedFS: every operation, and what its batches promise."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FileSource, ObjectHeaders, RequestReport, files_recursive
from s3engine.errors import (
    Cancelled,
    ConfigError,
    DuplicateKey,
    EngineClosed,
    NotFound,
    SinkError,
    SourceError,
    UnsafeKey,
)
from s3engine.transport import ObjectInfo
from tests.helpers import S3Probe, eventually, point_at
from tests.servers import Ministack

MIB = 1024 * 1024
SETTINGS: dict[str, Any] = {
    "workers": 2, "concurrency": 32, "multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB,
    "copy_threshold_bytes": 5 * MIB, "copy_part_size_bytes": 5 * MIB,
}  # fmt: skip
LARGE = bytes(range(256)) * (12 * MIB // 256)


@pytest.fixture(scope="module")
def engine(environment: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Two workers; objects above 5 MiB go in parts."""
    with Engine(**SETTINGS) as engine:
        yield engine


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def fill(engine: Engine, bucket: str, keys: list[str]) -> None:
    """Store each key's own name under it."""
    assert engine.upload(bucket, [BytesSource(key.encode(), key) for key in keys]).wait().ok


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden and temporary ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- upload


def test_upload_of_a_folder(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """files_recursive gives every file below a folder its relative path, empty files included."""
    files = {"a.txt": b"a", "sub/b.bin": bytes(300_000), "sub/deep/empty": b""}
    for name, body in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(body)
    summary = engine.upload(bucket, files_recursive(tmp_path, "up/")).wait()
    assert (summary.objects, summary.failed, summary.size_bytes) == (3, 0, 300_001)
    assert {key: probe.get(bucket, key) for key in probe.list_keys(bucket)} == {
        f"up/{name}": body for name, body in files.items()
    }


def test_upload_of_bytes_and_own_headers(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A source's own headers stand in the place of the template's."""
    own = ObjectHeaders(content_type="text/own", metadata={"who": "own"})
    sources = [BytesSource(b"x", "own", own), BytesSource(b"y", "other")]
    template = ObjectHeaders(content_type="text/template", metadata={"who": "template"})
    assert engine.upload(bucket, sources, template=template).wait().ok
    heads = {key: probe.head(bucket, key) or {} for key in ("own", "other")}
    assert [(heads[key]["content-type"], heads[key]["x-amz-meta-who"]) for key in ("own", "other")] == [
        ("text/own", "own"), ("text/template", "template"),
    ]  # fmt: skip


def test_report_is_true(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A report tells what the store holds: key, size, ETag, one attempt, and times within those of the caller."""
    (tmp_path / "f").write_bytes(b"hello" * 1000)
    began_s = time.monotonic()
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    elapsed_s = time.monotonic() - began_s
    assert report.ok
    assert (report.seq, report.operation, report.bucket, report.key) == (0, "upload", bucket, "k")
    assert (report.size_bytes, report.etag, report.attempts, report.status) == (5000, md5(b"hello" * 1000), 1, 200)
    assert 0 < report.success_s <= report.total_s <= elapsed_s
    assert report.timeout_s > 0
    head = probe.head(bucket, "k") or {}
    assert head["etag"].strip('"') == report.etag


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"), ("a.json", "application/json"), ("noext", "application/octet-stream"),
        ("b.png", "image/png"),
    ],
)  # fmt: skip
def test_content_type_is_guessed(
    engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path, name: str, kind: str
) -> None:
    """The type follows the file's name."""
    (tmp_path / name).write_bytes(b"x")
    assert engine.upload(bucket, [FileSource(str(tmp_path / name), name)]).wait().ok
    assert (probe.head(bucket, name) or {})["content-type"] == kind


def test_content_type_is_not_guessed_when_unwanted(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """With guess_content_type=False none is sent."""
    assert engine.upload(bucket, [BytesSource(b"x", "a.html")], guess_content_type=False).wait().ok
    assert (probe.head(bucket, "a.html") or {}).get("content-type") != "text/html"


def test_template_value(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Metadata, cache control, storage class, tags and extra headers of a template reach the store."""
    template = ObjectHeaders(
        metadata={"colour": "blue"}, cache_control="max-age=5", storage_class="STANDARD_IA",
        content_disposition="inline", content_language="de", tags={"team": "a b", "n": "1"},
    )  # fmt: skip
    assert engine.upload(bucket, [BytesSource(b"x", "k")], template=template).wait().ok
    head = probe.head(bucket, "k") or {}
    assert head["x-amz-meta-colour"] == "blue"
    assert head["cache-control"] == "max-age=5"
    assert head["content-disposition"] == "inline"
    assert head["x-amz-storage-class"] == "STANDARD_IA"
    tagging = probe.request("GET", f"/{bucket}/k", "tagging=").body
    assert b"<Key>team</Key><Value>a b</Value>" in tagging


def test_template_function(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A template function gives each object its own headers."""
    batch = engine.upload(
        bucket, [BytesSource(b"x", f"k{n}") for n in range(5)],
        template=lambda source: ObjectHeaders(metadata={"name": source.key}),
    )  # fmt: skip
    assert batch.wait().ok
    for n in range(5):
        assert (probe.head(bucket, f"k{n}") or {})["x-amz-meta-name"] == f"k{n}"


def test_error_in_a_template_function_is_raised(engine: Engine, bucket: str) -> None:
    """What a template function raises ends the batch and is raised, and the engine goes on."""

    def template(_source: object) -> ObjectHeaders:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        engine.upload(bucket, [BytesSource(b"x", "k")], template=template).wait(timeout_s=30)
    fill(engine, bucket, ["after"])


def test_bad_sources_fail_alone(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A missing file, a folder and a FIFO fail by name; their neighbours are stored."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "good").write_bytes(b"x")
    names = ["missing", ".", "fifo", "good"]
    reports = {report.key: report for report in engine.upload(bucket, [(str(tmp_path / n), "k" + n) for n in names])}
    assert reports["kgood"].ok
    for name in ("missing", "fifo"):
        error = reports["k" + name].error
        assert isinstance(error, SourceError)
        assert str(tmp_path / name) in str(error)
        assert reports["k" + name].attempts == 0
    assert isinstance(reports["k."].error, SourceError)


def test_missing_bucket_fails_each_object(engine: Engine) -> None:
    """Every object for a bucket that is not there fails with NotFound, after one attempt."""
    reports = list(engine.upload("no-such-bucket-here", [BytesSource(b"", f"k{n}") for n in range(40)]))
    assert {(type(report.error), report.attempts, report.status) for report in reports} == {(NotFound, 1, 404)}
    assert len({report.seq for report in reports}) == 40


def test_endless_input_in_flat_memory(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A batch from an endless generator runs until it is cancelled; the parent's memory stays flat."""
    (tmp_path / "f").write_bytes(b"x" * 1000)
    source = str(tmp_path / "f")
    taken = itertools.count()
    batch = engine.upload(bucket, (FileSource(source, f"k{next(taken) % 50}-{n}") for n in itertools.count()))
    reports = iter(batch)
    for _ in range(500):
        assert next(reports).ok
    before = _rss_bytes()
    time.sleep(0.5)  # nobody reads: the batch fills its buffers and waits
    for _ in range(1500):
        assert next(reports).ok
    grown = _rss_bytes() - before
    batch.cancel()
    rest = list(reports)
    assert grown < 16 * MIB
    assert {type(report.error) for report in rest if not report.ok} <= {Cancelled}


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- reading


def test_listing_is_lazy_and_whole(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A listing over several pages iterates, counts, filters and processes every object below its prefix once."""
    keys = [f"p/{n:04}" for n in range(1203)]
    fill(engine, bucket, [*keys, "q/other"])
    listing = engine.list(bucket, "p/")
    infos = list(listing)
    assert sorted(info.key for info in infos) == keys
    assert infos[0].size_bytes == 6
    assert infos[0].etag == md5(infos[0].key.encode())
    assert listing.count() == 1203
    seen: list[str] = []
    assert listing.process(lambda info: seen.append(info.key)) == 1203
    assert sorted(seen) == keys
    odd = listing.filter(lambda info: info.key.endswith("1")).filter(lambda info: info.key < "p/0100")
    assert sorted(info.key for info in odd) == [key for key in keys[:100] if key.endswith("1")]
    assert engine.list(bucket).count() == 1204
    prefixes = [prefix for page in engine.list(bucket, "", delimiter="/").pages() for prefix in page.prefixes]
    assert prefixes == ["p/", "q/"]


def test_listing_stops_where_the_reader_stops(engine: Engine, bucket: str) -> None:
    """A listing that is left early asks for no more pages and leaves no thread."""
    fill(engine, bucket, [f"{n:04}" for n in range(1100)])
    listing = iter(engine.list(bucket))
    assert next(listing).key == "0000"
    listing.close()  # type: ignore[attr-defined]
    eventually(lambda: not any("s3engine-list" in thread.name for thread in threading.enumerate()))


def test_error_in_process_is_raised(engine: Engine, bucket: str) -> None:
    """What the function of process() raises ends it and is raised."""
    fill(engine, bucket, ["a"])

    def fail(_info: ObjectInfo) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        engine.list(bucket).process(fail)


def test_listing_of_a_missing_bucket(engine: Engine) -> None:
    """Listing what is not there raises NotFound, also inside a batch made from the listing."""
    with pytest.raises(NotFound):
        list(engine.list("no-such-bucket-here"))
    with pytest.raises(NotFound):
        engine.list("no-such-bucket-here").delete().wait()


def test_single_calls(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Buckets are made, looked for and removed only when empty; head gives an object's metadata."""
    name = bucket + "-x"
    engine.make_bucket(name)
    engine.head_bucket(name)
    fill(engine, name, ["k"])
    assert engine.head(name, "k").size_bytes == 1
    with pytest.raises(NotFound):
        engine.head(name, "none")
    with pytest.raises(Exception, match="not empty"):
        engine.remove_bucket(name)
    assert engine.delete(name, ["k"]).wait().ok
    engine.remove_bucket(name)
    with pytest.raises(NotFound):
        engine.head_bucket(name)


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


def test_keys_never_leave_the_folder(
    ministack: Ministack, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


# ---- large objects


def test_large_object_up_copied_and_down(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """12 MiB go up in parts, are copied in parts with their metadata, come down in ranges, and are the same."""
    (tmp_path / "f.txt").write_bytes(LARGE)
    template = ObjectHeaders(metadata={"a": "1"}, cache_control="max-age=7")
    (up,) = engine.upload(bucket, [FileSource(str(tmp_path / "f.txt"), "k.txt")], template=template)
    assert up.ok
    assert (up.size_bytes, up.attempts) == (len(LARGE), 1)
    assert up.etag.endswith("-3")
    head = probe.head(bucket, "k.txt") or {}
    assert head["etag"].strip('"') == up.etag
    (copied,) = engine.list(bucket).copy(key=lambda _: "copy.txt")
    assert copied.ok
    head = probe.head(bucket, "copy.txt") or {}
    assert head["etag"].strip('"').endswith("-3")
    assert (head["x-amz-meta-a"], head["cache-control"], head["content-type"]) == ("1", "max-age=7", "text/plain")
    reports = list(engine.list(bucket).download(tmp_path / "out"))
    assert all(report.ok and report.size_bytes == len(LARGE) for report in reports)
    assert tree(tmp_path / "out") == {"k.txt": LARGE, "copy.txt": LARGE}


def test_large_object_of_unknown_size(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A key alone tells no size: a large object comes in ranges, and is copied in parts, all the same."""
    (tmp_path / "f").write_bytes(LARGE)
    assert engine.upload(bucket, [(str(tmp_path / "f"), "k")]).wait().ok
    (down,) = engine.download(bucket, ["k"], tmp_path / "out")
    assert down.ok
    assert tree(tmp_path / "out") == {"k": LARGE}
    (copied,) = engine.copy(bucket, ["k"], bucket, key=lambda _: "c")
    assert (copied.ok, copied.size_bytes, copied.etag[-2:]) == (True, len(LARGE), "-3")


def test_large_move(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A large object is moved: its copy is whole, its source gone, and no upload is left under way."""
    (tmp_path / "f").write_bytes(LARGE)
    assert engine.upload(bucket, [(str(tmp_path / "f"), "k")]).wait().ok
    (report,) = engine.list(bucket).move(key=lambda _: "moved")
    assert report.ok, report.error
    assert probe.list_keys(bucket) == ["moved"]
    assert probe.get(bucket, "moved") == LARGE
    assert b"<Upload>" not in probe.request("GET", f"/{bucket}", "uploads=").body


def test_file_that_changes_is_not_called_stored(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A large file that is written to while it is sent fails, and leaves neither object nor upload."""
    path = tmp_path / "f"
    path.write_bytes(LARGE * 4)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            os.utime(path)
            time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        (report,) = engine.upload(bucket, [(str(path), "k")])
    finally:
        stop.set()
        thread.join()
    assert isinstance(report.error, SourceError)
    assert probe.list_keys(bucket) == []
    assert b"<Upload>" not in probe.request("GET", f"/{bucket}", "uploads=").body


# ---- batches


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


def test_cancel_of_large_uploads_leaves_no_parts(
    engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """A cancelled multipart upload is aborted."""
    (tmp_path / "f").write_bytes(LARGE * 2)
    batch = engine.upload(bucket, [(str(tmp_path / "f"), f"k{n}") for n in range(6)])
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
