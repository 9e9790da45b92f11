"""What the transports have in common: from an answer of the store to the error that it is for us."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

from s3engine.classify import error_for
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    InvalidRequest,
    NotS3,
    RequestError,
    S3EngineError,
    WrongRegion,
)

__all__ = ["Answer", "Answered", "failure_of", "quoted_etag", "with_context"]

# Beyond this a refused signature is put down to the clock (the AWS SDK for JavaScript uses the same 300 s).
_SKEW_S = 300.0


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

    def describe(self) -> str:
        """``PutObject s3://bucket/key``, on one line whatever the key holds."""
        return f"{self.operation} s3://{self.bucket}/{self.key}".encode("unicode_escape").decode("ascii")

    def where(self) -> dict[str, Any]:
        """The context that errors of this request carry."""
        return {"operation": self.operation, "bucket": self.bucket, "key": self.key}


def quoted_etag(etag: str) -> str:
    """An ETag as If-Match wants it."""
    # Stores differ: some match only the quoted form, some only the bare one; the quoted one is what HTTP defines.
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


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


def _offset_s(headers: Mapping[str, str], now_s: float) -> float:
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp() - now_s
    except (TypeError, ValueError):
        return 0.0


def failure_of(
    answer: Answered, code: str = "", message: str = "", fields: Mapping[str, str] | None = None,
    now_s: float | None = None,
) -> RequestError:  # fmt: skip
    """The error of an answer that is none of the good ones.

    Args:
        answer: Status and headers; of the content only the beginning is looked at, whether it is a web page.
        code: ``<Code>`` of its XML, "" without.
        message: ``<Message>``.
        fields: All fields of the XML; RequestId and Region are used where the headers do not tell.
        now_s: This side's clock when the request was signed, seconds since 1970; default: now.
    """
    headers = answer.headers
    fields = fields or {}
    status = answer.status
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
        "request_id": headers.get("x-amz-request-id", "") or fields.get("RequestId", ""),
        "retry_after_s": _retry_after_s(headers),
    }  # fmt: skip
    offset = _offset_s(headers, time.time() if now_s is None else now_s)
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
    return kind(f"{answer.describe()}: {said} (HTTP {status}){hint}", **context)


_HINTS = {
    "NoSuchBucket": "; make it first (s3engine mb) or mend its name",
    "SignatureDoesNotMatch": "; the secret key is wrong",
    "InvalidAccessKeyId": "; the access key is wrong for this endpoint",
    "BucketNotEmpty": "; delete what it holds first (s3engine rm -r)",
}
