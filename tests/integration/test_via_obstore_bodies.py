"""Bodies, copies and what they hold of memory, with the obstore transport."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="the obstore transport needs the package obstore")

from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    AccessDenied,
    ConfigError,
    ConnectFailed,
    NotS3,
    NotSupported,
    ServerFault,
    SourceChanged,
    TruncatedBody,
)
from s3engine.testing.conformance.scripted import Say, Scripted, answer
from s3engine.transport import FilePart
from s3engine_transports.common import Answer
from s3engine_transports.via_obstore import ObstoreTransport, downloads
from s3engine_transports.via_obstore.uploads import Room
from tests.helpers import S3Probe, eventually
from tests.integration.obstore_common import BUCKET, MIB, T, get, no_proxies, open_obstore
from tests.servers import RcloneServer

__all__ = ["no_proxies"]

REQUEST = Answer("PutObject", "bucket", "k")


@pytest.fixture
def api(seaweed: EmbeddedServer) -> Iterator[ObstoreTransport]:
    transport = open_obstore(seaweed.endpoint_url, seaweed)
    yield transport
    transport.close()


def test_headers(api: ObstoreTransport, bucket: str, probe: S3Probe) -> None:
    """Headers become what obstore calls attributes, tags and modes; one it has no name for is refused, unsent."""
    headers = (
        ("content-type", "text/x-odd"), ("content-encoding", "gzip"), ("x-amz-storage-class", "STANDARD"),
        ("x-amz-meta-name", "a  b"), ("x-amz-tagging", "a%20b=c%26d&e="), ("if-none-match", "*"),
    )  # fmt: skip
    etag = api.put_object(bucket, "k", b"body", headers, timeouts=T).etag
    seen = probe.head(bucket, "k") or {}
    assert {name: seen.get(name) for name, _ in headers[:4]} == dict(headers[:4])
    tags = probe.request("GET", f"/{bucket}/k", "tagging=").body
    assert b"<Key>a b</Key><Value>c&amp;d</Value>" in tags
    found = dict(api.head_object(bucket, "k", timeouts=T).headers)
    assert (found["x-amz-meta-name"], found["content-encoding"]) == ("a  b", "gzip")
    api.put_object(bucket, "k", b"other", (("if-match", f'"{etag}"'),), timeouts=T)
    for name in ("x-amz-acl", "x-amz-server-side-encryption", "expires", "x-amz-meta-content-type"):
        with pytest.raises(NotSupported, match=name):
            api.put_object(bucket, "refused", b"", ((name, "x"),), timeouts=T)
    with pytest.raises(ConfigError, match="line break"):
        api.put_object(bucket, "refused", b"", (("x-amz-meta-a", "b\r\nc"),), timeouts=T)
    with pytest.raises(NotSupported, match="copy takes no headers"):
        api.copy_object(bucket, "k", bucket, "l", headers, timeouts=T)
    assert probe.list_keys(bucket) == ["k"]


def test_large_files_go_in_parts(api: ObstoreTransport, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A large part of a file is sent whole; one that shrinks or was written to stores nothing and leaves no parts."""
    data = os.urandom(20 * MIB)
    path = tmp_path / "f"
    path.write_bytes(data)
    status = path.stat()
    part = FilePart(str(path), 3, 18 * MIB, status.st_mtime_ns, len(data))
    assert api.put_object(bucket, "f", part, (("x-amz-meta-a", "b"),), timeouts=T).etag.endswith("-3")
    assert probe.get(bucket, "f") == data[3 : 3 + 18 * MIB]
    assert (probe.head(bucket, "f") or {})["x-amz-meta-a"] == "b"
    for wrong in (part._replace(mtime_ns=status.st_mtime_ns - 1), part._replace(offset=4 * MIB, file_bytes=-1)):
        with pytest.raises(SourceChanged):
            api.put_object(bucket, "g", wrong, (), timeouts=T)
    assert probe.get(bucket, "g") is None
    assert b"<UploadId>" not in probe.request("GET", f"/{bucket}", "uploads=").body
    with pytest.raises(NotSupported, match="condition"):
        api.put_object(bucket, "g", part._replace(length=65 * MIB), (("if-none-match", "*"),), timeouts=T)


def test_bodies_wait_for_room() -> None:
    """Bodies on their way hold no more memory than there is; what is larger than that goes alone."""
    room = Room(10 * MIB)
    inside: list[int] = []
    most = []

    def work() -> None:
        with room.take(REQUEST, 4 * MIB):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (max(most), len(most)) == (2, 8)
    with room.take(REQUEST, 99 * MIB), room.take(REQUEST, 1):
        assert room._free == 0


def test_ranges_of_a_store_that_answers_200(rclone_server: RcloneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Obstore takes no 200 to a range: the object is read up to it, unless that is too far, which is NotSupported."""
    server = rclone_server
    api = open_obstore(server.endpoint_url, server)
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        probe.create_bucket(BUCKET)
        data = os.urandom(600_000)
        probe.put(BUCKET, "r", data)
        assert get(api, BUCKET, "r", first=300_000, last=300_009) == data[300_000:300_010]
        assert get(api, BUCKET, "r", first=599_990) == data[-10:]
        monkeypatch.setattr(downloads, "_SKIPPED_BYTES", 1000)
        with pytest.raises(NotSupported, match="answers 200 to a range"):
            get(api, BUCKET, "r", first=1001)
        assert get(api, BUCKET, "r") == data
        probe.delete_all(BUCKET)
    api.close()


def _object(etag: str, body: bytes = b"abc", status: int = 200, content_range: str = "", second: int = 5) -> Say:
    date = ("Last-Modified", f"Fri, 02 Jan 2026 03:04:{second:02} GMT")
    ranged = (("Content-Range", content_range),) if content_range else ()
    return answer(status, body, ("ETag", f'"{etag}"'), date, *ranged)


@pytest.mark.parametrize("target", [_object("old"), _object("old", b"abcd"), answer(404)])
def test_a_200_that_was_no_copy(target: Say) -> None:
    """An empty 200 in answer to a copy is ServerFault when the target is still the old one, or not there."""
    with Scripted(*[answer(200), _object("source"), target] * 2) as server:
        api = open_obstore(server.endpoint_url)
        with pytest.raises(ServerFault, match="no copy"):
            api.copy_object("bucket", "source", "bucket", "k", (), timeouts=T)
        api.close()


def test_copies_with_another_etag() -> None:
    """Where copies get another ETag a target that changed is one, and from then on it is looked at before."""
    first = (answer(200), _object("s-2"), _object("s"), answer(200), _object("s-2"), _object("s", second=7))
    later = (_object("old"), answer(200), _object("s-2"), _object("s", second=9))
    with Scripted(*first, *later) as server:
        api = open_obstore(server.endpoint_url)
        for requests in (6, 10):
            assert api.copy_object("bucket", "source", "bucket", "k", (), timeouts=T).etag == "s"
            assert len(server.requests) == requests
        api.close()


def test_a_part_of_an_object_is_not_all_of_it() -> None:
    """A 206 with some bytes, a 200 that a HEAD belies and an empty 204 are errors of a read of the whole object."""
    some = _object("e", status=206, content_range="bytes 0-2/100")
    for script, kind in (
        ((some,), TruncatedBody), ((_object("e"), _object("e"), _object("e", b"abcd")), TruncatedBody),
        ((answer(204),), NotS3),
    ):  # fmt: skip
        with Scripted(*script) as server:
            api = open_obstore(server.endpoint_url)
            with pytest.raises(kind):
                get(api, "bucket", "k")
            api.close()


def test_large_error_bodies() -> None:
    """Of an error with megabytes of body the status counts, and nothing of the body is taken for obstore's words."""
    body = b"\n            inner: Status {\n                status: 200,\n" + b"x" * 200_000
    with Scripted(answer(403, body)) as server:
        api = open_obstore(server.endpoint_url)
        with pytest.raises(AccessDenied):
            get(api, "bucket", "k")
        api.close()


def test_room_is_given_in_turn_until_closed() -> None:
    """A large body that waits is not passed by a smaller one; who waits when the transport is closed is told."""
    room = Room(10 * MIB)
    got: list[str] = []

    def want(size: int, name: str) -> None:
        try:
            with room.take(REQUEST, size):
                got.append(name)
        except ConnectFailed:
            got.append("closed")

    for close in (False, True):
        got.clear()
        with room.take(REQUEST, 6 * MIB):
            threads = []
            for size, name in ((8 * MIB, "large"), (2 * MIB, "small")):
                threads.append(threading.Thread(target=want, args=(size, name)))
                threads[-1].start()
                waiting = len(threads)
                eventually(lambda waiting=waiting: len(room._waiting) == waiting)  # type: ignore[misc]
            assert got == []
            if close:
                room.close()
                eventually(lambda: len(got) == 2)
        for thread in threads:
            thread.join(10)
        assert got == (["closed"] * 2 if close else ["large", "small"])
