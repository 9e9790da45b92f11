"""The transport over minio on the network: TLS, deadlines behind it, proxies."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("minio")

from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConnectFailed, FirstByteTimeout, StallTimeout
from s3engine.transport import FilePart
from tests.helpers import S3Probe
from tests.integration.minio_common import MIB, T, body_of, open_minio
from tests.relays import ForwardProxy, Relay

pytestmark = pytest.mark.usefixtures("no_proxies")


def test_tls(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """With the CA given, bodies from memory and from files go over TLS, all over one connection."""
    api = open_minio(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
    data = os.urandom(2 * MIB)
    (tmp_path / "f").write_bytes(data)
    api.put_object(bucket, "small", b"body", (), timeouts=T)
    api.put_object(bucket, "file", FilePart(str(tmp_path / "f"), 5, len(data) - 5), (), timeouts=T)
    api.put_object(bucket, "bytes", data, (), timeouts=T)
    for key, body in (("small", b"body"), ("file", data[5:]), ("bytes", data)):
        assert probe.get(bucket, key) == body
        assert body_of(api, bucket, key) == body
    assert tls.connections == 1
    api.close()


def test_tls_that_nobody_vouches_for(seaweed: EmbeddedServer, tls: Relay, bucket: str) -> None:
    """A certificate without its CA is refused for good, with the way out; who turns verification off gets through."""
    api = open_minio(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}")
    with pytest.raises(ConnectFailed, match=r"not trusted.*--ca-bundle") as caught:
        api.head_bucket(bucket, timeouts=T)
    assert caught.value.permanent
    assert caught.value.operation == "HeadBucket"
    api = open_minio(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", verify_tls=False)
    assert api.list_objects_v2(bucket, timeouts=T).objects == []
    api.close()


def test_deadlines_over_tls(seaweed: EmbeddedServer, certificate: Path) -> None:
    """The timers hold behind TLS: an upload that nobody takes in, an answer that does not come."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    over = threading.Event()

    def silent(accepted: socket.socket) -> tuple[socket.socket, socket.socket]:
        with context.wrap_socket(accepted, server_side=True):
            over.wait(10)
        raise ValueError("enough")

    with Relay(silent) as relay:
        api = open_minio(seaweed, endpoint_url=f"https://127.0.0.1:{relay.port}", ca_bundle=str(certificate))
        timeouts = T._replace(stall_s=0.4, first_byte_s=0.4)
        began_at = time.monotonic()
        with pytest.raises(StallTimeout):
            api.put_object("bucket", "k", bytes(16 * MIB), (), timeouts=timeouts)
        with pytest.raises(FirstByteTimeout):
            api.put_object("bucket", "k", b"small", (), timeouts=timeouts)
        assert time.monotonic() - began_at < 4
        over.set()
        api.close()


@pytest.mark.parametrize("login", ["", "user:p@ss word"])
def test_http_proxy(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """Plain requests go through http_proxy in the absolute form, with its login; hosts in no_proxy do not."""
    with ForwardProxy(login) as proxy:
        user = "user:p%40ss%20word@" if login else ""
        monkeypatch.setenv("http_proxy", f"http://{user}127.0.0.1:{proxy.port}")
        api = open_minio(seaweed)
        api.put_object(bucket, "a b", b"through", (), timeouts=T)
        assert body_of(api, bucket, "a b") == b"through"
        api.close()
        assert probe.get(bucket, "a b") == b"through"
        assert proxy.connections == 1
        assert proxy.heads[0].startswith(f"PUT {seaweed.endpoint_url}/{bucket}/a%20b HTTP/1.1\r\n".encode())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        api = open_minio(seaweed)
        api.head_bucket(bucket, timeouts=T)
        api.close()
        assert proxy.connections == 1


def test_https_proxy(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS goes through https_proxy by CONNECT, one tunnel for all; the proxy sees host and port and nothing else."""
    with ForwardProxy() as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        api = open_minio(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
        api.put_object(bucket, "k", b"through", (), timeouts=T)
        assert body_of(api, bucket, "k") == b"through"
        api.close()
        assert [head.partition(b" HTTP/1.")[0] for head in proxy.heads] == [f"CONNECT 127.0.0.1:{tls.port}".encode()]
        assert b"authorization" not in proxy.heads[0].lower()
