"""What the transports have in common: from an answer of the store to the error that it is for us."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from s3engine.classify import error_for
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    ConfigError,
    InvalidRequest,
    NotS3,
    NotSupported,
    PreconditionFailed,
    RequestError,
    S3EngineError,
    ServerFault,
    WrongRegion,
)
from s3engine.plain import brief, one_line
from s3engine.transport import DeleteFailure, Headers
from s3engine_transports.clock import StoreClock

__all__ = [
    "MAX_KEPT_BYTES", "UNHURRIED", "Answer", "Answered", "check_asked_for", "check_deletes", "check_etag",
    "check_headers", "check_key", "copy_source", "describe", "failure_of", "is_xml_safe", "most_kept_bytes",
    "quoted_etag", "refuse_trailer", "with_context",
]  # fmt: skip

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""The most that is read of a body which goes to no sink; a list page of 1000 keys of 1 KiB, percent-encoded, is below
4 MiB."""

UNHURRIED = frozenset(("CopyObject", "UploadPartCopy", "CompleteMultipartUpload"))
"""Whose answers drip by design: stores send a space now and then while they copy or put parts together."""

_LONG_ANSWERS = ("ListObjectsV2", "DeleteObjects", "ListParts", "ListMultipartUploads", "")
_SHORT_BYTES = 1024 * 1024  # of any other answer, and of an error: hundreds of them may be on their way at once

# How much of what a store says goes into an error. A key of S3 has 1024 bytes; a hostile list has longer ones.
_KEY_CHARACTERS = 2048
_MESSAGE_CHARACTERS = 500
_FIELD_CHARACTERS = 200
_region = re.compile("[A-Za-z0-9-]{1,63}").fullmatch

# Beyond this a refused signature is put down to the clock (the AWS SDK for JavaScript uses the same 300 s).
_SKEW_S = 300.0
_NO_BUCKETS = ("", ".", "..")
_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_unsendable = re.compile("[\x00-\x1f\x7f\ud800-\udfff]").search
# XML 1.0 has no way to write these, not even as a character reference: https://www.w3.org/TR/xml/#charsets
_not_xml = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]").search


def most_kept_bytes(status: int, operation: str = "") -> int:
    """The most that is read of the body of an answer that goes to no sink; "" is an operation that is not known."""
    return MAX_KEPT_BYTES if status < 300 and operation in _LONG_ANSWERS else _SHORT_BYTES


def describe(operation: str, bucket: str, key: str) -> str:
    """``PutObject s3://bucket/key``, in ASCII and on one line, shortened where the key is longer than any of S3."""
    if len(key) > _KEY_CHARACTERS:
        key = brief(key, _KEY_CHARACTERS)
    return f"{operation} s3://{bucket}/{key}".encode("unicode_escape").decode("ascii")


class Answered(Protocol):
    """What is asked of an answer: :class:`Answer` has it, and so have the raw transport's exchanges."""

    @property
    def operation(self) -> str:
        """Name of the S3 operation."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""

    @property
    def content(self) -> bytes:
        """The body, unless it went to a sink."""

    @property
    def clock_offset_s(self) -> float:
        """``StoreClock.offset_s`` when the request was signed."""

    def describe(self) -> str:
        """``PutObject s3://bucket/key``, on one line whatever the key holds."""

    def where(self) -> dict[str, Any]:
        """The context that errors of this request carry."""


class Answer(NamedTuple):
    """A whole answer of the store; with no more than its first three fields a request that has none yet."""

    operation: str
    bucket: str
    key: str
    status: int = 0
    headers: Mapping[str, str] = {}
    """Names in lower case."""
    content: bytes = b""
    clock_offset_s: float = 0.0
    """``StoreClock.offset_s`` when the request was signed."""

    def describe(self) -> str:
        """``PutObject s3://bucket/key``, on one line whatever the key holds."""
        return describe(self.operation, self.bucket, self.key)

    def where(self) -> dict[str, Any]:
        """The context that errors of this request carry."""
        return {"operation": self.operation, "bucket": self.bucket, "key": self.key}


# ---- what is sent


def check_headers(headers: Headers) -> None:
    """Raises ConfigError for a header that would not arrive as one header with this name and value.

    Names are tokens of HTTP. Values are Unicode without control characters; they are sent as UTF-8.
    """
    for name, value in headers:
        if not _token(name):
            raise ConfigError(f"{name!r} is no header name: letters, digits, hyphens and the like, in ASCII")
        if _unsendable(value):
            raise ConfigError(f"header {name!r} must not hold a line break, another control character or a surrogate")


def check_key(operation: str, bucket: str, key: str) -> None:
    """Raises InvalidRequest for an object that no request can name, before anything is sent."""
    if not key or bucket in _NO_BUCKETS:
        # Without its key DeleteObject is DeleteBucket, and PutObject is CreateBucket; without its bucket they are that
        # for a bucket with the key's name.
        what = "the bucket" if key else "the key"
        why = "is empty" if not (key and bucket) else "is no name"
        raise InvalidRequest(
            f"{Answer(operation, bucket, key).describe()}: {what} {why}", operation=operation, bucket=bucket, key=key
        )
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(
                f"{operation}: the key {key!r} is not Unicode; give it another", operation=operation, bucket=bucket,
                key=key,
            ) from None  # fmt: skip


def is_xml_safe(key: str) -> bool:
    """Whether a key can stand in an XML body and come out as it went in."""
    return not _not_xml(key)


def refuse_trailer(operation: str, bucket: str, key: str, trailer: str) -> None:
    """Raises NotSupported when a checksum is to be computed while the body is sent; for transports that cannot."""
    if trailer:
        request = Answer(operation, bucket, key)
        raise NotSupported(
            f"{request.describe()}: this transport cannot compute a checksum while it sends", **request.where()
        )


def check_deletes(bucket: str, keys: Sequence[str]) -> None:
    """Raises InvalidRequest for keys that DeleteObjects cannot name."""
    # One look at all of them, 1000 at a time: what is no Unicode and what XML cannot say is never printable.
    if all(keys) and "".join(keys).isprintable() and bucket not in _NO_BUCKETS:
        return
    for key in keys:
        check_key("DeleteObjects", bucket, key)
        if _not_xml(key):
            request = Answer("DeleteObjects", bucket, key)
            raise InvalidRequest(
                f"{request.describe()}: the key cannot stand in XML; delete it by itself", **request.where()
            )


def copy_source(operation: str, bucket: str, key: str, if_match: str) -> Headers:
    """The headers that name what is copied. Raises InvalidRequest."""
    check_key(operation, bucket, key)
    source: Headers = (("x-amz-copy-source", f"/{quote(bucket, safe='~')}/{quote(key, safe='/~')}"),)
    return (*source, ("x-amz-copy-source-if-match", quoted_etag(if_match))) if if_match else source


def quoted_etag(etag: str) -> str:
    """An ETag as If-Match wants it. Raises ConfigError for one that no header can carry."""
    if _unsendable(etag):
        raise ConfigError("an ETag must not hold a line break, another control character or a surrogate")
    # Stores differ: some match only the quoted form, some only the bare one; the quoted one is what HTTP defines.
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


# ---- what comes back


def check_etag(answer: Answered, if_match: str) -> None:
    """Raises PreconditionFailed when a good answer to a GET is of another object: not every store heeds If-Match."""
    etag = answer.headers.get("etag", "")
    if if_match and etag and _bare(etag) != _bare(if_match):
        raise PreconditionFailed(
            f"{answer.describe()}: the object changed: its ETag is {etag}, {if_match} was asked for",
            status=answer.status, **answer.where(),
        )  # fmt: skip


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def check_asked_for(bucket: str, keys: Iterable[str], failures: list[DeleteFailure]) -> list[DeleteFailure]:
    """The failures of a DeleteObjects. Raises ServerFault when one of them is of a key that was not to be deleted."""
    if failures:
        asked = set(keys)
        for failure in failures:
            if failure.key not in asked:
                raise ServerFault(
                    f"DeleteObjects s3://{bucket}/: the answer names {failure.key!r}, which was not asked for",
                    status=200, operation="DeleteObjects", bucket=bucket, code=failure.code,
                )  # fmt: skip
    return failures


def with_context(failure: S3EngineError, request: Answered) -> S3EngineError:
    """The same error with operation, bucket and key; those of local files and sinks stay as they are."""
    if not isinstance(failure, RequestError):
        return failure
    return type(failure)(f"{request.describe()}: {failure.message}", **{**failure._context, **request.where()})


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    milliseconds = headers.get("x-amz-retry-after", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return float(milliseconds) / 1000
    seconds = headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


def _missing_s(headers: Mapping[str, str], now_s: float) -> float:
    from email.utils import parsedate_to_datetime  # lazy: 6 ms, for a refused signature

    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp() - now_s
    except (TypeError, ValueError, OverflowError):  # no date, or one with a number of seventy digits
        return 0.0


def failure_of(
    answer: Answered, code: str = "", message: str = "", fields: Mapping[str, str] | None = None,
    clock: StoreClock | None = None,
) -> RequestError:  # fmt: skip
    """The error of an answer that is none of the good ones.

    Args:
        answer: Status and headers; of the content only the beginning is looked at, whether it is a web page.
        code: ``<Code>`` of its XML, "" without.
        message: ``<Message>``.
        fields: All fields of the XML; RequestId and Region are used where the headers do not tell.
        clock: What requests are signed with; default: the clock of this machine.
    """
    headers = answer.headers
    fields = fields or {}
    status = answer.status
    code = _field(code)
    if not code and status == 404 and answer.operation in ("HeadObject", "HeadBucket"):
        code = "NoSuchKey" if answer.operation == "HeadObject" else "NoSuchBucket"
    page = answer.content[:200].lstrip().lower()
    if not code and page.startswith((b"<!doctype html", b"<html")) and (status < 500 or status == 501):
        # A 5xx page may come from a load balancer in front of a real store; a 404 page comes from a web server.
        return NotS3(
            f"{answer.describe()}: a web page came in answer (HTTP {status}). Is the endpoint an S3 endpoint?",
            status=status, **answer.where(),
        )  # fmt: skip
    kind = error_for(500 if status == 200 and code else status, code)
    context: dict[str, Any] = {
        **answer.where(), "status": status, "code": code,
        "request_id": _field(headers.get("x-amz-request-id", "") or fields.get("RequestId", "")),
        "retry_after_s": _retry_after_s(headers),
    }  # fmt: skip
    clock = clock or StoreClock()
    missing = _missing_s(headers, clock())
    offset = clock.offset_s + missing
    # Not what is missing now: the clock may have been corrected while the request was under way.
    refused = kind in (AccessDenied, InvalidRequest) and status in (400, 403)
    if kind is ClockSkewed or (refused and abs(offset - answer.clock_offset_s) > _SKEW_S):
        kind = ClockSkewed
        context["offset_s"] = offset
    if kind is WrongRegion:
        # It becomes a part of the host's name on Amazon: what is none must not lead elsewhere.
        region = headers.get("x-amz-bucket-region") or fields.get("Region", "")
        context["region"] = region if _region(region) else ""
    said = ": ".join(part for part in (code, _said(message)) if part)
    if 300 <= status < 400 and (host := _host_of(headers.get("location", ""))):
        said = f"{said}: " * bool(said) + f"it sends to {host}, which is not followed; is the endpoint the right one?"
    if not said:
        said = "the answer gives no reason" if status >= 300 else "unexpected answer"
    hint = _HINTS.get(code, "")
    return kind(f"{answer.describe()}: {said} (HTTP {status}){hint}", **context)


def _host_of(location: str) -> str:
    """Where a redirect leads; "" when that cannot be told. What stands behind the host may be a secret."""
    try:
        found = urlsplit(location[:_MESSAGE_CHARACTERS])
        port = f":{found.port}" if found.port else ""
    except ValueError:  # no URL, or no port
        return ""
    return brief(f"{found.scheme}://{found.hostname}{port}", _FIELD_CHARACTERS) if found.hostname else ""


def _field(text: str) -> str:
    return brief(text, _FIELD_CHARACTERS) if text else ""


def _said(message: str) -> str:
    # Cut first: it may be megabytes.
    kept = " ".join(message[: 4 * _MESSAGE_CHARACTERS].split())
    if len(message) > 4 * _MESSAGE_CHARACTERS or len(kept) > _MESSAGE_CHARACTERS:
        return f"{one_line(kept[:_MESSAGE_CHARACTERS])} ... ({len(message)} characters)"
    return one_line(kept)


_HINTS = {
    "NoSuchBucket": "; make it first (s3engine mb) or mend its name",
    "SignatureDoesNotMatch": "; the secret key is wrong",
    "InvalidAccessKeyId": "; the access key is wrong for this endpoint",
    "BucketNotEmpty": "; delete what it holds first (s3engine rm -r)",
}
