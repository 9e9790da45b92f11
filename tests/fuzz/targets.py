"""What is fuzzed. A target takes any bytes and raises nothing but :class:`Finding` when a promise does not hold.

Each catches the errors that its parser documents, and checks besides what must hold for every input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s3engine.cli.route import route
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, RequestError
from s3engine.sinks import MemorySink
from s3engine.uri import S3Uri
from s3engine_transports.raw import RawTransport, xml
from s3engine_transports.raw.exchange import RawExchange

NOW_S = 1_800_000_000.0


class Finding(AssertionError):
    """A promise that does not hold for an input."""


def _no_time() -> float:
    return NOW_S


_transport = RawTransport(
    TransportSettings(endpoint_url="http://127.0.0.1:9", credentials=Credentials("AK", "SK")), wall_clock=_no_time
)
_Made = tuple[RawExchange[Any], MemorySink]


def _exchange(kind: int) -> _Made:
    ops = _transport.exchanges
    sink = MemorySink()
    made: tuple[Callable[[], Any], ...] = (
        lambda: ops.get_object("bucket", "key", sink),
        lambda: ops.get_object("bucket", "key", sink, first=10, last=19),
        lambda: ops.get_object("bucket", "key", sink, first=3, if_match="e"),
        lambda: ops.put_object("bucket", "key", b"body", ()),
        lambda: ops.head_object("bucket", "key"),
        lambda: ops.list_objects_v2("bucket"),
        lambda: ops.delete_objects("bucket", ["key"]),
        lambda: ops.copy_object("bucket", "key", "bucket", "copy", ()),
        lambda: ops.create_multipart_upload("bucket", "key", ()),
        lambda: ops.delete_object("bucket", "key"),
    )
    return made[kind % len(made)](), sink


def _outcome(kind: int, answer: bytes, steps: bytes) -> tuple[Any, ...]:
    """Feed an answer in pieces of these sizes, again and again, then the end of the connection."""
    exchange, sink = _exchange(kind)
    at = number = 0
    try:
        while at < len(answer):
            size = (steps[number % len(steps)] or 256) if steps else len(answer)
            # A buffer that is used again, as the driver's is: what was kept must have been copied.
            piece = bytearray(answer[at : at + size])
            over = exchange.feed(memoryview(piece))
            piece[:] = b"\xee" * len(piece)
            at += size
            number += 1
            if over:
                break
        else:
            over = exchange.feed(memoryview(b""))
        if not over:
            raise Finding("the connection ended, and the exchange goes on")
        return repr(exchange.result()), exchange.status, bytes(sink.body())
    except RequestError as error:
        return type(error).__name__, str(error)


def response_head(data: bytes) -> None:
    """The parser of answers: first byte the operation, second how many sizes of pieces follow, then the answer.

    Any answer gives a result or a RequestError, and the same in whatever pieces it comes.
    """
    if len(data) < 2:
        return
    count = data[1] % 8
    steps, answer = data[2 : 2 + count], data[2 + count :]
    whole = _outcome(data[0], answer, b"")
    pieces = _outcome(data[0], answer, steps)
    if whole != pieces:
        raise Finding(f"whole: {whole!r}; in pieces: {pieces!r}")


_READERS: tuple[Callable[[bytes], Any], ...] = (
    xml.read_list_page, xml.read_deleted, xml.read_parts, xml.read_uploads, xml.read_error,
    lambda body: xml.read_text(body, "UploadId"),
)  # fmt: skip


def xml_readers(data: bytes) -> None:
    """All readers of XML: a value or BadXml; what they give can be printed and written to UTF-8."""
    for read in _READERS:
        try:
            found = read(data)
        except xml.BadXml:
            continue
        repr(found).encode("utf-8")


def uri(data: bytes) -> None:
    """URIs and the routes of ``cp``: a value that is written as it was read, or ConfigError."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parsed = S3Uri.parse(text)
    except ConfigError as error:
        str(error).encode("utf-8", "surrogateescape")
    else:
        if str(parsed).rstrip("/") != text.rstrip("/") or not parsed.bucket or "/" in parsed.bucket:
            raise Finding(f"{text!r} was read as {parsed!r}")
    source, _, target = text.partition("\n")
    for recursive in (False, True):
        try:
            found = route(source, target, recursive=recursive)
        except ConfigError:
            continue
        if found.kind not in ("upload", "download", "copy"):
            raise Finding(f"{source!r} to {target!r} is {found!r}")


TARGETS: dict[str, Callable[[bytes], None]] = {"head": response_head, "xml": xml_readers, "uri": uri}
