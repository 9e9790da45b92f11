"""What comes by TLS is received record by record, and handed on as one."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from typing import Any

import pytest

from s3engine.errors import ConnectionLost
from s3engine.wire import Wire
from tests.wires import PATIENT, Link, get, put

BUFFER_BYTES = 64 * 1024
RECORD = bytes(range(256)) * 64


class Records:
    """A TLS socket whose peer sent these; an exception is raised in its place."""

    def __init__(self, *records: bytes | Exception) -> None:
        self.records = deque(records)

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def fileno(self) -> int:
        return 99

    def pending(self) -> int:
        return 0

    def send(self, data: Any) -> int:
        return len(data)

    def recv_into(self, buffer: memoryview) -> int:
        record = self.records.popleft() if self.records else ssl.SSLWantReadError()
        if isinstance(record, Exception):
            raise record
        buffer[: len(record)] = record
        return len(record)


def carrying(*records: bytes | Exception) -> tuple[Wire, Any, list[int]]:
    exchange = get()
    fed: list[int] = []
    feed = exchange.feed

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(exchange, name)

        def feed(self, data: memoryview) -> bool:
            fed.append(len(data))
            return bool(feed(data))

    wire = Wire(Link(Records(*records)))  # type: ignore[arg-type]  # what a wire needs of a socket
    wire.start(Watched(), PATIENT, 100.0)
    return wire, exchange, fed


def head(size_bytes: int) -> bytes:
    return b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n' % size_bytes


def test_full_records_are_handed_on_together() -> None:
    """As many as fit into the buffer go on as one piece, and the body is that of the records."""
    wire, exchange, fed = carrying(head(6 * len(RECORD)), *[RECORD] * 6)
    buffer = memoryview(bytearray(BUFFER_BYTES))
    assert not wire.on_readable(buffer, 100.0)
    assert not wire.on_readable(buffer, 100.0)
    assert wire.on_readable(buffer, 100.0)
    assert fed[1:] == [4 * len(RECORD), 2 * len(RECORD)]
    assert exchange.sink.body() == RECORD * 6
    assert wire.moved_bytes == sum(fed)


def test_what_came_before_an_error_counts() -> None:
    """The records before a reset are handed on, and then it is ConnectionLost."""
    wire, exchange, _ = carrying(head(3 * len(RECORD)), RECORD, RECORD, ConnectionResetError(104, "reset"))
    buffer = memoryview(bytearray(BUFFER_BYTES))
    wire.on_readable(buffer, 100.0)
    with pytest.raises(ConnectionLost, match="reset"):
        wire.on_readable(buffer, 100.0)
    assert exchange.sink.received == 2 * len(RECORD)


def test_an_answer_that_is_whole_needs_no_more() -> None:
    """An error behind the last byte of an answer is none of it."""
    wire, exchange, _ = carrying(head(len(RECORD)), RECORD, ConnectionResetError(104, "reset"))
    buffer = memoryview(bytearray(BUFFER_BYTES))
    wire.on_readable(buffer, 100.0)
    assert wire.on_readable(buffer, 100.0)
    assert exchange.sink.body() == RECORD


class Reluctant(Records):
    """As OpenSSL: what it could not send it wants again, the same bytes and not less of them."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.ends = socket.socketpair()  # the kernel is asked what is left in a socket's buffer
        self.refusals = refusals
        self.tried = b""
        self.sent = b""

    def fileno(self) -> int:
        return self.ends[0].fileno()

    def close(self) -> None:
        for end in self.ends:
            end.close()

    def send(self, data: Any) -> int:
        if self.tried and bytes(data[: len(self.tried)]) != self.tried:
            raise ssl.SSLError(1, "[SSL: BAD_LENGTH] bad length")
        if self.refusals:
            self.refusals -= 1
            self.tried = bytes(data)
            raise ssl.SSLWantWriteError
        self.tried = b""
        self.sent += bytes(data)
        return len(data)


@pytest.mark.parametrize("size_bytes", [0, 100, 20_000, 100_000, 256 * 1024])
@pytest.mark.parametrize("refusals", [1, 3])
def test_what_could_not_be_sent_goes_again(size_bytes: int, refusals: int) -> None:
    """A body that finds the socket full at the first send arrives whole, by the same bytes tried again."""
    sock = Reluctant(refusals)
    body = bytes(range(256)) * (size_bytes // 256) + bytes(size_bytes % 256)
    exchange = put(body)
    wire = Wire(Link(sock))  # type: ignore[arg-type]  # what a wire needs of a socket
    wire.start(exchange, PATIENT, 100.0)
    for _ in range(2 * refusals):
        if wire.wants_write:
            wire.on_writable(100.0)
    assert not wire.wants_write
    assert sock.sent == exchange.head + body
    wire.close()


class Renegotiating(Reluctant):
    """A peer that began a handshake anew and fell silent: OpenSSL wants to read before it writes."""

    def send(self, data: Any) -> int:
        raise ssl.SSLWantReadError


def test_a_silent_handshake_is_no_progress() -> None:
    """While OpenSSL wants to read before it may write, nothing moves, and the stall timer goes on."""
    wire = Wire(Link(Renegotiating(0)))  # type: ignore[arg-type]  # what a wire needs of a socket
    wire.start(put(bytes(100_000)), PATIENT, 100.0)
    wire.on_writable(104.0)
    assert wire.moved_at == 100.0
    wire.close()
