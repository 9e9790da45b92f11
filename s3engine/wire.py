"""One exchange over one non-blocking socket. Drives any :class:`s3engine.transport.Exchange`.

Used by the worker's loop (hundreds at once) and by ``s3engine.drive`` (one at a time, blocking). Nothing here blocks
on the network; local files are read in place. Times are ``time.monotonic`` seconds, handed in by the caller.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable
from typing import Any

from s3engine.errors import ConnectionLost, ServerFault
from s3engine.file_body import FileBody
from s3engine.timers import Timed, described
from s3engine.transport import Exchange, FilePart, Link, Timeouts

__all__ = ["RECEIVE_BYTES", "SEND_PIECE_BYTES", "Wire"]

RECEIVE_BYTES = 1024 * 1024  # a sixth less CPU for a large download than with a quarter of it
SEND_PIECE_BYTES = 1024 * 1024  # to sendfile in one call; it takes what the socket's buffer has room for
TLS_PIECE_BYTES = 64 * 1024
LARGE_TLS_PIECE_BYTES = 256 * 1024  # on a fast line: a tenth less CPU, but OpenSSL tells nothing until all of it is out
_FAST_BYTES_PER_S = 4 * 1024 * 1024
_RECORD_BYTES = 16 * 1024
_MORE_TO_COME_BYTES = 4 * 1024  # TLS gives out one record at a call; a shorter one mostly ends what was sent
# Above this a body may sit in the kernel's buffer long after the last send; below, sent is as good as gone.
_DRAIN_BYTES = 64 * 1024
_JOINED_BYTES = 16 * 1024

# What sending to a socket never says: the trouble is the file (a folder, a broken disk, a network share).
_FILE_ERRNOS = (errno.EISDIR, errno.EINVAL, errno.EIO, errno.ESTALE, errno.EOVERFLOW)

_EXPECT = b"expect: 100-continue\r\n\r\n"
_NOTHING = memoryview(b"")
_WOULD_BLOCK: tuple[type[OSError], ...] = (BlockingIOError,)  # and what TLS has for it, with the first such socket
_WANTS_TO_WRITE: tuple[type[OSError], ...] = ()


class Wire(Timed):
    """A connection while it carries one exchange after another.

    ``wants_write`` tells the driver to wait for writability too.
    """

    __slots__ = (
        "_decrypted", "_file", "_held", "_later", "_out", "_tls", "expires_at", "held_until", "item",
        "link", "sock", "used", "wants_write",
    )  # fmt: skip

    def __init__(self, link: Link) -> None:
        self.link = link
        self.sock: Any = link.sock
        super().__init__(self.sock.fileno())
        # Anything but a plain socket encrypts: past it, by sendfile, the body would go out in the clear.
        self._tls = type(self.sock) is not socket.socket
        if self._tls:
            _know_tls()
        self._decrypted: Callable[[], int] = getattr(self.sock, "pending", _nothing)
        self._file = FileBody()
        self._later = _NOTHING
        self.expires_at = math.inf  # the driver lets it carry nothing more after that
        self.used = 0  # exchanges carried before this one
        self.held_until = 0.0  # the body waits for the store's word until then; 0.0: it does not
        self._held = False
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
        self.start_timers(timeouts, now)
        body = exchange.body
        head = exchange.head
        self._held = False
        self.held_until = 0.0
        if expect_s and body:
            self._held = True
            self.held_until = now + expect_s
            self._out = memoryview(head[:-2] + _EXPECT)
            self.on_writable(now)
            return
        if type(body) is FilePart:
            self._file.open(body, getattr(exchange, "trailer", ""))
            self._out = memoryview(head)
            self.on_writable(now)
            return
        # Head and small body in one system call: two would be two segments, and Nagle against delayed ACK (40 ms).
        assert not isinstance(body, FilePart)
        total = len(head) + len(body)
        try:
            if total < _JOINED_BYTES:  # cheaper to copy than to have two pieces gathered
                piece = head + body
                count = self.sock.send(piece)
            elif self._tls:
                piece = head + body[:TLS_PIECE_BYTES] if body else head
                count = self.sock.send(piece)
            elif body:
                count = self.sock.sendmsg((head, body))
            else:
                count = self.sock.send(head)
        except _WOULD_BLOCK:
            count = 0
            if self._tls:  # OpenSSL wants the same bytes again, and not less of them
                self._out = memoryview(piece)
                self._later = memoryview(body)[len(piece) - len(head) :]
                self.wants_write = True
                return
        except OSError as error:
            raise self._lost(error) from None
        if count == total:
            self.sent = True
            self.wants_write = False
            if total < _DRAIN_BYTES:
                self.drained_at = now
            return
        # No copy of a large body: the head, then what follows it.
        if count < len(head):
            self._out = memoryview(head)[count:]
            self._later = memoryview(body)
        else:
            self._out = memoryview(body)[count - len(head) :]
        self.wants_write = True

    def release(self, now: float) -> None:
        """Send the body that was held back. Raises as :meth:`on_writable`."""
        exchange = self.exchange
        assert exchange is not None
        body = exchange.body
        self._held = False
        self.held_until = 0.0
        self.moved_at = now
        self.first_byte_at = self.drained_at = 0.0  # an interim answer was none
        if type(body) is FilePart:
            self._file.open(body, getattr(exchange, "trailer", ""))
        else:
            self._later = memoryview(body)  # type: ignore[arg-type]
        self.on_writable(now)

    def on_writable(self, now: float) -> None:
        """Send more. Raises ConnectionLost, SourceError, SourceChanged."""
        file = self._file
        try:
            while True:
                while self._out:
                    count = self.sock.send(self._out[:SEND_PIECE_BYTES])
                    self._out = self._out[count:]
                    self._moved(count, now)
                if self._later:
                    self._out, self._later = self._later, _NOTHING
                elif file.framed:
                    self._out, checksum = file.next_framed(self._tls_piece_bytes(now))
                    if checksum:
                        exchange: Any = self.exchange
                        exchange.checksum = checksum
                else:
                    break
            while file.left:
                # Of one size: OpenSSL wants what it could not send again, and not less of it.
                size = min(TLS_PIECE_BYTES if self._tls else SEND_PIECE_BYTES, file.left)
                if size == file.left:
                    file.look()  # what is cut off before its end is never stored
                if self._tls:
                    piece = file.read(size)
                    count = self.sock.send(piece) if piece else 0
                else:
                    count = os.sendfile(self._fd, file.fd, file.offset, size)
                file.sent(count)
                self._moved(count, now)
        except _WOULD_BLOCK as full:
            # A piece goes out record by record, and the socket took some since it was last full. Not when OpenSSL wants
            # to read first: a peer that begins a handshake anew and falls silent must not push its own deadline on.
            if isinstance(full, _WANTS_TO_WRITE):
                self.moved_at = now
            self.wants_write = True
            return
        except OSError as error:
            if file.left and error.errno in _FILE_ERRNOS:  # sendfile reports both of its ends
                raise file.error(error) from None
            raise self._lost(error) from None
        self.wants_write = False
        if not self.sent and not self._held:
            self.sent = True
            if file.fd >= 0:
                file.check()
            self.check_drained(now)

    def on_readable(self, buffer: memoryview, now: float) -> bool:
        """Receive once, or with TLS as many records as fill the buffer; True when the answer is whole.

        Raises as ``feed``; ServerFault for a 2xx before the request was sent: whatever it is, it is no answer.
        """
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
            if not self._tls:
                done = exchange.feed(buffer[:count])
            else:
                count, ended_by = self._more_records(buffer, count)
                done = exchange.feed(buffer[:count])
                if ended_by is not None and not done:
                    raise ended_by
                while not done and count and self._decrypted():
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
        if done and not self.sent and 200 <= getattr(exchange, "status", 0) < 300:
            name, context = described(exchange)
            raise ServerFault(f"{name}: a good answer came before the request was sent; it is none to it", **context)
        return done

    def _more_records(self, buffer: memoryview, count: int) -> tuple[int, OSError | None]:
        """Fill the buffer behind ``count`` bytes with what has come; returns what is in it, and what ended it.

        A record is 16 KiB at most: handed on one by one, each would cost a system call of the file's as well.
        """
        record = count
        room = len(buffer) - _RECORD_BYTES
        while record >= _MORE_TO_COME_BYTES and count <= room:
            try:
                record = self.sock.recv_into(buffer[count:])
            except _WOULD_BLOCK:
                break
            except OSError as error:  # what came before it counts
                return count, error
            count += record
            self._moved_bytes += record
        return count, None

    def _tls_piece_bytes(self, now: float) -> int:
        fast = self._moved_bytes > _FAST_BYTES_PER_S * (now - self.started_at)
        return LARGE_TLS_PIECE_BYTES if fast and self._moved_bytes else TLS_PIECE_BYTES

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
        if self._file.fd >= 0:
            self._file.close()
        return reusable

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        if self._file.fd >= 0:
            self._file.close()
        self.exchange = None
        self.item = None
        self._out = self._later = _NOTHING
        self.link.close()

    def _lost(self, error: OSError) -> ConnectionLost:
        exchange = self.exchange
        assert exchange is not None
        name, context = described(exchange)
        reason = error.strerror or str(error)
        stale = bool(self.used) and not exchange.started
        return ConnectionLost(f"{name}: connection lost: {reason}", stale=stale, **context)


def _nothing() -> int:
    return 0


def _know_tls() -> None:
    global _WANTS_TO_WRITE, _WOULD_BLOCK
    if len(_WOULD_BLOCK) == 1:
        import ssl  # lazy: 4 ms that plain HTTP does not pay

        _WANTS_TO_WRITE = (ssl.SSLWantWriteError,)
        _WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
