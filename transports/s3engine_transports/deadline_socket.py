"""A socket that keeps to the timers of the call that uses it. See :mod:`s3engine_transports.deadlines`."""

from __future__ import annotations

import errno
import io
import math
import random
import re
import socket
import time
from typing import Any

from s3engine.errors import ConnectionLost
from s3engine.timers import unacknowledged
from s3engine.transport import Timeouts
from s3engine_transports.network import MAX_AGE_S, is_readable
from s3engine_transports.timers import AWAY_S, Call, current_call

__all__ = ["DeadlineSocket"]

_PIECE_BYTES = 64 * 1024  # to send in one call: over TLS it returns when all of them have moved
_READ_BYTES = 64 * 1024  # the buffer between http.client and the socket
_SEND_TICK_S = 1.0  # how often the kernel's buffer is looked at while it has no room
_end_of_head = re.compile(rb"\r?\n\r?\n").search
_interim = re.compile(rb"HTTP/1\.[01] 1[0-9][0-9]").match


class DeadlineSocket:
    """A connected socket (plain or TLS) whose every operation ends by the deadlines of the thread's call.

    Outside of :func:`calling` those of its last call hold. ``moved_at`` is when a byte moved last (monotonic);
    ``broken`` says that the connection must not be used again, ``retires_at`` from when on it should not be.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._fd: int = sock.fileno()
        self._plain = type(sock) is socket.socket
        # TLS inside TLS (an https proxy) cannot go on with a send that ran out of time.
        self._send_tick_s = _SEND_TICK_S if isinstance(sock, socket.socket) else math.inf
        self._call: Call | None = None
        self._reused = False
        self._head = b""
        self._head_whole = False
        self._files = 0
        self._closed = False
        self._wakes_at = 0.0
        self.retires_at = time.monotonic() + MAX_AGE_S * (1.0 + random.random())
        self.moved_at = time.monotonic()
        self.broken = False

    @property
    def inner(self) -> Any:
        """The socket itself, for who has timers of his own."""
        return self._sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, value: float | None) -> None:
        """Ignored: deadlines rule."""

    def sendall(self, data: Any) -> None:
        """Send all of it, in pieces, each of which begins the stall timer anew. Raises as :meth:`send`."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view[:_PIECE_BYTES]) :]

    def send(self, data: Any) -> int:
        """Send what the kernel takes. Raises TimeoutError, OSError."""
        call = self._enter()
        try:
            return self._send(call, data)
        finally:
            call.leaves()

    def _send(self, call: Call, data: Any) -> int:
        if self._head_whole:  # another request on this connection
            self._head = b""
            self._head_whole = False
        since = time.monotonic()
        in_kernel = unacknowledged(self._fd)
        while True:
            self._limit(call, since, self._send_tick_s)
            try:
                count: int = self._sock.send(data)
            except TimeoutError as error:
                if error.errno is not None:
                    raise self._lost(call, error) from None
                # No room for another byte yet; as long as the kernel gets rid of some, the body moves.
                left = unacknowledged(self._fd)
                if self._plain and is_readable(self._sock):
                    # The store answered and reads no more. (TLS has more to say than answers.)
                    gone = BrokenPipeError(errno.EPIPE, "answered before the end of the body")
                    raise self._lost(call, gone, provisional=True) from None
                self._was_away(call)
                if left != in_kernel:
                    call.acknowledged(in_kernel - left)
                    in_kernel = left
                    since = time.monotonic()
            except OSError as error:
                # A store that refuses may answer and close before it has read the body: the answer still counts.
                raise self._lost(call, error, provisional=True) from None
            else:
                call.sent(count)
                self.moved_at = time.monotonic()
                return count

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive what is there, 0 at the end of a body. Raises TimeoutError, OSError (an end without a whole head)."""
        view = memoryview(buffer).cast("B")
        view = view[: nbytes or len(view)]
        call = self._enter()
        try:
            return self._recv_into(call, view)
        finally:
            call.leaves()

    def _recv_into(self, call: Call, view: memoryview) -> int:
        call.awaits()
        since = time.monotonic()
        while True:
            self._limit(call, since)
            try:
                count: int = self._sock.recv_into(view)
            except TimeoutError as error:
                if error.errno is not None:  # ETIMEDOUT: the kernel gave the peer up
                    raise self._lost(call, error) from None
                if self._was_away(call) and is_readable(self._sock):
                    # It came while this thread was stopped: read it before any timer is looked at.
                    since = time.monotonic()
                    call.excuse_wait(since)
            except OSError as error:
                raise self._lost(call, error) from None
            else:
                break
        if count:
            call.received(count)
            self.moved_at = time.monotonic()
            if not self._head_whole:
                self._look_for_end_of_head(bytes(view[:count]))
            return count
        self.broken = True
        if not self._head_whole:
            # http.client takes a cut head for a whole one.
            where = "in the head of the answer" if self._head else "without an answer"
            raise self._lost(call, ConnectionResetError(f"closed {where}"))
        return 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive up to ``size`` bytes; see :meth:`recv_into`."""
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.recv_into(buffer)])

    def _enter(self) -> Call:
        call = current_call() or self._call or Call(Timeouts())
        if call is not self._call:
            self._reused = self._call is not None
            self._call = call
        call.sock = self._sock
        call.enters()
        return call

    def _limit(self, call: Call, since: float, at_most_s: float = math.inf) -> None:
        try:
            left_s = call.left_s(since, self._fd)
        except TimeoutError:
            self.broken = True
            raise
        wait_s = min(left_s, at_most_s)
        self._wakes_at = time.monotonic() + wait_s
        self._sock.settimeout(wait_s)

    def _was_away(self, call: Call) -> bool:
        """After an operation that ran out of time: whether it was the process that stood still, and not the peer."""
        late_s = time.monotonic() - self._wakes_at
        call.excuse(late_s)
        return late_s > AWAY_S

    def _look_for_end_of_head(self, data: bytes) -> None:
        self._head += data
        while not self._head_whole and (end := _end_of_head(self._head)) is not None:
            self._head_whole = _interim(self._head) is None
            self._head = self._head[end.end() :]

    def _lost(self, call: Call, error: OSError, *, provisional: bool = False) -> OSError:
        self.broken = True
        reason = error.strerror or str(error)
        stale = self._reused and not call.answered
        call.note(ConnectionLost(f"connection lost: {reason}", stale=stale), provisional=provisional)
        return error

    def makefile(self, mode: str = "r", buffering: int | None = None, **_: Any) -> Any:
        """A file to read from, as http.client wants it; the connection stays open until it is closed too."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: only 'rb' is there")
        self._files += 1
        reader = _Reader(self)
        if buffering == 0:
            return reader
        return io.BufferedReader(reader, buffering if buffering and buffering > 0 else _READ_BYTES)

    def file_closed(self) -> None:
        """One of the files of :meth:`makefile` was closed."""
        self._files -= 1
        if self._closed and not self._files:
            self._sock.close()

    def close(self) -> None:
        """Close the connection, when the last of its files is closed."""
        self._closed = True
        if not self._files:
            self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: DeadlineSocket) -> None:
        self._socket = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._socket.recv_into(buffer)

    def fileno(self) -> int:
        fd: int = self._socket.fileno()
        return fd

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._socket.file_closed()
