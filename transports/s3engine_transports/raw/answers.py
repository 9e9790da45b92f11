"""From a completed exchange to its value, or to the error it stands for."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from s3engine.classify import error_for
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    InvalidRequest,
    NotS3,
    NotSupported,
    RequestError,
    ServerFault,
    WrongRegion,
)
from s3engine.transport import CopyResult, GetResult, HeadResult, PutResult
from s3engine_transports.raw import xml
from s3engine_transports.raw.exchange import RawExchange

__all__ = ["completed", "copied", "from_xml", "get", "head", "nothing", "put", "upload_id"]

R = TypeVar("R")
Clock = Callable[[], float]

# Beyond this a refused signature is put down to the clock (the AWS SDK for JavaScript uses the same 300 s).
_SKEW_S = 300.0


def put(exchange: RawExchange[Any], clock: Clock) -> PutResult:
    """PutObject, UploadPart."""
    if exchange.status != 200:
        raise failure(exchange, clock)
    headers = exchange.headers
    etag = headers.get("etag")
    if etag is None:
        raise NotS3(
            f"{exchange.describe()}: answered 200 without an ETag. Is the endpoint an S3 endpoint?",
            status=200, **exchange.where(),
        )  # fmt: skip
    return PutResult(etag.strip('"'), headers.get("x-amz-request-id", ""), 200, headers.get("x-amz-version-id", ""))


def get(exchange: RawExchange[Any], clock: Clock) -> GetResult:
    """GetObject; the body went to the sink."""
    if exchange.status not in (200, 206):
        raise failure(exchange, clock)
    return exchange.get_result()


def head(exchange: RawExchange[Any], clock: Clock) -> HeadResult:
    """HeadObject."""
    if exchange.status != 200:
        raise failure(exchange, clock)
    headers = exchange.headers
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise NotS3(f"{exchange.describe()}: Content-Length is {length[:40]!r}", status=200, **exchange.where())
    return HeadResult(
        int(length), headers.get("etag", "").strip('"'), headers.get("content-type", ""),
        headers.get("last-modified", ""), headers.get("x-amz-request-id", ""), 200, tuple(headers.items()),
    )  # fmt: skip


def copied(exchange: RawExchange[Any], clock: Clock) -> CopyResult:
    """CopyObject, UploadPartCopy: a 200 may hold an error, or be cut; only a result with an ETag is a copy."""
    if exchange.status == 200 and not exchange.content and "etag" in exchange.headers:
        # What a store answers that did not look at x-amz-copy-source (rclone, for parts): it stored an empty body.
        raise NotSupported(
            f"{exchange.describe()}: the store took it for an upload; it cannot copy here",
            status=200, **exchange.where(),
        )  # fmt: skip
    etag = from_xml(exchange, clock, _etag)
    return CopyResult(etag, exchange.headers.get("x-amz-request-id", ""), 200)


def completed(exchange: RawExchange[Any], clock: Clock) -> PutResult:
    """CompleteMultipartUpload: the same."""
    etag = from_xml(exchange, clock, _etag)
    headers = exchange.headers
    return PutResult(etag, headers.get("x-amz-request-id", ""), 200, headers.get("x-amz-version-id", ""))


def from_xml(exchange: RawExchange[Any], clock: Clock, read: Callable[[bytes], R]) -> R:
    """A 200 with an XML body that ``read`` understands."""
    if exchange.status != 200:
        raise failure(exchange, clock)
    body = exchange.content.lstrip()
    # Looked for before it is parsed: a list page is read once, not twice.
    if b"Error" in body and xml.read_error(body)[0]:
        raise failure(exchange, clock)
    try:
        return read(body)
    except (xml.BadXml, KeyError, ValueError) as error:
        if body[:200].lstrip().lower().startswith((b"<!doctype", b"<html")) or (body and not body.startswith(b"<")):
            raise NotS3(
                f"{exchange.describe()}: the answer is no S3 answer. Is the endpoint an S3 endpoint?",
                status=exchange.status, **exchange.where(),
            ) from error  # fmt: skip
        raise _cut(exchange) from error


def _etag(body: bytes) -> str:
    found = xml.read_text(body, "ETag").strip('"')
    if not found:
        raise xml.BadXml("no ETag")
    return found


def upload_id(body: bytes) -> str:
    """CreateMultipartUpload's UploadId. Raises BadXml."""
    found = xml.read_text(body, "UploadId")
    if not found:
        raise xml.BadXml("no UploadId")
    return found


def nothing(exchange: RawExchange[Any], clock: Clock) -> None:
    """Operations that answer with a status alone."""
    if not 200 <= exchange.status < 300:
        raise failure(exchange, clock)


def _cut(exchange: RawExchange[Any]) -> ServerFault:
    return ServerFault(
        f"{exchange.describe()}: a 200 with an empty, cut or unreadable body", status=200, **exchange.where()
    )


def _retry_after_s(headers: dict[str, str]) -> float | None:
    milliseconds = headers.get("x-amz-retry-after", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return float(milliseconds) / 1000
    seconds = headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


def _offset_s(headers: dict[str, str], now_s: float) -> float:
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp() - now_s
    except (TypeError, ValueError):
        return 0.0


def failure(exchange: RawExchange[Any], clock: Clock) -> RequestError:
    """The error of an answer that is none of the good ones."""
    headers = exchange.headers
    code, message, fields = xml.read_error(exchange.content.lstrip()) if exchange.content else ("", "", {})
    status = exchange.status
    if not code and status == 404 and exchange.operation in ("HeadObject", "HeadBucket"):
        code = "NoSuchKey" if exchange.operation == "HeadObject" else "NoSuchBucket"
    page = exchange.content[:200].lstrip().lower()
    if not code and page.startswith((b"<!doctype html", b"<html")) and (status < 500 or status == 501):
        # A 5xx page may come from a load balancer in front of a real store; a 404 page comes from a web server.
        raise NotS3(
            f"{exchange.describe()}: a web page came in answer (HTTP {status}). Is the endpoint an S3 endpoint?",
            status=status, **exchange.where(),
        )  # fmt: skip
    kind = error_for(500 if status == 200 and code else status, code)
    context: dict[str, Any] = {
        **exchange.where(), "status": status, "code": code,
        "request_id": headers.get("x-amz-request-id", "") or fields.get("RequestId", ""),
        "retry_after_s": _retry_after_s(headers),
    }  # fmt: skip
    offset = _offset_s(headers, clock())
    refused = kind in (AccessDenied, InvalidRequest) and status in (400, 403)
    if kind is ClockSkewed or (refused and abs(offset) > _SKEW_S):
        kind = ClockSkewed
        context["offset_s"] = offset
    if kind is WrongRegion:
        context["region"] = headers.get("x-amz-bucket-region") or fields.get("Region", "")
    said = ": ".join(part for part in (code, " ".join(message.split())) if part)
    if not said:
        said = "the answer gives no reason" if status >= 300 else "unexpected answer"
    hint = _HINTS.get(code, "")
    return kind(f"{exchange.describe()}: {said} (HTTP {status}){hint}", **context)


_HINTS = {
    "NoSuchBucket": "; make it first (s3engine mb) or mend its name",
    "SignatureDoesNotMatch": "; the secret key is wrong",
    "InvalidAccessKeyId": "; the access key is wrong for this endpoint",
    "BucketNotEmpty": "; delete what it holds first (s3engine rm -r)",
}
