"""Framed messages over a socket pair, never blocking: both processes can write and never lock each other up.

A message may bring descriptors along. They come in the order of the messages, into ``fds``: whoever reads a message
that says it has some takes them from there.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["MOST_FDS", "Channel", "ChannelClosed"]

_HEADER = struct.Struct("!I")
_RECEIVE_BYTES = 256 * 1024
_INT_BYTES = array("i").itemsize
MOST_FDS = 64
"""In one message; Linux takes 253."""
_ANCILLARY_BYTES = socket.CMSG_SPACE(MOST_FDS * _INT_BYTES)
_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux: no child that is started meanwhile gets what comes


class ChannelClosed(Exception):
    """The other process is gone."""


class Channel:
    """One end. Owned by one thread."""

    __slots__ = ("_incoming", "_outgoing", "_with_fds", "fds", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fds: deque[int] = deque()
        """Descriptors that came and were not taken."""
        self._incoming = bytearray()
        self._outgoing = bytearray()
        # What goes after that: each begins with a message that has descriptors, which travel with its first byte.
        self._with_fds: deque[tuple[bytearray, Sequence[int]]] = deque()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Something waits for room."""
        return bool(self._outgoing or self._with_fds)

    @property
    def unsent_bytes(self) -> int:
        """How much waits for room."""
        return len(self._outgoing) + sum(len(data) for data, _ in self._with_fds)

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Queue a message and send what goes. ``fds`` (64 at most) are closed here once they are sent.

        Raises ChannelClosed.
        """
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if fds:
            self._with_fds.append((bytearray(), fds))
        outgoing = self._with_fds[-1][0] if self._with_fds else self._outgoing
        outgoing += _HEADER.pack(len(data))
        outgoing += data
        self.flush()

    def flush(self) -> None:
        """Send what goes. Raises ChannelClosed."""
        try:
            self._flush()
        except BlockingIOError:
            return
        except OSError as error:
            if self.sock.fileno() < 0:  # closed by ourselves: nothing waits for room any more
                self._outgoing.clear()
                self._drop_fds()
            raise ChannelClosed from error

    def _flush(self) -> None:
        while True:
            outgoing = self._outgoing
            while outgoing:
                count = self.sock.send(outgoing)
                del outgoing[:count]
            if not self._with_fds:
                return
            data, fds = self._with_fds[0]
            count = self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))])
            del self._with_fds[0]
            for fd in fds:
                os.close(fd)
            del data[:count]
            self._outgoing = data

    def receive(self) -> Iterator[Any]:
        """All messages that have come whole. Raises ChannelClosed at the end of the stream, after the last of them."""
        closed = False
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, _FLAGS)
            except BlockingIOError:
                break
            except OSError:
                data, ancillary = b"", []
            for _, _, packed in ancillary:
                fds = array("i")
                fds.frombytes(packed[: len(packed) - len(packed) % _INT_BYTES])
                self.fds.extend(fds)
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
        """Close this end, and the descriptors that nobody took or that did not go out."""
        self.sock.close()
        self._drop_fds()

    def _drop_fds(self) -> None:
        for fd in (*self.fds, *(fd for _, fds in self._with_fds for fd in fds)):
            os.close(fd)
        self.fds.clear()
        self._with_fds.clear()
