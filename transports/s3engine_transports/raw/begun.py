"""Connections that are begun and not waited for: plain TCP to an address that needs no look-up.

A driver that waits for hundreds of sockets anyway waits for these as well; a thread for each handshake would cost it
more than the handshake does. Whatever fails is tried again by ``Connections.open``, which says what is wrong.
"""

from __future__ import annotations

import errno
import socket

from s3engine.errors import ConnectTimeout
from s3engine_transports.network import address_family, connect_error, socket_options

__all__ = ["BegunLink", "begin"]


class BegunLink:
    """A non-blocking connection of no pool. See :class:`s3engine.transport.Link`."""

    __slots__ = ("_host", "_where", "connected", "sock", "used")

    def __init__(self, sock: socket.socket, connected: bool, where: str, host: str) -> None:
        self.sock = sock
        self.connected = connected
        """Already; else it is when the socket becomes writable."""
        self.used = 0
        self._where = where
        self._host = host

    def failed(self) -> bool:
        """Whether connecting failed. Ask once the socket is writable."""
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def too_late(self, timeout_s: float) -> ConnectTimeout:
        """The error of one that was not connected within ``timeout_s``."""
        error = connect_error(TimeoutError(), self._where, self._host, timeout_s)
        assert isinstance(error, ConnectTimeout)
        return error

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def park(self) -> None:
        """Close it as well: there is no pool to keep it."""
        self.sock.close()


def begin(host: str, port: int, where: str) -> BegunLink | None:
    """Begin to connect; None when ``host`` is no IP address, or it failed at once. ``where`` is for errors."""
    family = address_family(host)
    if family is None:
        return None
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        for option in socket_options():
            sock.setsockopt(*option)
        code = sock.connect_ex((host, port))
    except OSError:
        code = errno.EINVAL
    if sock is None or code not in (0, errno.EINPROGRESS):
        if sock is not None:
            sock.close()
        return None
    return BegunLink(sock, code == 0, where, host)
