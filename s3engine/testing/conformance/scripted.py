"""A server that misbehaves on order: for each request it does the next step of its script.

Not a store: it knows no buckets and checks no signature. It stands for networks and servers in trouble, which cannot be
had from a healthy one. Loopback, port of the system's choice, a thread per connection, all gone when the block ends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Any, NamedTuple

__all__ = ["Request", "Say", "Scripted", "answer", "error_answer", "list_answer", "object_answer"]

HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024


class Request(NamedTuple):
    """What came in. Header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Say:
    """One step: what is done with a request."""

    data: bytes = b""
    """Sent as it stands."""
    then: str = "keep"
    """keep the connection, close it (FIN), reset it (RST), hang: say nothing more, read nothing more, or drop:
    keep for now and close unannounced 20 ms later."""
    read_body: bool = True
    """False: the body of the request is not read."""
    delay_s: float = 0.0
    """Before the first byte."""
    piece_bytes: int = 0
    """Send so many bytes at a time ..."""
    pause_s: float = 0.0
    """... with this pause between them."""
    endless: bytes = b""
    """Then this, again and again, until the client goes away."""


def answer(status: int, body: bytes = b"", *headers: tuple[str, str], length: int | None = None, **how: Any) -> Say:
    """A well-formed HTTP answer; ``length`` is what Content-Length claims. ``how``: fields of Say."""
    lines = [f"HTTP/1.1 {status} Status", "x-amz-request-id: request-1"]
    if not any(name == "Date" for name, _ in headers):
        lines.append(f"Date: {formatdate(usegmt=True)}")
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return Say("\r\n".join(lines).encode() + b"\r\n\r\n" + body, **how)


def error_answer(status: int, code: str, *headers: tuple[str, str], extra: str = "", **how: Any) -> Say:
    """An error as S3 sends it; without a code the body is empty."""
    xml = '<?xml version="1.0" encoding="UTF-8"?>\n'
    body = f"{xml}<Error><Code>{code}</Code><Message>ordered</Message>{extra}</Error>"
    named = (*headers, ("Content-Type", "application/xml")) if code else headers
    return answer(status, body.encode() if code else b"", *named, **how)


def object_answer(body: bytes, status: int = 200, **how: Any) -> Say:
    """An answer to GetObject, HeadObject or PutObject."""
    return answer(
        status, body, ("ETag", '"0123456789abcdef0123456789abcdef"'), ("Content-Type", "application/octet-stream"),
        ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"), ("Accept-Ranges", "bytes"), **how,
    )  # fmt: skip


def list_answer(*keys: str) -> Say:
    """The only page of a listing."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;0&quot;</ETag>"
        f"<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>" for key in keys
    )  # fmt: skip
    page = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix></Prefix><KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
    )
    return answer(200, page.encode(), ("Content-Type", "application/xml"))


class Scripted:
    """The server as a context manager. The last step of the script is repeated for ever.

    ``at_accept``: what happens to a connection before anything is read: "hang" or "reset".
    """

    def __init__(self, *script: Say, at_accept: str = "") -> None:
        self._script = script
        self._first = 0
        self._at_accept = at_accept
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.ended = 0
        """Connections that either side has ended."""
        self.endless_bytes = 0
        """What was sent of Say.endless."""
        self._listener = socket.create_server((HOST, 0))
        # Inherited by accepted sockets: a sender notices soon that nobody reads any more.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.port: int = self._listener.getsockname()[1]

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    def now(self, *script: Say) -> None:
        """Another script, from the next request on."""
        with self._lock:
            self._script = script
            self._first = len(self.requests)

    def __enter__(self) -> Scripted:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="scripted", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._stopping.is_set():
                    sock.close()
                    return
                self._sockets.append(sock)
                self.connections += 1
            if self._at_accept == "reset":
                _reset(sock)
            elif self._at_accept != "hang":
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            received = bytearray()
            while self._one(sock, received):
                continue
        with self._lock:
            self.ended += 1

    def _one(self, sock: socket.socket, received: bytearray) -> bool:
        while b"\r\n\r\n" not in received:
            data = sock.recv(_PIECE_BYTES)
            if not data:
                sock.close()
                return False
            received += data
        head, _, rest = bytes(received).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        with self._lock:
            step = self._script[min(len(self.requests) - self._first, len(self._script) - 1)]
            place = len(self.requests)
            self.requests.append(Request(method, target, headers, b""))
        received[:] = rest
        if step.read_body:
            if headers.get("expect"):
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = _read_body(sock, received, headers)
            with self._lock:
                self.requests[place] = Request(method, target, headers, body)
        data = _from_zero(step.data) if headers.get("range") == "bytes=0-" else step.data
        if method == "HEAD":
            data = data[: data.find(b"\r\n\r\n") + 4]
        self._stopping.wait(step.delay_s)
        size = step.piece_bytes or len(data)
        for start in range(0, len(data), size or 1):
            if start and self._stopping.wait(step.pause_s):
                return False
            sock.sendall(data[start : start + size])
        while step.endless:
            self.endless_bytes += sock.send(step.endless)
        if step.then == "hang":
            self._stopping.wait()
        elif step.then == "reset":
            _reset(sock)
        elif step.then in ("close", "drop"):
            if step.then == "drop":
                time.sleep(0.02)
            sock.close()
        return step.then == "keep"


def _from_zero(data: bytes) -> bytes:
    """An object's 200 as the 206 that a store gives to the range of all its bytes; anything else as it is."""
    interim, start, final = data.partition(b"HTTP/1.1 200 ")
    head, end, body = final.partition(b"\r\n\r\n")
    length = head.rpartition(b"\r\nContent-Length: ")[2]
    if (interim and not interim.startswith(b"HTTP/1.1 1")) or b"\r\nAccept-Ranges: bytes" not in head or length == b"0":
        return data
    named = f"\r\nContent-Range: bytes 0-{int(length) - 1}/{int(length)}".encode()
    return interim + start.replace(b"200", b"206") + head + named + end + body


def _read_body(sock: socket.socket, received: bytearray, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        while b"0\r\n\r\n" not in received:
            received += _more(sock)
        body, _, rest = bytes(received).partition(b"0\r\n\r\n")
        received[:] = rest
        return body
    length = int(headers.get("content-length", "0"))
    while len(received) < length:
        received += _more(sock)
    body = bytes(received[:length])
    del received[:length]
    return body


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(_PIECE_BYTES)
    if not data:
        raise ConnectionResetError("the client went away")
    return data


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
