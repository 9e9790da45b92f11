"""What stands between a client and a server in tests: TLS in front of a plain server, HTTP proxies; on loopback."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Relay:
    """Accepts connections, asks ``open_`` for the two ends to join, and counts them; gone after the ``with``."""

    def __init__(self, open_: Callable[[socket.socket], tuple[socket.socket, socket.socket]]) -> None:
        self._open = open_
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._joined: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._joined:
            thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            joined = threading.Thread(target=self._join, args=(accepted,), daemon=True)
            self._joined.append(joined)
            joined.start()

    def _join(self, accepted: socket.socket) -> None:
        self._sockets.append(accepted)
        accepted.settimeout(10)
        with suppress(OSError, ValueError):
            near, far = self._open(accepted)
            self._sockets += [near, far]
            with closing(near), closing(far):
                _pump(near, far)
        accepted.close()


def _pump(one: socket.socket, two: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, two], [], [], 20)
        if not ready:
            return
        for sock in ready:
            data = sock.recv(65536)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(65536)
            if not data:
                return
            (two if sock is one else one).sendall(data)


def behind_tls(certificate: Path, upstream: int) -> Callable[[socket.socket], tuple[socket.socket, socket.socket]]:
    """For a Relay: TLS on the near side, plain TCP to the port ``upstream`` on the far one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    def open_(accepted: socket.socket) -> tuple[socket.socket, socket.socket]:
        near = context.wrap_socket(accepted, server_side=True)
        try:
            return near, socket.create_connection(("127.0.0.1", upstream), timeout=10)
        except OSError:
            near.close()  # a client that has hung up before the handshake leaves a socket that nobody else closes
            raise

    return open_


class ForwardProxy(Relay):
    """A plain HTTP proxy: CONNECT, and absolute-form requests to the host they name."""

    def __init__(self, login: str = "") -> None:
        super().__init__(self._ends)
        self.heads: list[bytes] = []
        self._login = b"proxy-authorization: basic " + base64.b64encode(login.encode()).lower() if login else b""

    def _ends(self, accepted: socket.socket) -> tuple[socket.socket, socket.socket]:
        head = b""
        while b"\r\n\r\n" not in head:
            head += accepted.recv(65536) or b"\r\n\r\n"
        self.heads.append(head)
        if self._login not in head.lower():
            accepted.sendall(b"HTTP/1.1 407 Login\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            raise ValueError("no login")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        authority = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = authority.rpartition(":")
        far = socket.create_connection((host, int(port)), timeout=10)
        if method == "CONNECT":
            accepted.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            # The rest of the connection goes on as it is: a store understands the absolute form as well.
            far.sendall(head)
        return accepted, far
