"""A server of one thread that does as a test says, and requests to it under deadlines."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from s3engine.errors import S3EngineError
from s3engine.transport import Timeouts
from s3engine_transports.deadlines import calling

PATIENT = Timeouts(connect_s=5, stall_s=5, first_byte_s=5, attempt_s=10)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HUGE = b"x" * (16 * 1024 * 1024)
Work = Callable[[socket.socket], None]


class Server:
    """Does one piece of work for each connection in turn; ``port`` is where. Its receive buffers are small."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(5)
        self.port: int = self._listener.getsockname()[1]
        self.over = threading.Event()
        self._thread: threading.Thread | None = None

    def serve(self, *works: Work) -> None:
        self._thread = threading.Thread(target=self._run, args=works, daemon=True)
        self._thread.start()

    def _run(self, *works: Work) -> None:
        for work in works:
            try:
                sock, _ = self._listener.accept()
                sock.settimeout(10)
                with sock:
                    work(sock)
            except OSError:
                continue  # the client went away, as most of these tests have it do

    def idle(self, _: socket.socket) -> None:
        self.over.wait(10)

    def close(self) -> None:
        self.over.set()
        if self._thread is not None:
            self._thread.join(15)
            assert not self._thread.is_alive()
        self._listener.close()


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(1)
        if not data:
            raise ConnectionResetError
        head += data
    return head


def read_body(sock: socket.socket, size: int, pause_s: float = 0.0) -> None:
    while size:
        size -= len(sock.recv(min(size, 65536))) or size
        time.sleep(pause_s)


def answer(times: int = 1) -> Work:
    def work(sock: socket.socket) -> None:
        for _ in range(times):
            read_head(sock)
            sock.sendall(OK)

    return work


def call_(manager: Any, server: Server, timeouts: Timeouts, **keywords: Any) -> bytes:
    """A request; raises what the call noted when urllib3 raises anything."""
    body = keywords.get("body")
    with calling(timeouts) as call:
        try:
            answered = manager.request("PUT" if body else "GET", f"http://127.0.0.1:{server.port}/", **keywords)
        except HTTPError:
            assert call.failure is not None
            raise call.failure from None
        assert call.failure is None
        data: bytes = answered.data
        return data


def failing(expected: type[S3EngineError], within_s: float, *args: Any, **keywords: Any) -> Any:
    began_at = time.monotonic()
    with pytest.raises(expected) as caught:
        call_(*args, **keywords)
    assert type(caught.value) is expected
    assert time.monotonic() - began_at < within_s
    return caught.value
