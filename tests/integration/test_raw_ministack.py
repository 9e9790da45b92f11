"""The raw transport against ministack: exact keys, order of listing, virtual addressing, conditions."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import InvalidRequest, NotFound, PreconditionFailed, RequestError
from s3engine.sinks import MemorySink
from s3engine.transport import CompletedPart, Timeouts
from s3engine_transports.raw import RawTransport
from s3engine_transports.raw.xml import is_xml_safe
from tests.helpers import S3Probe
from tests.servers import Ministack

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
BUCKET = "raw-odd-keys"

ODD_KEYS = [
    "plain", "a b", " a", "a ", "a  b", "a+b", "+", "a%b", "%", "a%20b", "a%2Fb", "%41", "a%zz", "a//b", "a///b", "/a",
    "//a", "/", "//", "a/", "a//", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "...", "é", "e\u0301",
    "日本語/キー", "😀", "𐍈/🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a\nb", "a\r\nb", "a\rb", "\t", "a\tb", "a?b=c&d=e", "a#b", "a;b", "a:b@c,d",
    "~user", "a~b",
    "*'()!", "[x]{y}|^`", "a\\b", '"quoted"', "<xml>&amp;", "a=b&c", "\x7f", "-", "_", "x" * 1024, "ä" * 512,
    "/".join(["seg"] * 256), "\u202e\u200b", "a\x85b",
]  # fmt: skip


def _open(server: Ministack, **changes: Any) -> RawTransport:
    credentials = Credentials(server.access_key, server.secret_key)
    return RawTransport(
        TransportSettings(**{"endpoint_url": server.endpoint_url, "credentials": credentials, **changes})
    )


@pytest.fixture(scope="module")
def raw(ministack: Ministack) -> Iterator[RawTransport]:
    """The transport, with an empty bucket BUCKET that goes with all it holds."""
    transport = _open(ministack)
    transport.create_bucket(BUCKET, timeouts=T)
    yield transport
    transport.close()
    with S3Probe(ministack.endpoint_url, ministack.access_key, ministack.secret_key) as probe:
        probe.delete_all(BUCKET)


def _get(raw: RawTransport, key: str, bucket: str = BUCKET) -> bytes:
    sink = MemorySink()
    raw.get_object(bucket, key, sink, timeouts=T)
    return sink.body()


def _list(raw: RawTransport, prefix: str = "", max_keys: int = 1000) -> list[str]:
    keys: list[str] = []
    token = ""
    while True:
        page = raw.list_objects_v2(BUCKET, prefix, continuation_token=token, max_keys=max_keys, timeouts=T)
        keys.extend(info.key for info in page.objects)
        token = page.next_token
        if not token:
            return keys


def test_odd_keys_travel_exactly(raw: RawTransport) -> None:
    """Every odd key is stored, read, listed (in pages) and deleted as itself, beside all the others."""
    assert len(set(ODD_KEYS)) == len(ODD_KEYS) >= 53
    for key in ODD_KEYS:
        raw.put_object(BUCKET, key, key.encode(), (), timeouts=T)
    for key in ODD_KEYS:
        assert _get(raw, key) == key.encode(), key
        assert raw.head_object(BUCKET, key, timeouts=T).size_bytes == len(key.encode())
    assert sorted(_list(raw)) == sorted(ODD_KEYS)
    assert sorted(_list(raw, max_keys=7)) == sorted(ODD_KEYS)
    in_xml = [key for key in ODD_KEYS if is_xml_safe(key)]
    assert raw.delete_objects(BUCKET, in_xml, timeouts=T) == []
    rest = [key for key in ODD_KEYS if not is_xml_safe(key)]
    assert sorted(_list(raw)) == sorted(rest)
    for key in rest:
        raw.delete_object(BUCKET, key, timeouts=T)
    assert _list(raw) == []


@pytest.mark.parametrize("key", ["a b+c%d", "//a/../b/", "日本語😀", "x" * 1024])
def test_odd_keys_in_copies_and_parts(raw: RawTransport, key: str) -> None:
    """An odd key can be the source and the target of copies, and of uploads in parts."""
    raw.put_object(BUCKET, "from", b"0123456789", (), timeouts=T)
    raw.copy_object(BUCKET, "from", BUCKET, key, (), timeouts=T)
    raw.copy_object(BUCKET, key, BUCKET, "back", (), timeouts=T)
    assert _get(raw, "back") == b"0123456789"
    upload = raw.create_multipart_upload(BUCKET, key, (), timeouts=T)
    assert [found.key for found in raw.list_multipart_uploads(BUCKET, timeouts=T).uploads] == [key]
    part = raw.upload_part_copy(BUCKET, key, 2, 5, BUCKET, key, upload, 1, timeouts=T)
    raw.complete_multipart_upload(BUCKET, key, upload, [CompletedPart(1, part.etag)], timeouts=T)
    assert _get(raw, key) == b"2345"
    raw.delete_objects(BUCKET, [key, "from", "back"], timeouts=T)


@pytest.mark.parametrize("prefix", ["a b", "a+", "a%", "/", "//", "é", "😀", "a/../", "a?b=c&d", " "])
def test_odd_prefixes(raw: RawTransport, prefix: str) -> None:
    """A prefix is as exact as a key, and so is what a delimiter folds together."""
    keys = [prefix + "1/x", prefix + "2", "unlike"]
    for key in keys:
        raw.put_object(BUCKET, key, b"", (), timeouts=T)
    assert sorted(_list(raw, prefix)) == sorted(keys[:2])
    page = raw.list_objects_v2(BUCKET, prefix + "1", delimiter="/", timeouts=T)
    assert (page.prefixes, page.objects) == ([prefix + "1/"], [])
    after = raw.list_objects_v2(BUCKET, prefix, start_after=prefix + "1/x", timeouts=T)
    assert [info.key for info in after.objects] == [prefix + "2"]
    raw.delete_objects(BUCKET, keys, timeouts=T)


def test_conditions(raw: RawTransport) -> None:
    """If-Match on get and copy holds with the right ETag and raises PreconditionFailed with another."""
    etag = raw.put_object(BUCKET, "c", b"x", (), timeouts=T).etag
    sink = MemorySink()
    assert raw.get_object(BUCKET, "c", sink, if_match=etag, timeouts=T).etag == etag
    raw.copy_object(BUCKET, "c", BUCKET, "d", (), if_match=etag, timeouts=T)
    with pytest.raises(PreconditionFailed):
        raw.get_object(BUCKET, "c", MemorySink(), if_match="0" * 32, timeouts=T)
    with pytest.raises(PreconditionFailed):
        raw.copy_object(BUCKET, "c", BUCKET, "d", (), if_match="0" * 32, timeouts=T)
    with pytest.raises(PreconditionFailed):
        raw.put_object(BUCKET, "c", b"y", (("if-none-match", "*"),), timeouts=T)
    raw.delete_objects(BUCKET, ["c", "d"], timeouts=T)


def test_virtual_addressing(ministack: Ministack, raw: RawTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """With virtual addressing the bucket is in the host name, and every odd key still arrives."""
    ask = socket.getaddrinfo

    def local(host: Any, *args: Any, **keywords: Any) -> Any:
        # Not every resolver knows names below localhost.
        return ask("127.0.0.1" if str(host).endswith("localhost") else host, *args, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    virtual = _open(ministack, endpoint_url=f"http://s3.localhost:{ministack.port}", addressing_style="virtual")
    assert virtual.route(BUCKET).host == f"{BUCKET}.s3.localhost:{ministack.port}"
    keys = ["a b", "a+b%", "é😀", "//a", "a/../b", "."]
    for key in keys:
        virtual.put_object(BUCKET, key, key.encode(), (), timeouts=T)
    for key in keys:
        assert _get(raw, key) == key.encode()
        assert _get(virtual, key) == key.encode()
    page = virtual.list_objects_v2(BUCKET, timeouts=T)
    assert sorted(info.key for info in page.objects) == sorted(keys)
    assert virtual.delete_objects(BUCKET, keys, timeouts=T) == []
    virtual.close()


def test_presigned_url(ministack: Ministack, raw: RawTransport) -> None:
    """Whoever has a presigned URL can read the object without credentials; nobody else can."""
    import urllib.request

    raw.put_object(BUCKET, "a b+c", b"body", (), timeouts=T)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        raw.presigned_url("GET", BUCKET, "a b+c", 60), timeout=10
    ) as answer:
        assert answer.read() == b"body"
    raw.delete_object(BUCKET, "a b+c", timeouts=T)


def test_what_is_not_there(raw: RawTransport) -> None:
    """Missing keys, buckets and uploads raise NotFound with the code that says which."""
    for code, call in (
        ("NoSuchKey", lambda: raw.get_object(BUCKET, "none", MemorySink(), timeouts=T)),
        ("NoSuchKey", lambda: raw.head_object(BUCKET, "none", timeouts=T)),
        ("NoSuchBucket", lambda: raw.list_objects_v2("no-such-bucket", timeouts=T)),
        ("NoSuchBucket", lambda: raw.head_bucket("no-such-bucket", timeouts=T)),
        ("NoSuchUpload", lambda: raw.abort_multipart_upload(BUCKET, "k", "none", timeouts=T)),
    ):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.code == code
    raw.delete_object(BUCKET, "none", timeouts=T)


def test_refused_buckets(raw: RawTransport) -> None:
    """A bucket that holds something is not deleted, and a bad name makes no bucket."""
    raw.put_object(BUCKET, "k", b"", (), timeouts=T)
    with pytest.raises(InvalidRequest, match=r"BucketNotEmpty.*delete what it holds first"):
        raw.delete_bucket(BUCKET, timeouts=T)
    raw.delete_object(BUCKET, "k", timeouts=T)
    with pytest.raises(RequestError):
        raw.create_bucket("UPPER_case!", timeouts=T)
