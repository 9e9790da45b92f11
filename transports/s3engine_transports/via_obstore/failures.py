"""What an exception of obstore is for us.

Obstore's exceptions carry a text and nothing else: the error in words and, after ``Debug source:``, the Rust value as
Rust prints it, a field to a line. Only that second part is read: keys stand in it inside quotes, and no key that
obstore takes has a line break, so no key can be taken for a field. Our messages are made of what was found, never of
the text itself, so what may stand in a URL stays out of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from s3engine.errors import (
    AttemptTimeout,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    InvalidRequest,
    NotS3,
    NotSupported,
    RequestError,
    ServerFault,
    StallTimeout,
    TruncatedBody,
    WrongRegion,
)
from s3engine.transport import DeleteFailure
from s3engine_transports.common import Answer, failure_of
from s3engine_transports.raw import xml

__all__ = ["GUARD", "answered_body", "delete_failure", "failure", "is_unranged", "text_of"]

GUARD = "127.0.0.1:1"
"""Where requests are sent that a redirect would take to another host: nobody listens there."""

_QUOTE_CHARS = 64 * 1024
_QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_answered = re.compile(
    r"\n +inner: (?:Status|Response) \{\n +status: (\d{3}),\n +body: (?:None|(?:Some\(\n +)?" + _QUOTED + ")"
).search
_http = re.compile(r"HttpError \{\n +kind: (\w+),").search
_source = re.compile(r"\n +source: (?:(?:Header|Metadata) \{\n +source: )?(\w+)").search
_reason = re.compile(r"Os \{\n +code: \d+,\n +kind: \w+,\n +message: " + _QUOTED).search
_certificate = re.compile(r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)").search
_deleted = re.compile(rf"DeleteFailed \{{\n +path: {_QUOTED},\n +code: {_QUOTED},\n +message: {_QUOTED}").search
_short = re.compile(
    r"UnexpectedRange \{\n +expected: (?P<first>\d+)\.\.(?P<end>\d+),\n +actual: (?P=first)\.\.(?P<came>\d+),"
).search
_escape = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|(.))", re.DOTALL)
_SHORT: Mapping[str, str] = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}

# For a text without the part that is read: other versions may print less.
_BY_CLASS: Mapping[str, int] = {
    "FileNotFoundError": 404, "PermissionDeniedError": 403, "UnauthenticatedError": 401, "PreconditionError": 412,
    "AlreadyExistsError": 412, "NotModifiedError": 304,
}  # fmt: skip
_IS_IT_S3 = "Is the endpoint an S3 endpoint, with the right scheme and port?"


def text_of(error: BaseException) -> str:
    """What obstore says of an error, cut where it is long: it quotes whole answers, twice, and all keys of a delete.

    Not cut are the lines of the second part, but for what they quote.
    """
    text = str(error)
    if len(text) <= _QUOTE_CHARS:
        return text
    words, mark, fields = text.rpartition("\n\nDebug source:\n")
    if not mark:
        return text[:_QUOTE_CHARS]
    cut = [
        line if len(line) <= _QUOTE_CHARS else line[:_QUOTE_CHARS].rstrip("\\") + '",' for line in fields.split("\n")
    ]
    # A line break of the words could begin what looks like a field.
    return "".join((words.partition("\n")[0][:_QUOTE_CHARS], mark, "\n".join(cut)))


def _unescaped(text: str) -> str:
    return _escape.sub(lambda found: chr(int(found[1], 16)) if found[1] else _SHORT.get(found[2], found[2]), text)


def answered_body(error: BaseException) -> tuple[int, bytes]:
    """Status and body of the answer that an exception tells of; (0, b"") when it tells of none."""
    found = _answered(text_of(error))
    return (int(found[1]), _unescaped(found[2] or "").encode()) if found else (0, b"")


def delete_failure(error: BaseException) -> DeleteFailure | None:
    """The one key of a DeleteObjects that an exception names, the first in order that was not deleted."""
    found = _deleted(text_of(error))
    return DeleteFailure(_unescaped(found[1]), _unescaped(found[2]), _unescaped(found[3])) if found else None


def is_unranged(error: BaseException) -> bool:
    """The store answered 200 to a range, which obstore does not take."""
    found = _source(text_of(error))
    return found is not None and found[1] == "NotPartial"


def failure(
    error: BaseException, request: Answer, *, connect_s: float, attempt_s: float, attempt_over: bool, read_s: float
) -> RequestError:
    """The error of ours for an exception of obstore.

    Args:
        error: What obstore raised.
        request: What it was asked for.
        connect_s: The engine's own value of that timer; and so ``attempt_s``.
        attempt_s: See there.
        attempt_over: The attempt's time was up when it was raised.
        read_s: The read timer of the client, which stands in for two of the engine's (0: none).
    """
    text = text_of(error)
    where = request.where()
    name = request.describe()
    status, body = answered_body(error)
    if status:
        code, message, fields = xml.read_error(body.lstrip()) if body else ("", "", {})
        return failure_of(request._replace(status=status, content=body), code, message, fields)
    kind = _http(text)
    if kind is not None:
        if kind[1] == "Timeout":
            return _late(text, name, where, connect_s, attempt_s, attempt_over, read_s)
        return _network(kind[1], text, name, where)
    if "inner: BareRedirect" in text:
        return WrongRegion(
            f"{name}: the bucket lives in another region, and obstore does not tell in which; give it (--region)",
            **where,
        )  # fmt: skip
    found = _source(text)
    return _of_content(found[1] if found else "", error, name, where, request)


def _late(
    text: str, name: str, where: dict[str, Any], connect_s: float, attempt_s: float, attempt_over: bool, read_s: float
) -> RequestError:
    if re.search(r"Error\(\s*Connect,", text):
        return ConnectTimeout(f"{name}: no connection within {connect_s:g} s", timeout_s=connect_s, **where)
    if attempt_over or not read_s:
        return AttemptTimeout(f"{name}: the attempt took longer than {attempt_s:.3g} s", timeout_s=attempt_s, **where)
    if "kind: Body" in text:
        return StallTimeout(f"{name}: no byte moved for {read_s:.3g} s", timeout_s=read_s, **where)
    return FirstByteTimeout(f"{name}: no answer began within {read_s:.3g} s", timeout_s=read_s, **where)


def _network(kind: str, text: str, name: str, where: dict[str, Any]) -> RequestError:
    found = _reason(text)
    reason = _unescaped(found[1]) if found else ""
    if kind == "Connect":
        return _unconnected(text, reason, name, where)
    if "IncompleteBody" in text:
        return TruncatedBody(f"{name}: the connection closed before the end of the body", **where)
    if re.search(r"hyper::Error\(\s*Parse\(", text) or kind == "Decode":
        return NotS3(f"{name}: the answer is no HTTP/1.1. {_IS_IT_S3}", **where)
    return ConnectionLost(f"{name}: connection lost: {reason or 'closed by the other side'}", **where)


def _unconnected(text: str, reason: str, name: str, where: dict[str, Any]) -> RequestError:
    if f"{GUARD}," in text:
        return WrongRegion(
            f"{name}: the store sends us to another host, where this transport does not go; give the bucket's region "
            "(--region) or endpoint",
            **where,
        )  # fmt: skip
    certificate = _certificate(text)
    if certificate is not None:
        return ConnectFailed(
            f"{name}: cannot connect: its certificate is not trusted ({certificate[1]}); give its CA (--ca-bundle, "
            "AWS_CA_BUNDLE)",
            permanent=True, **where,
        )  # fmt: skip
    if '"dns error"' in text:
        reason = "the name of the endpoint is not known"
    elif "InvalidMessage" in text or "AlertReceived" in text:
        reason = "TLS failed; is it a plain http:// endpoint?"
    return ConnectFailed(f"{name}: cannot connect: {reason or 'no reason given'}", **where)


def _of_content(source: str, error: BaseException, name: str, where: dict[str, Any], request: Answer) -> RequestError:
    """Of an answer that obstore could not use, or of a call that it did not make."""
    if source == "MissingEtag":
        return NotS3(f"{name}: answered 200 without an ETag. {_IS_IT_S3}", status=200, **where)
    if source == "MissingContentLength":
        return TruncatedBody(
            f"{name}: the answer tells no length, so a cut body could not be told from a whole one", status=200, **where
        )
    if source.startswith("Invalid") and source.endswith("Response"):
        return ServerFault(f"{name}: a 200 with an empty, cut or unreadable body", status=200, **where)
    short = _short(text_of(error))
    if short is not None and int(short["came"]) < int(short["end"]):
        return TruncatedBody(
            f"{name}: bytes up to {short['end']} were asked for, those up to {short['came']} came", status=206, **where
        )
    if source in ("NotPartial", "NoContentRange", "ParseContentRange", "UnexpectedRange", "InvalidLastModified"):
        return NotS3(f"{name}: the answer is not what was asked for ({source}). {_IS_IT_S3}", **where)
    kind = type(error).__name__
    if kind in ("InvalidPathError", "ValueError") and "path" in text_of(error):
        return InvalidRequest(
            f"{name}: there are keys that obstore cannot represent (empty segment, '.', '..', or a control character): "
            f"{_named(error)}; use another transport, e.g. raw",
            **where,
        )  # fmt: skip
    if kind in _BY_CLASS:
        return failure_of(request._replace(status=_BY_CLASS[kind]))
    if isinstance(error, NotImplementedError) or kind == "NotSupportedError":
        return NotSupported(f"{name}: obstore does not have this", **where)
    if kind == "PanicException":
        return InvalidRequest(f"{name}: obstore broke down over the request or its answer", **where)
    first = re.sub(r"\S+://\S+", "(URL)", text_of(error).split("\n", 1)[0])
    return RequestError(f"{name}: {kind}: {first[:300]}", **where)


def _named(error: BaseException) -> str:
    found = re.search(r"\n +path: " + _QUOTED, text_of(error))
    return repr(_unescaped(found[1])) if found else "one of them"
