"""Deadlines for clients that go through urllib3: what :class:`s3engine.transport.Timeouts` promises, at the socket.

    with calling(timeouts) as call:
        try:
            answer = client.do_something()
        except ClientsOwnError:
            if call.failure is not None:
                raise call.failure from None
            raise

A client knows socket timeouts at best, and those bound one system call each; urllib3 even sends bodies under the
connect timeout. So connections with :class:`DeadlineConnection` in front of their class talk through a
:class:`DeadlineSocket`, which ignores the client's timeouts and asks the :class:`Call` of its thread how long each
operation may take.
"""

from __future__ import annotations

import socket
import sys
import time
from http.client import HTTPResponse, parse_headers
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util.connection import allowed_gai_family

from s3engine.transport import Timeouts
from s3engine_transports.deadline_socket import DeadlineSocket
from s3engine_transports.network import MAX_IDLE_S, connect_error, connect_to_one, is_readable
from s3engine_transports.timers import Call, calling, current_call

__all__ = ["Call", "DeadlineConnection", "DeadlineSocket", "calling", "pool_classes"]

if TYPE_CHECKING:
    _Connection = HTTPConnection
else:
    _Connection = object


class _Response(HTTPResponse):
    """Reads over every interim answer, as HTTP has it; http.client does so for 100 alone."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed has no private names
            if not 101 < status < 200:
                return version, status, reason
            parse_headers(self.fp)


class DeadlineConnection(_Connection):
    """A mixin, to stand before a urllib3 connection class: ``connect_s`` bounds TCP, proxy and TLS together.

    The name look-up is not bounded: that is the resolver's affair. A connection that was idle for more than 4 s, that
    has something to read while it is idle, or whose last exchange broke is not used again.
    """

    response_class = _Response

    def connect(self) -> None:
        """Connect, and put a DeadlineSocket in place of the socket."""
        call = current_call()
        if call is None:
            with calling(Timeouts()):
                return self.connect()
        scheme = "https" if isinstance(self, HTTPSConnection) else "http"
        where = f"{scheme}://{self._tunnel_host or self.host}:{self._tunnel_port or self.port}"  # until it is closed
        try:
            super().connect()
        except (OSError, HTTPError, ValueError) as error:  # ValueError: a certificate for another host
            call.connect_failed(connect_error(error, where, self.host, call.timeouts.connect_s))
            raise
        self.sock: Any = DeadlineSocket(self.sock)
        call.connected()
        return None

    def _new_conn(self) -> socket.socket:
        call = _call()
        host = self._dns_host.strip("[]")
        began_at = time.monotonic()
        try:
            found = socket.getaddrinfo(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise LocationParseError(f"{host!r}: label empty or too long") from None
        call.connect_begins(time.monotonic() - began_at)
        try:
            sock = connect_to_one(
                found, list(self.socket_options or ()), call.left_to_connect_s, call.at, self.source_address
            )
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no connection to {self.host} in time") from error
        except OSError as error:
            raise NewConnectionError(self, f"no connection to {self.host}: {error}") from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def _tunnel(self) -> None:
        plain: Any = self.sock
        self.sock = DeadlineSocket(plain)
        try:
            super()._tunnel()
        except BaseException:
            plain.close()  # http.client of Python 3.10 leaves its file open, and so the socket
            raise
        self.sock = plain
        plain.settimeout(_call().left_to_connect_s())

    @property
    def is_connected(self) -> bool:
        """Whether the idle connection may carry another request."""
        sock = self.sock
        now = time.monotonic()
        if sock is None or sock.broken or now - sock.moved_at > MAX_IDLE_S or now > sock.retires_at:
            return False
        return not is_readable(sock)


def _call() -> Call:
    call = current_call()
    assert call is not None  # DeadlineConnection.connect sees to it
    return call


class _HTTPConnection(DeadlineConnection, HTTPConnection):
    pass


class _HTTPSConnection(DeadlineConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection

    def _validate_conn(self, conn: Any) -> None:
        # Without urllib3's warning on each request: who sets verify_tls=False knows.
        if conn.is_closed:
            conn.connect()


pool_classes = {"http": _HTTPPool, "https": _HTTPSPool}
"""For ``PoolManager.pool_classes_by_scheme``."""
