"""Answers of the raw transport that contradict themselves, or the request, are never taken for the object."""

from __future__ import annotations

import pytest

from s3engine import errors
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.transport import DeleteFailure
from s3engine_transports.raw import RawTransport

ops = RawTransport(
    TransportSettings(endpoint_url="http://127.0.0.1:9", credentials=Credentials("AK", "SK"))
).exchanges


def _answer(*lines: str, body: bytes = b"", status: int = 200) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Reason", *lines, "", ""]).encode() + body


ETAG = 'ETag: "e"'
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "answer",
    [
        _answer(CHUNKED, "Content-Length: 30", body=b"3\r\nabc\r\n0\r\n\r\n"),
        _answer("Content-Length: 3", "Content-Length: 30", body=b"abc"),
        _answer(CHUNKED, "Transfer-Encoding: gzip", body=b"3\r\nabc\r\n0\r\n\r\n"),
        _answer("Transfer-Encoding: gzip", "Content-Length: 3", body=b"abc"),
        _answer("Content-Length: 3", "Content-Range: bytes 0-9/10", body=b"abc", status=206),
        _answer("Content-Length: 10", "Content-Range: bytes 0-2/10", body=b"0123456789", status=206),
    ],
)
def test_contradictions_are_refused(answer: bytes) -> None:
    """Two lengths, two ends, or a length that is not the range's: NotS3, and the sink is not begun."""
    sink = MemorySink()
    with pytest.raises(errors.NotS3):
        ops.get_object("bucket", "key", sink).feed(memoryview(answer))
    assert sink.info is None


def test_the_same_length_twice_is_one() -> None:
    """A Content-Length that is there twice with one value is that value."""
    sink = MemorySink()
    exchange = ops.get_object("bucket", "key", sink)
    assert exchange.feed(memoryview(_answer(ETAG, "Content-Length: 3", "Content-Length: 3", body=b"abc")))
    assert exchange.result().size_bytes == 3
    assert sink.body() == b"abc"


@pytest.mark.parametrize(("first", "last", "size_bytes"), [(0, 1, 2), (1, 1, 1), (1, -1, -1)])
def test_size_of_a_range_out_of_chunks(first: int, last: int, size_bytes: int) -> None:
    """A store that ignores the range and tells no length: the size is that of the range, where it is known."""
    sink = MemorySink()
    exchange = ops.get_object("bucket", "key", sink, first=first, last=last)
    assert exchange.feed(memoryview(_answer(ETAG, CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n")))
    result = exchange.result()
    assert (result.offset, result.size_bytes) == (first, size_bytes)
    assert sink.body() == b"abc"[first : last + 1 or None]


def test_a_range_behind_the_end_of_chunks() -> None:
    """A body without a length that ends before the byte that was asked for is no empty object."""
    with pytest.raises(errors.TruncatedBody):
        ops.get_object("bucket", "key", MemorySink(), first=9).feed(
            memoryview(_answer(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"))
        )


@pytest.mark.parametrize("line", ["Connection: close", "Connection: keep-alive, Close"])
def test_a_connection_that_closes_is_not_used_again(line: str) -> None:
    """Close counts wherever it stands among the connection's options."""
    exchange = ops.get_object("bucket", "key", MemorySink())
    assert exchange.feed(memoryview(_answer("Content-Length: 3", line, body=b"abc")))
    assert not exchange.reusable


@pytest.mark.parametrize("if_match", ["abc", '"abc"', 'W/"abc"'])
@pytest.mark.parametrize("etag", ['"abc"', "abc", 'W/"abc"'])
def test_the_object_that_was_asked_for(if_match: str, etag: str) -> None:
    """Quotes and W/ make no other ETag of one."""
    sink = MemorySink()
    exchange = ops.get_object("bucket", "key", sink, if_match=if_match)
    assert exchange.feed(memoryview(_answer(f"ETag: {etag}", "Content-Length: 3", body=b"abc")))
    assert sink.body() == b"abc"


def test_another_object_than_was_asked_for() -> None:
    """A store that ignores If-Match: PreconditionFailed before the sink is begun."""
    sink = MemorySink()
    exchange = ops.get_object("bucket", "key", sink, if_match="abc")
    with pytest.raises(errors.PreconditionFailed, match="abc was asked for"):
        exchange.feed(memoryview(_answer('ETag: "def"', "Content-Length: 3", body=b"abc")))
    assert sink.info is None


def _deleted(*keys: str) -> list[DeleteFailure]:
    listed = "".join(f"<Error><Key>{key}</Key><Code>SlowDown</Code></Error>" for key in keys)
    body = f"<DeleteResult>{listed}</DeleteResult>".encode()
    exchange = ops.delete_objects("bucket", ["a", "b"])
    assert exchange.feed(memoryview(_answer(f"Content-Length: {len(body)}", body=body)))
    return exchange.result()


@pytest.mark.parametrize("key", ["another", ""])
def test_deletes_that_nobody_asked_for(key: str) -> None:
    """A failure of a key that was not to be deleted is one of the request."""
    assert [failure.key for failure in _deleted("b")] == ["b"]
    with pytest.raises(errors.ServerFault, match="not asked for"):
        _deleted("b", key)
