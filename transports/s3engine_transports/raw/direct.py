"""Connections over plain HTTP without a proxy, for single calls: what urllib3 would do there, without importing it.

A process that only lists is over before urllib3, with http.client, email and ssl, is imported. Addresses, socket
options and the timer are those of the connections out of urllib3's pools.
"""

from __future__ import annotations

import math
import socket
import sys
import time
from collections import deque
from typing import Any

from s3engine.transport import Timeouts
from s3engine_transports.network import connect_error, connect_to_one, socket_options
from s3engine_transports.raw.connection import Connection, closed
from s3engine_transports.timers import Call, calling

__all__ = ["DirectConnection", "DirectPool"]


class DirectConnection:
    """A socket with what a pool notes about it."""

    __slots__ = ("s3engine_parked_at", "s3engine_retires_at", "s3engine_used", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock: Any = sock
        self.s3engine_used = 0
        self.s3engine_parked_at = 0.0
        self.s3engine_retires_at = math.inf

    def close(self) -> None:
        self.sock.close()


class DirectPool:
    """The idle connections of one endpoint. See :class:`s3engine_transports.raw.connection.Pool`."""

    def __init__(self, host: str, port: int, where: str) -> None:
        self._host = host
        self._port = port
        self._where = where
        self._idle: deque[Connection] = deque()
        self._closed = False
        self.proxy_headers: dict[str, str] = {}

    def take(self) -> Connection | None:
        if self._closed:
            raise closed()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give(self, connection: Connection | None) -> None:
        if connection is None:
            return
        self._idle.append(connection)
        if self._closed:
            self.close()

    def connect(self, timeout_s: float) -> DirectConnection:
        try:
            with calling(Timeouts(connect_s=timeout_s, attempt_s=math.inf)) as call:
                return DirectConnection(self._connect(call))
        except (OSError, UnicodeError) as error:
            raise connect_error(error, self._where, self._host, timeout_s) from error

    def _connect(self, call: Call) -> socket.socket:
        # As bytes: a str goes through the idna codec, whose tables take a millisecond to load.
        host = self._host.encode() if self._host.isascii() else self._host
        began_at = time.monotonic()
        found = socket.getaddrinfo(host, self._port, _family(), socket.SOCK_STREAM)
        call.connect_begins(time.monotonic() - began_at)
        sock = connect_to_one(found, socket_options(), call.left_to_connect_s, call.at)
        sys.audit("http.client.connect", self, self._host, self._port)
        return sock

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def _family() -> socket.AddressFamily:
    """Without an IPv6 address to come from, only IPv4 is asked for: urllib3's rule."""
    return socket.AF_UNSPEC if socket.has_ipv6 and _can_bind_v6() else socket.AF_INET


def _can_bind_v6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
