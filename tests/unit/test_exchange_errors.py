"""Answers that say no, or say yes and mean no: the error that each becomes."""

from __future__ import annotations

import pickle
from email.utils import formatdate
from typing import Any

import pytest

from s3engine import errors
from s3engine.transport import CompletedPart
from s3engine_transports.raw.exchange import RawExchange
from tests.exchanges import NOW_S, Make, chunked, feed, head, http_answer, list_, ops, put, transport


def _failure(make: Make, answer: bytes) -> errors.RequestError:
    exchange = make()
    assert feed(exchange, answer, close=True)
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
    error = _failure(put, http_answer(status, _xml(code, "<RequestId>R</RequestId>")))
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
    assert type(_failure(put, http_answer(status, body))) is kind


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
    assert _failure(put, http_answer(503, _xml("SlowDown"), *lines)).retry_after_s == expected


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
    error = _failure(put, http_answer(status, body, *lines))
    assert isinstance(error, errors.WrongRegion)
    assert error.region == "eu-west-1"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://login.example:8443/in?token=abc", "it sends to https://login.example:8443, which is not followed"),
        ("/elsewhere", "the answer gives no reason"), ("http://[x", "the answer gives no reason"),
        ("http://a:b:c/", "the answer gives no reason"),
    ],
)  # fmt: skip
def test_redirect_names_the_host(location: str, said: str) -> None:
    """An answer that sends elsewhere is told with the host alone: a token may stand behind it."""
    error = _failure(put, http_answer(307, b"", f"Location: {location}"))
    assert said in str(error)
    assert "abc" not in str(error)


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "AccessDenied"])
def test_clock_skew(code: str) -> None:
    """A refusal with a Date far from our clock is the clock's fault; offset_s is what our clock lacks."""
    error = _failure(put, http_answer(403, _xml(code), f"Date: {formatdate(NOW_S + 3600, usegmt=True)}"))
    assert isinstance(error, errors.ClockSkewed)
    assert error.offset_s == 3600.0


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "AccessDenied"])
def test_clock_skew_that_was_corrected_meanwhile(code: str) -> None:
    """What was signed before the clock was corrected is refused for the clock too, and the correction is the same."""
    answer = http_answer(403, _xml(code), f"Date: {formatdate(NOW_S + 3600, usegmt=True)}")
    early = put()
    transport.set_clock_offset(3600.0)
    try:
        error, late = _failure(lambda: early, answer), _failure(put, answer)
    finally:
        transport.set_clock_offset(0.0)
    assert isinstance(error, errors.ClockSkewed)
    assert error.offset_s == 3600.0
    assert isinstance(late, errors.ClockSkewed) == (code == "RequestTimeTooSkewed")


@pytest.mark.parametrize("date", ["yesterday", f"Mon, 23 Nov 2026 {'5' * 70}:00:00 GMT", "23 Nov 2026 99:00:00"])
def test_date_that_is_none(date: str) -> None:
    """A Date that no clock shows tells nothing about ours: the refusal is what its code says."""
    error = _failure(put, http_answer(503, _xml("SlowDown"), f"Date: {date}"))
    assert type(error) is errors.Throttled


def test_refusal_with_a_right_clock() -> None:
    """A wrong signature with a Date near our clock stays AccessDenied and names the way out."""
    error = _failure(
        put, http_answer(403, _xml("SignatureDoesNotMatch"), f"Date: {formatdate(NOW_S + 200, usegmt=True)}")
    )
    assert type(error) is errors.AccessDenied
    assert "secret key is wrong" in str(error)


def test_head_without_a_body_gets_its_code() -> None:
    """HEAD answers have no body: a 404 still says whether key or bucket is missing."""
    assert _failure(head, http_answer(404)).code == "NoSuchKey"
    assert _failure(lambda: ops.head_bucket("bucket"), http_answer(404)).code == "NoSuchBucket"


@pytest.mark.parametrize("length", [b"abc", b"9999999999999999999"])
def test_head_with_a_bad_length(length: bytes) -> None:
    """A HEAD answer whose length is no number, or does not fit 63 bits, is no S3 answer."""
    assert isinstance(_failure(head, b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"), errors.NotS3)


def test_put_without_an_etag_is_not_s3() -> None:
    """Any web server may answer 200 to a PUT; only a store gives an ETag."""
    assert isinstance(_failure(put, http_answer(200)), errors.NotS3)


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
    assert type(_failure(make, http_answer(200, body))) is kind


@pytest.mark.parametrize("make", [_copy, _part_copy])
def test_a_store_that_stored_nothing_instead_of_copying(make: Make) -> None:
    """An empty 200 with an ETag in its head says that the store took the copy for an upload: NotSupported."""
    assert isinstance(
        _failure(make, http_answer(200, b"", 'ETag: "d41d8cd98f00b204e9800998ecf8427e"')), errors.NotSupported
    )


@late_answers
def test_200_with_leading_space(make: Make) -> None:
    """Stores send spaces to keep the connection alive, then the XML declaration; the ETag comes without quotes."""
    body = b' \n \n<?xml version="1.0"?><Result xmlns="x"><ETag>&quot;abc-2&quot;</ETag></Result>'
    exchange = make()
    assert feed(exchange, chunked(*(body[i : i + 1] for i in range(len(body)))))
    assert exchange.result().etag == "abc-2"


def test_failures_of_single_keys_are_no_failure_of_the_request() -> None:
    """DeleteObjects returns the keys it did not delete; the others are deleted."""
    body = (
        b'<DeleteResult xmlns="x"><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code>'
        b"<Message>no</Message></Error></DeleteResult>"
    )
    exchange = ops.delete_objects("bucket", ["a", "b"])
    feed(exchange, http_answer(200, body))
    assert exchange.result() == [("b", "AccessDenied", "no")]


@pytest.mark.parametrize("make", [lambda: ops.delete_objects("bucket", ["a"]), list_])
def test_200_with_an_error_or_another_document(make: Make) -> None:
    """A 200 to DeleteObjects or a listing counts only with the right document in it."""
    assert isinstance(_failure(make, http_answer(200, _xml("InternalError"))), errors.ServerFault)
    assert isinstance(_failure(make, http_answer(200, b"<Other/>")), errors.ServerFault)
    assert isinstance(_failure(make, http_answer(200, b"<html><body>hi</body></html>")), errors.NotS3)


def test_messages_stay_on_one_line() -> None:
    """Whatever a key holds, the text of its error is one line."""
    exchange = ops.head_object("bucket", "a\nb\tc\u2028😀")
    feed(exchange, http_answer(404))
    with pytest.raises(errors.NotFound) as caught:
        exchange.result()
    assert str(caught.value).splitlines() == [str(caught.value)]
    assert caught.value.key == "a\nb\tc\u2028😀"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n", "no S3 answer"),
        (b'HTTP/1.1 200 OK\r\nETag: "e"\r\n\r\n', "Content-Length is missing"),
    ],
)
def test_head_that_describes_no_object(answer: bytes, said: str) -> None:
    """A login page is no object, and an object without a length is not one of 0 bytes."""
    error = _failure(head, answer)
    assert isinstance(error, errors.NotS3)
    assert said in str(error)
