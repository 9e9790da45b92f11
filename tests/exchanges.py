"""Exchanges of the raw transport without a socket: answers are fed to them as bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine_transports.raw import RawTransport
from s3engine_transports.raw.exchange import RawExchange

NOW_S = 1_800_000_000.0
transport = RawTransport(
    TransportSettings(endpoint_url="http://127.0.0.1:9", credentials=Credentials("AK", "SK")), wall_clock=lambda: NOW_S
)
ops = transport.exchanges


def feed(exchange: RawExchange[Any], answer: bytes, cuts: list[int] | None = None, *, close: bool = False) -> bool:
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


def http_answer(status: int, body: bytes = b"", *lines: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status} Reason", *lines, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    pieces = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return (
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "e"\r\n\r\n' + pieces + b"0\r\n" + trailers + b"\r\n"
    )


Make = Callable[[], RawExchange[Any]]


def get() -> RawExchange[Any]:
    return ops.get_object("bucket", "key", MemorySink())


def put() -> RawExchange[Any]:
    return ops.put_object("bucket", "key", b"body", ())


def head() -> RawExchange[Any]:
    return ops.head_object("bucket", "key")


def list_() -> RawExchange[Any]:
    return ops.list_objects_v2("bucket")
