"""A thin relay that notes each PUT and what became of it: one thread, no HTTP but request lines and status lines."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

_MARK = b"PUT /"
_LINE_BYTES = 4096


@dataclass(slots=True, eq=False)
class Put:
    """A PUT that was read from a client. Times are of ``time.monotonic``, as the relay saw it, which may be late."""

    path: str
    run: int
    """``PutCounter.run`` when it began."""
    begun_s: float
    status: int = 0
    """Of the answer whose first byte was read from the server; 0: none came."""
    answered_s: float = 0.0
    cut_by: str = ""
    """Which side, "client" or "server", ended the connection while this was the last PUT on it; "": none did."""


class _End:
    """One side of a connection."""

    __slots__ = ("held", "last", "other", "sock", "tail", "to_server")

    def __init__(self, sock: socket.socket, *, to_server: bool) -> None:
        self.sock = sock
        self.to_server = to_server
        """What is read here goes to the server."""
        self.other: _End
        self.held = b""
        """What could not be sent to this side yet."""
        self.tail = b""
        self.last: Put | None = None
        """Of the client's side: the PUT that was read last."""


class PutCounter:
    """Relays 127.0.0.1 to ``upstream``. ``sent`` has each PUT in order, ``puts`` counts them by path.

    ``open`` are those that were begun and have no answer; ``connections`` how many there are now. ``run`` is a number
    that its owner sets, and that later PUTs get. Bodies must not hold "PUT /", and a client sends its next request when
    it has the answer. While nobody listens at ``upstream`` nobody listens here: connecting is refused.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.puts: Counter[str] = Counter()
        self.sent: list[Put] = []
        self.open: set[Put] = set()
        self.connections = 0
        self.run = 0
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
                if mask & selectors.EVENT_WRITE and end.sock.fileno() >= 0:
                    self._send(end, b"")
                if mask & selectors.EVENT_READ and end.sock.fileno() >= 0:
                    self._read(end)
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
        self.connections += 1

    def _read(self, end: _End) -> None:
        try:
            data = end.sock.recv(64 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(end, by=end)
            return
        if end.to_server:
            end.tail = self._count(end, end.tail + data)
        else:
            self._answered(end.other.last, data)
        self._send(end.other, data)

    def _answered(self, put: Put | None, data: bytes) -> None:
        """Note the status; one of an answer whose head comes in pieces shorter than a status line counts as 1."""
        if put is not None and not put.status and not data.startswith(b"HTTP/1.1 1"):
            put.status = int(data[9:12]) if data[9:12].isdigit() else 1
            put.answered_s = time.monotonic()
            self.open.discard(put)

    def _count(self, client: _End, data: bytes) -> bytes:
        """Count what is whole; returns what may be the begin of a request line."""
        start = data.find(_MARK)
        while start >= 0:
            end = data.find(b" ", start + len(_MARK))
            if end < 0:
                return data[start : start + _LINE_BYTES]
            path = data[start + 4 : end]
            if b"?" not in path:
                self._begun(client, path.decode("latin-1"))
            start = data.find(_MARK, end)
        return data[-(len(_MARK) - 1) :]

    def _begun(self, client: _End, path: str) -> None:
        put = Put(path, self.run, time.monotonic())
        if client.last is not None:
            self.open.discard(client.last)
        client.last = put
        self.open.add(put)
        self.sent.append(put)
        self.puts[path] += 1

    def _send(self, end: _End, data: bytes) -> None:
        end.held += data
        try:
            while end.held:
                end.held = end.held[end.sock.send(end.held) :]
        except BlockingIOError:
            pass  # goes on when it can be written to
        except OSError:
            self._drop(end, by=end)
            return
        self._selector.modify(end.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if end.held else 0), end)

    def _drop(self, end: _End, by: _End) -> None:
        client = end if end.to_server else end.other
        if client.sock.fileno() >= 0:
            self.connections -= 1
        if client.last is not None and not client.last.cut_by:
            client.last.cut_by = "client" if by is client else "server"
            self.open.discard(client.last)
        for one in (end, end.other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one.sock)
            one.sock.close()
