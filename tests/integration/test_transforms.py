"""The transforms in the box, against a real server."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import pytest
import zstandard

from s3engine import BytesSource, Engine, ObjectHeaders, ObjectInfo, errors
from s3engine.transforms import Gunzip, Gzip, JsonLines, Unchanged, Unzstd, Zstd
from tests.helpers import S3Probe

BODIES = {"a": b"", "b": b"few", "c": os.urandom(3 << 20), "d": b"many and alike " * 1_000_000}


def below(prefix: str) -> Any:
    """A key below another prefix."""

    def key(info: ObjectInfo) -> str:
        return prefix + info.key.partition("/")[2]

    return key


@pytest.fixture
def stored(engine: Engine, bucket: str) -> Engine:
    """An engine, and bodies of all kinds below ``raw/``."""
    headers = ObjectHeaders(content_type="text/x-log")
    sources = [BytesSource(body, f"raw/{name}", headers) for name, body in BODIES.items()]
    assert engine.upload(bucket, sources).wait().ok
    return engine


@pytest.mark.parametrize(
    ("pack", "unpack", "reference", "name"),
    [(Gzip(1), Gunzip(), gzip.decompress, "gzip"), (Zstd(), Unzstd(), None, "zstd")],
)
def test_there_and_back(
    stored: Engine, bucket: str, probe: S3Probe, pack: Any, unpack: Any, reference: Any, name: str
) -> None:
    """Packed objects have their encoding in a header and are what others unpack; unpacked they are as they were."""
    assert stored.list(bucket, "raw/").transform(pack, key=below("packed/")).wait().ok
    for key, body in BODIES.items():
        packed = probe.get(bucket, f"packed/{key}") or b""
        if reference is None:
            assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == body
        else:
            assert reference(packed) == body
        headers = dict(stored.head(bucket, f"packed/{key}").headers)
        assert (headers["content-encoding"], headers["content-type"]) == (name, "text/x-log")
    assert stored.list(bucket, "packed/").transform(unpack, key=below("back/")).wait().ok
    for key, body in BODIES.items():
        assert probe.get(bucket, f"back/{key}") == body
        assert "content-encoding" not in dict(stored.head(bucket, f"back/{key}").headers)


def test_what_is_packed_is_left_so(stored: Engine, bucket: str, probe: S3Probe) -> None:
    """gzip of what says that it is gzip changes nothing."""
    assert stored.list(bucket, "raw/b").transform(Gzip(), key=below("one/")).wait().ok
    assert stored.list(bucket, "one/").transform(Gzip(), key=below("two/")).wait().ok
    assert probe.get(bucket, "one/b") == probe.get(bucket, "two/b")


def test_several_members(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """A body of several gzip members is unpacked whole; one that is cut off fails by name, and stores nothing."""
    whole = gzip.compress(b"one ") + gzip.compress(b"two")
    assert engine.upload(bucket, [BytesSource(whole, "m/good"), BytesSource(whole[:-9], "m/cut")]).wait().ok
    found = {report.key: report.error for report in engine.list(bucket, "m/").transform(Gunzip(), key=below("n/"))}
    assert found["m/good"] is None
    assert isinstance(found["m/cut"], errors.FunctionRaised)
    assert "middle of its gzip stream" in str(found["m/cut"])
    assert probe.list_keys(bucket, "n/") == ["n/good"]
    assert probe.get(bucket, "n/good") == b"one two"


def test_lines_that_are_wanted(engine: Engine, bucket: str, probe: S3Probe) -> None:
    """Of JSON lines those are left that are wanted, as they came; an object with none of them makes none."""
    lines = [json.dumps({"n": number, "pad": "x" * 1000}) for number in range(5000)]
    assert engine.upload(
        bucket,
        [
            BytesSource("\n".join(lines).encode(), "l/many"), BytesSource(b'{"n": 1}\n\n', "l/none"),
            BytesSource(b'{"n": 0}\n{"n"\n', "l/broken"),
        ],
    ).wait().ok  # fmt: skip
    batch = engine.list(bucket, "l/").transform(JsonLines(lambda value: value["n"] % 1000 == 0), key=below("k/"))
    found = {report.key: report for report in batch}
    assert found["l/none"].skipped == "no output"
    assert "line 2" in str(found["l/broken"].error)
    kept = (probe.get(bucket, "k/many") or b"").decode().splitlines()
    assert [json.loads(line)["n"] for line in kept] == [0, 1000, 2000, 3000, 4000]


def test_unchanged(stored: Engine, bucket: str, probe: S3Probe) -> None:
    """Written anew as they are, with their type."""
    assert stored.list(bucket, "raw/").transform(Unchanged(), key=below("same/")).wait().ok
    assert {key: probe.get(bucket, f"same/{key}") for key in BODIES} == BODIES
    assert stored.head(bucket, "same/d").content_type == "text/x-log"


@pytest.mark.parametrize(("make", "text"), [(lambda: Gzip(10), "0 to 9"), (lambda: Zstd(0), "1 to 22")])
def test_levels_that_there_are_not(make: Any, text: str) -> None:
    """A level out of bounds is refused where it is said."""
    with pytest.raises(errors.ConfigError, match=text):
        make()
