"""The rows of docs/retries.md about answers that were lost or lie: what was done is found, and nothing is doubled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3engine import AdaptiveTimeouts, FileSource, ObjectInfo, RequestReport
from s3engine.errors import PreconditionFailed
from s3engine.testing.conformance.scripted import Say, Scripted, answer, error_answer, object_answer
from tests.faults import CutAnswer, Reset, Respond, first, matching
from tests.helpers import S3Probe
from tests.integration.faults_common import LARGE, sources
from tests.integration.retry_common import ABSENT, MIB, failures, to, xml
from tests.integration.through import Through

pytestmark = pytest.mark.usefixtures("environment")


# ---- 412 by one's own earlier attempt


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio"])
def test_own_write_behind_a_412(through: Through, bucket: str, probe: S3Probe, transport: str) -> None:
    """A conditional PUT whose answer was lost is refused when it is sent again: the object is ours, so it is done."""
    engine, proxy = through(first(1, CutAnswer(head=False)), transport=transport, workers=1)
    (report,) = engine.upload(bucket, sources(1, ABSENT))
    assert (report.error, report.verified) == (None, "md5")
    assert [line.split(" ")[0] for line in proxy.log.request_lines] == ["PUT", "PUT", "HEAD"]
    assert report.etag == (probe.head(bucket, "k0") or {})["etag"].strip('"')


def test_own_file_behind_a_412(through: Through, bucket: str, tmp_path: Path) -> None:
    """The same for a file that was sent from disk."""
    (tmp_path / "f").write_bytes(LARGE[:MIB])
    engine, _ = through(first(1, Reset(forward=True)))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k", ABSENT)])
    assert (report.error, report.size_bytes) == (None, MIB)


def test_write_of_another_behind_a_412(through: Through, bucket: str, probe: S3Probe) -> None:
    """Refused after a lost attempt, but the object is another's: PreconditionFailed, and the other's stays."""
    probe.put(bucket, "k0", b"y" * 100)
    engine, _ = through(first(1, Reset()))
    (report,) = engine.upload(bucket, sources(1, ABSENT))
    assert isinstance(report.error, PreconditionFailed)
    assert probe.get(bucket, "k0") == b"y" * 100


def test_conditional_conflict_is_retried(through: Through, bucket: str) -> None:
    """409 ConditionalRequestConflict passes: another conditional write of the key was under way."""
    conflict = xml("<Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>")
    engine, _ = through(first(2, Respond(409, (("Content-Type", "application/xml"),), conflict)))
    (report,) = engine.upload(bucket, sources(1, ABSENT))
    assert (report.error, report.attempts) == (None, 3)


# ---- multipart uploads


def _begin(probe: S3Probe, bucket: str, key: str) -> str:
    found = probe.request("POST", f"/{bucket}/{key}", query="uploads=")
    match = re.search(rb"<UploadId>(.*?)</UploadId>", found.body)
    assert match
    return match[1].decode()


def test_orphan_of_a_lost_create_is_aborted(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """CreateMultipartUpload answered into the void leaves an upload: it is aborted, an older one stays."""
    (tmp_path / "f").write_bytes(LARGE)
    before = _begin(probe, bucket, "k")
    time.sleep(2.5)  # the store tells whole seconds
    engine, proxy = through(matching(b"/k?uploads", first(1, CutAnswer(head=False))), checksum="none")
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    assert sum(line.startswith("POST") and "?uploads" in line for line in proxy.log.request_lines) == 2
    left = probe.request("GET", f"/{bucket}", query="uploads=").body.decode()
    assert re.findall("<UploadId>(.*?)</UploadId>", left) == [before]
    assert probe.get(bucket, "k") == LARGE


CREATED = answer(200, xml("<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"))
PART = object_answer(b"")
ETAG = "0123456789abcdef0123456789abcdef"
COMPLETED = xml('<CompleteMultipartUploadResult><ETag>"e-3"</ETag></CompleteMultipartUploadResult>')
THERE = answer(
    200, b"", ("ETag", '"e-3"'), ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"), length=len(LARGE)
)  # to the HEAD that measures an object whose Complete proves nothing


def _upload_large(script_: list[Say], tmp_path: Path, **settings: Any) -> tuple[RequestReport, list[str]]:
    """What becomes of an upload in 3 parts whose requests are answered like this, and the requests."""
    (tmp_path / "f").write_bytes(LARGE)
    with Scripted(CREATED, PART, PART, PART, *script_) as server, to(server, **settings) as engine:
        (report,) = engine.upload("bucket", [FileSource(str(tmp_path / "f"), "k")])
        return report, [f"{request.method} {request.target}" for request in server.requests[4:]]


def test_complete_that_drips_white_space(tmp_path: Path) -> None:
    """A Complete that sends a space now and then for several stall timeouts is waited for."""
    dripping = answer(200, b" " * 12 + COMPLETED, piece_bytes=8, pause_s=0.03)
    policy = AdaptiveTimeouts(stall_s=0.3)
    report, requests = _upload_large([dripping, THERE], tmp_path, timeout_policy=policy)
    assert report.error is None
    assert report.etag == "e-3"
    assert [request.split(" ")[0] for request in requests] == ["POST", "HEAD"]
    assert report.total_s > 2 * policy.stall_s


@pytest.mark.parametrize(
    "bad",
    [
        error_answer(200, "InternalError"), answer(200, b""), answer(200, COMPLETED[:60]), error_answer(500, ""),
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + COMPLETED, then="close"),
    ],
    ids=["error-in-200", "empty", "cut-xml", "500", "cut-body"],
)  # fmt: skip
def test_complete_that_says_nothing_good(bad: Say, tmp_path: Path) -> None:
    """An error in a 200, an empty, cut or broken answer to Complete: asked again, no success is made up."""
    report, requests = _upload_large([bad, answer(200, COMPLETED), THERE], tmp_path)
    assert (report.error, report.retries, len(requests)) == (None, 1, 3)


def test_complete_that_arrived_damaged(tmp_path: Path) -> None:
    """MalformedXML in answer to Complete, whose XML is right: sent once more, and the parts are not sent again."""
    report, requests = _upload_large([error_answer(400, "MalformedXML"), answer(200, COMPLETED), THERE], tmp_path)
    assert (report.error, report.retries) == (None, 1)
    assert [request.split(" ")[0] for request in requests] == ["POST", "POST", "HEAD"]


def test_complete_that_the_store_does_not_understand(tmp_path: Path) -> None:
    """MalformedXML twice is final, and the upload is aborted."""
    refused = error_answer(400, "MalformedXML")
    report, requests = _upload_large([refused, refused, answer(204)], tmp_path)
    assert getattr(report.error, "code", "") == "MalformedXML"
    assert [request.split(" ")[0] for request in requests] == ["POST", "POST", "DELETE"]


def test_complete_refused_for_a_part_that_landed_twice(tmp_path: Path) -> None:
    """InvalidPart: the parts are listed, and Complete names those the store has, as they are all there."""
    listed = "".join(
        f'<Part><PartNumber>{number}</PartNumber><ETag>"other{number}"</ETag><Size>{size}</Size></Part>'
        for number, size in ((1, 5 * MIB), (2, 5 * MIB), (3, 2 * MIB))
    )
    parts = answer(200, xml(f"<ListPartsResult><IsTruncated>false</IsTruncated>{listed}</ListPartsResult>"))
    refused = error_answer(400, "InvalidPart")
    report, requests = _upload_large([refused, parts, answer(200, COMPLETED), THERE], tmp_path)
    assert report.error is None
    assert [request.split(" ")[0] for request in requests] == ["POST", "GET", "POST", "HEAD"]


def test_complete_refused_for_a_part_that_is_missing(tmp_path: Path) -> None:
    """InvalidPart, and a part of another size in the store: no object is made of it; the upload is aborted."""
    listed = f'<Part><PartNumber>1</PartNumber><ETag>"other"</ETag><Size>{MIB}</Size></Part>'
    parts = answer(200, xml(f"<ListPartsResult><IsTruncated>false</IsTruncated>{listed}</ListPartsResult>"))
    report, requests = _upload_large([error_answer(400, "InvalidPart"), parts, answer(204)], tmp_path)
    assert getattr(report.error, "code", "") == "InvalidPart"
    assert [request.split(" ")[0] for request in requests] == ["POST", "GET", "DELETE"]


def test_upload_gone_and_an_old_object_is_no_success(tmp_path: Path) -> None:
    """NoSuchUpload, and the object there is of last year, though of the same size: the upload has failed."""
    old = answer(
        200, b"", ("ETag", f'"{ETAG}-3"'), ("Last-Modified", "Fri, 02 Jan 2025 03:04:05 GMT"), length=len(LARGE)
    )
    report, requests = _upload_large([error_answer(404, "NoSuchUpload"), old], tmp_path)
    assert getattr(report.error, "code", "") == "NoSuchUpload"
    assert [request.split(" ")[0] for request in requests] == ["POST", "HEAD"]


# ---- errors in good answers, of the others


@pytest.mark.parametrize(
    "bad",
    [
        xml("<Error><Code>InternalError</Code><Message>m</Message></Error>"), b"",
        xml("<CopyObjectResult><ETag>"), xml("<DeleteResult>"),
    ],
    ids=["error", "empty", "cut-copy", "cut-delete"],
)  # fmt: skip
def test_200_that_is_no_success(through: Through, bucket: str, probe: S3Probe, bad: bytes) -> None:
    """COPY, PART-COPY and DELETE of many answered 200 with an error, nothing, or half of it are asked again."""
    for key in ("a", "b"):
        probe.put(bucket, key, b"x")
    probe.put(bucket, "large", LARGE)
    fault = Respond(200, (("Content-Type", "application/xml"),), bad)
    engine, proxy = through(None, copy_threshold_bytes=5 * MIB, copy_part_size_bytes=5 * MIB)
    jobs: tuple[tuple[bytes, Callable[[], Any]], ...] = (
        (b"x-amz-copy-source", lambda: engine.copy(bucket, ["a"], bucket, key=lambda _: "copy")),
        (b"partNumber=1", lambda: engine.copy(
            bucket, [ObjectInfo("large", len(LARGE))], bucket, key=lambda _: "large-copy")),
        (b"?delete", lambda: engine.delete(bucket, ["a", "b", *(f"absent{n}" for n in range(200))])),
    )  # fmt: skip
    for request, job in jobs:
        proxy.plan = matching(request, first(1, fault))
        assert failures(job()) == []
        assert proxy.log.faults["Respond"] == 1, request
        proxy.log.faults.clear()
    assert probe.list_keys(bucket) == ["copy", "large", "large-copy"]
    assert probe.get(bucket, "large-copy") == LARGE


def test_probe_leaves_no_upload_behind(
    through: Through, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first request of the checksum probe is lost: the upload that it began is aborted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nothing is remembered of this port
    (tmp_path / "f").write_bytes(LARGE)
    engine, proxy = through(matching(b"?uploads", first(1, CutAnswer(head=False))))
    assert failures(engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])) == []
    assert proxy.log.faults["CutAnswer"] == 1
    assert list(engine.uploads(bucket)) == []
