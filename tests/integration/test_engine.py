"""The engine on a real server: uploads, what is read of a store, large objects."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest

from s3engine import BytesSource, Engine, FileSource, ObjectHeaders, files_recursive
from s3engine.errors import Cancelled, NotFound, SourceError
from s3engine.transport import ObjectInfo
from tests.helpers import S3Probe, eventually
from tests.integration.engine_common import LARGE, MIB, fill, md5, tree

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
