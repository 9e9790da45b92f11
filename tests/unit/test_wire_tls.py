"""What comes by TLS is received record by record, and handed on as one."""

from __future__ import annotations

import ssl
from collections import deque
from typing import Any

import pytest

from s3engine.errors import ConnectionLost
from s3engine.wire import Wire
from tests.wires import PATIENT, Link, get

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
