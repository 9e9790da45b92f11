"""Heads that have a shape are read as those that have none."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from s3engine import errors
from s3engine.sinks import MemorySink
from s3engine_transports.raw import exchange as raw_exchange
from s3engine_transports.raw.exchange import RawExchange
from s3engine_transports.raw.shapes import Shapes
from tests.exchanges import feed, get, head, ops, put

_NAMES = (
    "ETag", "etag", "Content-Length", "content-length", "Connection", "Date", "x-amz-request-id", "x-amz-version-id",
    "x-amz-checksum-crc32", "x-amz-checksum-sha256", "Transfer-Encoding", "Content-Range", " odd", "",
)  # fmt: skip
_VALUES = (
    "0", "4", "5", "e", '"abc"', "close", "keep-alive", "chunked", "bytes 0-3/4", "a\rb", "a\nb", "\xa0", " x ", "",
)  # fmt: skip
_line = st.builds(
    "{}{}{}".format, st.sampled_from(_NAMES), st.sampled_from([":", ": ", ":\t", ""]), st.sampled_from(_VALUES)
)
_common = st.sampled_from([
    ["Content-Length: 0", 'ETag: "abc"', "x-amz-request-id: 1234"], ["Content-Length: 4", "ETag: e"],
    ["Content-Length: 0", 'ETag: "abd"', "x-amz-request-id: 123"], ["Content-Length: 5", "ETag: e"],
    ["Content-Length: 0", "ETag: e", "x-amz-checksum-crc32: AAAA"], ["Content-Length:  0", "ETag: e"],
    ["Content-Length: 0", "ETag: e", "x-amz-version-id: AAAA"], ["Content-Length: 0", "ETag: \r\nConnection: close"],
])  # fmt: skip
_status = st.sampled_from([
    *["HTTP/1.1 200 OK"] * 4, "HTTP/1.0 200 OK", "HTTP/1.1 206 OK", "HTTP/1.1 404 No", "HTTP/2 200",
])  # fmt: skip
_answers = st.tuples(_status, _common, st.lists(_line, max_size=3), st.sampled_from([b"", b"body", b"body!"])).map(
    lambda it: "\r\n".join([it[0], *it[1], *it[2]]).encode("latin-1") + b"\r\n\r\n" + it[3]
)


def _sunk() -> tuple[RawExchange[Any], MemorySink]:
    sink = MemorySink()
    return ops.get_object("bucket", "key", sink), sink


def read(exchange: RawExchange[Any], answer: bytes, sink: MemorySink | None = None) -> tuple[Any, ...]:
    """All that an answer was read as."""
    try:
        done = feed(exchange, answer)
        known = exchange.status, exchange.reusable, exchange.started, exchange.content
        value = exchange.result() if done else None
        return done, known, value, exchange.headers, sink and sink.body()
    except errors.RequestError as error:
        return type(error), str(error), exchange.started


@given(st.lists(_answers, min_size=2, max_size=6))
def test_read_alike(answers: list[bytes]) -> None:
    """Whatever heads came before: an answer is the same as if it had come first."""
    raw_exchange._shapes.known.clear()
    for answer in answers:
        for make in (put, get, head):
            known = dict(raw_exchange._shapes.known)
            raw_exchange._shapes.known.clear()
            alone = read(make(), answer)
            raw_exchange._shapes.known.update(known)
            assert read(make(), answer) == alone
            assert read(make(), answer) == alone
        known = dict(raw_exchange._shapes.known)
        raw_exchange._shapes.known.clear()
        alone = read(*_sunk_with(answer))
        raw_exchange._shapes.known.update(known)
        assert read(*_sunk_with(answer)) == alone


def _sunk_with(answer: bytes) -> tuple[RawExchange[Any], bytes, MemorySink]:
    exchange, sink = _sunk()
    return exchange, answer, sink


ANSWER = b'HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\nETag: "abc"\r\nx-amz-request-id: 12\r\n\r\n'


def _shaped(answer: bytes) -> bool:
    exchange = put()
    feed(exchange, answer)
    return exchange.shape is not None


def test_common_answers_have_a_shape() -> None:
    """The second of a kind does, with other values in the same places; the test above compares something."""
    raw_exchange._shapes.known.clear()
    assert [_shaped(ANSWER), _shaped(ANSWER), _shaped(ANSWER.replace(b"abc", b"xyz"))] == [False, True, True]
    assert not _shaped(ANSWER.replace(b"abc", b"abcd"))
    # A line end in a value is another line.
    assert not _shaped(ANSWER.replace(b"abc", b"\r\n:"))


def test_what_is_learnt_is_bounded() -> None:
    """A store whose heads are never alike fills no memory and is not learnt for ever."""
    shapes = Shapes()
    for number in range(10_000):
        shapes.learn("PutObject", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: " + b"y" * (number % 1500))
    assert len(shapes.known) <= 64
    assert shapes._learnt == 2000
