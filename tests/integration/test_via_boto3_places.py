"""Where the transport over boto3 goes: Amazon, buckets in host names, TLS, proxies; and an engine on it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FileSource, ObjectHeaders
from s3engine.config import TransportSettings
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, ConnectFailed, InvalidRequest
from s3engine.transport import FilePart
from s3engine_transports.via_boto3 import Boto3Transport
from tests.helpers import S3Probe, point_at
from tests.integration.boto3_common import MIB, T, got, open_boto3
from tests.relays import ForwardProxy, Relay
from tests.servers import Ministack

pytestmark = pytest.mark.usefixtures("no_proxies")


# ---- what is sent


@pytest.mark.parametrize(
    ("region", "bucket", "host"),
    [
        ("us-east-1", "bucket", "bucket.s3.us-east-1.amazonaws.com"),
        ("eu-west-1", "bucket", "bucket.s3.eu-west-1.amazonaws.com"),
        ("cn-north-1", "with.dots", "s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_amazon(region: str, bucket: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint requests go to Amazon, where set_region changes the host too."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no look-ups in tests")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    transport = Boto3Transport(TransportSettings(region="sa-east-1"))
    transport.set_region(bucket, region)
    with pytest.raises(ConnectFailed, match=f"https://{host}:443: the name"):
        transport.head_object(bucket, "k", timeouts=T)


def test_virtual_addressing(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With virtual addressing the bucket is in the host name, and odd keys still arrive."""
    ask = socket.getaddrinfo

    def local(host: Any, *args: Any, **keywords: Any) -> Any:
        # Not every resolver knows names below localhost.
        return ask("127.0.0.1" if str(host).endswith("localhost") else host, *args, **keywords)

    bucket = f"boto3-virtual-{os.getpid()}"
    monkeypatch.setattr(socket, "getaddrinfo", local)
    path = open_boto3(ministack)
    virtual = open_boto3(ministack, endpoint_url=f"http://s3.localhost:{ministack.port}", addressing_style="virtual")
    keys = ["a b", "a+b%", "é😀", "/", "//a", "a/../b", ".", "?versionId=1"]
    with S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe:
        probe.create_bucket(bucket)
        for key in keys:
            virtual.put_object(bucket, key, key.encode(), (), timeouts=T)
            assert got(path, bucket, key) == key.encode()
            virtual.copy_object(bucket, key, bucket, "copy", (), timeouts=T)
            assert got(virtual, bucket, "copy") == key.encode()
        assert sorted(probe.list_keys(bucket)) == sorted([*keys, "copy"])
        probe.delete_all(bucket)
    path.close()
    virtual.close()


# ---- TLS and proxies


def test_tls(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """With the CA given, bodies from memory and from files go over TLS, and connections are kept."""
    transport = open_boto3(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
    data = os.urandom(2 * MIB)
    (tmp_path / "f").write_bytes(data)
    transport.put_object(bucket, "file", FilePart(str(tmp_path / "f"), 5, len(data) - 5), (), timeouts=T)
    transport.put_object(bucket, "small", b"body", (), timeouts=T)
    assert probe.get(bucket, "file") == data[5:] == got(transport, bucket, "file")
    assert got(transport, bucket, "small") == b"body"
    assert tls.connections == 1
    transport.close()


def test_tls_that_nobody_vouches_for(seaweed: EmbeddedServer, tls: Relay, bucket: str) -> None:
    """An unknown certificate is refused for good, unless verification is off; a CA bundle must exist."""
    url = f"https://127.0.0.1:{tls.port}"
    with pytest.raises(ConnectFailed, match=r"not trusted.*--ca-bundle") as caught:
        open_boto3(seaweed, endpoint_url=url).head_bucket(bucket, timeouts=T)
    assert caught.value.permanent
    open_boto3(seaweed, endpoint_url=url, verify_tls=False).head_bucket(bucket, timeouts=T)
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
        open_boto3(seaweed, endpoint_url=url, ca_bundle="/nowhere/ca.pem")


def test_proxies(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go through http_proxy and https_proxy; a key that urllib3 would change on that way is not sent."""
    with ForwardProxy("user:p@ss word") as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:p%40ss%20word@127.0.0.1:{proxy.port}")
        transport = open_boto3(seaweed)
        transport.put_object(bucket, "a b%2E", b"through", (), timeouts=T)
        assert got(transport, bucket, "a b%2E") == b"through"
        assert proxy.heads[0].startswith(f"PUT {seaweed.endpoint_url}/{bucket}/a%20b%252E HTTP/1.1\r\n".encode())
        seen = len(proxy.heads)
        with pytest.raises(InvalidRequest, match="no_proxy"):
            transport.put_object(bucket, "a/../b", b"", (), timeouts=T)
        transport.close()
        assert len(proxy.heads) == seen
    with ForwardProxy() as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        transport = open_boto3(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
        assert got(transport, bucket, "a b%2E") == b"through"
        transport.close()
        assert [head.partition(b" HTTP/1.")[0] for head in proxy.heads] == [f"CONNECT 127.0.0.1:{tls.port}".encode()]


# ---- under the engine


def test_the_engine(seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Upload, list, download, copy and delete, one object in parts; metadata and bodies stay as they are."""
    large = os.urandom(11 * MIB)
    (tmp_path / "large").write_bytes(large)
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, seaweed)
        with Engine(
            transport="boto3", workers=2, concurrency=8, multipart_threshold_bytes=5 * MIB, part_size_bytes=5 * MIB,
            copy_threshold_bytes=5 * MIB, copy_part_size_bytes=5 * MIB,
        ) as engine:  # fmt: skip
            headers = ObjectHeaders(content_type="text/x-odd", metadata={"who": "me"})
            sources: list[Any] = [BytesSource(str(n).encode(), f"s/{n:03}") for n in range(50)]
            sources.append(FileSource(str(tmp_path / "large"), "s/large"))
            assert engine.upload(bucket, sources, template=headers).wait().ok
            found = {info.key: info for info in engine.list(bucket, "s/")}
            assert len(found) == 51
            assert found["s/large"].etag.endswith("-3")
            assert probe.get(bucket, "s/large") == large
            assert (probe.head(bucket, "s/007") or {})["x-amz-meta-who"] == "me"
            assert engine.list(bucket, "s/").download(str(tmp_path / "down")).wait().ok
            assert (tmp_path / "down" / "large").read_bytes() == large
            assert engine.list(bucket, "s/").copy(key=lambda info: "t/" + info.key).wait().ok
            assert probe.get(bucket, "t/s/large") == large
            assert (probe.head(bucket, "t/s/large") or {})["content-type"] == "text/x-odd"
            assert engine.list(bucket, "s/").delete().wait().ok
            assert sorted(probe.list_keys(bucket)) == sorted(f"t/{key}" for key in found)
