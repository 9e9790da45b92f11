"""A thin relay that counts the PUTs of each path: one thread, no HTTP but the request line."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import Counter
from types import TracebackType

_MARK = b"PUT /"
_LINE_BYTES = 4096


class _End:
    """One side of a connection."""

    __slots__ = ("held", "other", "sock", "tail", "to_server")

    def __init__(self, sock: socket.socket, *, to_server: bool) -> None:
        self.sock = sock
        self.to_server = to_server
        """What is read here goes to the server."""
        self.other: _End
        self.held = b""
        """What could not be sent to this side yet."""
        self.tail = b""


class PutCounter:
    """Relays 127.0.0.1 to ``upstream``. ``puts`` counts by path what was handed to a server that took the connection.

    Bodies must not hold "PUT /". While nobody listens at ``upstream`` nobody listens here: connecting is refused.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.puts: Counter[str] = Counter()
        self.port = 0
        self._listener: socket.socket | None = self._listening()
        self._selector = selectors.DefaultSelector()
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> PutCounter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quit.set()
        self._thread.join(10)

    def _listening(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        return listener

    def _look_for_upstream(self) -> None:
        try:
            socket.create_connection(("127.0.0.1", self.upstream), timeout=2).close()
        except OSError:
            return
        self._listener = self._listening()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _serve(self) -> None:
        assert self._listener is not None
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not self._quit.is_set():
            if self._listener is None:
                self._look_for_upstream()
            for key, mask in self._selector.select(0.1):
                end: _End | None = key.data
                if end is None and self._listener is None:
                    continue
                if end is None:
                    self._accept()
                    continue
                try:
                    if mask & selectors.EVENT_WRITE:
                        self._send(end, b"")
                    if mask & selectors.EVENT_READ and end.sock.fileno() >= 0:
                        self._read(end)
                except OSError:
                    self._drop(end)
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data.sock.close()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.upstream), timeout=2)
        except OSError:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            near.close()
            return
        one, two = _End(near, to_server=True), _End(far, to_server=False)
        one.other, two.other = two, one
        for end in (one, two):
            end.sock.setblocking(False)
            end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end.sock, selectors.EVENT_READ, end)

    def _read(self, end: _End) -> None:
        try:
            data = end.sock.recv(64 * 1024)
        except BlockingIOError:
            return
        if not data:
            self._drop(end)
            return
        if end.to_server:
            end.tail = self._count(end.tail + data)
        self._send(end.other, data)

    def _count(self, data: bytes) -> bytes:
        """Count what is whole; returns what may be the begin of a request line."""
        start = data.find(_MARK)
        while start >= 0:
            end = data.find(b" ", start + len(_MARK))
            if end < 0:
                return data[start : start + _LINE_BYTES]
            path = data[start + 4 : end]
            if b"?" not in path:
                self.puts[path.decode("latin-1")] += 1
            start = data.find(_MARK, end)
        return data[-(len(_MARK) - 1) :]

    def _send(self, end: _End, data: bytes) -> None:
        end.held += data
        with contextlib.suppress(BlockingIOError):
            while end.held:
                end.held = end.held[end.sock.send(end.held) :]
        self._selector.modify(end.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if end.held else 0), end)

    def _drop(self, end: _End) -> None:
        for one in (end, end.other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one.sock)
            one.sock.close()
