"""Answers are read right however they arrive, and each becomes its value or its error."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import errors
from s3engine.sinks import MemorySink
from s3engine_transports.raw.exchange import RawExchange
from tests.exchanges import ETAG, Make, chunked, feed, get, head, http_answer, list_, ops, put

BODY = bytes(range(256))


def _outcome(exchange: RawExchange[Any]) -> Any:
    try:
        return exchange.result()
    except errors.RequestError as error:
        return type(error), str(error)


def _ranged() -> RawExchange[Any]:
    return ops.get_object("bucket", "key", MemorySink(), first=10, last=19)


def _delete() -> RawExchange[Any]:
    return ops.delete_object("bucket", "key")


ERROR = b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
# An answer, whether the end of the connection ends it, and what of it: reusable.
ANSWERS: list[tuple[Make, bytes, bool, bool]] = [
    (get, http_answer(200, BODY, 'ETag: "e"'), False, True),
    (get, http_answer(200, b"", 'ETag: "e"'), False, True),
    (get, chunked(BODY[:3], BODY[3:]), False, True),
    (get, chunked(BODY, trailers=b"x-amz-checksum-crc32: AAAA\r\nx: y\r\n"), False, True),
    (get, http_answer(404, ERROR), False, True),
    (get, http_answer(200, BODY, "Connection: close"), False, False),
    (get, http_answer(200, BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), False, False),
    (get, http_answer(200, BODY) + b"HTTP/1.1 200 OK\r\n", False, False),
    (get, chunked(BODY) + b"x", False, False),
    (_ranged, http_answer(206, BODY[10:20], "Content-Range: bytes 10-19/256"), False, True),
    (_ranged, http_answer(200, BODY[10:20], "Content-Range: bytes 10-19/256"), False, True),
    (_ranged, http_answer(200, BODY), False, True),
    (_ranged, chunked(BODY), False, True),
    (put, b"HTTP/1.1 100 Continue\r\n\r\n" + http_answer(200, b"", 'ETag: "e"'), False, True),
    (put, b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 \r\n\r\n" + http_answer(503), False, True),
    (head, http_answer(200, b"", "x: y").replace(b"Content-Length: 0", b"Content-Length: 77"), False, True),
    (head, http_answer(404).replace(b"Content-Length: 0", b"Content-Length: 77"), False, True),
    (head, http_answer(200) + b"surplus", False, False),
    (_delete, b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", False, True),
    (list_, b"HTTP/1.1 200 OK\r\n\r\n<ListBucketResult/>", True, False),
    (list_, b"HTTP/1.1 500 Error\r\n\r\n<html>" + b"x" * 300, True, False),
]  # fmt: skip
CUT: list[tuple[Make, bytes, type[errors.NetworkError]]] = [
    (get, http_answer(200, BODY)[:-1], errors.TruncatedBody),
    (get, http_answer(200, BODY)[:-256], errors.TruncatedBody),
    (get, chunked(BODY)[:-1], errors.TruncatedBody),
    (get, chunked(BODY)[:-40], errors.TruncatedBody),
    (put, b"", errors.ConnectionLost),
    (put, b"HTTP/1.1 200 OK\r\nETag", errors.ConnectionLost),
    (put, b"HTTP/1.1 100 Continue\r\n\r\n", errors.ConnectionLost),
    (list_, http_answer(200, b"<ListBucketResult>")[:-1], errors.TruncatedBody),
]
GARBAGE: list[tuple[Make, bytes]] = [
    (get, b"SSH-2.0-OpenSSH_9.2\r\n"),
    (get, b"\x15\x03\x01\x00\x02\x02\x46"),
    (get, b"HTTP/1.1 abc OK\r\n\r\n"),
    (get, b"HTTP/2 200\r\n\r\n"),
    (get, b"220 mail ESMTP\r\n\r\n"),
    (get, b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"),
    (get, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    (get, b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n"),
    (get, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n"),
    (get, "HTTP/1.1 200 OK\r\nContent-Length: ²\r\n\r\n".encode("latin-1")),
    (get, chunked(BODY).replace(b"100;", b"-1;")),
    (get, chunked(BODY).replace(b"100;", b"0x1;")),
    (get, chunked(BODY).replace(b"100;ext=1", b"zz")),
    (get, chunked(BODY).replace(b"100;ext=1", b"100;" + b"e" * 9_000)),
    (_ranged, http_answer(206, b"1234567890")),
    (_ranged, http_answer(206, b"1234567890", "Content-Range: bytes 11-20/256")),
    (_ranged, http_answer(206, b"1234567890", "Content-Range: bytes x-y/z")),
]


def _cuts(draw: st.DataObject, answer: bytes) -> list[int]:
    return draw.draw(st.lists(st.integers(0, len(answer)), max_size=8))


@given(st.sampled_from(ANSWERS), st.data())
def test_chunking_changes_nothing(case: tuple[Make, bytes, bool, bool], draw: st.DataObject) -> None:
    """However the bytes of an answer are cut, result, body and reusability are the same."""
    make, answer, close, reusable = case
    whole, pieces = make(), make()
    assert feed(whole, answer, close=close)
    assert feed(pieces, answer, _cuts(draw, answer), close=close)
    assert (whole.reusable, pieces.reusable) == (reusable, reusable)
    assert (pieces.status, pieces.content, pieces.headers) == (whole.status, whole.content, whole.headers)
    assert _outcome(pieces) == _outcome(whole)
    if isinstance(pieces.sink, MemorySink) and isinstance(whole.sink, MemorySink):
        assert pieces.sink.body() == whole.sink.body()


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: repr(case[1][:40]))
def test_byte_by_byte(case: tuple[Make, bytes, bool, bool]) -> None:
    """An answer that arrives one byte at a time is read like one that arrives at once."""
    make, answer, close, _ = case
    whole, bytewise = make(), make()
    feed(whole, answer, close=close)
    assert feed(bytewise, answer, list(range(len(answer))), close=close)
    assert _outcome(bytewise) == _outcome(whole)


@given(st.sampled_from(CUT), st.data())
def test_cut_answers(case: tuple[Make, bytes, type[errors.NetworkError]], draw: st.DataObject) -> None:
    """An answer that ends too early raises, wherever its bytes were cut."""
    make, answer, kind = case
    with pytest.raises(kind, match=r"s3://bucket") as caught:
        feed(make(), answer, _cuts(draw, answer), close=True)
    assert type(pickle.loads(pickle.dumps(caught.value))) is kind


@pytest.mark.parametrize("case", GARBAGE, ids=lambda case: repr(case[1][:40]))
@given(draw=st.data())
def test_garbage(case: tuple[Make, bytes], draw: st.DataObject) -> None:
    """What is no S3 answer raises NotS3, wherever its bytes were cut."""
    make, answer = case
    with pytest.raises(errors.NotS3, match="S3 endpoint"):
        feed(make(), answer, _cuts(draw, answer), close=True)


@given(st.binary(max_size=300), st.data())
def test_random_bytes_never_raise_anything_else(answer: bytes, draw: st.DataObject) -> None:
    """Whatever a server sends, only RequestErrors come out."""
    answer = (
        draw.draw(st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 206 P\r\nContent-Range: bytes "])) + answer
    )
    for make in (get, _ranged, put, head, list_):
        exchange = make()
        raised: Exception | None = None
        try:
            if feed(exchange, answer, _cuts(draw, answer), close=True):
                exchange.result()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is looked at below)
            raised = error
        assert raised is None or isinstance(raised, errors.RequestError), repr(raised)


def _got(make: Make, answer: bytes) -> tuple[Any, bytes]:
    exchange = make()
    assert feed(exchange, answer)
    assert isinstance(exchange.sink, MemorySink)
    return exchange.result(), exchange.sink.body()


def test_whole_object() -> None:
    """A GET's value says size, ETag without quotes, type and place."""
    headers = ("Content-Type: text/x", 'ETag: "abc-2"', "x-amz-request-id: R", "Last-Modified: L")
    result, body = _got(get, http_answer(200, BODY, *headers))
    assert body == BODY
    assert result[:8] == (256, "abc-2", 0, 256, "text/x", "L", "R", 200)
    assert ("content-type", "text/x") in result.headers


def test_a_page_is_no_object() -> None:
    """A good answer without an ETag and without any header of S3 is a web server's page, not an object."""
    exchange = ops.get_object("bucket", "key", MemorySink())
    assert feed(exchange, http_answer(200, b"Welcome to our Wi-Fi", "Content-Type: text/html"))
    with pytest.raises(errors.NotS3):
        exchange.result()


def test_an_object_without_an_etag() -> None:
    """A store that gives objects no ETag is known by its other headers."""
    result, body = _got(get, http_answer(200, BODY, "x-amz-request-id: R"))
    assert (result.etag, body) == ("", BODY)


def test_a_page_in_answer_to_a_delete() -> None:
    """An object is not gone because a login page came with a good status."""
    for good in (http_answer(204), http_answer(200), http_answer(200, b"<DeleteResult/>")):
        exchange = ops.delete_object("bucket", "key")
        feed(exchange, good)
        exchange.result()
    for page in (b"<html>hello", b"<!DOCTYPE html><html>", b"hello"):
        exchange = ops.delete_object("bucket", "key")
        assert feed(exchange, http_answer(200, page))
        with pytest.raises(errors.NotS3):
            exchange.result()


@pytest.mark.parametrize("status", [200, 206])
def test_range_answer(status: int) -> None:
    """A 206, and a 200 with Content-Range, is the range it says."""
    result, body = _got(_ranged, http_answer(status, BODY[10:20], ETAG, "Content-Range: bytes 10-19/256"))
    assert body == BODY[10:20]
    assert (result.offset, result.size_bytes, result.total_bytes) == (10, 10, 256)


@pytest.mark.parametrize("answer", [http_answer(200, BODY, ETAG), chunked(BODY[:11], BODY[11:])])
def test_ignored_range_is_trimmed(answer: bytes) -> None:
    """A store that sends the whole object in answer to a range: sink and result see only what was asked for."""
    result, body = _got(_ranged, answer)
    assert body == BODY[10:20]
    assert (result.offset, result.size_bytes) == (10, 10)


def test_resumed_download_of_a_store_without_ranges() -> None:
    """A sink that asked for the rest gets the rest and keeps what it has, though the store sent all."""
    sink = MemorySink()
    first = ops.get_object("bucket", "key", sink)
    with pytest.raises(errors.TruncatedBody):
        feed(first, http_answer(200, BODY)[:-100], close=True)
    again = ops.get_object("bucket", "key", sink, first=sink.received)
    assert feed(again, http_answer(200, BODY))
    assert sink.body() == BODY


def test_range_that_ends_behind_the_object() -> None:
    """As in HTTP, a range may end behind the object: what is there is the answer."""
    result, body = _got(
        lambda: ops.get_object("bucket", "key", MemorySink(), first=250, last=999),
        http_answer(206, BODY[250:], ETAG, "Content-Range: bytes 250-255/256"),
    )
    assert body == BODY[250:]
    assert result.total_bytes == 256


def test_range_behind_the_object_of_a_store_without_ranges() -> None:
    """A range that begins behind the object raises RangeNotSatisfiable even where the store sent all of it."""
    with pytest.raises(errors.RangeNotSatisfiable):
        feed(ops.get_object("bucket", "key", MemorySink(), first=256), http_answer(200, BODY))


def test_short_range_is_truncated() -> None:
    """A range answer with fewer bytes than its own Content-Range and the request say is an error."""
    with pytest.raises(errors.TruncatedBody):
        feed(_ranged(), http_answer(206, BODY[10:15], "Content-Range: bytes 10-14/256"))


def test_object_without_length_is_refused() -> None:
    """A body that only the end of the connection ends could be cut: the download is not believed."""
    with pytest.raises(errors.TruncatedBody, match="no length"):
        feed(get(), b"HTTP/1.1 200 OK\r\n\r\nabc", close=True)


def test_error_bodies_do_not_reach_the_sink() -> None:
    """The body of an error is kept for its code; the sink is not begun."""
    exchange = get()
    feed(exchange, http_answer(404, ERROR))
    with pytest.raises(errors.NotFound, match="gone") as caught:
        exchange.result()
    assert isinstance(exchange.sink, MemorySink)
    assert exchange.sink.info is None
    assert (caught.value.code, caught.value.key, caught.value.bucket) == ("NoSuchKey", "key", "bucket")


def test_very_many_interim_answers() -> None:
    """Thousands of interim answers in one piece are read through."""
    exchange = put()
    assert feed(exchange, b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000 + http_answer(200, b"", 'ETag: "e"'))
    assert exchange.result().etag == "e"
