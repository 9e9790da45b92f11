"""Doubtful requests and answers through every transport that reads answers by itself: none is taken for a good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("minio")

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, InvalidRequest, NotS3, PreconditionFailed, RequestError, ServerFault
from s3engine.pool.load import open_transport
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.scripted import Say, Scripted, answer, list_answer, object_answer
from s3engine.transport import Timeouts, Transport

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024
TOKEN = "session-token-that-nobody-may-see"

every_transport = pytest.mark.parametrize("name", ["raw", "boto3", "minio"])
pytestmark = pytest.mark.usefixtures("no_proxies")


def _ask(name: str, server: Scripted, call: Callable[[Transport], Any]) -> Any:
    credentials = Credentials("AKID1", "not-a-secret", TOKEN)
    api = open_transport(name, TransportSettings(endpoint_url=server.endpoint_url, credentials=credentials))
    try:
        return call(api)
    finally:
        api.close()


def _xml(root: str, content: str) -> Say:
    return answer(200, f"<{root}>{content}</{root}>".encode(), ("Content-Type", "application/xml"))


# ---- requests


@every_transport
@pytest.mark.parametrize(
    ("header", "value"), [("x-amz-meta-a", "\udc80"), ("x-amz-meta-a", "a\nb: c"), ("a: 1\r\nevil", "v"), ("a b", "v")]
)
def test_headers_that_cannot_be_sent(name: str, header: str, value: str) -> None:
    """ConfigError, nothing is sent, and nothing of the request is told."""
    with Scripted(object_answer(b"")) as server:
        with pytest.raises(ConfigError) as caught:
            _ask(name, server, lambda api: api.put_object("bucket", "k", b"x", ((header, value),), timeouts=T))
        assert not server.requests
    assert TOKEN not in str(caught.value)


@every_transport
@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.list_objects_v2("bucket", "\udc80", timeouts=T),
        lambda api: api.upload_part("bucket", "k", "\udc80", 1, b"x", timeouts=T),
        lambda api: api.abort_multipart_upload("bucket", "k", "\udc80", timeouts=T),
        lambda api: api.delete_object("bucket\udc80", "k", timeouts=T),
        lambda api: api.delete_object("", "k", timeouts=T),
        lambda api: api.delete_objects("bucket", ["a", ""], timeouts=T),
        lambda api: api.delete_objects("bucket", ["a", "\x01"], timeouts=T),
    ],
)
def test_what_cannot_be_asked_for(name: str, call: Callable[[Transport], Any]) -> None:
    """InvalidRequest, nothing is sent, and the session token is not told."""
    with Scripted(list_answer()) as server:
        with pytest.raises(InvalidRequest) as caught:
            _ask(name, server, call)
        assert not server.requests
    assert TOKEN not in str(caught.value)


# ---- answers


@every_transport
def test_another_object_than_was_asked_for(name: str) -> None:
    """A store that ignores If-Match: PreconditionFailed, and the sink gets nothing."""
    sink = MemorySink()
    with Scripted(object_answer(b"abc")) as server:
        with pytest.raises(PreconditionFailed, match="s3://bucket/k"):
            _ask(name, server, lambda api: api.get_object("bucket", "k", sink, if_match="ffff", timeouts=T))
        assert server.requests[0].headers["if-match"] == '"ffff"'
    assert sink.info is None


@every_transport
@pytest.mark.parametrize("status", [202, 204])
def test_another_good_status(name: str, status: int) -> None:
    """Only 200 and 206 are objects: any other good status raises, and the sink gets nothing."""
    sink = MemorySink()
    with Scripted(object_answer(b"", status)) as server, pytest.raises(RequestError):
        _ask(name, server, lambda api: api.get_object("bucket", "k", sink, timeouts=T))
    assert sink.info is None


@every_transport
@pytest.mark.parametrize("key", ["another", ""])
def test_deletes_that_nobody_asked_for(name: str, key: str) -> None:
    """A DeleteResult that names a key which was not to be deleted raises ServerFault."""
    failed = f"<Error><Key>{key}</Key><Code>SlowDown</Code><Message>m</Message></Error>"
    with Scripted(_xml("DeleteResult", failed)) as server, pytest.raises(ServerFault, match="not asked for"):
        _ask(name, server, lambda api: api.delete_objects("bucket", ["a", "b"], timeouts=T))


@every_transport
def test_pages_that_do_not_say_what_follows(name: str) -> None:
    """IsTruncated without a marker raises ServerFault: what is listed is not all."""
    truncated = "<IsTruncated>true</IsTruncated>"
    with Scripted(_xml("ListPartsResult", truncated), _xml("ListMultipartUploadsResult", truncated)) as server:
        with pytest.raises(ServerFault):
            _ask(name, server, lambda api: api.list_parts("bucket", "k", "u", timeouts=T))
        with pytest.raises(ServerFault):
            _ask(name, server, lambda api: api.list_multipart_uploads("bucket", timeouts=T))


@every_transport
@pytest.mark.parametrize("status", [200, 403])
def test_answers_without_end(name: str, status: int) -> None:
    """A body that goes to no sink is read up to 64 MiB, then it is no S3 answer."""
    large = pytest.raises(NotS3, match=r"s3://bucket/: the answer is larger")
    with Scripted(answer(status, b"x" * (65 * MIB))) as server, large as caught:
        _ask(name, server, lambda api: api.list_objects_v2("bucket", timeouts=T))
    assert caught.value.status == status


@every_transport
def test_an_error_without_end_in_answer_to_a_get(name: str) -> None:
    """The same for the refusal of a download, whose sink gets nothing of it."""
    sink = MemorySink()
    large = pytest.raises(NotS3, match=r"s3://bucket/k: the answer is larger")
    with Scripted(answer(403, b"x" * (65 * MIB))) as server, large:
        _ask(name, server, lambda api: api.get_object("bucket", "k", sink, timeouts=T))
    assert sink.info is None


@pytest.mark.parametrize("name", ["boto3", "minio"])
def test_the_rest_of_an_ignored_range(name: str) -> None:
    """What comes behind a range, out of a body without length, is not read: the connection is closed."""
    head = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nTransfer-Encoding: chunked\r\n\r\n'
    sink = MemorySink()
    with Scripted(Say(head + b"400\r\n" + b"x" * 1024, then="hang")) as server:
        result = _ask(name, server, lambda api: api.get_object("bucket", "k", sink, last=9, timeouts=T))
    assert (result.size_bytes, sink.body()) == (10, b"x" * 10)
