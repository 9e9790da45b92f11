"""One exchange over one non-blocking socket, with its timers. Drives any :class:`s3engine.transport.Exchange`.

Used by the worker's loop (hundreds at once) and by ``s3engine.drive`` (one at a time, blocking). Nothing here blocks
on the network; local files are read in place. Times are ``time.monotonic`` seconds, handed in by the caller.

Why timers and not ``settimeout``: a socket timeout bounds one call, so a body that drips a byte a second would live for
ever, and a large ``sendall`` that moves well would die.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from s3engine.chunked import Framing
from s3engine.errors import (
    AttemptTimeout,
    ConnectionLost,
    FirstByteTimeout,
    RequestTimeout,
    SourceChanged,
    SourceError,
    StallTimeout,
    TooSlow,
)
from s3engine.transport import Exchange, FilePart, Link, Timeouts

__all__ = [
    "MIN_RATE_BYTES_PER_S", "RECEIVE_BYTES", "SEND_PIECE_BYTES", "Wire", "check_unchanged", "source_error",
    "unacknowledged",
]  # fmt: skip

R = TypeVar("R")

RECEIVE_BYTES = 256 * 1024
SEND_PIECE_BYTES = 1024 * 1024  # to sendfile in one call; it takes what the socket's buffer has room for
TLS_PIECE_BYTES = 64 * 1024
MIN_RATE_BYTES_PER_S = 1024
MIN_RATE_WINDOW_S = 30.0
_SUSPICIOUS_S = 0.5  # a body that was not taken for so long: look whether the kernel still sends
# Above this a body may sit in the kernel's buffer long after the last send; below, sent is as good as gone.
_DRAIN_BYTES = 64 * 1024
_SIOCOUTQ = 0x5411  # linux/sockios.h: bytes not yet acknowledged by the peer

# What sending to a socket never says: the trouble is the file (a folder, a broken disk, a network share).
_FILE_ERRNOS = (errno.EISDIR, errno.EINVAL, errno.EIO, errno.ESTALE, errno.EOVERFLOW)

_EXPECT = b"expect: 100-continue\r\n\r\n"
_NOTHING = memoryview(b"")
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def source_error(path: str, error: OSError) -> SourceError:
    """The SourceError for an OSError on reading ``path``."""
    return SourceError(f"cannot read {path!r}: {error.strerror or error}", path=path)


def check_unchanged(part: FilePart, fd: int) -> None:
    """Raise SourceChanged when the open file is no longer what it was when the transfer was planned."""
    status = os.fstat(fd)
    if (
        (part.file_bytes >= 0 and status.st_size != part.file_bytes)
        or (part.mtime_ns and status.st_mtime_ns != part.mtime_ns)
        or (part.inode and status.st_ino != part.inode and status.st_ctime_ns != part.ctime_ns)
    ):
        raise SourceChanged(
            f"{part.path!r} changed while it was sent; send it again when it is at rest", path=part.path
        )


class Wire:
    """A connection while it carries one exchange after another.

    ``wants_write`` tells the driver to wait for writability too. ``drained_at`` is when the request had left this
    machine, ``first_byte_at`` when the answer began, ``ended_at`` when it was whole (0.0: not yet).
    """

    __slots__ = (
        "_body_left",
        "_decrypted",
        "_fd",
        "_file",
        "_framing",
        "_held",
        "_later",
        "_moved_bytes",
        "_offset",
        "_out",
        "_outq",
        "_part",
        "_tls",
        "_window_at",
        "_window_bytes",
        "drained_at",
        "exchange",
        "expires_at",
        "first_byte_at",
        "held_until",
        "item",
        "link",
        "moved_at",
        "sent",
        "sock",
        "started_at",
        "timeouts",
        "used",
        "wants_write",
    )  # fmt: skip

    def __init__(self, link: Link) -> None:
        self.link = link
        self.sock: Any = link.sock
        self._fd: int = self.sock.fileno()
        # Anything but a plain socket encrypts: past it, by sendfile, the body would go out in the clear.
        self._tls = type(self.sock) is not socket.socket
        self._decrypted: Callable[[], int] = getattr(self.sock, "pending", _nothing)
        self._file = -1
        self._framing: Framing | None = None
        self._later = _NOTHING
        self.expires_at = math.inf  # the driver lets it carry nothing more after that
        self.used = 0  # exchanges carried before this one
        self.held_until = 0.0  # the body waits for the store's word until then; 0.0: it does not
        self._held = False
        self.exchange: Exchange[Any] | None = None
        self.item: Any = None
        self.wants_write = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._fd

    def start(self, exchange: Exchange[Any], timeouts: Timeouts, now: float, *, expect_s: float = 0.0) -> None:
        """Begin an exchange and send what goes at once. Raises as :meth:`on_writable`.

        ``expect_s``: ask the store first whether it wants the body (RFC 9110, 10.1.1), and hold it back for so long.
        The driver calls :meth:`release` when ``held_until`` has come.
        """
        self.exchange = exchange
        self.timeouts = timeouts
        self.started_at = self.moved_at = self._window_at = now
        self.drained_at = self.first_byte_at = 0.0
        self._moved_bytes = self._window_bytes = 0
        self._outq = 0
        self.sent = False
        body = exchange.body
        head = exchange.head
        self._held = False
        self.held_until = 0.0
        if expect_s and body:
            self._held = True
            self.held_until = now + expect_s
            self._body_left = 0
            self._out = memoryview(head[:-2] + _EXPECT)
            self.on_writable(now)
            return
        if type(body) is FilePart:
            self._begin_file(body)
            self._out = memoryview(head)
            self.on_writable(now)
            return
        # Head and small body in one system call: two would be two segments, and Nagle against delayed ACK (40 ms).
        assert not isinstance(body, FilePart)
        total = len(head) + len(body)
        try:
            if self._tls:
                count = self.sock.send(head + body[:TLS_PIECE_BYTES] if body else head)
            elif body:
                count = self.sock.sendmsg((head, body))
            else:
                count = self.sock.send(head)
        except _WOULD_BLOCK:
            count = 0
        except OSError as error:
            raise self._lost(error) from None
        if count == total:
            self.sent = True
            self.wants_write = False
            if total < _DRAIN_BYTES:
                self.drained_at = now
            return
        self._body_left = 0
        # No copy of a large body: the head, then what follows it.
        if count < len(head):
            self._out = memoryview(head)[count:]
            self._later = memoryview(body)
        else:
            self._out = memoryview(body)[count - len(head) :]
        self.wants_write = True

    def release(self, now: float) -> None:
        """Send the body that was held back. Raises as :meth:`on_writable`."""
        assert self.exchange is not None
        body = self.exchange.body
        self._held = False
        self.held_until = 0.0
        self.moved_at = now
        self.first_byte_at = self.drained_at = 0.0  # an interim answer was none
        if type(body) is FilePart:
            self._begin_file(body)
        else:
            self._later = memoryview(body)  # type: ignore[arg-type]
        self.on_writable(now)

    def _begin_file(self, body: FilePart) -> None:
        self._open_file(body)
        trailer: str = getattr(self.exchange, "trailer", "")
        self._framing = Framing(body.length, trailer) if trailer else None

    def _open_file(self, part: FilePart) -> None:
        self._part = part
        try:
            self._file = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise source_error(part.path, error) from None
        self._offset = part.offset
        self._body_left = part.length

    def _read(self, size: int) -> bytes:
        try:
            return os.pread(self._file, size, self._offset)
        except OSError as error:
            raise source_error(self._part.path, error) from None

    def _check_file(self) -> None:
        try:
            check_unchanged(self._part, self._file)
        finally:
            os.close(self._file)
            self._file = -1

    def on_writable(self, now: float) -> None:
        """Send more. Raises ConnectionLost, SourceError, SourceChanged."""
        try:
            while True:
                while self._out:
                    count = self.sock.send(self._out[:SEND_PIECE_BYTES])
                    self._out = self._out[count:]
                    self._moved(count, now)
                if self._later:
                    self._out, self._later = self._later, _NOTHING
                elif self._framing is not None and self._file >= 0:
                    self._out = memoryview(self._framed())
                else:
                    break
            while self._body_left:
                if self._tls:
                    piece = self._read(min(TLS_PIECE_BYTES, self._body_left))
                    count = self.sock.send(piece) if piece else 0
                else:
                    count = os.sendfile(self._fd, self._file, self._offset, min(SEND_PIECE_BYTES, self._body_left))
                if not count:
                    raise self._shrank()
                self._offset += count
                self._body_left -= count
                self._moved(count, now)
        except _WOULD_BLOCK:
            self.wants_write = True
            return
        except OSError as error:
            if self._body_left and error.errno in _FILE_ERRNOS:  # sendfile reports both of its ends
                raise source_error(self._part.path, error) from None
            raise self._lost(error) from None
        self.wants_write = False
        if not self.sent and not self._held:
            self.sent = True
            if self._file >= 0:
                self._check_file()
            self.check_drained(now)

    def _framed(self) -> bytes:
        """The next piece of a body with a trailer. The file is looked at before the last one leaves."""
        framing = self._framing
        assert framing is not None
        piece = self._read(min(TLS_PIECE_BYTES, self._body_left)) if self._body_left else b""
        if not piece and self._body_left:
            raise self._shrank()
        self._offset += len(piece)
        self._body_left -= len(piece)
        out = framing.piece(piece)
        if not self._body_left:
            self._check_file()
            exchange: Any = self.exchange
            exchange.checksum = framing.checksum
            self._framing = None
        return out

    def _shrank(self) -> SourceChanged:
        return SourceChanged(
            f"{self._part.path!r} shrank while it was sent; send it again when it is at rest", path=self._part.path
        )

    def _moved(self, count: int, now: float) -> None:
        self.moved_at = now
        self._moved_bytes += count

    @property
    def moved_bytes(self) -> int:
        """Bytes of this exchange that moved after the first send, both ways."""
        return self._moved_bytes

    def check_drained(self, now: float) -> None:
        """Look whether the kernel holds bytes of the request; when they are gone the wait for the answer starts."""
        left = unacknowledged(self._fd)
        if left <= 0:
            self.drained_at = now
        elif left != self._outq:
            self._outq = left
            self.moved_at = now

    def on_readable(self, buffer: memoryview, now: float) -> bool:
        """Receive once, or while TLS holds decrypted bytes; True when the answer is whole. Raises as ``feed``."""
        exchange = self.exchange
        assert exchange is not None
        try:
            count = self.sock.recv_into(buffer)
        except _WOULD_BLOCK:
            return False
        except OSError as error:
            raise self._lost(error) from None
        if not self.first_byte_at:
            self.first_byte_at = now
            if not self.drained_at:
                self.drained_at = now
        self.moved_at = now
        self._moved_bytes += count
        try:
            done = exchange.feed(buffer[:count])
            while not done and self._tls and count and self._decrypted():
                count = self.sock.recv_into(buffer)
                self._moved_bytes += count
                done = exchange.feed(buffer[:count])
            if self._held and not done and getattr(exchange, "continued", False) and not getattr(exchange, "status", 0):
                self.release(now)
        except ConnectionLost as error:
            if self.used and not exchange.started:
                context = {**error._context, "stale": True}
                raise ConnectionLost(error.message, **context) from None
            raise
        except _WOULD_BLOCK:
            return False
        except OSError as error:
            raise self._lost(error) from None
        return done

    def read_refusal(self, buffer: memoryview, now: float, lost: ConnectionLost) -> None:
        """Read what the store said before it closed on us: a refusal says more than the reset.

        After sending failed with ``lost``, which is raised when there is no whole answer.
        """
        while True:
            before = self.moved_bytes
            if self.on_readable(buffer, now):
                return
            if self.moved_bytes == before:
                raise lost

    def finish(self) -> bool:
        """End the exchange; True when the connection may carry another one."""
        exchange = self.exchange
        assert exchange is not None
        self.exchange = None
        self.item = None
        self.used += 1
        # An answer that came before the request was sent whole leaves the connection in the middle of a body.
        reusable = exchange.reusable and self.sent
        self._out = self._later = _NOTHING  # an idle connection must not keep a large body alive
        self._framing = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        return reusable

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.exchange = None
        self.item = None
        self._out = self._later = _NOTHING
        self.link.close()

    def excuse(self, away_s: float, now: float) -> None:
        """The driver itself was away for so long (stopped, on a slow disk): no part of the attempt's time.

        The other timers need none of it: what came meanwhile is in the socket and counts as soon as it is read, so read
        before asking whether something is overdue.
        """
        self.started_at = min(self.started_at + away_s, now)
        self._window_at = min(self._window_at + away_s, now)

    def overdue(self, now: float) -> RequestTimeout | None:
        """The timer that has run out, if any. Call after all pending events were handled, about ten times a second."""
        timeouts = self.timeouts
        if now - self.started_at > timeouts.attempt_s:
            return self._timeout(AttemptTimeout, timeouts.attempt_s, "the attempt took longer than")
        if not self.first_byte_at and self.sent:
            if not self.drained_at:
                self.check_drained(now)
            if self.drained_at:
                if now - self.drained_at > timeouts.first_byte_s:
                    return self._timeout(FirstByteTimeout, timeouts.first_byte_s, "no answer began within")
                return None
        if not self.sent and now - self.moved_at > _SUSPICIOUS_S:
            # The kernel may have no room for hundreds of kilobytes on a slow line; as long as it gets rid of some of
            # what it has, the body moves.
            left = unacknowledged(self._fd)
            if left < self._outq:
                self.moved_at = now
                self._moved_bytes += self._outq - left
            self._outq = left
        if now - self.moved_at > timeouts.stall_s:
            return self._timeout(StallTimeout, timeouts.stall_s, "no byte moved for")
        if self._window_at < self.first_byte_at:  # the wait for the answer does not count
            self._window_at = now
            self._window_bytes = self._moved_bytes
        elif now - self._window_at > MIN_RATE_WINDOW_S:
            moved = self._moved_bytes - self._window_bytes
            unhurried = self.sent and (self._outq or getattr(self.exchange, "unhurried", False))
            if moved < MIN_RATE_BYTES_PER_S * MIN_RATE_WINDOW_S and not unhurried:
                return self._timeout(TooSlow, MIN_RATE_WINDOW_S, f"only {moved} bytes moved in")
            self._window_at = now
            self._window_bytes = self._moved_bytes
        return None

    def _timeout(self, kind: type[RequestTimeout], limit_s: float, text: str) -> RequestTimeout:
        name, context = _described(self.exchange)
        return kind(f"{name}: {text} {limit_s:.3g} s", timeout_s=limit_s, **context)

    def _lost(self, error: OSError) -> ConnectionLost:
        exchange = self.exchange
        assert exchange is not None
        name, context = _described(exchange)
        reason = error.strerror or str(error)
        stale = bool(self.used) and not exchange.started
        return ConnectionLost(f"{name}: connection lost: {reason}", stale=stale, **context)


def _nothing() -> int:
    return 0


def _described(exchange: Any) -> tuple[str, dict[str, Any]]:
    """How to name an exchange in an error, and the error's context: what transports may give, none must."""
    return getattr(exchange, "describe", lambda: "request")(), getattr(exchange, "where", dict)()


def unacknowledged(fd: int) -> int:
    """Bytes the kernel still has to get across; 0 where that cannot be asked (not Linux)."""
    try:
        result = fcntl.ioctl(fd, _SIOCOUTQ, b"\0\0\0\0")
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENOTSUP):
            return 0
        raise
    return int.from_bytes(result, "little")
