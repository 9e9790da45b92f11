"""The raw transport against SeaweedFS: every operation, refusals, the clock, TLS and proxies."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    ConfigError,
    ConnectFailed,
    ConnectTimeout,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestError,
)
from s3engine.sinks import MemorySink
from s3engine.transport import CompletedPart, FilePart, Timeouts, Transport
from s3engine_transports.raw import RawTransport
from tests.helpers import S3Probe
from tests.relays import ForwardProxy, Relay

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024
pytestmark = pytest.mark.usefixtures("no_proxies")


def _open(server: EmbeddedServer, *, clock: Callable[[], float] = time.time, **changes: Any) -> RawTransport:
    credentials = Credentials(server.access_key, server.secret_key)
    settings = {"endpoint_url": server.endpoint_url, "credentials": credentials, **changes}
    return RawTransport(TransportSettings(**settings), wall_clock=clock)


@pytest.fixture
def raw(seaweed: EmbeddedServer) -> Iterator[RawTransport]:
    transport = _open(seaweed)
    yield transport
    transport.close()


def _get(raw: RawTransport, bucket: str, key: str, **keywords: Any) -> bytes:
    sink = MemorySink()
    raw.get_object(bucket, key, sink, timeouts=T, **keywords)
    return sink.body()


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
    assert _get(raw, bucket, "a/b c+d") == body
    assert _get(raw, bucket, "a/b c+d", first=10, last=19) == body[10:20]
    assert _get(raw, bucket, "a/b c+d", first=250) == body[250:]
    assert _get(raw, bucket, "a/b c+d", first=250, last=999) == body[250:]
    assert _get(raw, bucket, "a/b c+d", if_match=put.etag) == body
    with pytest.raises(PreconditionFailed):
        _get(raw, bucket, "a/b c+d", if_match="0" * 32)
    with pytest.raises(RangeNotSatisfiable):
        _get(raw, bucket, "a/b c+d", first=256)
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
    raw = _open(seaweed, payload_signing=signing)
    raw.put_object(bucket, "f", FilePart(str(path), 5, 3 * MIB - 10), (), timeouts=T)
    assert probe.get(bucket, "f") == data[5:-5]
    assert hashlib.sha256(_get(raw, bucket, "f")).digest() == hashlib.sha256(data[5:-5]).digest()
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
    assert _get(raw, bucket, "to") == b"x" * 1000
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
    raw = _open(seaweed, credentials=Credentials(seaweed.access_key, "very-wrong"))
    with pytest.raises(AccessDenied) as caught:
        raw.put_object(bucket, "k", b"", (), timeouts=T)
    assert caught.value.code == "SignatureDoesNotMatch"
    assert "very-wrong" not in str(caught.value)
    raw.set_credentials(Credentials(seaweed.access_key, seaweed.secret_key))
    raw.put_object(bucket, "k", b"", (), timeouts=T)
    raw.close()


def test_anonymous(seaweed: EmbeddedServer, bucket: str) -> None:
    """Without credentials the store refuses, and that is AccessDenied."""
    raw = _open(seaweed, credentials=None)
    with pytest.raises(AccessDenied):
        raw.list_objects_v2(bucket, timeouts=T)
    with pytest.raises(AccessDenied):
        raw.put_object(bucket, "k", b"", (), timeouts=T)
    raw.close()


@pytest.mark.parametrize("wrong_s", [3600.0, -3600.0])
def test_clock_skew_is_corrected(seaweed: EmbeddedServer, bucket: str, wrong_s: float) -> None:
    """A clock an hour off is found out by the refusal; with its offset_s the next request is good."""
    raw = _open(seaweed, clock=lambda: time.time() + wrong_s)
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
                assert _get(raw, bucket, f"{number}/{i}") == bytes([number, i])
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
    raw = _open(seaweed)
    raw.head_bucket(bucket, timeouts=T)
    raw.close()
    with pytest.raises(ConnectFailed, match="closed"):
        raw.head_bucket(bucket, timeouts=T)


# ---- TLS and proxies, all on loopback


def test_tls_with_its_own_ca(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """With the CA given, bodies from memory and from files go over TLS, unsigned, and connections are kept."""
    raw = _open(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
    data = os.urandom(2 * MIB)
    (tmp_path / "f").write_bytes(data)
    raw.put_object(bucket, "small", b"body", (), timeouts=T)
    raw.put_object(bucket, "file", FilePart(str(tmp_path / "f"), 0, len(data)), (), timeouts=T)
    raw.put_object(bucket, "bytes", data, (), timeouts=T)
    for key, body in (("small", b"body"), ("file", data), ("bytes", data)):
        assert probe.get(bucket, key) == body
        assert _get(raw, bucket, key) == body
    assert tls.connections == 1
    raw.close()


def test_tls_that_nobody_vouches_for(seaweed: EmbeddedServer, tls: Relay) -> None:
    """Without its CA a certificate is refused, for good, and the error names the way out."""
    raw = _open(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}")
    with pytest.raises(ConnectFailed, match=r"not trusted.*--ca-bundle") as caught:
        raw.head_bucket("bucket", timeouts=T)
    assert caught.value.permanent


def test_tls_unverified(seaweed: EmbeddedServer, tls: Relay, bucket: str) -> None:
    """Who turns verification off gets through."""
    raw = _open(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", verify_tls=False)
    assert raw.list_objects_v2(bucket, timeouts=T).objects == []
    raw.close()


def test_tls_where_none_is_spoken(seaweed: EmbeddedServer) -> None:
    """https:// to a plain port says so; a CA bundle that does not exist is named."""
    raw = _open(seaweed, endpoint_url=f"https://127.0.0.1:{seaweed.port}")
    with pytest.raises(ConnectFailed, match="plain http"):
        raw.head_bucket("bucket", timeouts=T)
    missing = _open(seaweed, endpoint_url="https://127.0.0.1:9", ca_bundle="/nonexistent/ca.pem")
    with pytest.raises(ConfigError, match=r"/nonexistent/ca\.pem"):
        missing.head_bucket("bucket", timeouts=T)


@pytest.mark.parametrize("login", ["", "user:p@ss word"])
def test_http_proxy(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """Plain requests go through http_proxy in the absolute form, with the login of its URL."""
    with ForwardProxy(login) as proxy:
        user = "user:p%40ss%20word@" if login else ""
        monkeypatch.setenv("http_proxy", f"http://{user}127.0.0.1:{proxy.port}")
        raw = _open(seaweed)
        raw.put_object(bucket, "a b", b"through", (), timeouts=T)
        assert _get(raw, bucket, "a b") == b"through"
        raw.close()
        assert probe.get(bucket, "a b") == b"through"
        assert proxy.connections == 1
        assert proxy.heads[0].startswith(f"PUT {seaweed.endpoint_url}/{bucket}/a%20b HTTP/1.1\r\n".encode())


def test_https_proxy(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS goes through https_proxy by CONNECT; the proxy sees host and port and nothing else."""
    with ForwardProxy() as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        raw = _open(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
        raw.put_object(bucket, "k", b"through", (), timeouts=T)
        assert _get(raw, bucket, "k") == b"through"
        raw.close()
        assert [head.partition(b" HTTP/1.")[0] for head in proxy.heads] == [f"CONNECT 127.0.0.1:{tls.port}".encode()]
        assert b"authorization" not in proxy.heads[0].lower()


def test_no_proxy(seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts in no_proxy are reached directly."""
    with ForwardProxy() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1,other")
        raw = _open(seaweed)
        raw.head_bucket(bucket, timeouts=T)
        raw.close()
        assert proxy.connections == 0


def test_a_proxy_that_is_not_there(seaweed: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses connections is ConnectFailed, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectFailed, match="refused"):
        _open(seaweed).head_bucket("bucket", timeouts=T)


# ---- names with several addresses, and one timer for all of connecting


def _named(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> list[str]:
    """Make ``store.test`` a name of these addresses; returns the look-ups to come."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != "store.test":
            return real(host, port, *more, **named)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_next_address_of_a_name(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with two addresses whose first refuses: the second is used."""
    asked = _named(monkeypatch, ["127.0.0.77", "127.0.0.1"])
    raw = _open(seaweed, endpoint_url=f"http://store.test:{seaweed.port}")
    raw.put_object(bucket, "k", b"there", (), timeouts=T)
    raw.close()
    assert probe.get(bucket, "k") == b"there"
    assert asked == ["store.test"]


def test_silent_address_leaves_time_for_the_next(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that never answers takes its share of connect_s, not all of it."""
    with _deaf("127.0.0.88", seaweed.port):
        asked = _named(monkeypatch, ["127.0.0.88", "127.0.0.1"])
        raw = _open(seaweed, endpoint_url=f"http://store.test:{seaweed.port}")
        began = time.monotonic()
        raw.put_object(bucket, "k", b"there", (), timeouts=T._replace(connect_s=2.0))
        assert time.monotonic() - began > 0.5  # the silent one was waited for
        raw.close()
    assert probe.get(bucket, "k") == b"there"
    assert asked == ["store.test"]


@contextlib.contextmanager
def _deaf(host: str, port: int) -> Iterator[None]:
    """A listener whose queue is full: connections to it are never answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((host, port))
        time.sleep(0.1)
        yield


def test_silent_handshake_ends_with_connect_s(seaweed: EmbeddedServer) -> None:
    """Whoever accepts and drips nothing of TLS is left after connect_s."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = _open(seaweed, endpoint_url=f"https://127.0.0.1:{listener.getsockname()[1]}", verify_tls=False)
        began = time.monotonic()
        with pytest.raises(ConnectTimeout):
            raw.head_bucket("bucket", timeouts=T._replace(connect_s=0.5))
        assert 0.4 < time.monotonic() - began < 5
        raw.close()


FAILS_ONCE = """
import socket, sys
from s3engine import BytesSource, Engine

real, asked = socket.getaddrinfo, []

def look_up(host, port, *more, **named):
    if host != "store.test":
        return real(host, port, *more, **named)
    asked.append(host)
    if len(asked) == 1:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real("127.0.0.1", port, *more, **named)

socket.getaddrinfo = look_up  # forked workers have it too, and each counts for itself
url, bucket = sys.argv[1:]
with Engine(endpoint_url=url, workers=1, concurrency=1, start_method="fork", checksum="none") as engine:
    (report,) = engine.upload(bucket, [BytesSource(b"there", "k")])
    print(report.error, report.attempts)
"""


def test_look_up_that_fails_once(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """A name that is not known at first: asked again, and the object is done."""
    environment = {**os.environ, **seaweed.environment()}
    command = [sys.executable, "-c", FAILS_ONCE, f"http://store.test:{seaweed.port}", bucket]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None 2\n", done.stderr
    assert probe.get(bucket, "k") == b"there"
