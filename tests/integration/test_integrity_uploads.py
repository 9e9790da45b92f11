"""What the store has is what was in the file: checked by the store, or compared with what it says, on real servers."""

from __future__ import annotations

import base64
import os
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FileSource
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, SourceChanged
from s3engine.integrity.abilities import Abilities
from s3engine.integrity.probe import probe as ask_store
from s3engine.pool.room import HELD_BYTES
from tests.faults import FlipBit, Plan
from tests.helpers import S3Probe, point_at
from tests.integration.through import Through
from tests.servers import Ministack, RcloneServer

MIB = 1024 * 1024
SMALL, MIDDLE, LARGE = 3000, 1 * MIB + 7, 11 * MIB + 5


def body(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class Heads:
    """A plan that keeps the heads and leaves everything alone."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    def __call__(self, connection_no: int, request_no: int, head: bytes) -> None:
        if request_no:
            self.heads.append(head.decode("latin-1").lower())

    def begun(self) -> int:
        """Multipart uploads that were begun."""
        return sum("?uploads" in head.split("\r\n")[0] and head.startswith("post") for head in self.heads)


def flip_first(pattern: str, at: Callable[[], int]) -> Plan:
    """Of each key, the first request whose first line matches has a bit of its body flipped."""
    seen: set[str] = set()

    def plan(_connection_no: int, request_no: int, head: bytes) -> FlipBit | None:
        line = head.split(b"\r\n", 1)[0].decode()
        if not request_no or not re.search(pattern, line) or line in seen:
            return None
        seen.add(line)
        return FlipBit(at(), "up")

    return plan


@pytest.fixture
def through_settings() -> dict[str, Any]:
    """Of the engines that ``through`` makes."""
    return {
        "workers": 1, "concurrency": 8, "retry_base_s": 0.01, "multipart_threshold_bytes": 5 * MIB,
        "part_size_bytes": 5 * MIB,
    }  # fmt: skip


# ---- what stores do

ALL = ("md5", "crc32", "sha256")


@pytest.mark.parametrize(
    ("fixture", "signed", "unsigned"),
    [
        (
            "seaweed", Abilities(verifies=ALL, full_object=True),
            Abilities(verifies=("md5", "crc32"), trailers=True, full_object=True),
        ),
        ("ministack", Abilities(verifies=ALL), Abilities(verifies=("md5", "crc32"), trailers=True)),
        ("rclone_server", Abilities(verifies=("md5",)), Abilities(verifies=("md5",))),
    ],
)  # fmt: skip
def test_what_is_found_of_servers(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fixture: str, signed: Abilities,
    unsigned: Abilities,
) -> None:  # fmt: skip
    """Each server is found to compare what it compares, and has no object and no upload of it afterwards."""
    server: EmbeddedServer | Ministack | RcloneServer = request.getfixturevalue(fixture)
    point_at(monkeypatch, server)
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as witness, Engine(workers=1) as engine:
        witness.create_bucket("integrity")
        assert ask_store(engine._runtime.call, "integrity", "k", signed=True, trailers=False) == signed
        assert ask_store(engine._runtime.call, "integrity", "k", signed=False, trailers=True) == unsigned
        assert engine.abort_uploads("integrity", "") == 0
        assert not list(engine.list("integrity"))
        witness.delete_all("integrity")


def test_asked_once_and_only_when_worth_it(through: Through, bucket: str) -> None:
    """A small batch is not worth it; a hundred objects are, or 16 MiB; after that other batches and engines know."""
    heads = Heads()
    engine, proxy = through(heads)
    (report,) = engine.upload(bucket, [BytesSource(b"x", "one")])
    assert (report.verified, heads.begun()) == ("md5", 0)
    reports = list(engine.upload(bucket, (BytesSource(b"x", f"k{n}") for n in range(150))))
    begun = heads.begun()
    assert begun > 0
    assert {report.verified for report in reports} == {"md5", "sha256"}
    for other in (engine, through(None, endpoint_url=proxy.endpoint_url)[0]):
        (report,) = other.upload(bucket, [BytesSource(b"x", "one")])
        assert (report.verified, heads.begun()) == ("sha256", begun)


def test_asked_before_many_bytes_go(through: Through, bucket: str) -> None:
    """A few objects below the threshold that are 16 MiB together are worth it too."""
    heads = Heads()
    engine, _ = through(heads)
    reports = engine.upload(bucket, [BytesSource(bytes(6 * MIB), f"k{n}") for n in range(4)])
    verified = {report.key: report.verified for report in reports}
    assert heads.begun() > 0
    assert (verified["k2"], verified["k3"]) == ("sha256", "sha256")
    assert {verified["k0"], verified["k1"]} <= {"md5", "sha256"}


# ---- flipped bits


@pytest.mark.parametrize(
    ("settings", "by"),
    [
        ({"checksum": "md5"}, {"md5"}),
        ({}, {"sha256", "crc32"}),
        ({"payload_signing": "never"}, {"crc32"}),
        ({"transport": "boto3"}, {"sha256", "crc32"}),
        ({"transport": "minio", "payload_signing": "never"}, {"crc32"}),
        ({"transport": "obstore", "multipart_threshold_bytes": 64 * MIB}, {"md5"}),
    ],
)
def test_a_flipped_bit_is_caught(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, settings: dict[str, Any], by: set[str]
) -> None:
    """In a small object, in one that is sent whole, in each part of a large one: sent again, and right in the end."""
    engine, proxy = through(None, **settings)
    engine._runtime.upload_checks.find(bucket, "asked-before-the-faults")
    proxy.plan = flip_first(r"PUT .*/(small|middle|large\S*partNumber=\d)|PUT .*/large ", lambda: 2000)
    files = {"small": SMALL, "middle": MIDDLE, "large": LARGE}
    for name, size in files.items():
        (tmp_path / name).write_bytes(body(size))
    batch = engine.upload(bucket, [FileSource(str(tmp_path / name), name) for name in files])
    reports = {report.key: report for report in batch}
    for name, size in files.items():
        report = reports[name]
        assert report.ok, report.error
        assert report.retries >= 1
        assert report.verified in by
        assert probe.get(bucket, name) == body(size)
    assert proxy.log.faults["FlipBit"] >= 3


def test_a_hundred_flips(through: Through, bucket: str, probe: S3Probe) -> None:
    """A bit at a random place of each of 100 objects: none is wrong in the end, and none taken for right before."""
    dice = random.Random(7)
    flips = 0
    for round_ in range(4):  # each engine has a budget of retries for some 35 such faults
        keys = [f"r{round_}-{n}" for n in range(25)]
        engine, proxy = through(None, checksum=("auto", "md5", "crc32", "sha256")[round_])
        engine._runtime.upload_checks.find(bucket, "asked-before-the-faults")
        proxy.plan = flip_first(r"PUT .*/r\d", lambda: dice.randrange(SMALL))
        reports = list(engine.upload(bucket, [BytesSource(body(SMALL), key) for key in keys]))
        assert sorted(report.key for report in reports if report.ok and report.retries) == sorted(keys)
        assert all(probe.get(bucket, key) == body(SMALL) for key in keys)
        flips += proxy.log.faults["FlipBit"]
    assert flips == 100


def test_where_nothing_is_checked_the_report_says_so(
    through: Through, bucket: str, rclone_server: RcloneServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No checksum, one that the store stores without looking, an ETag that is none of ours: "length only"."""
    engine, _ = through(checksum="none")
    (tmp_path / "large").write_bytes(body(LARGE))
    sources: list[BytesSource | FileSource] = [BytesSource(b"x", "k"), FileSource(str(tmp_path / "large"), "large")]
    assert {report.verified for report in engine.upload(bucket, sources)} == {"length only"}
    (tmp_path / "parts").write_bytes(body(17 * MIB))
    other, _ = through(transport="obstore")  # which makes its own parts
    assert [r.verified for r in other.upload(bucket, [FileSource(str(tmp_path / "parts"), "p")])] == ["length only"]
    point_at(monkeypatch, rclone_server)
    with Engine(workers=1, checksum="crc32") as engine:
        engine.make_bucket("unlooked")
        assert [r.verified for r in engine.upload("unlooked", [BytesSource(b"x", "k")])] == ["length only"]


# ---- what is sent


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio"])
def test_one_checksum_and_no_other(through: Through, bucket: str, tmp_path: Path, transport: str) -> None:
    """Each transport sends the checksum that was chosen, to the letter, and none of its own beside it."""
    heads = Heads()
    engine, _ = through(heads, transport=transport, checksum="crc32", payload_signing="never")
    (tmp_path / "f").write_bytes(body(MIDDLE))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    (sent,) = [head for head in heads.heads if head.startswith("put ")]
    value = base64.b64encode(zlib.crc32(body(MIDDLE)).to_bytes(4, "big")).decode().lower()
    found = re.findall(r"^(content-md5|x-amz-checksum-\S+): *(\S+)\r$", sent, re.MULTILINE)
    assert found == [("x-amz-checksum-crc32", value)]


def test_large_objects_get_one_crc_of_the_whole(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """Where the store keeps it, the CRC of the whole is put together from those of the parts, and stored."""
    engine, _ = through()
    (tmp_path / "f").write_bytes(body(LARGE))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert (report.error, report.verified) == (None, "crc32")
    stored = probe.request("HEAD", f"/{bucket}/k", headers={"x-amz-checksum-mode": "ENABLED"})
    value = base64.b64encode(zlib.crc32(body(LARGE)).to_bytes(4, "big")).decode()
    assert stored.headers["x-amz-checksum-crc32"] == value
    assert stored.headers["x-amz-checksum-type"] == "FULL_OBJECT"


def test_unsigned_parts_have_their_checksum_behind_them(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """Parts are framed with a trailer; the object is the file's bytes and has no trace of it."""
    heads = Heads()
    engine, _ = through(heads, payload_signing="never")
    (tmp_path / "f").write_bytes(body(LARGE))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert (report.error, report.verified) == (None, "crc32")
    assert sum("x-amz-trailer: x-amz-checksum-crc32" in head for head in heads.heads if "5242880" in head) == 2
    assert probe.get(bucket, "k") == body(LARGE)
    assert "aws-chunked" not in probe.request("HEAD", f"/{bucket}/k").headers.get("content-encoding", "")


@pytest.mark.parametrize("settings", [{}, {"payload_signing": "never"}, {"checksum": "none"}])
def test_a_file_that_changes_between_parts_is_noticed(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Written to after its second part went: SourceChanged, no object, and no upload is left."""
    path = tmp_path / "f"
    path.write_bytes(body(LARGE))

    def plan(_connection_no: int, _request_no: int, head: bytes) -> None:
        if b"partNumber=2&" in head and b"/k?" in head:
            os.utime(path, ns=(1, 1))

    engine, proxy = through(None, concurrency=1, **settings)
    engine._runtime.upload_checks.find(bucket, "other")
    proxy.plan = plan
    (report,) = engine.upload(bucket, [FileSource(str(path), "k")])
    assert isinstance(report.error, SourceChanged)
    assert report.verified == ""
    assert probe.get(bucket, "k") is None
    assert engine.abort_uploads(bucket, "") == 0


def test_a_file_that_is_replaced_between_parts_is_noticed(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """By another one of the same size and time, as builds make them: SourceChanged, no object of two halves."""
    path, other = tmp_path / "f", tmp_path / "other"
    path.write_bytes(body(LARGE))
    other.write_bytes(body(LARGE)[::-1])
    for file in (path, other):
        os.utime(file, ns=(1, 1))

    def plan(_connection_no: int, _request_no: int, head: bytes) -> None:
        if b"partNumber=2&" in head and b"/k?" in head and other.exists():
            other.rename(path)

    engine, _ = through(plan, concurrency=1, checksum="crc32")
    (report,) = engine.upload(bucket, [FileSource(str(path), "k")])
    assert isinstance(report.error, SourceChanged)
    assert probe.get(bucket, "k") is None


@pytest.mark.parametrize("transport", ["raw", "minio"])
def test_bodies_wait_for_room(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, transport: str
) -> None:
    """More bodies than there is room for: those that find none wait for it, and all are sent."""
    count = HELD_BYTES // (5 * MIB) + 4
    engine, _ = through(None, transport=transport, concurrency=2 * count, max_parts_in_flight=count)
    with open(tmp_path / "large", "wb") as file:
        file.truncate(count * 5 * MIB)
        file.write(b"not all zeros")
    (tmp_path / "middle").write_bytes(body(MIDDLE))
    sources = [FileSource(str(tmp_path / "large"), "large"), FileSource(str(tmp_path / "middle"), "middle")]
    reports = list(engine.upload(bucket, sources))
    assert [(report.error, report.attempts) for report in reports] == [(None, 1), (None, 1)]
    assert probe.get(bucket, "middle") == body(MIDDLE)
    with open(tmp_path / "large", "rb") as file:  # piece by piece: the whole, twice, would be 300 MiB
        for first in range(0, file.seek(0, os.SEEK_END), 5 * MIB):
            file.seek(first)
            piece = file.read(5 * MIB)
            span = {"range": f"bytes={first}-{first + 5 * MIB}"}  # one more, so that the object's end is seen as well
            found = probe.request("GET", f"/{bucket}/large", headers=span).body
            assert (found[: 5 * MIB], len(found) - len(piece)) == (piece, int(len(file.peek(1)) > 0))


def test_forced_but_impossible_is_refused(through: Through, bucket: str) -> None:
    """A named checksum with a transport that sends none: ConfigError before anything is begun."""
    engine, _ = through(transport="obstore", checksum="sha256")
    with pytest.raises(ConfigError, match=r"obstore.*cannot send one"):
        engine.upload(bucket, [BytesSource(b"x", "k")])
