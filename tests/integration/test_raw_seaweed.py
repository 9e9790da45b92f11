"""The raw transport against SeaweedFS: every operation, refusals and the clock."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    ConnectFailed,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestError,
)
from s3engine.sinks import MemorySink
from s3engine.transport import CompletedPart, FilePart, Transport
from s3engine_transports.raw import RawTransport
from tests.helpers import S3Probe
from tests.integration.raw_common import MIB, T, got, open_raw

pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.fixture
def raw(seaweed: EmbeddedServer) -> Iterator[RawTransport]:
    transport = open_raw(seaweed)
    yield transport
    transport.close()


def test_it_is_a_transport(raw: RawTransport) -> None:
    """RawTransport has the methods of the Protocol (the assignment is checked by mypy)."""
    transport: Transport = raw
    assert transport.capabilities.multiplexable


def test_small_objects(raw: RawTransport, bucket: str, probe: S3Probe) -> None:
    """Put, head, get with ranges and delete, checked by another client."""
    body = bytes(range(256))
    headers = (("content-type", "text/x-odd"), ("x-amz-meta-name", "a   b  c"), ("cache-control", "no-store"))
    put = raw.put_object(bucket, "a/b c+d", body, headers, timeouts=T)
    assert put.etag == hashlib.md5(body, usedforsecurity=False).hexdigest()
    assert probe.get(bucket, "a/b c+d") == body
    head = raw.head_object(bucket, "a/b c+d", timeouts=T)
    assert (head.size_bytes, head.etag, head.content_type) == (256, put.etag, "text/x-odd")
    assert dict(head.headers)["cache-control"] == "no-store"
    assert got(raw, bucket, "a/b c+d") == body
    assert got(raw, bucket, "a/b c+d", first=10, last=19) == body[10:20]
    assert got(raw, bucket, "a/b c+d", first=250) == body[250:]
    assert got(raw, bucket, "a/b c+d", first=250, last=999) == body[250:]
    assert got(raw, bucket, "a/b c+d", if_match=put.etag) == body
    with pytest.raises(PreconditionFailed):
        got(raw, bucket, "a/b c+d", if_match="0" * 32)
    with pytest.raises(RangeNotSatisfiable):
        got(raw, bucket, "a/b c+d", first=256)
    raw.delete_object(bucket, "a/b c+d", timeouts=T)
    raw.delete_object(bucket, "a/b c+d", timeouts=T)
    assert probe.get(bucket, "a/b c+d") is None


def test_empty_object(raw: RawTransport, bucket: str) -> None:
    """An empty object goes and comes."""
    raw.put_object(bucket, "empty", b"", (), timeouts=T)
    sink = MemorySink()
    assert raw.get_object(bucket, "empty", sink, timeouts=T).total_bytes == 0
    assert sink.body() == b""


@pytest.mark.parametrize("signing", ["always", "never"])
def test_files(seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, signing: str) -> None:
    """A part of a file is sent as it is on disk, its hash signed or not; connections are used again."""
    data = os.urandom(3 * MIB)
    path = tmp_path / "f"
    path.write_bytes(data)
    raw = open_raw(seaweed, payload_signing=signing)
    raw.put_object(bucket, "f", FilePart(str(path), 5, 3 * MIB - 10), (), timeouts=T)
    assert probe.get(bucket, "f") == data[5:-5]
    assert hashlib.sha256(got(raw, bucket, "f")).digest() == hashlib.sha256(data[5:-5]).digest()
    raw.close()


def test_a_wrong_checksum_is_found(raw: RawTransport, bucket: str) -> None:
    """The store compares Content-MD5: a body that does not agree is refused, as one to be sent again or as invalid."""
    wrong = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
    with pytest.raises(RequestError, match=r"BadDigest|InvalidDigest"):
        raw.put_object(bucket, "m", b"body", (("content-md5", wrong),), timeouts=T)


def test_copy(raw: RawTransport, bucket: str) -> None:
    """A copy is made in the store, with its ETag; a missing source raises NotFound."""
    etag = raw.put_object(bucket, "from", b"x" * 1000, (), timeouts=T).etag
    assert raw.copy_object(bucket, "from", bucket, "to", (), timeouts=T).etag == etag
    assert got(raw, bucket, "to") == b"x" * 1000
    with pytest.raises(NotFound):
        raw.copy_object(bucket, "none", bucket, "to2", (), timeouts=T)
    with pytest.raises(PreconditionFailed):
        raw.copy_object(bucket, "from", bucket, "to3", (), if_match="0" * 32, timeouts=T)


def test_listing(raw: RawTransport, bucket: str) -> None:
    """Pages follow by their token, prefixes and delimiters fold; every key comes once."""
    keys = [f"p/{i:03}" for i in range(25)] + ["q/1", "r"]
    for key in keys:
        raw.put_object(bucket, key, key.encode(), (), timeouts=T)
    found: list[str] = []
    token = ""
    pages = 0
    while True:
        page = raw.list_objects_v2(bucket, "p/", continuation_token=token, max_keys=10, timeouts=T)
        found.extend(info.key for info in page.objects)
        token = page.next_token
        pages += 1
        if not token:
            break
    assert (found, pages) == (keys[:25], 3)
    top = raw.list_objects_v2(bucket, delimiter="/", timeouts=T)
    assert (top.prefixes, [info.key for info in top.objects]) == (["p/", "q/"], ["r"])
    assert top.objects[0].size_bytes == 1
    assert top.objects[0].etag == hashlib.md5(b"r", usedforsecurity=False).hexdigest()
    after = raw.list_objects_v2(bucket, start_after="p/024", timeouts=T)
    assert [info.key for info in after.objects] == ["q/1", "r"]


def test_delete_many(raw: RawTransport, bucket: str, probe: S3Probe) -> None:
    """DeleteObjects deletes what is there, minds nothing that is not, and takes keys that need escaping."""
    keys = ["a", "b&<c>", "d e+f%", "é"]
    for key in keys:
        raw.put_object(bucket, key, b"", (), timeouts=T)
    assert raw.delete_objects(bucket, [*keys, "none"], timeouts=T) == []
    assert probe.list_keys(bucket) == []


def test_upload_in_parts(raw: RawTransport, bucket: str, probe: S3Probe) -> None:
    """An upload in parts, one of them a copy, makes the whole; it is listed until it is completed."""
    data = os.urandom(5 * MIB)
    raw.put_object(bucket, "source", data, (), timeouts=T)
    upload = raw.create_multipart_upload(bucket, "big", (("content-type", "a/b"),), timeouts=T)
    assert [(found.key, found.upload_id) for found in raw.list_multipart_uploads(bucket, timeouts=T).uploads] == [
        ("big", upload)
    ]
    one = raw.upload_part(bucket, "big", upload, 1, data, timeouts=T)
    two = raw.upload_part_copy(bucket, "source", 100, 5 * MIB - 1, bucket, "big", upload, 2, timeouts=T)
    listed = raw.list_parts(bucket, "big", upload, timeouts=T).parts
    assert listed == [CompletedPart(1, one.etag, 5 * MIB), CompletedPart(2, two.etag, 5 * MIB - 100)]
    parts = [CompletedPart(2, two.etag), CompletedPart(1, one.etag)]
    done = raw.complete_multipart_upload(bucket, "big", upload, parts, timeouts=T)
    assert done.etag.endswith("-2")
    assert probe.get(bucket, "big") == data + data[100:]
    assert raw.list_multipart_uploads(bucket, timeouts=T).uploads == []


def test_abort(raw: RawTransport, bucket: str) -> None:
    """An aborted upload is gone; its parts cannot be completed."""
    upload = raw.create_multipart_upload(bucket, "gone", (), timeouts=T)
    part = raw.upload_part(bucket, "gone", upload, 1, b"x", timeouts=T)
    raw.abort_multipart_upload(bucket, "gone", upload, timeouts=T)
    with pytest.raises((NotFound, InvalidRequest)):
        raw.complete_multipart_upload(bucket, "gone", upload, [CompletedPart(1, part.etag)], timeouts=T)
    assert raw.list_multipart_uploads(bucket, timeouts=T).uploads == []


def test_buckets(raw: RawTransport) -> None:
    """A bucket is made, found, deleted, and gone."""
    name = f"raw-buckets-{os.getpid()}"
    with pytest.raises(NotFound) as caught:
        raw.head_bucket(name, timeouts=T)
    assert caught.value.code == "NoSuchBucket"
    raw.create_bucket(name, timeouts=T)
    raw.head_bucket(name, timeouts=T)
    raw.delete_bucket(name, timeouts=T)
    with pytest.raises(NotFound):
        raw.put_object(name, "k", b"", (), timeouts=T)


def test_wrong_secret(seaweed: EmbeddedServer, bucket: str) -> None:
    """A wrong secret is AccessDenied, and the secret is not in the text."""
    raw = open_raw(seaweed, credentials=Credentials(seaweed.access_key, "very-wrong"))
    with pytest.raises(AccessDenied) as caught:
        raw.put_object(bucket, "k", b"", (), timeouts=T)
    assert caught.value.code == "SignatureDoesNotMatch"
    assert "very-wrong" not in str(caught.value)
    raw.set_credentials(Credentials(seaweed.access_key, seaweed.secret_key))
    raw.put_object(bucket, "k", b"", (), timeouts=T)
    raw.close()


def test_anonymous(seaweed: EmbeddedServer, bucket: str) -> None:
    """Without credentials the store refuses, and that is AccessDenied."""
    raw = open_raw(seaweed, credentials=None)
    with pytest.raises(AccessDenied):
        raw.list_objects_v2(bucket, timeouts=T)
    with pytest.raises(AccessDenied):
        raw.put_object(bucket, "k", b"", (), timeouts=T)
    raw.close()


@pytest.mark.parametrize("wrong_s", [3600.0, -3600.0])
def test_clock_skew_is_corrected(seaweed: EmbeddedServer, bucket: str, wrong_s: float) -> None:
    """A clock an hour off is found out by the refusal; with its offset_s the next request is good."""
    raw = open_raw(seaweed, clock=lambda: time.time() + wrong_s)
    with pytest.raises(ClockSkewed) as caught:
        raw.put_object(bucket, "k", b"", (), timeouts=T)
    assert abs(caught.value.offset_s + wrong_s) < 5
    raw.set_clock_offset(caught.value.offset_s)
    raw.put_object(bucket, "k", b"", (), timeouts=T)
    raw.close()


def test_many_threads(raw: RawTransport, bucket: str, probe: S3Probe) -> None:
    """Threads share one transport and its connections."""
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(10):
                raw.put_object(bucket, f"{number}/{i}", bytes([number, i]), (), timeouts=T)
                assert got(raw, bucket, f"{number}/{i}") == bytes([number, i])
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert len(probe.list_keys(bucket)) == 80


def test_nobody_listens() -> None:
    """A port where nothing listens, and a name nobody knows, are ConnectFailed with the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    raw = RawTransport(TransportSettings(endpoint_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(ConnectFailed, match=rf"http://127\.0\.0\.1:{port}.*refused"):
        raw.head_bucket("bucket", timeouts=T)


def test_a_closed_transport(seaweed: EmbeddedServer, bucket: str) -> None:
    """After close calls fail instead of connecting anew."""
    raw = open_raw(seaweed)
    raw.head_bucket(bucket, timeouts=T)
    raw.close()
    with pytest.raises(ConnectFailed, match="closed"):
        raw.head_bucket(bucket, timeouts=T)
