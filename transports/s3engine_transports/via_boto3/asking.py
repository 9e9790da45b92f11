"""One call of a boto3 client: what is sent is completed on its way out, what comes back is kept, errors become ours."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, IncompleteRead
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from s3engine.errors import ConfigError, InvalidRequest, NotS3, S3EngineError, TruncatedBody
from s3engine.transport import Headers, Timeouts
from s3engine_transports.bodies import read_whole
from s3engine_transports.clock import StoreClock
from s3engine_transports.common import UNHURRIED, Answer, check_headers, with_context
from s3engine_transports.raw import answers, xml
from s3engine_transports.timers import Call, calling
from s3engine_transports.via_boto3.http import Http
from s3engine_transports.via_boto3.session import CLOCK_OFFSET

__all__ = ["CLIENT_ERRORS", "Asked", "Asking"]

CLIENT_ERRORS = (BotoCoreError, ClientError, HTTPError, HTTPException, OSError, ResponseParserError, ValueError)
"""What may come out of a client's call and out of reading the body of its answer."""

# What the body of a good answer is, where an empty or foreign one would be read as an empty result.
_ROOTS = {
    "ListObjectsV2": b"ListBucketResult", "DeleteObjects": b"DeleteResult", "ListParts": b"ListPartsResult",
    "ListMultipartUploads": b"ListMultipartUploadsResult",
}  # fmt: skip


class Asked:
    """What a thread is asking the store for. ``raw`` is the urllib3 response when the body is to be streamed."""

    def __init__(self, request: Answer, headers: Headers, call: Call) -> None:
        self.request = request
        self.headers = headers
        self.call = call
        self.answer = request  # with status, headers and content, once there is one
        self.raw: Any = None


class _Body:
    """A body that was read already, as AWSResponse wants it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


class Asking:
    """Gives boto3's clients the handlers of their events, and each thread the state that these need."""

    def __init__(self, http: Http, clock: StoreClock) -> None:
        self._http = http
        self._clock = clock
        self._thread = threading.local()
        self.handlers: dict[str, Callable[..., Any]] = {
            "before-call.s3": self._add_headers, "before-sign.s3": self._before_sign, "before-send.s3": self._send,
        }  # fmt: skip

    @contextmanager
    def asking(self, request: Answer, timeouts: Timeouts, headers: Headers = ()) -> Iterator[Asked]:
        """The client is called, and the body of a GET is read, inside of this block."""
        with calling(timeouts, unhurried=request.operation in UNHURRIED) as call:
            asked = self._thread.asked = Asked(request, _checked(headers), call)
            try:
                yield asked
            finally:
                self._thread.asked = None
                if asked.raw is not None:
                    # Read whole, the connection is used again; else it is closed.
                    if asked.raw.length_remaining == 0:
                        asked.raw.release_conn()
                    asked.raw.close()

    def call(self, asked: Asked, method: Callable[..., Any], parameters: dict[str, Any]) -> Any:
        """What boto3 made of the answer; ``asked`` has the answer itself. Raises our errors only."""
        try:
            parsed = method(**parameters)
        except S3EngineError as error:
            raise self._ours(asked, error) from error.__cause__
        except CLIENT_ERRORS as error:
            raise self._ours(asked, error) from error
        if "Error" in parsed or _ROOTS.get(asked.request.operation, b"") not in asked.answer.content:
            raise self.bad(asked.answer)
        return parsed

    def bad(self, answer: Answer) -> S3EngineError:
        """The error of an answer that boto3 made nothing of."""
        try:
            answers.from_xml(answer, self._clock, _unreadable)
        except S3EngineError as error:
            return error
        raise AssertionError("_unreadable reads nothing")

    # ---- on the way out

    def _add_headers(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        asked: Asked = self._thread.asked
        if model.name != asked.request.operation:  # CreateSession of S3 Express
            return
        headers = params["headers"]
        for name, value in asked.headers:
            for other in [other for other in headers if other.lower() == name]:
                del headers[other]
            headers[name] = value

    def _before_sign(self, request: Any, operation_name: str, **_: Any) -> None:
        offset_s = request.context[CLOCK_OFFSET] = self._clock.offset_s
        asked: Asked = self._thread.asked
        asked.request = asked.answer = asked.request._replace(clock_offset_s=offset_s)
        if operation_name == "DeleteObjects" and "Content-MD5" not in request.headers:
            # Some stores refuse without, and botocore has sent CRC32 in its place since 1.36.
            digest = hashlib.md5(request.body, usedforsecurity=False).digest()
            request.headers["Content-MD5"] = base64.b64encode(digest).decode()

    def _send(self, request: Any, **_: Any) -> Any:
        asked: Asked = self._thread.asked
        streamed = request.stream_output
        response = self._http.send(request, asked.call)
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        if streamed and status in (200, 206):
            asked.raw = response.raw
            asked.answer = asked.request._replace(status=status, headers=headers)
            return response
        try:
            came = read_whole(response.raw.stream(), status, asked.request.operation)
        except NotS3:
            response.raw.close()
            raise
        content = came.lstrip()
        asked.answer = answer = asked.request._replace(status=status, headers=headers, content=content)
        length = headers.get("content-length", "")
        if request.method != "HEAD" and length.isascii() and length.isdigit() and len(came) < int(length):
            raise _cut(answer)
        if status == 200 and b"Error" in content and xml.read_error(content)[0]:
            raise answers.failure(answer, self._clock)
        if content:
            try:
                xml.check_harmless(content)
            except xml.BadXml:  # botocore would parse it
                raise self.bad(answer) if status == 200 else answers.failure(answer, self._clock) from None
        # Without the white space of a store that keeps the connection alive before it answers.
        return AWSResponse(response.url, status, response.headers, _Body(content))

    # ---- what went wrong

    def _ours(self, asked: Asked, error: Exception) -> S3EngineError:
        request = asked.request
        if asked.call.failure is not None:
            return with_context(asked.call.failure, request)
        if isinstance(error, S3EngineError):
            return error if getattr(error, "operation", "") else with_context(error, request)
        if isinstance(error, ClientError):
            return answers.failure(asked.answer, self._clock)
        where = request.where()
        if isinstance(error, (ParamValidationError, UnicodeError)):
            why = "is not Unicode" if isinstance(error, UnicodeError) else " ".join(str(error).split())
            return InvalidRequest(f"{request.describe()}: {why}", **where)
        if asked.answer.status:
            return self.bad(asked.answer)
        if asked.call.answered:
            if any(isinstance(seen, HTTPException) and not isinstance(seen, IncompleteRead) for seen in _chain(error)):
                return NotS3(
                    f"{request.describe()}: the answer is no HTTP/1.1. Is the endpoint an S3 endpoint, with the right "
                    "scheme and port?", **where,
                )  # fmt: skip
            return _cut(asked.answer)
        # Nothing was sent: botocore does not want to send this.
        return InvalidRequest(f"{request.describe()}: {type(error).__name__}: {' '.join(str(error).split())}", **where)


def _checked(headers: Headers) -> Headers:
    check_headers(headers)
    names = [name for name, _ in headers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"header {name!r} is there more than once")
    return headers


def _cut(answer: Answer) -> TruncatedBody:
    return TruncatedBody(
        f"{answer.describe()}: the connection closed before the end of the body", status=answer.status, **answer.where()
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _unreadable(_: bytes) -> None:
    raise xml.BadXml("boto3 cannot read it")
