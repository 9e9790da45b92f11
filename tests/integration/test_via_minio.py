"""What is special to the transport over minio: exact keys past urllib3, hosts, signing, an engine's run.

What it has in common with the others is checked by the conformance suite.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("minio")

from s3engine import Engine, FileSource, files_recursive
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, ConnectFailed, InvalidRequest, RequestError, SourceChanged, SourceError
from s3engine.transport import CompletedPart, FilePart
from s3engine_transports.raw import RawTransport
from s3engine_transports.via_minio import MinioTransport
from tests.helpers import S3Probe, point_at
from tests.integration.minio_common import MIB, T, body_of, open_minio, settings_for
from tests.relays import ForwardProxy
from tests.servers import Ministack

BUCKET = "minio-odd-keys"
# What urllib3, minio or http.client could change on its way, and what merely needs encoding.
ODD_KEYS = [
    ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "/", "//", "//a", "/a", "a//b", "a/", " ", " a", "a ",
    "a+b", "a%b", "a%2Fb", "a%2fb", "%41", "a?b=c&d=e", "a#b", "a;b", "~user", "a~b", "é", "e\u0301", "😀/日本語",
    "a\nb", "\t", "*'()!", "[x]{y}|^`", "a\\b", '"q"', "\x7f", "x" * 1024,
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.fixture(scope="module")
def odd_bucket(ministack: Ministack) -> Iterator[str]:
    with S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe:
        probe.create_bucket(BUCKET)
        yield BUCKET
        probe.delete_all(BUCKET)


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_odd_keys(ministack: Ministack, odd_bucket: str, monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    """Every odd key is stored as itself, as our raw transport sees it, read, copied and deleted; in both styles."""
    ask = socket.getaddrinfo

    def local(host: Any, *args: Any, **keywords: Any) -> Any:
        # Not every resolver knows names below localhost.
        return ask("127.0.0.1" if str(host).endswith("localhost") else host, *args, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    raw = RawTransport(settings_for(ministack))
    api = open_minio(ministack, endpoint_url=f"http://s3.localhost:{ministack.port}", addressing_style=style)
    for key in ODD_KEYS:
        api.put_object(odd_bucket, key, key.encode(), (), timeouts=T)
    found = api.list_objects_v2(odd_bucket, timeouts=T).objects
    assert sorted(info.key for info in found) == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        assert body_of(raw, odd_bucket, key) == key.encode()
        assert body_of(api, odd_bucket, key) == key.encode()
    api.copy_object(odd_bucket, "a/../b", odd_bucket, "//./copy", (), timeouts=T)
    assert body_of(raw, odd_bucket, "//./copy") == b"a/../b"
    for key in [*ODD_KEYS, "//./copy"]:
        api.delete_object(odd_bucket, key, timeouts=T)
    assert api.list_objects_v2(odd_bucket, timeouts=T).objects == []
    api.close()
    raw.close()


def test_odd_keys_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The absolute form that a proxy gets has the key as exactly as the path has it."""
    with ForwardProxy("a:login that is not sent") as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        api = MinioTransport(TransportSettings(endpoint_url="http://store:9000"))
        for key in ("a/./b", "../c d", "//e", "%2f"):
            with pytest.raises(RequestError) as caught:
                api.delete_object("bucket", key, timeouts=T)
            assert caught.value.status == 407
        lines = [head.split(b"\r\n", 1)[0].decode() for head in proxy.heads]
        api.close()
    assert lines == [
        f"DELETE http://store:9000/bucket/{path} HTTP/1.1" for path in ("a/./b", "../c%20d", "//e", "%252f")
    ]


def test_odd_keys_in_parts(ministack: Ministack, odd_bucket: str) -> None:
    """A key with dot segments can be uploaded in parts, out of itself."""
    api = open_minio(ministack)
    api.put_object(odd_bucket, "a/../b ", b"0123456789", (), timeouts=T)
    upload = api.create_multipart_upload(odd_bucket, "a/../b ", (("content-type", "a/b"),), timeouts=T)
    assert [found.key for found in api.list_multipart_uploads(odd_bucket, timeouts=T).uploads] == ["a/../b "]
    part = api.upload_part_copy(odd_bucket, "a/../b ", 2, 5, odd_bucket, "a/../b ", upload, 1, timeouts=T)
    api.complete_multipart_upload(odd_bucket, "a/../b ", upload, [CompletedPart(1, part.etag)], timeouts=T)
    assert body_of(api, odd_bucket, "a/../b ") == b"2345"
    assert api.delete_objects(odd_bucket, ["a/../b "], timeouts=T) == []
    api.close()


def test_metadata(ministack: Ministack, odd_bucket: str) -> None:
    """Values with blanks and letters outside ASCII arrive as those of the raw transport do."""
    headers = (("x-amz-meta-name", "zwölf  Öfen"), ("x-amz-meta-kanji", "日本"), ("content-disposition", 'x; y="a  b"'))
    api, raw = open_minio(ministack), RawTransport(settings_for(ministack))
    found = []
    for transport in (api, raw):
        transport.put_object(odd_bucket, "meta", b"x", headers, timeouts=T)
        stored = dict(raw.head_object(odd_bucket, "meta", timeouts=T).headers)
        found.append([stored[name] for name, _ in headers])
    assert found[0] == found[1]
    assert found[0][1].encode("latin-1").decode() == "日本"
    api.delete_object(odd_bucket, "meta", timeouts=T)
    api.close()
    raw.close()


def _header(head: bytes, name: str) -> str:
    lines = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n") if ": " in line)
    return lines.get(name, "")


@pytest.mark.parametrize("signing", ["auto", "always", "never"])
def test_what_is_signed(
    seaweed: EmbeddedServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signing: str
) -> None:
    """A body out of a file is signed by its hash, or not and has its MD5; region and user agent are the engine's."""
    (tmp_path / "f").write_bytes(b"0123456789")
    with ForwardProxy() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        api = open_minio(seaweed, payload_signing=signing, user_agent="engine/1", region="eu-west-1")
        api.set_region(bucket, "eu-central-1")
        api.put_object(bucket, "f", FilePart(str(tmp_path / "f"), 2, 5), (), timeouts=T)
        assert body_of(api, bucket, "f") == b"23456"
        api.close()
        head = proxy.heads[0]
    never = signing == "never"
    body = b"23456"
    digest = "unsigned-payload" if never else hashlib.sha256(body).hexdigest()
    assert _header(head, "x-amz-content-sha256") == digest
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode().lower()
    assert _header(head, "content-md5") == (md5 if never else "")
    assert _header(head, "content-length") == "5"
    assert _header(head, "user-agent") == "engine/1"
    assert "/eu-central-1/s3/aws4_request" in _header(head, "authorization")


def test_a_file_that_changes_after_it_was_hashed(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """A file that is not what was planned is SourceChanged, and the store keeps nothing of it."""
    path = tmp_path / "f"
    path.write_bytes(bytes(300_000))
    status = path.stat()
    part = FilePart(str(path), 0, 300_000, status.st_mtime_ns, 300_000)
    api = open_minio(seaweed, payload_signing="never")
    path.write_bytes(bytes(299_999))
    with pytest.raises(SourceChanged):
        api.put_object(bucket, "f", part, (), timeouts=T)
    assert probe.get(bucket, "f") is None
    api.close()


@pytest.mark.parametrize(
    ("region", "style", "bucket", "host"),
    [
        ("eu-west-1", "auto", "a-bucket", "a-bucket.s3.eu-west-1.amazonaws.com"),
        ("eu-west-1", "path", "a-bucket", "s3.eu-west-1.amazonaws.com"),
        ("eu-west-1", "auto", "with.dots", "s3.eu-west-1.amazonaws.com"),
        ("cn-north-1", "virtual", "a-bucket", "a-bucket.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_amazon(monkeypatch: pytest.MonkeyPatch, region: str, style: str, bucket: str, host: str) -> None:
    """Without an endpoint requests go to Amazon S3 in the region, of each bucket; nothing else is asked for."""
    asked = []

    def unknown(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    api = MinioTransport(
        TransportSettings(region=region, addressing_style=style, credentials=Credentials("AK", "SK"))
    )
    with pytest.raises(ConnectFailed):
        api.head_object(bucket, "k", timeouts=T)
    api.set_region(bucket, "us-west-2")
    with pytest.raises(ConnectFailed):
        api.create_bucket("another", timeouts=T)
    with pytest.raises(ConnectFailed):
        api.list_objects_v2(bucket, timeouts=T)
    assert asked[0] == host
    assert asked[2].endswith("s3.us-west-2.amazonaws.com")
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"endpoint_url": "http://127.0.0.1:9/path"}, "path"),
        ({"endpoint_url": "http://user@127.0.0.1:9"}, "username"),
        ({"endpoint_url": "ftp://127.0.0.1"}, "ftp"),
        ({"endpoint_url": "http://127.0.0.1:9", "region": "no region"}, "region"),
        ({"endpoint_url": "https://127.0.0.1:9", "ca_bundle": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem"),
    ],
)
def test_refused_settings(changes: dict[str, Any], named: str) -> None:
    """What minio cannot do is refused when it is opened."""
    with pytest.raises(ConfigError, match=named):
        MinioTransport(TransportSettings(**changes))


def test_refused_names() -> None:
    """Nothing is sent for a bucket that minio would put into the path as it is, or for a key that is no key."""
    api = MinioTransport(TransportSettings(endpoint_url="http://127.0.0.1:9"))
    for bucket, key in (("a b", "k"), ("a/b", "k"), ("ü", "k"), ("..", "k"), ("bucket", ""), ("bucket", "\ud800")):
        with pytest.raises(InvalidRequest):
            api.delete_object(bucket, key, timeouts=T)
    with pytest.raises(InvalidRequest):
        api.list_objects_v2("bucket", "\ud800", timeouts=T)
    with pytest.raises(ConfigError, match="line break"):
        api.put_object("bucket", "k", b"", (("x-amz-meta-a", "a\r\nb: c"),), timeouts=T)


def test_an_engine(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine on minio uploads, lists, copies, downloads and deletes small objects and one in parts."""
    point_at(monkeypatch, seaweed)
    files = {f"small/{number}": os.urandom(number * 100) for number in range(40)} | {"large": os.urandom(12 * MIB)}
    source, target = tmp_path / "source", tmp_path / "target"
    for name, body in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(body)
    with Engine(
        transport="minio", workers=2, concurrency=16, multipart_threshold_bytes=5 * MIB, part_size_bytes=5 * MIB,
        copy_threshold_bytes=5 * MIB, copy_part_size_bytes=5 * MIB,
    ) as engine:  # fmt: skip
        assert engine.upload(bucket, files_recursive(source, "up/")).wait().ok
        (missing,) = engine.upload(bucket, [FileSource(str(tmp_path / "none"), "up/none")])
        assert isinstance(missing.error, SourceError)
        found = {info.key: info for info in engine.list(bucket, "up/")}
        assert {key: info.size_bytes for key, info in found.items()} == {
            f"up/{name}": len(body) for name, body in files.items()
        }
        assert found["up/large"].etag.endswith("-3")
        copied = engine.copy(bucket, list(found.values()), bucket, key=lambda info: info.key.replace("up/", "copy/"))
        assert copied.wait().ok
        copies = [info.key for info in engine.list(bucket, "copy/")]
        assert engine.download(bucket, copies, target).wait().ok
        assert {name: (target / "copy" / name).read_bytes() for name in files} == files
        assert engine.delete(bucket, [*found, *copies]).wait().ok
    assert probe.list_keys(bucket) == []
