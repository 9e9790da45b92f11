"""Answers are read right however they arrive, and each becomes its value or its error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import errors
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.transport import CompletedPart
from s3engine_transports.raw import RawTransport
from s3engine_transports.raw.exchange import RawExchange

NOW_S = 1_800_000_000.0
transport = RawTransport(
    TransportSettings(endpoint_url="http://127.0.0.1:9", credentials=Credentials("AK", "SK")), wall_clock=lambda: NOW_S
)
ops = transport.exchanges
BODY = bytes(range(256))


def _feed(exchange: RawExchange[Any], answer: bytes, cuts: list[int] | None = None, *, close: bool = False) -> bool:
    """Feed an answer cut at these places; whether the exchange ended. ``close``: and then the connection's end."""
    start = 0
    for end in [*sorted(cuts or []), len(answer)]:
        if end > start:
            # A buffer that is used again, as the driver's is.
            buffer = bytearray(answer[start:end])
            done = exchange.feed(memoryview(buffer))
            buffer[:] = b"\xff" * len(buffer)
            if done:
                rest = answer[end:]
                return exchange.feed(memoryview(rest)) if rest else True
            start = end
    return exchange.feed(memoryview(b"")) if close else False


ETAG = 'ETag: "e"'


def _answer(status: int, body: bytes = b"", *lines: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status} Reason", *lines, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def _chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    pieces = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return (
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "e"\r\n\r\n' + pieces + b"0\r\n" + trailers + b"\r\n"
    )


def _outcome(exchange: RawExchange[Any]) -> Any:
    try:
        return exchange.result()
    except errors.RequestError as error:
        return type(error), str(error)


Make = Callable[[], RawExchange[Any]]


def _get() -> RawExchange[Any]:
    return ops.get_object("bucket", "key", MemorySink())


def _ranged() -> RawExchange[Any]:
    return ops.get_object("bucket", "key", MemorySink(), first=10, last=19)


def _put() -> RawExchange[Any]:
    return ops.put_object("bucket", "key", b"body", ())


def _head() -> RawExchange[Any]:
    return ops.head_object("bucket", "key")


def _delete() -> RawExchange[Any]:
    return ops.delete_object("bucket", "key")


def _list() -> RawExchange[Any]:
    return ops.list_objects_v2("bucket")


ERROR = b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
# An answer, whether the end of the connection ends it, and what of it: reusable.
ANSWERS: list[tuple[Make, bytes, bool, bool]] = [
    (_get, _answer(200, BODY, 'ETag: "e"'), False, True),
    (_get, _answer(200, b"", 'ETag: "e"'), False, True),
    (_get, _chunked(BODY[:3], BODY[3:]), False, True),
    (_get, _chunked(BODY, trailers=b"x-amz-checksum-crc32: AAAA\r\nx: y\r\n"), False, True),
    (_get, _answer(404, ERROR), False, True),
    (_get, _answer(200, BODY, "Connection: close"), False, False),
    (_get, _answer(200, BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), False, False),
    (_get, _answer(200, BODY) + b"HTTP/1.1 200 OK\r\n", False, False),
    (_get, _chunked(BODY) + b"x", False, False),
    (_ranged, _answer(206, BODY[10:20], "Content-Range: bytes 10-19/256"), False, True),
    (_ranged, _answer(200, BODY[10:20], "Content-Range: bytes 10-19/256"), False, True),
    (_ranged, _answer(200, BODY), False, True),
    (_ranged, _chunked(BODY), False, True),
    (_put, b"HTTP/1.1 100 Continue\r\n\r\n" + _answer(200, b"", 'ETag: "e"'), False, True),
    (_put, b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 \r\n\r\n" + _answer(503), False, True),
    (_head, _answer(200, b"", "x: y").replace(b"Content-Length: 0", b"Content-Length: 77"), False, True),
    (_head, _answer(404).replace(b"Content-Length: 0", b"Content-Length: 77"), False, True),
    (_head, _answer(200) + b"surplus", False, False),
    (_delete, b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", False, True),
    (_list, b"HTTP/1.1 200 OK\r\n\r\n<ListBucketResult/>", True, False),
    (_list, b"HTTP/1.1 500 Error\r\n\r\n<html>" + b"x" * 300, True, False),
]  # fmt: skip
CUT: list[tuple[Make, bytes, type[errors.NetworkError]]] = [
    (_get, _answer(200, BODY)[:-1], errors.TruncatedBody),
    (_get, _answer(200, BODY)[:-256], errors.TruncatedBody),
    (_get, _chunked(BODY)[:-1], errors.TruncatedBody),
    (_get, _chunked(BODY)[:-40], errors.TruncatedBody),
    (_put, b"", errors.ConnectionLost),
    (_put, b"HTTP/1.1 200 OK\r\nETag", errors.ConnectionLost),
    (_put, b"HTTP/1.1 100 Continue\r\n\r\n", errors.ConnectionLost),
    (_list, _answer(200, b"<ListBucketResult>")[:-1], errors.TruncatedBody),
]
GARBAGE: list[tuple[Make, bytes]] = [
    (_get, b"SSH-2.0-OpenSSH_9.2\r\n"),
    (_get, b"\x15\x03\x01\x00\x02\x02\x46"),
    (_get, b"HTTP/1.1 abc OK\r\n\r\n"),
    (_get, b"HTTP/2 200\r\n\r\n"),
    (_get, b"220 mail ESMTP\r\n\r\n"),
    (_get, b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"),
    (_get, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    (_get, b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n"),
    (_get, "HTTP/1.1 200 OK\r\nContent-Length: ²\r\n\r\n".encode("latin-1")),
    (_get, _chunked(BODY).replace(b"100;", b"-1;")),
    (_get, _chunked(BODY).replace(b"100;", b"0x1;")),
    (_get, _chunked(BODY).replace(b"100;ext=1", b"zz")),
    (_get, _chunked(BODY).replace(b"100;ext=1", b"100;" + b"e" * 9_000)),
    (_ranged, _answer(206, b"1234567890")),
    (_ranged, _answer(206, b"1234567890", "Content-Range: bytes 11-20/256")),
    (_ranged, _answer(206, b"1234567890", "Content-Range: bytes x-y/z")),
]


def _cuts(draw: st.DataObject, answer: bytes) -> list[int]:
    return draw.draw(st.lists(st.integers(0, len(answer)), max_size=8))


@given(st.sampled_from(ANSWERS), st.data())
def test_chunking_changes_nothing(case: tuple[Make, bytes, bool, bool], draw: st.DataObject) -> None:
    """However the bytes of an answer are cut, result, body and reusability are the same."""
    make, answer, close, reusable = case
    whole, pieces = make(), make()
    assert _feed(whole, answer, close=close)
    assert _feed(pieces, answer, _cuts(draw, answer), close=close)
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
    _feed(whole, answer, close=close)
    assert _feed(bytewise, answer, list(range(len(answer))), close=close)
    assert _outcome(bytewise) == _outcome(whole)


@given(st.sampled_from(CUT), st.data())
def test_cut_answers(case: tuple[Make, bytes, type[errors.NetworkError]], draw: st.DataObject) -> None:
    """An answer that ends too early raises, wherever its bytes were cut."""
    make, answer, kind = case
    with pytest.raises(kind, match=r"s3://bucket") as caught:
        _feed(make(), answer, _cuts(draw, answer), close=True)
    assert type(pickle.loads(pickle.dumps(caught.value))) is kind


@pytest.mark.parametrize("case", GARBAGE, ids=lambda case: repr(case[1][:40]))
@given(draw=st.data())
def test_garbage(case: tuple[Make, bytes], draw: st.DataObject) -> None:
    """What is no S3 answer raises NotS3, wherever its bytes were cut."""
    make, answer = case
    with pytest.raises(errors.NotS3, match="S3 endpoint"):
        _feed(make(), answer, _cuts(draw, answer), close=True)


@given(st.binary(max_size=300), st.data())
def test_random_bytes_never_raise_anything_else(answer: bytes, draw: st.DataObject) -> None:
    """Whatever a server sends, only RequestErrors come out."""
    answer = (
        draw.draw(st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 206 P\r\nContent-Range: bytes "])) + answer
    )
    for make in (_get, _ranged, _put, _head, _list):
        exchange = make()
        raised: Exception | None = None
        try:
            if _feed(exchange, answer, _cuts(draw, answer), close=True):
                exchange.result()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is looked at below)
            raised = error
        assert raised is None or isinstance(raised, errors.RequestError), repr(raised)


def _got(make: Make, answer: bytes) -> tuple[Any, bytes]:
    exchange = make()
    assert _feed(exchange, answer)
    assert isinstance(exchange.sink, MemorySink)
    return exchange.result(), exchange.sink.body()


def test_whole_object() -> None:
    """A GET's value says size, ETag without quotes, type and place."""
    headers = ("Content-Type: text/x", 'ETag: "abc-2"', "x-amz-request-id: R", "Last-Modified: L")
    result, body = _got(_get, _answer(200, BODY, *headers))
    assert body == BODY
    assert result[:8] == (256, "abc-2", 0, 256, "text/x", "L", "R", 200)
    assert ("content-type", "text/x") in result.headers


def test_a_page_is_no_object() -> None:
    """A good answer without an ETag and without any header of S3 is a web server's page, not an object."""
    exchange = ops.get_object("bucket", "key", MemorySink())
    assert _feed(exchange, _answer(200, b"Welcome to our Wi-Fi", "Content-Type: text/html"))
    with pytest.raises(errors.NotS3):
        exchange.result()


def test_an_object_without_an_etag() -> None:
    """A store that gives objects no ETag is known by its other headers."""
    result, body = _got(_get, _answer(200, BODY, "x-amz-request-id: R"))
    assert (result.etag, body) == ("", BODY)


def test_a_page_in_answer_to_a_delete() -> None:
    """An object is not gone because a login page came with a good status."""
    for good in (_answer(204), _answer(200), _answer(200, b"<DeleteResult/>")):
        exchange = ops.delete_object("bucket", "key")
        _feed(exchange, good)
        exchange.result()
    for page in (b"<html>hello", b"<!DOCTYPE html><html>", b"hello"):
        exchange = ops.delete_object("bucket", "key")
        assert _feed(exchange, _answer(200, page))
        with pytest.raises(errors.NotS3):
            exchange.result()


@pytest.mark.parametrize("status", [200, 206])
def test_range_answer(status: int) -> None:
    """A 206, and a 200 with Content-Range, is the range it says."""
    result, body = _got(_ranged, _answer(status, BODY[10:20], ETAG, "Content-Range: bytes 10-19/256"))
    assert body == BODY[10:20]
    assert (result.offset, result.size_bytes, result.total_bytes) == (10, 10, 256)


@pytest.mark.parametrize("answer", [_answer(200, BODY, ETAG), _chunked(BODY[:11], BODY[11:])])
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
        _feed(first, _answer(200, BODY)[:-100], close=True)
    again = ops.get_object("bucket", "key", sink, first=sink.received)
    assert _feed(again, _answer(200, BODY))
    assert sink.body() == BODY


def test_range_that_ends_behind_the_object() -> None:
    """As in HTTP, a range may end behind the object: what is there is the answer."""
    result, body = _got(
        lambda: ops.get_object("bucket", "key", MemorySink(), first=250, last=999),
        _answer(206, BODY[250:], ETAG, "Content-Range: bytes 250-255/256"),
    )
    assert body == BODY[250:]
    assert result.total_bytes == 256


def test_range_behind_the_object_of_a_store_without_ranges() -> None:
    """A range that begins behind the object raises RangeNotSatisfiable even where the store sent all of it."""
    with pytest.raises(errors.RangeNotSatisfiable):
        _feed(ops.get_object("bucket", "key", MemorySink(), first=256), _answer(200, BODY))


def test_short_range_is_truncated() -> None:
    """A range answer with fewer bytes than its own Content-Range and the request say is an error."""
    with pytest.raises(errors.TruncatedBody):
        _feed(_ranged(), _answer(206, BODY[10:15], "Content-Range: bytes 10-14/256"))


def test_object_without_length_is_refused() -> None:
    """A body that only the end of the connection ends could be cut: the download is not believed."""
    with pytest.raises(errors.TruncatedBody, match="no length"):
        _feed(_get(), b"HTTP/1.1 200 OK\r\n\r\nabc", close=True)


def test_error_bodies_do_not_reach_the_sink() -> None:
    """The body of an error is kept for its code; the sink is not begun."""
    exchange = _get()
    _feed(exchange, _answer(404, ERROR))
    with pytest.raises(errors.NotFound, match="gone") as caught:
        exchange.result()
    assert isinstance(exchange.sink, MemorySink)
    assert exchange.sink.info is None
    assert (caught.value.code, caught.value.key, caught.value.bucket) == ("NoSuchKey", "key", "bucket")


def _failure(make: Make, answer: bytes) -> errors.RequestError:
    exchange = make()
    assert _feed(exchange, answer, close=True)
    with pytest.raises(errors.RequestError) as caught:
        exchange.result()
    assert "\n" not in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), vars(copy)) == (type(caught.value), str(caught.value), vars(caught.value))
    return caught.value


def _xml(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>m\n m</Message>{more}</Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", errors.AccessDenied), (403, "SignatureDoesNotMatch", errors.AccessDenied),
        (404, "NoSuchBucket", errors.NotFound), (412, "PreconditionFailed", errors.PreconditionFailed),
        (416, "InvalidRange", errors.RangeNotSatisfiable), (501, "NotImplemented", errors.NotSupported),
        (400, "EntityTooLarge", errors.InvalidRequest), (503, "SlowDownRead", errors.Throttled),
        (500, "InternalError", errors.ServerFault), (400, "ExpiredToken", errors.CredentialsExpired),
        (409, "OperationAborted", errors.Conflict), (400, "RequestTimeout", errors.ServerFault),
    ],
)  # fmt: skip
def test_errors_by_code(status: int, code: str, kind: type[errors.RequestError]) -> None:
    """The code in the body decides the class; code, status and request id are kept."""
    error = _failure(_put, _answer(status, _xml(code, "<RequestId>R</RequestId>")))
    assert type(error) is kind
    assert (error.status, error.code, error.request_id) == (status, code, "R")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", errors.Throttled), (502, b"<html>Bad Gateway</html>", errors.ServerFault),
        (403, b"", errors.AccessDenied),
        (404, b"not here", errors.NotFound), (500, b"<Error><Code>Acc", errors.ServerFault),
        (429, b"", errors.Throttled),
        (418, b"", errors.InvalidRequest), (304, b"", errors.PreconditionFailed),
    ],
)  # fmt: skip
def test_errors_without_a_code(status: int, body: bytes, kind: type[errors.RequestError]) -> None:
    """Without a readable code the status decides."""
    assert type(_failure(_put, _answer(status, body))) is kind


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None), (("Retry-After: 60",), 60.0), (("x-amz-retry-after: 1500",), 1.5),
        (("Retry-After: 60", "x-amz-retry-after: 250"), 0.25), (("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT",), None),
        (("Retry-After: \xb2",), None),
    ],
)  # fmt: skip
def test_retry_after(lines: tuple[str, ...], expected: float | None) -> None:
    """Retry-After is seconds, x-amz-retry-after milliseconds and goes first; what is no number is not there."""
    assert _failure(_put, _answer(503, _xml("SlowDown"), *lines)).retry_after_s == expected


@pytest.mark.parametrize(
    ("status", "body", "lines"),
    [
        (301, _xml("PermanentRedirect"), ("x-amz-bucket-region: eu-west-1",)),
        (301, b"", ("x-amz-bucket-region: eu-west-1",)),
        (400, _xml("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"), ()),
        (307, _xml("TemporaryRedirect"), ("x-amz-bucket-region: eu-west-1",)),
    ],
)  # fmt: skip
def test_wrong_region(status: int, body: bytes, lines: tuple[str, ...]) -> None:
    """The region of a redirected bucket comes from the header or the body."""
    error = _failure(_put, _answer(status, body, *lines))
    assert isinstance(error, errors.WrongRegion)
    assert error.region == "eu-west-1"


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "AccessDenied"])
def test_clock_skew(code: str) -> None:
    """A refusal with a Date far from our clock is the clock's fault; offset_s is what our clock lacks."""
    error = _failure(_put, _answer(403, _xml(code), f"Date: {formatdate(NOW_S + 3600, usegmt=True)}"))
    assert isinstance(error, errors.ClockSkewed)
    assert error.offset_s == 3600.0


@pytest.mark.parametrize("date", ["yesterday", f"Mon, 23 Nov 2026 {'5' * 70}:00:00 GMT", "23 Nov 2026 99:00:00"])
def test_date_that_is_none(date: str) -> None:
    """A Date that no clock shows tells nothing about ours: the refusal is what its code says."""
    error = _failure(_put, _answer(503, _xml("SlowDown"), f"Date: {date}"))
    assert type(error) is errors.Throttled


def test_refusal_with_a_right_clock() -> None:
    """A wrong signature with a Date near our clock stays AccessDenied and names the way out."""
    error = _failure(_put, _answer(403, _xml("SignatureDoesNotMatch"), f"Date: {formatdate(NOW_S + 200, usegmt=True)}"))
    assert type(error) is errors.AccessDenied
    assert "secret key is wrong" in str(error)


def test_head_without_a_body_gets_its_code() -> None:
    """HEAD answers have no body: a 404 still says whether key or bucket is missing."""
    assert _failure(_head, _answer(404)).code == "NoSuchKey"
    assert _failure(lambda: ops.head_bucket("bucket"), _answer(404)).code == "NoSuchBucket"


def test_head_with_a_bad_length() -> None:
    """A HEAD answer whose length is no number is no S3 answer."""
    assert isinstance(_failure(_head, b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n"), errors.NotS3)


def test_put_without_an_etag_is_not_s3() -> None:
    """Any web server may answer 200 to a PUT; only a store gives an ETag."""
    assert isinstance(_failure(_put, _answer(200)), errors.NotS3)


def _copy() -> RawExchange[Any]:
    return ops.copy_object("bucket", "a", "bucket", "b", ())


def _part_copy() -> RawExchange[Any]:
    return ops.upload_part_copy("bucket", "a", 0, 9, "bucket", "b", "U", 1)


def _complete() -> RawExchange[Any]:
    return ops.complete_multipart_upload("bucket", "b", "U", [CompletedPart(1, "e")])


late_answers = pytest.mark.parametrize("make", [_copy, _part_copy, _complete])


@late_answers
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (_xml("InternalError"), errors.ServerFault), (b"   \n " + _xml("SlowDown"), errors.Throttled),
        (_xml("AccessDenied"), errors.AccessDenied), (b"", errors.ServerFault), (b"    ", errors.ServerFault),
        (b"<CopyObjectResult><ETag>&quot;e", errors.ServerFault), (b"<CopyObjectResult/>", errors.ServerFault),
        (b"<!DOCTYPE html><html>Log in</html>", errors.NotS3), (b"OK", errors.NotS3),
    ],
)  # fmt: skip
def test_200_that_is_no_success(make: Make, body: bytes, kind: type[errors.RequestError]) -> None:
    """Copy and Complete send 200 before they know: an error, nothing or half an answer in the body is a failure."""
    assert type(_failure(make, _answer(200, body))) is kind


@pytest.mark.parametrize("make", [_copy, _part_copy])
def test_a_store_that_stored_nothing_instead_of_copying(make: Make) -> None:
    """An empty 200 with an ETag in its head says that the store took the copy for an upload: NotSupported."""
    assert isinstance(
        _failure(make, _answer(200, b"", 'ETag: "d41d8cd98f00b204e9800998ecf8427e"')), errors.NotSupported
    )


@late_answers
def test_200_with_leading_space(make: Make) -> None:
    """Stores send spaces to keep the connection alive, then the XML declaration; the ETag comes without quotes."""
    body = b' \n \n<?xml version="1.0"?><Result xmlns="x"><ETag>&quot;abc-2&quot;</ETag></Result>'
    exchange = make()
    assert _feed(exchange, _chunked(*(body[i : i + 1] for i in range(len(body)))))
    assert exchange.result().etag == "abc-2"


def test_failures_of_single_keys_are_no_failure_of_the_request() -> None:
    """DeleteObjects returns the keys it did not delete; the others are deleted."""
    body = (
        b'<DeleteResult xmlns="x"><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code>'
        b"<Message>no</Message></Error></DeleteResult>"
    )
    exchange = ops.delete_objects("bucket", ["a", "b"])
    _feed(exchange, _answer(200, body))
    assert exchange.result() == [("b", "AccessDenied", "no")]


@pytest.mark.parametrize("make", [lambda: ops.delete_objects("bucket", ["a"]), _list])
def test_200_with_an_error_or_another_document(make: Make) -> None:
    """A 200 to DeleteObjects or a listing counts only with the right document in it."""
    assert isinstance(_failure(make, _answer(200, _xml("InternalError"))), errors.ServerFault)
    assert isinstance(_failure(make, _answer(200, b"<Other/>")), errors.ServerFault)
    assert isinstance(_failure(make, _answer(200, b"<html><body>hi</body></html>")), errors.NotS3)


def test_very_many_interim_answers() -> None:
    """Thousands of interim answers in one piece are read through."""
    exchange = _put()
    assert _feed(exchange, b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000 + _answer(200, b"", 'ETag: "e"'))
    assert exchange.result().etag == "e"


def test_messages_stay_on_one_line() -> None:
    """Whatever a key holds, the text of its error is one line."""
    exchange = ops.head_object("bucket", "a\nb\tc\u2028😀")
    _feed(exchange, _answer(404))
    with pytest.raises(errors.NotFound) as caught:
        exchange.result()
    assert str(caught.value).splitlines() == [str(caught.value)]
    assert caught.value.key == "a\nb\tc\u2028😀"
