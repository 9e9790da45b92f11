"""What functions make of objects and files, stored, against a real server."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FetchedObject, FileSource, ObjectHeaders, Output, Transform, errors
from tests.helpers import S3Probe
from tests.integration.engine_common import tree
from tests.integration.map_common import MIB, fill


def upper(found: FetchedObject) -> bytes:
    """The body in capitals."""
    return bytes(found.body).upper()


def sizes_in_pieces(count: int, size_bytes: int) -> Iterator[bytes]:
    """``count`` pieces, each of its own bytes."""
    for number in range(count):
        yield bytes([number % 251]) * size_bytes


def stored(engine: Engine, bucket: str, prefix: str) -> dict[str, str]:
    """SHA-256 of all objects, read by the engine itself."""
    found = engine.map(lambda one: __import__("hashlib").sha256(one.body).hexdigest(), engine.list(bucket, prefix))
    return {report.key: result for report, result in found}


def test_get_run_put(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Each object's new body is stored under the key that is asked for, with the type and metadata of its source."""
    headers = ObjectHeaders(content_type="text/x-small", metadata={"colour": "red"})
    assert engine.upload(
        bucket, [BytesSource(b"abc", f"in/{number}", headers) for number in range(50)]
    ).wait().ok  # fmt: skip
    batch = engine.list(bucket, "in/").transform(upper, key=lambda info: info.key.replace("in/", "out/"))
    reports = list(batch)
    assert all(report.ok and report.target == f"s3://{bucket}/out/{report.key[3:]}" for report in reports)
    assert len(reports) == 50
    head = engine.head(bucket, "out/7")
    assert (head.content_type, dict(head.headers).get("x-amz-meta-colour")) == ("text/x-small", "red")
    assert probe.get(bucket, "out/7") == b"ABC"


def test_many_few_and_none(engine: Engine, bucket: str) -> None:
    """An object may become several, one, an empty one or none; the report says which."""
    fill(engine, bucket, 4)

    def split(found: FetchedObject) -> Any:
        number = int(found.key[-5:])
        if number == 0:
            return None
        if number == 1:
            return b""
        if number == 2:
            return [Output(b"x", key="s/x"), Output("text", key="s/y", content_type="text/plain")]
        return (Output(bytes([n]), key=f"s/n{n}") for n in range(3))

    reports = {r.key: r for r in engine.list(bucket, "p/").transform(split, key=lambda info: f"s/{info.key[-1]}")}
    assert [report.ok for report in reports.values()] == [True] * 4
    assert reports["p/00000"].skipped == "no output"
    assert reports["p/00001"].target == f"s3://{bucket}/s/1"
    assert reports["p/00003"].target == "3 outputs"
    assert {info.key: info.size_bytes for info in engine.list(bucket, "s/")} == {
        "s/1": 0, "s/x": 1, "s/y": 4, "s/n0": 1, "s/n1": 1, "s/n2": 1,
    }  # fmt: skip
    assert engine.head(bucket, "s/y").content_type == "text/plain"


@pytest.mark.parametrize("size_bytes", [1, 64 * 1024, 64 * 1024 + 1, 5 * MIB, 5 * MIB + 1, 23 * MIB])
def test_bodies_whose_length_nobody_knows(made: Any, bucket: str, size_bytes: int) -> None:
    """What a generator gives is stored whole, in one request or in parts that go while it is made."""
    engine = made()
    fill(engine, bucket, 3)
    piece_bytes = max(1, size_bytes // 7)

    def pieces(found: FetchedObject) -> Iterator[bytes]:
        left = size_bytes
        while left:
            count = min(left, piece_bytes)
            yield found.key[-1:].encode() * count
            left -= count

    reports = list(engine.list(bucket, "p/").transform(pieces, key=lambda info: f"big/{info.key[-1]}"))
    assert [report.error for report in reports] == [None] * 3
    assert stored(engine, bucket, "big/") == {
        f"big/{n}": hashlib.sha256(str(n).encode() * size_bytes).hexdigest() for n in range(3)
    }


def test_large_through_gzip_and_back(made: Any, bucket: str) -> None:
    """A large object goes through in chunks, in and out, and is the same when it went through the inverse."""
    engine = made()
    body = os.urandom(3 * MIB) * 9
    assert engine.upload(bucket, [BytesSource(body, "raw/one")]).wait().ok

    def packed(found: FetchedObject) -> Any:
        import zlib

        packer = zlib.compressobj(1, zlib.DEFLATED, 31)

        def pieces() -> Iterator[bytes]:
            for chunk in found.chunks():
                yield packer.compress(chunk)
            yield packer.flush()

        return Output(pieces(), content_encoding="gzip")

    assert engine.list(bucket, "raw/").transform(packed, key=lambda info: "gz/one").wait().ok
    assert engine.head(bucket, "gz/one").headers
    assert dict(engine.head(bucket, "gz/one").headers)["content-encoding"] == "gzip"
    ((_, whole),) = engine.map(lambda found: bytes(found.body), engine.list(bucket, "gz/"))
    assert gzip.decompress(whole) == body


def test_what_fails_leaves_nothing_half_done(made: Any, bucket: str) -> None:
    """A function that raises or dies in the middle of a large body leaves neither an object nor an upload."""
    engine = made()
    fill(engine, bucket, 4)

    def breaks(found: FetchedObject) -> Iterator[bytes]:
        for _ in range(3):
            yield bytes(5 * MIB)
        if found.key.endswith("1"):
            raise ValueError("in the middle")
        if found.key.endswith("2"):
            os._exit(3)

    found = {r.key: r.error for r in engine.list(bucket, "p/").transform(breaks, key=lambda info: f"h/{info.key[-1]}")}
    assert {key: type(error).__name__ for key, error in found.items() if error} == {
        "p/00001": "FunctionRaised", "p/00002": "FunctionDied",
    }  # fmt: skip
    assert {info.key: info.size_bytes for info in engine.list(bucket, "h/")} == {"h/0": 15 * MIB, "h/3": 15 * MIB}
    assert list(engine.uploads(bucket)) == []


def test_more_objects_than_workers_with_large_outputs(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """Outputs that are larger than all room for them are stored, also where each worker has several objects to do."""
    with Engine(workers=1, function_buffer_bytes=16 * MIB, part_size_bytes=5 * MIB) as engine:
        fill(engine, bucket, 4)

        def large(found: FetchedObject) -> Iterator[bytes]:
            return sizes_in_pieces(9, 4 * MIB)

        assert engine.list(bucket, "p/").transform(large, key=lambda info: f"big/{info.key[-1]}").wait().objects == 4
        expected = hashlib.sha256(b"".join(sizes_in_pieces(9, 4 * MIB))).hexdigest()
        assert stored(engine, bucket, "big/") == {f"big/{number}": expected for number in range(4)}


def test_worker_killed_in_the_middle(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """An object whose worker is killed while its output goes up in parts is made anew, and no upload is left."""
    import signal

    with Engine(workers=2, part_size_bytes=5 * MIB) as engine:
        fill(engine, bucket, 4)

        def slow(found: FetchedObject) -> Iterator[bytes]:
            import time

            for piece in sizes_in_pieces(8, 3 * MIB):
                time.sleep(0.1)
                yield piece

        batch = engine.list(bucket, "p/").transform(slow, key=lambda info: f"k/{info.key[-1]}")
        while not list(engine.uploads(bucket)):
            pass
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        assert batch.wait().objects == 4
        expected = hashlib.sha256(b"".join(sizes_in_pieces(8, 3 * MIB))).hexdigest()
        assert stored(engine, bucket, "k/") == {f"k/{number}": expected for number in range(4)}
        assert list(engine.uploads(bucket)) == []


def test_two_outputs_of_one_name_are_told(engine: Engine, bucket: str) -> None:
    """Of two objects whose outputs have one name, one report says so; two of one object are refused."""
    fill(engine, bucket, 2)
    reports = list(engine.list(bucket, "p/").transform(lambda found: Output(found.body, key="same")))
    assert sorted(type(report.error).__name__ for report in reports) == ["DuplicateKey", "NoneType"]
    (report, _) = engine.list(bucket, "p/").transform(lambda found: [Output(b"1"), Output(b"2")])
    assert "two outputs have the key" in str(report.error)


def test_into_its_own_prefix(engine: Engine, bucket: str) -> None:
    """What is made below the prefix that is listed is not transformed again; a target that is a source is refused."""
    fill(engine, bucket, 20)
    reports = list(engine.list(bucket, "p/").transform(upper, key=lambda info: f"p/z{info.key}"))
    assert len(reports) == 20
    assert len(list(engine.list(bucket, "p/"))) == 40
    (report,) = [
        one for one in engine.list(bucket, "p/0").transform(
            upper, key=lambda info: "p/00002" if info.key == "p/00001" else info.key
        )
        if not one.ok
    ]  # fmt: skip
    assert isinstance(report.error, errors.DuplicateKey)
    assert report.key == "p/00001"


def test_between_buckets(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Objects of one bucket become objects of another."""
    other = f"{bucket}-other"
    engine.make_bucket(other)
    try:
        fill(engine, bucket, 5)
        assert engine.transform(bucket, engine.list(bucket, "p/"), upper, other).wait().objects == 5
        assert probe.get(other, "p/00001") == b"WORD WORD "
    finally:
        engine.delete(other, engine.list(other)).wait()
        engine.remove_bucket(other)


def test_files_on_their_way_up(engine: Engine, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Files and bytes go through a function before they are stored; a file that is not there fails by name."""
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    sources: list[Any] = [
        *(FileSource(str(tmp_path / f"{number}.txt"), f"up/{number}.txt") for number in range(20)),
        BytesSource(b"bytes", "up/bytes"), FileSource(str(tmp_path / "none"), "up/none"),
    ]  # fmt: skip
    found = {report.key: report.error for report in engine.upload(bucket, sources, transform=upper)}
    assert isinstance(found.pop("up/none"), errors.SourceError)
    assert set(found.values()) == {None}
    assert (probe.get(bucket, "up/3.txt"), probe.get(bucket, "up/bytes")) == (b"TEXT 3", b"BYTES")
    assert engine.head(bucket, "up/3.txt").content_type == "text/plain"


def test_objects_on_their_way_down(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """Objects go through a function before they are written; no temporary file is left, whatever the function does."""
    fill(engine, bucket, 6)

    def written(found: FetchedObject) -> Any:
        number = int(found.key[-5:])
        if number == 3:
            return [Output(b"a", key="sub/a"), Output(b"b", key="../b")]
        if number == 4:

            def dies() -> Iterator[bytes]:
                yield bytes(MIB)
                os._exit(1)

            return dies()
        return upper(found)

    found = {report.key: report for report in engine.list(bucket, "p/").download(tmp_path, transform=written)}
    assert isinstance(found["p/00003"].error, errors.UnsafeKey)
    assert isinstance(found["p/00004"].error, errors.FunctionDied)
    assert tree(tmp_path) == {
        "00000": b"WORD ", "00001": b"WORD WORD ", "00002": b"WORD " * 3, "00005": b"WORD " * 6, "sub/a": b"a",
    }  # fmt: skip
    assert found["p/00001"].target == str(tmp_path / "00001")


def test_with_a_journal_only_the_rest(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """A second run with the same journal does what the first one could not."""
    fill(engine, bucket, 10)
    journal = tmp_path / "j"
    marks = tmp_path / "marks"
    marks.mkdir()

    def picky(found: FetchedObject) -> bytes:
        mark = marks / found.key[-5:]
        if found.key.endswith("7") and not mark.exists():
            mark.touch()
            raise ValueError("not yet")
        mark.open("a").write("x")
        return b"done"

    def once() -> Any:
        return engine.list(bucket, "p/").transform(picky, key=_to_journaled, journal=journal).wait()

    first, second = once(), once()
    assert (first.objects, first.failed) == (9, 1)
    assert second.ok
    assert {path.name: path.read_text() for path in marks.iterdir()} == {f"{n:05d}": "x" for n in range(10)}


def _to_journaled(info: Any) -> str:
    return f"j/{info.key[-1]}"


def test_limit_of_time_and_state(engine: Engine, bucket: str) -> None:
    """A Transform brings its initializer and its limit of time along."""
    import time

    fill(engine, bucket, 6)

    def slow(found: FetchedObject) -> bytes:
        if found.key.endswith("4"):
            time.sleep(60)
        return str(found.state).encode()

    transform = Transform(slow, initializer=lambda: "state", timeout_s=0.5)
    found = {r.key: r.error for r in engine.list(bucket, "p/").transform(transform, key=lambda info: "t" + info.key)}
    assert {key for key, error in found.items() if error is not None} == {"p/00004"}
    assert isinstance(found["p/00004"], errors.FunctionTimedOut)


@pytest.mark.parametrize("transport", ["boto3", "minio", "obstore"])
def test_outputs_through_every_transport(made: Any, bucket: str, transport: str) -> None:
    """Small and large outputs are stored whole by each client."""
    engine = made(transport=transport)
    fill(engine, bucket, 2)

    def grown(found: FetchedObject) -> Iterator[bytes]:
        return sizes_in_pieces(12 if found.key.endswith("1") else 1, MIB)

    assert engine.list(bucket, "p/").transform(grown, key=lambda info: f"g/{info.key[-1]}").wait().ok
    assert stored(engine, bucket, "g/") == {
        f"g/{number}": hashlib.sha256(b"".join(sizes_in_pieces(count, MIB))).hexdigest()
        for number, count in ((0, 1), (1, 12))
    }


@pytest.mark.parametrize("value", [7, {"a": 1}, object()])
def test_what_is_no_body_is_refused(engine: Engine, bucket: str, value: Any) -> None:
    """A function that returns what is no body fails by name, with what it should return."""
    fill(engine, bucket, 1)
    kind = type(value).__name__

    def returns(found: FetchedObject) -> Any:
        return {"int": 7, "dict": {"a": 1}, "object": object()}[kind]

    (report,) = engine.list(bucket, "p/").transform(returns, key=lambda info: "none")
    assert isinstance(report.error, errors.FunctionRaised)
    assert not list(engine.list(bucket, "none"))


def test_outputs_that_were_whole_stay(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """An output that was given whole before the function failed is stored, small or in parts; the error is told."""

    def fails_later(found: FetchedObject) -> Iterator[Output]:
        yield Output(bytes(20 * MIB), key="out/large")
        yield Output(b"small", key="out/small")
        raise ValueError("later")

    fill(engine, bucket, 1)
    (report,) = engine.transform(bucket, ["p/00000"], fails_later, bucket)
    assert "later" in str(report.error)
    assert probe.list_keys(bucket, "out/") == ["out/large", "out/small"]


def test_bodies_of_an_upload_wait(engine: Engine, bucket: str) -> None:
    """Of bodies in memory that go through a function, no more than 64 MiB and some are pulled before they are done."""
    pulled = 0

    def sources() -> Iterator[BytesSource]:
        nonlocal pulled
        for number in range(300):
            pulled += 1
            yield BytesSource(bytes(MIB), f"x/{number}")

    def waits(found: FetchedObject) -> bytes:
        while True:
            pass

    batch = engine.upload(bucket, sources(), transform=Transform(waits, timeout_s=1.0))
    failed = [next(iter(batch)) for _ in range(2)]
    batch.cancel()
    batch.wait()
    assert [type(report.error) for report in failed] == [errors.FunctionTimedOut] * 2
    assert 2 < pulled < 120
