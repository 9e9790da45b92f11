"""What is special to the transport over boto3. What every transport keeps is in the conformance suite."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool

from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    ConfigError,
    FirstByteTimeout,
    NotS3,
    ServerFault,
    StallTimeout,
    Throttled,
    WrongRegion,
)
from s3engine.testing.conformance.scripted import Say, Scripted, answer, error_answer, list_answer, object_answer
from s3engine.transport import CompletedPart, FilePart
from s3engine_transports.via_boto3 import Boto3Transport, http
from tests.integration.boto3_common import MIB, T, open_boto3

OK = object_answer(b"")
pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.fixture
def over_boto3(seaweed: EmbeddedServer) -> Iterator[Boto3Transport]:
    transport = open_boto3(seaweed)
    yield transport
    transport.close()


# ---- boto3 is kept from what it would do by itself


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (error_answer(301, "PermanentRedirect", ("x-amz-bucket-region", "eu-west-1")), WrongRegion),
        (error_answer(400, "AuthorizationHeaderMalformed", extra="<Region>eu-west-1</Region>"), WrongRegion),
        (error_answer(503, "SlowDown", ("Retry-After", "0")), Throttled),
        (error_answer(500, "InternalError"), ServerFault),
        (error_answer(400, "RequestTimeout"), ServerFault),
    ],
)
def test_one_attempt(script: Say, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither boto3's retries nor its region redirector, which no setting turns off, send anything more."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    with Scripted(script) as server:
        transport = open_boto3(server)
        with pytest.raises(error) as caught:
            transport.put_object("bucket", "k", b"body", (), timeouts=T)
        assert getattr(caught.value, "region", "eu-west-1") == "eu-west-1"
        with pytest.raises(error):
            transport.list_objects_v2("bucket", timeouts=T)
        transport.close()
        assert len(server.requests) == 2


def test_nothing_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration files and AWS_* variables change nothing: the engine has resolved them already."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\nendpoint_url = http://127.0.0.1:9\nregion = xx-none-1\nca_bundle = /nowhere\n"
        "request_checksum_calculation = when_supported\ns3 =\n  addressing_style = virtual\n"
        "  use_accelerate_endpoint = true\n  payload_signing_enabled = false\n"
    )
    with Scripted(OK) as server:
        for name, value in {
            "AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "gone", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "AKIDOTHER", "AWS_SECRET_ACCESS_KEY": "other", "AWS_SESSION_TOKEN": "other",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported", "AWS_USE_DUALSTACK_ENDPOINT": "true",
            "AWS_DEFAULT_REGION": "xx-none-2", "AWS_BEARER_TOKEN_S3": "bearer", "AWS_DEFAULTS_MODE": "auto",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        transport = open_boto3(server, region="eu-north-1", user_agent="tests/1")
        transport.put_object("bucket", "k", b"body", (), timeouts=T)
        transport.set_credentials(None)
        transport.put_object("bucket", "k", b"body", (), timeouts=T)
        transport.close()
        signed, anonymous = server.requests
    assert signed.target == "/bucket/k"
    assert "Credential=AKID1/" in signed.headers["authorization"]
    assert "/eu-north-1/s3/aws4_request" in signed.headers["authorization"]
    assert signed.headers["x-amz-content-sha256"] == hashlib.sha256(b"body").hexdigest()
    assert signed.headers["user-agent"].startswith("tests/1")
    for request in (signed, anonymous):
        assert not [name for name in request.headers if "checksum" in name or name == "x-amz-security-token"]
        assert request.body == b"body"
    assert "authorization" not in anonymous.headers


def test_a_botocore_that_sends_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should botocore not use our connections, that is an error and no silent loss of every timeout."""
    monkeypatch.setattr(http, "_POOLS", {"http": AWSHTTPConnectionPool, "https": AWSHTTPSConnectionPool})
    with Scripted(OK) as server:
        transport = open_boto3(server)
        with pytest.raises(ConfigError, match="no timeout would hold"):
            transport.head_object("bucket", "k", timeouts=T)
        transport.close()


# ---- deadlines, and botocore's Expect: 100-continue


@pytest.mark.parametrize("size", [10, 32 * MIB])
def test_a_store_that_falls_silent(size: int, tmp_path: Path) -> None:
    """Nobody says 100 Continue: botocore sends the body after a second, and the timer for the answer ends the wait."""
    path = tmp_path / "f"
    path.write_bytes(bytes(size))
    with Scripted(Say(then="hang", read_body=False), OK) as server:
        transport = open_boto3(server)
        began_at = time.monotonic()
        # The large body does not fit into the buffers of kernels: it stalls on its way.
        with pytest.raises(FirstByteTimeout if size == 10 else StallTimeout):
            transport.put_object(
                "bucket", "k", FilePart(str(path), 0, size), (), timeouts=T._replace(first_byte_s=0.5, stall_s=0.5)
            )
        assert time.monotonic() - began_at < 8
        transport.put_object("bucket", "k", FilePart(str(path), 0, size), (), timeouts=T)
        transport.close()
        assert len(server.requests[1].body) == size


def test_refused_before_the_body() -> None:
    """A refusal in place of 100 Continue keeps the body back, and the connection is not used for the next request."""
    with Scripted(error_answer(403, "AccessDenied", read_body=False), OK) as server:
        transport = open_boto3(server)
        with pytest.raises(AccessDenied):
            transport.put_object("bucket", "k", b"body", (), timeouts=T)
        transport.put_object("bucket", "k", b"body", (), timeouts=T)
        transport.close()
        assert server.connections == 2
        assert [request.body for request in server.requests] == [b"", b"body"]


# ---- what is sent


def test_headers_go_out_as_given() -> None:
    """Every header is sent, also those that boto3 has no parameter for, and replaces what boto3 would send."""
    md5 = base64.b64encode(hashlib.md5(b"body", usedforsecurity=False).digest()).decode()
    headers = (
        ("content-type", "text/x; charset=ä"), ("content-md5", md5), ("cache-control", "no-store,  max-age=0"),
        ("content-encoding", "gzip"), ("expires", "whenever"), ("x-amz-meta-a_B", "é  ü"), ("x-amz-unheard-of", "1"),
        ("x-amz-tagging", "a=b&c=d"), ("if-none-match", "*"),
    )  # fmt: skip
    created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    with Scripted(OK, answer(200, created)) as server:
        transport = open_boto3(server)
        transport.put_object("bucket", "k", b"body", headers, timeouts=T)
        transport.create_multipart_upload("bucket", "k", headers, timeouts=T)
        for request in server.requests:
            for name, value in headers:
                assert request.headers[name.lower()].encode("latin-1").decode() == value
        with pytest.raises(ConfigError, match="more than once"):
            transport.put_object("bucket", "k", b"", (("x-amz-acl", "private"), ("x-amz-acl", "x")), timeouts=T)
        with pytest.raises(ConfigError, match="line break"):
            transport.put_object("bucket", "k", b"", (("x-amz-acl", "a\r\nb: c"),), timeouts=T)
        assert len(server.requests) == 2
        transport.close()


def test_delete_objects_carries_its_md5() -> None:
    """Content-MD5 is that of the body that is sent, carriage returns of keys included."""
    with Scripted(answer(200, b"<DeleteResult/>")) as server:
        transport = open_boto3(server)
        assert transport.delete_objects("bucket", ["a", "b\r\nc", "<&>"], timeouts=T) == []
        transport.close()
        (request,) = server.requests
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    assert request.headers["content-md5"] == base64.b64encode(digest).decode()
    assert b"\r" not in request.body
    assert "content-md5" in request.headers["authorization"]


@pytest.mark.parametrize(("signing", "signed"), [("auto", True), ("always", True), ("never", False)])
def test_payload_signing(signing: str, signed: bool) -> None:
    """Over HTTP the hash of the body is signed, unless that is turned off."""
    with Scripted(OK) as server:
        transport = open_boto3(server, payload_signing=signing)
        transport.put_object("bucket", "k", b"body", (), timeouts=T)
        transport.close()
        sent = server.requests[0].headers["x-amz-content-sha256"]
    assert sent == (hashlib.sha256(b"body").hexdigest() if signed else "UNSIGNED-PAYLOAD")


def test_credentials_and_clock_of_the_moment() -> None:
    """New credentials, a new clock offset and a new region are those of the next request."""
    with Scripted(OK) as server:
        transport = open_boto3(server)
        transport.head_object("bucket", "k", timeouts=T)
        transport.set_credentials(Credentials("AKID2", "not-a-secret-either", "token2"))
        transport.set_clock_offset(-7200.0)
        transport.set_region("bucket", "eu-west-3")
        transport.head_object("bucket", "k", timeouts=T)
        transport.head_object("other", "k", timeouts=T)
        transport.close()
        before, after, other = (request.headers for request in server.requests)
    assert "AKID1" in before["authorization"]
    assert "us-east-1" in before["authorization"]
    assert "x-amz-security-token" not in before
    assert "AKID2" in after["authorization"]
    assert "eu-west-3" in after["authorization"]
    assert after["x-amz-security-token"] == "token2"
    assert "us-east-1" in other["authorization"]
    apart = _time(before["x-amz-date"]) - _time(after["x-amz-date"])
    assert abs(apart - timedelta(hours=2)) < timedelta(seconds=30)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def test_a_wrong_clock(over_boto3: Boto3Transport, bucket: str) -> None:
    """A store that finds the clock wrong tells by how much; with that the next request is good."""
    over_boto3.set_clock_offset(3600.0)
    with pytest.raises(ClockSkewed) as caught:
        over_boto3.put_object(bucket, "k", b"", (), timeouts=T)
    assert abs(caught.value.offset_s) < 30  # what the machine's own clock lacks, whatever is added now
    over_boto3.set_clock_offset(caught.value.offset_s)
    over_boto3.put_object(bucket, "k", b"", (), timeouts=T)


# ---- what comes back


@pytest.mark.parametrize(
    ("said", "error"),
    [(b"", ServerFault), (b"<ListBucketRes", ServerFault), (b"<html><p>Hello</p></html>", NotS3), (b"OK", NotS3)],
)
def test_a_good_status_without_an_answer(said: bytes, error: type[Exception]) -> None:
    """What boto3 takes for an empty result raises: the listing of a bucket is not empty because a proxy says hello."""
    with Scripted(answer(200, said)) as server:
        transport = open_boto3(server)
        for call in (
            lambda: transport.list_objects_v2("bucket", timeouts=T),
            lambda: transport.delete_objects("bucket", ["k"], timeouts=T),
            lambda: transport.list_parts("bucket", "k", "u", timeouts=T),
            lambda: transport.list_multipart_uploads("bucket", timeouts=T),
            lambda: transport.create_multipart_upload("bucket", "k", (), timeouts=T),
            lambda: transport.complete_multipart_upload("bucket", "k", "u", [CompletedPart(1, "e")], timeouts=T),
        ):
            with pytest.raises(error):
                call()
        transport.close()


def test_an_answer_after_white_space() -> None:
    """A store that sends spaces while it works, before the XML, is understood."""
    done = b"<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>"
    with Scripted(answer(200, b"  \n" * 9 + b'<?xml version="1.0"?>' + done)) as server:
        transport = open_boto3(server)
        parts = [CompletedPart(1, "e")]
        assert transport.complete_multipart_upload("bucket", "k", "u", parts, timeouts=T).etag == "e-1"
        transport.close()


def test_times_of_a_listing() -> None:
    """boto3 hands out datetimes; what comes out is text as S3 writes it."""
    with Scripted(list_answer("k")) as server:
        transport = open_boto3(server)
        (found,) = transport.list_objects_v2("bucket", timeouts=T).objects
        transport.close()
    assert found.last_modified == "2026-01-02T03:04:05.000Z"
