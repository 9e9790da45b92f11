"""The nginx that speed is measured against answers the engine like a store does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness import CREDENTIALS
from bench.sink import Sink, SinkUnavailable
from bench.sink_data import Listed
from s3engine import Engine

KEYS = [f"p/f{number // 100:03}/{number:06}.bin" for number in range(2500)]


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    blob = tmp_path_factory.mktemp("blob") / "one.bin"
    blob.write_bytes(bytes(range(256)) * 4096 * 20)
    try:
        running = Sink({"p/a": b"a" * 1024}, listed={"many": [Listed(key) for key in KEYS]}, blobs={"p/one.bin": blob})
        running.__enter__()
    except SinkUnavailable as error:
        pytest.skip(str(error))
    yield running
    running.__exit__(None, None, None)


@pytest.fixture
def engine(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS[1])
    with Engine(endpoint_url=sink.endpoint_url, region="us-east-1", workers=1) as running:
        sink.requests()
        yield running


@pytest.mark.parametrize(("prefix", "first", "last"), [("p/", 0, 2500), ("p/f003/", 300, 400), ("p/f02", 2000, 2500)])
def test_listing(engine: Engine, prefix: str, first: int, last: int) -> None:
    """A prefix gives its keys in order, over several pages; one that no page was written for does, too."""
    assert [one.key for one in engine.list("many", prefix)] == KEYS[first:last]


def test_levels(engine: Engine) -> None:
    """A delimiter gives each level below the prefix once."""
    listing = engine.list("many", "p/", delimiter="/")
    assert list(listing) == []
    assert [prefix for page in listing.pages() for prefix in page.prefixes] == [f"p/f{n:03}/" for n in range(25)]


def test_deletes(sink: Sink, engine: Engine) -> None:
    """The sink tells which keys it was asked to delete: all that it listed, each once."""
    sink.deleted()
    assert engine.list("many", "p/").delete().wait().ok
    assert sorted(sink.deleted()) == KEYS


def test_parts_are_compared(engine: Engine, tmp_path: Path) -> None:
    """A store that is asked about checksums is found to compare them, and takes an object in parts with its CRC."""
    path = tmp_path / "large"
    path.write_bytes(bytes(20 * 1024 * 1024))
    (report,) = engine.upload("large", [(str(path), "key")])
    assert (report.error, report.verified) == (None, "crc32")


def test_objects_are_verified(engine: Engine, tmp_path: Path) -> None:
    """A small object comes with its MD5 and a large one in ranges with a CRC of the whole: downloads are proven."""
    found = {
        report.key: report.verified
        for bucket in ("objects", "blobs") for report in engine.list(bucket, "p/").download(tmp_path)
    }  # fmt: skip
    assert found == {"p/a": "md5", "p/one.bin": "crc32"}
    assert (tmp_path / "one.bin").stat().st_size == 20 * 1024 * 1024
