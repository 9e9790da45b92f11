"""From a completed exchange to its value, or to the error it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from s3engine.errors import ChecksumMismatch, NotS3, NotSupported, RequestError, ServerFault
from s3engine.transport import CopyResult, GetResult, HeadResult, PutResult
from s3engine_transports.bodies import is_length
from s3engine_transports.clock import StoreClock
from s3engine_transports.common import Answered, failure_of
from s3engine_transports.raw import xml
from s3engine_transports.raw.exchange import RawExchange
from s3engine_transports.raw.shapes import Shape

__all__ = [
    "completed", "copied", "failure", "from_xml", "get", "head", "nothing", "put", "put_of_shape",
    "trailed", "upload_id",
]  # fmt: skip

R = TypeVar("R")
_SHORT_BYTES = 4096
# The result of a copy as stores write it, whole from its first byte to its last, with an ETag that is not empty: read
# in 2 us where the parser takes 20. Anything else, also an error in a 200, is for the parser.
_SPACE = rb"[ \t\r\n]*"
_MODIFIED = rb"(?:<LastModified>[0-9TZ:.+-]*</LastModified>" + _SPACE + rb")?"
_COPY_RESULT = (  # compiled by re when it is first needed
    _SPACE + rb"""(?:<\?xml version=(?:"1\.0"|'1\.0')(?: encoding=(?:"[Uu][Tt][Ff]-8"|'[Uu][Tt][Ff]-8'))?"""
    + _SPACE + rb"\?>)?" + _SPACE
    + rb"""<(Copy(?:Object|Part)Result)(?: xmlns=(?:"[A-Za-z0-9:/._-]*"|'[A-Za-z0-9:/._-]*'))?>"""
    + _SPACE + _MODIFIED + rb"""<ETag>(?:"|&quot;|&#34;)?([A-Za-z0-9-]+)(?:"|&quot;|&#34;)?</ETag>""" + _SPACE
    + _MODIFIED + rb"</\1>" + _SPACE
)
_TOLD = ("sha256", "crc32", "crc64nvme", "crc32c")


def put(answer: Answered, clock: StoreClock) -> PutResult:
    """PutObject, UploadPart."""
    if answer.status != 200:
        raise failure(answer, clock)
    headers = answer.headers
    etag = headers.get("etag")
    if etag is None:
        raise NotS3(
            f"{answer.describe()}: answered 200 without an ETag. Is the endpoint an S3 endpoint?",
            status=200, **answer.where(),
        )  # fmt: skip
    checksum = ""
    for algorithm in _TOLD:
        value = headers.get("x-amz-checksum-" + algorithm)
        if value:
            checksum = f"{algorithm}:{value}"
            break
    return PutResult(
        etag.strip('"'), headers.get("x-amz-request-id", ""), 200, headers.get("x-amz-version-id", ""), checksum
    )


def put_of_shape(exchange: RawExchange[Any], shape: Shape, clock: StoreClock) -> PutResult:
    """The same of an answer whose head has a shape: only what is needed is cut out of it."""
    etag_at = shape.etag
    if etag_at is None or exchange.status != 200 or shape.checksum is not None or shape.version_id is not None:
        return put(exchange, clock)
    head = exchange.raw_head
    etag = head[etag_at[0] : etag_at[1]].decode("latin-1").strip().strip('"')
    request_id_at = shape.request_id
    request_id = head[request_id_at[0] : request_id_at[1]].decode("latin-1").strip() if request_id_at else ""
    # As a tuple: a NamedTuple's own way to be made takes three times as long.
    return tuple.__new__(PutResult, (etag, request_id, 200, "", ""))


def trailed(exchange: RawExchange[Any], result: PutResult) -> PutResult:
    """The result with what was computed while the body was sent. Raises ChecksumMismatch when the store has another."""
    ours, said = exchange.checksum, result.checksum
    if said.partition(":")[0] == ours.partition(":")[0] and said != ours:
        raise ChecksumMismatch(
            f"{exchange.describe()}: the store has {said}, {ours} was sent", status=200, **exchange.where()
        )
    return result._replace(checksum=ours)


def get(exchange: RawExchange[Any], clock: StoreClock) -> GetResult:
    """GetObject; the body went to the sink."""
    if exchange.status not in (200, 206):
        raise failure(exchange, clock)
    found = exchange.get_result()
    if not found.etag and not any(name.startswith("x-amz-") for name in exchange.headers):
        # The page of a proxy or a login, with a good status. The body is dropped: what fails leaves no file.
        raise _no_s3_answer(exchange)
    return found


def head(answer: Answered, clock: StoreClock) -> HeadResult:
    """HeadObject; of a part it may be answered 206."""
    if answer.status not in (200, 206):
        raise failure(answer, clock)
    headers = answer.headers
    if not headers.get("etag") and not any(name.startswith("x-amz-") for name in headers):
        raise _no_s3_answer(answer)
    length = headers.get("content-length", "")
    if not is_length(length):  # nor is none 0: two objects of no length would be equal
        told = f"is {length[:40]!r}" if length else "is missing"
        raise NotS3(f"{answer.describe()}: Content-Length {told}", status=200, **answer.where())
    return HeadResult(
        int(length), headers.get("etag", "").strip('"'), headers.get("content-type", ""),
        headers.get("last-modified", ""), headers.get("x-amz-request-id", ""), answer.status, tuple(headers.items()),
    )  # fmt: skip


def copied(answer: Answered, clock: StoreClock) -> CopyResult:
    """CopyObject, UploadPartCopy: a 200 may hold an error, or be cut; only a result with an ETag is a copy."""
    if answer.status == 200 and not answer.content and "etag" in answer.headers:
        # What a store answers that did not look at x-amz-copy-source (rclone, for parts): it stored an empty body.
        raise NotSupported(
            f"{answer.describe()}: the store took it for an upload; it cannot copy here",
            status=200, **answer.where(),
        )  # fmt: skip
    content = answer.content
    found = _usual_copy(content) if answer.status == 200 and len(content) < _SHORT_BYTES else None
    etag = found[2].decode() if found is not None else from_xml(answer, clock, _etag)
    return CopyResult(etag, answer.headers.get("x-amz-request-id", ""), 200)


def _usual_copy(content: bytes) -> re.Match[bytes] | None:
    return re.fullmatch(_COPY_RESULT, content)


def completed(answer: Answered, clock: StoreClock) -> PutResult:
    """CompleteMultipartUpload: the same."""
    etag, checksum = from_xml(answer, clock, _etag_and_checksum)
    headers = answer.headers
    return PutResult(etag, headers.get("x-amz-request-id", ""), 200, headers.get("x-amz-version-id", ""), checksum)


def from_xml(answer: Answered, clock: StoreClock, read: Callable[[bytes], R], *, rooted: bool = False) -> R:
    """A 200 with an XML body that ``read`` understands.

    ``rooted``: it raises BadXml for another root than its own. Then an error is looked for only in what it refuses,
    and a list page with "Error" in its keys is read once, not twice.
    """
    if answer.status != 200:
        raise failure(answer, clock)
    body = answer.content.lstrip()
    if not rooted and _is_error(body):
        raise failure(answer, clock)
    try:
        return read(body)
    except (xml.BadXml, KeyError, ValueError) as error:
        if rooted and _is_error(body):
            raise failure(answer, clock) from None
        if _is_page(body):
            raise _no_s3_answer(answer) from error
        raise _cut(answer) from error


def _is_error(body: bytes) -> bool:
    return b"Error" in body and bool(xml.read_error(body)[0])


def _etag(body: bytes) -> str:
    found = xml.read_text(body, "ETag").strip('"')
    if not found:
        raise xml.BadXml("no ETag")
    return found


def _etag_and_checksum(body: bytes) -> tuple[str, str]:
    etag = _etag(body)
    for algorithm in _TOLD:
        value = xml.read_text(body, f"Checksum{algorithm.upper()}")
        if value:
            return etag, f"{algorithm}:{value}"
    return etag, ""


def upload_id(body: bytes) -> str:
    """CreateMultipartUpload's UploadId. Raises BadXml."""
    found = xml.read_text(body, "UploadId")
    if not found:
        raise xml.BadXml("no UploadId")
    return found


def nothing(answer: Answered, clock: StoreClock) -> None:
    """Operations that answer with a status alone."""
    if not 200 <= answer.status < 300:
        raise failure(answer, clock)
    if answer.content and _is_page(answer.content.lstrip()):
        raise _no_s3_answer(answer)


def _is_page(body: bytes) -> bool:
    """Whether this is what a web server or a login page says, and no XML of a store."""
    start = body[:1000].lower()
    return b"<!doctype" in start or start.startswith(b"<html") or (bool(body) and not body.startswith(b"<"))


def _no_s3_answer(answer: Answered) -> NotS3:
    return NotS3(
        f"{answer.describe()}: the answer is no S3 answer. Is the endpoint an S3 endpoint?",
        status=answer.status, **answer.where(),
    )  # fmt: skip


def _cut(answer: Answered) -> ServerFault:
    return ServerFault(
        f"{answer.describe()}: a 200 with an empty, cut or unreadable body", status=200, **answer.where()
    )


def failure(answer: Answered, clock: StoreClock) -> RequestError:
    """The error of an answer that is none of the good ones."""
    code, message, fields = xml.read_error(answer.content.lstrip()) if answer.content else ("", "", {})
    return failure_of(answer, code, message, fields, clock)
