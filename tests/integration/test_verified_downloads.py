"""Downloads are compared with what the store says of their bytes: what was turned over on the way is never kept."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from s3engine import Engine, checksums
from s3engine.errors import ChecksumMismatch
from tests.faults import CutAnswer, Fault, FaultProxy, FlipBit, Plan, Respond, always, matching, script
from tests.helpers import S3Probe
from tests.integration.through import Made
from tests.servers import Ministack, RcloneServer

MIB = 1024 * 1024
pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def through_settings() -> dict[str, Any]:
    """Of the engines that ``through`` makes."""
    return {
        "workers": 1, "concurrency": 8, "retry_base_s": 0.001, "multipart_threshold_bytes": 5 * MIB,
        "part_size_bytes": 5 * MIB,
    }  # fmt: skip


def in_parts(probe: S3Probe, bucket: str, key: str, parts: list[bytes], headers: dict[str, str] | None = None) -> None:
    """Store an object in parts, by a client that is not ours; ``headers`` go with the first and the last request."""
    path = f"/{bucket}/{key}"
    made = probe.request("POST", path, "uploads=", headers=headers)
    found = re.search(rb"<UploadId>(.*?)<", made.body)
    assert found, made
    upload_id = found[1].decode()
    listed = ""
    for number, part in enumerate(parts, 1):
        sent = probe.request("PUT", path, f"partNumber={number}&uploadId={upload_id}", body=part)
        listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{sent.headers['etag']}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    assert probe.request("POST", path, f"uploadId={upload_id}", body=body, headers=headers).status == 200


def flip(at: int, times: int = 1) -> Plan:
    """The first ``times`` GETs of a body that has byte ``at`` come with a bit turned over there."""
    return matching(b"GET ", script([FlipBit(at, "down")] * times))


@pytest.mark.parametrize("algorithm", ["crc64nvme", "crc32c", "crc32", "sha256", ""])
@pytest.mark.parametrize("size", [1000, 2 * MIB])
def test_flip_in_a_whole_object(
    made: Made, bucket: str, probe: S3Probe, tmp_path: Path, algorithm: str, size: int
) -> None:
    """A bit turned over in a body is noticed by the checksum it was stored with, or the MD5; the next try is right."""
    if algorithm and not checksums.available(algorithm):
        pytest.skip("needs awscrt")
    body = random.Random(size).randbytes(size)
    headers = {}
    if algorithm:
        headers[checksums.header_name(algorithm)] = checksums.compute(algorithm, body).partition(":")[2]
    probe.put(bucket, "k", body, headers)
    (report,) = made(flip(size // 2)).download(bucket, ["k"], tmp_path)
    assert (report.ok, report.attempts, report.verified) == (True, 2, algorithm or "md5")
    assert (tmp_path / "k").read_bytes() == body
    assert os.listdir(tmp_path) == ["k"]


def test_flips_at_random_places(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A hundred objects, each with a bit turned over somewhere: all come out right, each after a retry."""
    source = random.Random(7)
    bodies = {f"k{number}": source.randbytes(source.randrange(1, 3000)) for number in range(100)}
    seen: set[bytes] = set()

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        key = head.partition(b" HTTP")[0].rpartition(b"/")[2]
        if not head.startswith(b"GET ") or key in seen or key.decode() not in bodies:
            return None
        seen.add(key)
        return FlipBit(source.randrange(len(bodies[key.decode()])), "down")

    for key, body in bodies.items():
        probe.put(bucket, key, body)
    reports = list(made(plan).download(bucket, list(bodies), tmp_path))
    assert [report.error for report in reports if not report.ok] == []
    assert {key: (tmp_path / key).read_bytes() for key in bodies} == bodies
    assert {report.attempts for report in reports} == {2}


def test_flip_that_stays(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """The same wrong bytes twice are reported with what was expected, what came and the way out; no file is left."""
    probe.put(bucket, "k", b"a" * 100)
    (report,) = made(matching(b"GET ", always(FlipBit(10, "down")))).download(bucket, ["k"], tmp_path)
    assert isinstance(report.error, ChecksumMismatch)
    assert report.attempts == 2
    assert hashlib.md5(b"a" * 100).hexdigest() in str(report.error)
    assert "--no-verify" in str(report.error)
    assert report.verified == ""
    assert os.listdir(tmp_path) == []


def test_etag_that_is_no_md5(made: Made, bucket: str, tmp_path: Path) -> None:
    """A store whose ETags look like MD5s fails with a word about it, and works without the comparison."""
    foreign = Respond(200, (("ETag", '"' + "0" * 32 + '"'),), b"hello")
    plan = matching(b"GET ", always(foreign))
    (report,) = made(plan).download(bucket, ["k"], tmp_path)
    assert isinstance(report.error, ChecksumMismatch)
    assert "ETags" in str(report.error)
    (report,) = made(plan, verify_downloads=False).download(bucket, ["k"], tmp_path)
    assert (report.ok, report.verified) == (True, "length only")
    assert (tmp_path / "k").read_bytes() == b"hello"


def test_encrypted_object_is_not_compared_with_its_etag(made: Made, bucket: str, tmp_path: Path) -> None:
    """The ETag of what a key of KMS encrypts is no MD5 and is not taken for one."""
    headers = (("ETag", '"' + "0" * 32 + '"'), ("x-amz-server-side-encryption", "aws:kms"))
    engine = made(matching(b"GET ", always(Respond(200, headers, b"hello"))))
    (report,) = engine.download(bucket, ["k"], tmp_path)
    assert (report.ok, report.verified) == (True, "length only")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("part_bytes", "checksum", "verified"),
    [(5 * MIB, False, "md5"), (6 * MIB, False, "md5"), (6 * MIB, True, "crc32"), (0, False, "md5"), (0, True, "crc32")],
)
def test_flip_in_a_large_object(
    made: Made, bucket: str, probe: S3Probe, tmp_path: Path, part_bytes: int, checksum: bool, verified: str,
    listed: bool,
) -> None:  # fmt: skip
    """A bit turned over in a range is noticed, however the object was uploaded, and all of it is fetched again."""
    body = random.Random(1).randbytes(11 * MIB)
    crc = checksums.compute("crc32", body).partition(":")[2]
    if part_bytes:
        headers = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"} if checksum else {}
        parts = [body[start : start + part_bytes] for start in range(0, len(body), part_bytes)]
        in_parts(probe, bucket, "k", parts, headers)
    else:
        probe.put(bucket, "k", body, {"x-amz-checksum-crc32": crc} if checksum else {})
    flipped = False

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        nonlocal flipped
        if flipped or not head.startswith(b"GET ") or b"range: bytes=0-" in head.lower() or b"range" not in head:
            return None
        flipped = True
        return FlipBit(100, "down")

    engine = made(plan)
    (report,) = engine.download(bucket, engine.list(bucket) if listed else ["k"], tmp_path)
    assert report.error is None
    assert flipped
    assert report.verified == verified
    assert (tmp_path / "k").read_bytes() == body
    assert os.listdir(tmp_path) == ["k"]


def test_large_object_that_stays_wrong(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Ranges that never fit the store's checksum are an error, and no file is left under any name."""
    probe.put(bucket, "k", bytes(6 * MIB))
    (report,) = made(matching(b"range:", always(FlipBit(100, "down")))).download(bucket, ["k"], tmp_path)
    assert isinstance(report.error, ChecksumMismatch)
    assert report.error.permanent
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("listed", [True, False])
def test_small_object_that_came_in_parts(
    made: Made, bucket: str, probe: S3Probe, tmp_path: Path, listed: bool
) -> None:
    """An object below the threshold that was uploaded in parts is compared part by part, a flipped bit noticed."""
    body = random.Random(5).randbytes(6 * MIB)
    in_parts(probe, bucket, "k", [body[: 5 * MIB], body[5 * MIB :]])
    in_parts(probe, bucket, "one", [b"hello"])
    engine = made(matching(b"range:", script([FlipBit(100, "down")])), multipart_threshold_bytes=16 * MIB)
    items = engine.list(bucket) if listed else ["k", "one"]
    reports = {report.key: report for report in engine.download(bucket, items, tmp_path)}
    assert {key: (report.error, report.verified) for key, report in reports.items()} == {
        "k": (None, "md5"), "one": (None, "md5"),
    }  # fmt: skip
    assert reports["k"].attempts > 1
    assert ((tmp_path / "k").read_bytes(), (tmp_path / "one").read_bytes()) == (body, b"hello")


def test_body_cut_and_resumed(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A body that broke off and went on is compared as a whole; a bit turned over before the break is noticed."""
    body = random.Random(6).randbytes(2 * MIB)
    probe.put(bucket, "k", body)
    (report,) = made(matching(b"GET ", script([CutAnswer(MIB)]))).download(bucket, ["k"], tmp_path / "one")
    assert (report.ok, report.attempts, report.verified) == (True, 2, "md5")
    plan = matching(b"GET ", script([CutAnswer(MIB), FlipBit(5, "down")]))
    (report,) = made(plan).download(bucket, ["k"], tmp_path / "two")
    assert (report.ok, report.attempts, report.verified) == (True, 3, "md5")
    assert (tmp_path / "two" / "k").read_bytes() == (tmp_path / "one" / "k").read_bytes() == body


def test_parts_of_unequal_size(made: Made, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """An object whose parts nobody can guess is fetched, and reported as compared by length only."""
    parts = [bytes(5 * MIB), bytes(7 * MIB), b"end"]
    in_parts(probe, bucket, "k", parts)
    batch = made(None).download(bucket, ["k"], tmp_path)
    (report,) = batch
    assert (report.ok, report.verified) == (True, "length only")
    assert (tmp_path / "k").read_bytes() == b"".join(parts)
    assert "1 of 1 by length only" in str(batch.summary())


def test_move_compares_checksums(made: Made, bucket: str, probe: S3Probe) -> None:
    """A copy says how it was proven: the ETag of its source, or length when the ETag tells nothing."""
    probe.put(bucket, "one", b"hello")
    in_parts(probe, bucket, "two", [bytes(5 * MIB), b"end"])
    engine = made(None)
    reports = {r.key: r for r in engine.copy(bucket, ["one", "two"], bucket, key=lambda info: "to/" + info.key)}
    assert {key: report.ok for key, report in reports.items()} == {"one": True, "two": True}
    assert reports["one"].verified == "etag"
    assert reports["two"].verified in ("etag", "length only")


@pytest.mark.parametrize("server", ["ministack", "rclone_server"])
def test_other_stores(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Other stores are verified by what they keep, and nothing breaks where they keep nothing."""
    store: Ministack | RcloneServer = request.getfixturevalue(server)
    value = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    large = random.Random(2).randbytes(6 * MIB)
    with S3Probe(store.endpoint_url, store.access_key, store.secret_key) as probe:
        probe.create_bucket("verified")
        probe.put("verified", "plain", b"hello")
        probe.put("verified", "sum", b"hello", {"x-amz-checksum-sha256": value})
        probe.put("verified", "large", large)
        in_parts(probe, "verified", "parts", [large[: 5 * MIB], large[5 * MIB :]])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", store.access_key)
            patch.setenv("AWS_SECRET_ACCESS_KEY", store.secret_key)
            with Engine(endpoint_url=store.endpoint_url, workers=1, multipart_threshold_bytes=5 * MIB) as engine:
                reports = {r.key: r for r in engine.download("verified", engine.list("verified"), tmp_path)}
            plan = matching(b"range:", script([FlipBit(100, "down")]))
            port = int(store.endpoint_url.rpartition(":")[2])
            with (
                FaultProxy("127.0.0.1", port, plan) as proxy,
                Engine(endpoint_url=proxy.endpoint_url, workers=1, multipart_threshold_bytes=5 * MIB) as engine,
            ):
                (again,) = engine.download("verified", ["parts"], tmp_path / "again")
    assert {key: report.error for key, report in reports.items()} == dict.fromkeys(reports)
    verified = {key: report.verified for key, report in reports.items()}
    assert verified == {"plain": "md5", "sum": "sha256", "large": "md5", "parts": "md5"}
    assert (tmp_path / "parts").read_bytes() == large
    assert (again.error, again.verified) == (None, "md5")
    assert again.attempts > 1
    assert (tmp_path / "again" / "parts").read_bytes() == large


@pytest.mark.parametrize("transport", ["boto3", "minio", "obstore"])
def test_clients_that_block(made: Made, bucket: str, probe: S3Probe, tmp_path: Path, transport: str) -> None:
    """The official clients' downloads are compared as well, small and large."""
    pytest.importorskip(transport)
    large = random.Random(3).randbytes(6 * MIB)
    value = checksums.compute("crc32", b"hello").partition(":")[2]
    probe.put(bucket, "small", b"hello", {"x-amz-checksum-crc32": value})
    probe.put(bucket, "large", large)
    engine = made(flip(3), transport=transport)
    reports = {r.key: r for r in engine.download(bucket, ["small", "large"], tmp_path)}
    assert {key: report.error for key, report in reports.items()} == {"small": None, "large": None}
    assert reports["small"].verified == ("md5" if transport == "obstore" else "crc32")
    assert reports["large"].verified == "md5"
    assert (tmp_path / "large").read_bytes() == large
    assert (tmp_path / "small").read_bytes() == b"hello"
