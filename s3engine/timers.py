"""The timers of an exchange on a socket: when bytes moved, and which timer has run out.

Why timers and not ``settimeout``: a socket timeout bounds one call, so a body that drips a byte a second would live for
ever, and a large ``sendall`` that moves well would die.
"""

from __future__ import annotations

import errno
import fcntl
from typing import Any

from s3engine.errors import AttemptTimeout, FirstByteTimeout, RequestTimeout, StallTimeout, TooSlow
from s3engine.transport import Exchange, Timeouts

__all__ = ["MIN_RATE_BYTES_PER_S", "MIN_RATE_WINDOW_S", "Timed", "described", "unacknowledged"]

MIN_RATE_BYTES_PER_S = 1024
MIN_RATE_WINDOW_S = 30.0
_SUSPICIOUS_S = 0.5  # a body that was not taken for so long: look whether the kernel still sends
_SIOCOUTQ = 0x5411  # linux/sockios.h: bytes not yet acknowledged by the peer


class Timed:
    """What the timers know of an exchange. Whoever carries it writes ``sent``, ``moved_at`` and the like directly.

    ``drained_at`` is when the request had left this machine, ``first_byte_at`` when the answer began (0.0: not yet).
    A base class and not a part: it is written at each piece that moves.
    """

    __slots__ = (
        "_fd", "_moved_bytes", "_outq", "_window_at", "_window_bytes", "drained_at", "exchange", "first_byte_at",
        "moved_at", "sent", "started_at", "timeouts",
    )  # fmt: skip

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.exchange: Exchange[Any] | None = None

    def start_timers(self, timeouts: Timeouts, now: float) -> None:
        """An exchange begins."""
        self.timeouts = timeouts
        self.started_at = self.moved_at = self._window_at = now
        self.drained_at = self.first_byte_at = 0.0
        self._moved_bytes = self._window_bytes = 0
        self._outq = 0
        self.sent = False

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
        name, context = described(self.exchange)
        return kind(f"{name}: {text} {limit_s:.3g} s", timeout_s=limit_s, **context)


def described(exchange: Any) -> tuple[str, dict[str, Any]]:
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
