"""The raw transport against rclone: odd answers to ranges and conditions, operations that are missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import NotSupported, RequestError
from s3engine.sinks import MemorySink
from s3engine.transport import Timeouts
from s3engine_transports.raw import RawTransport
from tests.helpers import S3Probe
from tests.servers import RcloneServer

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
BUCKET = "raw-rclone"


@pytest.fixture(scope="module")
def raw(rclone_server: RcloneServer) -> Iterator[RawTransport]:
    """The transport, with a bucket BUCKET that goes with all it holds."""
    server = rclone_server
    credentials = Credentials(server.access_key, server.secret_key)
    transport = RawTransport(TransportSettings(endpoint_url=server.endpoint_url, credentials=credentials))
    transport.create_bucket(BUCKET, timeouts=T)
    yield transport
    transport.close()
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        probe.delete_all(BUCKET)


@pytest.mark.parametrize(("first", "last"), [(0, 3), (2, 5), (6, -1), (9, 9), (5, 99)])
def test_ranges(raw: RawTransport, first: int, last: int) -> None:
    """A range comes back as that range, though the status says 200."""
    raw.put_object(BUCKET, "r", b"0123456789", (), timeouts=T)
    sink = MemorySink()
    result = raw.get_object(BUCKET, "r", sink, first=first, last=last, timeouts=T)
    assert sink.body() == b"0123456789"[first : last + 1 if last >= 0 else None]
    assert (result.offset, result.total_bytes) == (first, 10)
    assert result.size_bytes == len(sink.body())


def test_the_store_ignores_if_none_match(raw: RawTransport) -> None:
    """What the server takes silently is no error here: the second PUT replaces the first."""
    raw.put_object(BUCKET, "n", b"one", (), timeouts=T)
    raw.put_object(BUCKET, "n", b"two", (("if-none-match", "*"),), timeouts=T)
    sink = MemorySink()
    raw.get_object(BUCKET, "n", sink, timeouts=T)
    assert sink.body() == b"two"


def test_copies_of_parts_are_not_supported(raw: RawTransport) -> None:
    """UploadPartCopy raises NotSupported, so that the caller can go another way; the upload can be aborted."""
    raw.put_object(BUCKET, "p", b"0123456789", (), timeouts=T)
    upload = raw.create_multipart_upload(BUCKET, "q", (), timeouts=T)
    with pytest.raises(NotSupported):
        raw.upload_part_copy(BUCKET, "p", 0, 9, BUCKET, "q", upload, 1, timeouts=T)
    raw.abort_multipart_upload(BUCKET, "q", upload, timeouts=T)


def test_list_copy_delete(raw: RawTransport) -> None:
    """Listing, server-side copy and DeleteObjects work as with any store."""
    keys = ["l/a b", "l/c+d", "l/é%"]
    for key in keys:
        raw.put_object(BUCKET, key, key.encode(), (), timeouts=T)
    raw.copy_object(BUCKET, keys[0], BUCKET, "l/z", (), timeouts=T)
    page = raw.list_objects_v2(BUCKET, "l/", timeouts=T)
    assert sorted(info.key for info in page.objects) == sorted([*keys, "l/z"])
    assert raw.delete_objects(BUCKET, [*keys, "l/z"], timeouts=T) == []
    assert raw.list_objects_v2(BUCKET, "l/", timeouts=T).objects == []


@pytest.mark.parametrize("key", ["/a", "a//b", "../a"])
def test_refused_keys(raw: RawTransport, key: str) -> None:
    """A key that the store cannot hold is refused with an error that names it, and nothing else is written."""
    with pytest.raises(RequestError) as caught:
        raw.put_object(BUCKET, key, b"x", (), timeouts=T)
    assert caught.value.key == key
