"""Keys travel exactly, end to end through the engine: ministack keeps all of them, rclone gives odd answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine
from s3engine.errors import UnsafeKey
from tests.helpers import S3Probe, point_at
from tests.servers import Ministack, RcloneServer

MIB = 1024 * 1024
KEYS = [
    "plain", " ", " lead", "trail ", "a b", "a+b", "a%20b", "a%2Fb", "a//b", "/lead", "//two", "trail/", "trail//",
    "a/./b", "a/../b", "..", ".", "../x", "a&b=c?d#e", "a;b:c@d,e$f", "'quote'", '"double"', "<xml>&amp;",
    "tilde~(x)!*", "[brackets]{braces}", "back\\slash", "pipe|caret^`", "ä", "a\u0308", "日本", "🎉", "\u202e",
    "tab\tkey", "new\nline", "carriage\rreturn", "\x01\x1f", "\x7f", "x" * 1024, "é" * 512,
    "a" * 300 + "/" + "b" * 300, "=", "+", "%", "%%", "a=b", "ends.", "CON", "-rf", "*",
]  # fmt: skip


def opened(server: Ministack | RcloneServer, **settings: Any) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, server)
        with Engine(workers=2, concurrency=8, **settings) as engine:
            yield engine


@pytest.fixture(scope="module")
def exact(ministack: Ministack) -> Iterator[Engine]:
    """An engine on ministack."""
    yield from opened(ministack)


@pytest.fixture(scope="module")
def odd(rclone_server: RcloneServer) -> Iterator[Engine]:
    """An engine on rclone, large objects from 5 MiB on."""
    yield from opened(rclone_server, multipart_threshold_bytes=5 * MIB, part_size_bytes=5 * MIB)


@pytest.fixture
def exact_bucket(ministack: Ministack) -> Iterator[tuple[str, S3Probe]]:
    """A fresh bucket on ministack, and a probe."""
    with S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe:
        probe.create_bucket("engine-keys")
        yield "engine-keys", probe
        for key in probe.list_keys("engine-keys"):
            probe.delete("engine-keys", key)


def test_odd_keys_up_listed_and_deleted(exact: Engine, exact_bucket: tuple[str, S3Probe]) -> None:
    """Every legal key is stored, listed, copied and deleted as exactly that key, each with its own body."""
    bucket, probe = exact_bucket
    reports = {report.key: report for report in exact.upload(bucket, [BytesSource(key.encode(), key) for key in KEYS])}
    assert {key: str(report.error) for key, report in reports.items() if not report.ok} == {}
    assert sorted(reports) == sorted(KEYS)
    assert sorted(info.key for info in exact.list(bucket)) == sorted(KEYS)
    for key in KEYS:
        assert probe.get(bucket, key) == key.encode(), key
    reports = {report.key: report for report in exact.delete(bucket, KEYS)}
    assert {key: str(report.error) for key, report in reports.items() if not report.ok} == {}
    assert probe.list_keys(bucket) == []


def test_odd_keys_copied_and_moved(exact: Engine, exact_bucket: tuple[str, S3Probe]) -> None:
    """Sources and targets of copies and moves are exact keys too."""
    bucket, probe = exact_bucket
    keys = [key for key in KEYS if len(key.encode()) < 1000]
    assert exact.upload(bucket, [BytesSource(key.encode(), key) for key in keys]).wait().ok
    reports = list(exact.list(bucket).copy(key=lambda info: "to/" + info.key))
    assert {report.key: str(report.error) for report in reports if not report.ok} == {}
    assert sorted(probe.list_keys(bucket, "to/")) == sorted("to/" + key for key in keys)
    assert exact.delete(bucket, keys).wait().ok
    reports = list(exact.list(bucket, "to/").move_to_prefix("at/"))
    assert {report.key: str(report.error) for report in reports if not report.ok} == {}
    assert sorted(probe.list_keys(bucket)) == sorted("at/" + key for key in keys)
    assert all(probe.get(bucket, "at/" + key) == key.encode() for key in keys)


def test_odd_keys_downloaded_or_refused(exact: Engine, exact_bucket: tuple[str, S3Probe], tmp_path: Path) -> None:
    """A key with a place below the folder gets its file, any other is refused by name; none is folded with another."""
    bucket, probe = exact_bucket
    for key in KEYS:
        probe.put(bucket, key, b"" if key.endswith("/") else key.encode())
    reports = {report.key: report for report in exact.list(bucket).download(tmp_path)}
    assert sorted(reports) == sorted(KEYS)
    for key, report in reports.items():
        segments = key.removesuffix("/").split("/")
        unsafe = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in segments)
        assert isinstance(report.error, UnsafeKey) == unsafe, (key, report.error)
        assert report.ok != unsafe
        if report.ok and not key.endswith("/"):
            assert (tmp_path / key).read_bytes() == key.encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == sum(report.ok and not report.key.endswith("/") for report in reports.values())


def test_listing_with_an_odd_prefix(exact: Engine, exact_bucket: tuple[str, S3Probe]) -> None:
    """A prefix is exact as well."""
    bucket, probe = exact_bucket
    for key in ("a+b/1", "a b/2", "a%2Bb/3", "ä/4"):
        probe.put(bucket, key, b"")
    for prefix, key in (("a+b/", "a+b/1"), ("a b/", "a b/2"), ("a%2Bb/", "a%2Bb/3"), ("ä/", "ä/4")):
        assert [info.key for info in exact.list(bucket, prefix)] == [key]


def test_rclone_round_trip(odd: Engine, rclone_server: RcloneServer, tmp_path: Path) -> None:
    """Small and large objects go up, are listed, come down (a range is answered 200 there) and are deleted."""
    large = bytes(range(256)) * (12 * MIB // 256)
    (tmp_path / "f").write_bytes(large)
    odd.make_bucket("odd")
    small = [BytesSource(f"{n}".encode(), f"dir/k{n}") for n in range(50)]
    reports = list(odd.upload("odd", [*small, (str(tmp_path / "f"), "large")]))
    assert {report.key: str(report.error) for report in reports if not report.ok} == {}
    assert odd.list("odd").count() == 51
    reports = list(odd.list("odd").download(tmp_path / "out"))
    assert {report.key: str(report.error) for report in reports if not report.ok} == {}
    assert (tmp_path / "out" / "large").read_bytes() == large
    assert all((tmp_path / "out" / source.key).read_bytes() == source.data for source in small)
    assert odd.list("odd", "dir/").copy(key=lambda info: "copy/" + info.key).wait().objects == 50
    assert odd.list("odd").delete().wait().objects == 101
    assert odd.list("odd").count() == 0
