"""Both ends of a TCP connection, and one exchange over it, for tests of the wire."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.transport import Body, Timeouts
from s3engine.wire import RECEIVE_BYTES, Wire
from s3engine_transports.raw import RawTransport

PATIENT = Timeouts(connect_s=5, stall_s=5, first_byte_s=5, attempt_s=10)
OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 46\r\n\r\n<Error><Code>EntityTooLarge</Code></Error>    "
BIG = 8 * 1024 * 1024
ops = RawTransport(
    TransportSettings(endpoint_url="http://127.0.0.1:9", credentials=Credentials("A", "S"), payload_signing="never")
).exchanges
_buffer = memoryview(bytearray(RECEIVE_BYTES))


class Link:
    """A connection of this test, as a transport would hand it out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.used = 0
        sock.setblocking(False)
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.sock.close()

    def park(self) -> None:
        raise AssertionError("a driver does not park")


class Pair:
    """Both ends of a TCP connection; ``serve`` runs a function on the far end in a thread."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            near = socket.socket()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            near.connect(listener.getsockname())
            self.far, _ = listener.accept()
        self.far.settimeout(10)
        self.link = Link(near)
        self._threads: list[threading.Thread] = []

    def serve(self, work: Callable[[socket.socket], None]) -> None:
        thread = threading.Thread(target=work, args=(self.far,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self.far.close()
        self.link.sock.close()


def put(body: Body = b"body") -> Any:
    return ops.put_object("bucket", "key", body, ())


def get() -> Any:
    return ops.get_object("bucket", "key", MemorySink())


def started(pair: Pair, exchange: Any, timeouts: Timeouts = PATIENT, now: float = 100.0) -> Wire:
    wire = Wire(pair.link)
    wire.start(exchange, timeouts, now)
    return wire


def read(far: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = far.recv(size - len(data))
        assert piece, f"closed after {len(data)} of {size} bytes"
        data += piece
    return data


def receive(pair: Pair, wire: Wire, data: bytes, now: float) -> bool:
    """Send from the far end and have it received at ``now``."""
    pair.far.sendall(data)
    wire.sock.settimeout(5)
    done = wire.on_readable(_buffer, now)
    wire.sock.setblocking(False)
    return done


def reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
