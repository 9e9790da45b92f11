"""Framed messages over a socket pair, never blocking: parent and worker can both write and never lock each other up."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Iterator
from typing import Any

__all__ = ["Channel", "ChannelClosed"]

_HEADER = struct.Struct("!I")
_RECEIVE_BYTES = 256 * 1024


class ChannelClosed(Exception):
    """The other process is gone."""


class Channel:
    """One end. Owned by one thread."""

    __slots__ = ("_incoming", "_outgoing", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Something waits for room."""
        return bool(self._outgoing)

    def send(self, message: Any) -> None:
        """Queue a message and send what goes. Raises ChannelClosed."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._outgoing += _HEADER.pack(len(data))
        self._outgoing += data
        self.flush()

    def flush(self) -> None:
        """Send what goes. Raises ChannelClosed."""
        outgoing = self._outgoing
        while outgoing:
            try:
                count = self.sock.send(outgoing)
            except BlockingIOError:
                return
            except OSError as error:
                if self.sock.fileno() < 0:  # closed by ourselves: nothing waits for room any more
                    outgoing.clear()
                raise ChannelClosed from error
            del outgoing[:count]

    def receive(self) -> Iterator[Any]:
        """All messages that have come whole. Raises ChannelClosed at the end of the stream, after the last of them."""
        closed = False
        while True:
            try:
                data = self.sock.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                closed = True
                break
            self._incoming += data
            if len(data) < _RECEIVE_BYTES:
                break
        yield from self._messages()
        if closed:
            raise ChannelClosed

    def _messages(self) -> Iterator[Any]:
        incoming = self._incoming
        at = 0
        while len(incoming) - at >= _HEADER.size:
            (size,) = _HEADER.unpack_from(incoming, at)
            end = at + _HEADER.size + size
            if len(incoming) < end:
                break
            # The peer is our own process tree over a private socket pair, so unpickling is safe here.
            with memoryview(incoming) as view:
                message = pickle.loads(view[at + _HEADER.size : end])
            at = end
            yield message
        del incoming[:at]

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
