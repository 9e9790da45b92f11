"""The timers of one blocking call, kept by the thread that makes it. See :mod:`s3engine_transports.deadlines`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from s3engine.errors import (
    AttemptTimeout,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    RequestTimeout,
    S3EngineError,
    StallTimeout,
    TooSlow,
)
from s3engine.interrupt import blocking, shut_down
from s3engine.timers import MIN_RATE_BYTES_PER_S, MIN_RATE_WINDOW_S, unacknowledged
from s3engine.transport import Timeouts

__all__ = ["AWAY_S", "Call", "calling", "current_call"]

# Above this a body may sit in the kernel's buffer long after the last send; below, sent is as good as gone.
_DRAIN_BYTES = 64 * 1024
AWAY_S = 1.0  # a thread that is woken so much later than it asked for was not waiting for the network
_TICK_S = 0.1  # how often the kernel's buffer is looked at while it empties

_CONNECTING, _SENDING, _WAITING, _RECEIVING = range(4)
_ATTEMPT = "the attempt took longer than"
_thread = threading.local()


class Call:
    """One attempt of one operation: its timers, and what went wrong at the socket.

    ``failure`` is the first error that this side saw, as one of ours, without operation, bucket and key; whatever the
    client makes of it, raise this. ``answered`` says whether a byte of the answer has come. ``began_at`` is monotonic.
    ``unhurried``: the answer drips by design (COPY, COMPLETE), so the minimum rate does not hold for it. ``sock`` is
    the socket that the call is at; :meth:`interrupt` wakes it.
    """

    def __init__(self, timeouts: Timeouts, *, unhurried: bool = False) -> None:
        self.timeouts = timeouts
        self.unhurried = unhurried
        self.sock: Any = None
        self._interrupted = False
        self._left_at = 0.0
        self._window_at = 0.0
        self._window_bytes = 0
        self.began_at = time.monotonic()
        self.answered = False
        self.failure: S3EngineError | None = None
        self._provisional = False
        self._ends_at = self.began_at + timeouts.attempt_s
        self._phase = _SENDING
        self._connect_ends_at = 0.0
        self._sent_bytes = 0
        self._drained_at = 0.0
        self._drain_moved_at = 0.0
        self._in_kernel = 0
        self._left_at = self.began_at

    def interrupt(self) -> None:
        """End the call, from another thread."""
        self._interrupted = True
        self.note(ConnectionLost("the call was ended from outside"))
        if self.sock is not None:
            shut_down(self.sock)

    def enters(self) -> None:
        """The client is at the socket again. What it did meanwhile (a file, a sleep) is no part of the attempt."""
        self.excuse(time.monotonic() - self._left_at)

    def leaves(self) -> None:
        """The client got what it wanted of the socket."""
        self._left_at = time.monotonic()

    def excuse(self, away_s: float) -> None:
        """The thread itself was away for so long, not the network slow. Less than a second is not looked at."""
        if away_s > AWAY_S:
            self._ends_at += away_s
            if self._window_at:
                self._window_at += away_s

    def excuse_wait(self, now: float) -> None:
        """The answer is there, and was not read for no fault of the store: its wait begins anew."""
        if self._drained_at:
            self._drained_at = now

    def note(self, failure: S3EngineError, *, provisional: bool = False) -> None:
        """Keep the first failure. A provisional one is forgotten when an answer comes after all."""
        if self.failure is None:
            self.failure = failure
            self._provisional = provisional

    def at(self, sock: Any) -> None:
        """The socket that the call is at from now on."""
        self.sock = sock

    # ---- what happens on the connection

    def connect_begins(self, looked_up_s: float) -> None:
        """The name is known, which took ``looked_up_s``; the connect timer starts."""
        self._phase = _CONNECTING
        self._ends_at += looked_up_s
        self._connect_ends_at = time.monotonic() + self.timeouts.connect_s

    def connected(self) -> None:
        """TCP, proxy and TLS are through."""
        self._phase = _SENDING
        self._sent_bytes = 0
        self._left_at = time.monotonic()
        self.answered = False  # a byte of the proxy's answer was none of the store's

    def connect_failed(self, failure: S3EngineError) -> None:
        """Keep why, instead of what the socket made of it."""
        self.failure = None
        if isinstance(failure, ConnectTimeout) and time.monotonic() >= self._ends_at:
            self._expired(AttemptTimeout, self.timeouts.attempt_s, _ATTEMPT)
        else:
            self.note(failure)

    def sent(self, count: int) -> None:
        """Bytes went to the kernel."""
        if self._phase > _SENDING:  # after an interim answer, or another request of the same call
            self._phase = _SENDING
            self._sent_bytes = 0
            self._window_at = 0.0
        self._sent_bytes += count
        self._moved(count)

    def acknowledged(self, count: int) -> None:
        """The kernel got rid of bytes that it had taken before."""
        if count > 0:
            self._moved(count)

    def awaits(self) -> None:
        """The client wants to read: what it had to send is sent."""
        if self._phase == _SENDING:
            self._phase = _WAITING
            self._drained_at = 0.0
            self._in_kernel = 0

    def received(self, count: int) -> None:
        """Bytes of the answer came."""
        if self._phase not in (_CONNECTING, _RECEIVING):
            self._phase = _RECEIVING
            self._window_at = 0.0  # the wait for the answer does not count
        self._moved(count)
        self.answered = True
        if self._provisional:
            self.failure = None
            self._provisional = False

    def _moved(self, count: int) -> None:
        if not self._window_at:
            self._window_at = time.monotonic()
            self._window_bytes = 0
        self._window_bytes += count

    # ---- how long the next operation may take

    def left_s(self, since: float, fd: int) -> float:
        """Seconds until a timer runs out, or until it is time to ask again; always more than 0.

        Args:
            since: When the operation began, or a byte moved last (monotonic).
            fd: The socket.

        Raises TimeoutError, with the error it stands for in ``failure``.
        """
        if self._interrupted:
            raise TimeoutError("ended from outside")
        now = time.monotonic()
        timeouts = self.timeouts
        attempt_s = self._ends_at - now
        if attempt_s <= 0:
            raise self._expired(AttemptTimeout, timeouts.attempt_s, _ATTEMPT)
        if self._phase == _CONNECTING:
            return min(self.left_to_connect_s(), attempt_s)
        ask_again_s = math.inf
        if self._phase == _WAITING:
            if not self._drained_at:
                self._watch_drain(now, fd)
            if self._drained_at:
                left_s = self._drained_at + timeouts.first_byte_s - now
                if left_s <= 0:
                    raise self._expired(FirstByteTimeout, timeouts.first_byte_s, "no answer began within")
                return min(left_s, attempt_s)
            since = max(since, self._drain_moved_at)
            ask_again_s = _TICK_S
        left_s = since + timeouts.stall_s - now
        if left_s <= 0:
            raise self._expired(StallTimeout, timeouts.stall_s, "no byte moved for")
        self._check_rate(now)
        return min(left_s, attempt_s, ask_again_s)

    def left_to_connect_s(self) -> float:
        """Seconds that connecting may still take, more than 0. Raises TimeoutError."""
        left_s = min(self._connect_ends_at, self._ends_at) - time.monotonic()
        if left_s <= 0:
            raise self._expired(ConnectTimeout, self.timeouts.connect_s, "no connection within")
        return left_s

    def _watch_drain(self, now: float, fd: int) -> None:
        # The wait for the answer begins when the kernel has got rid of the body; until then its bytes must move.
        left = unacknowledged(fd) if self._sent_bytes > _DRAIN_BYTES else 0
        if left <= 0:
            self._drained_at = now
        elif left != self._in_kernel:
            self._in_kernel = left
            self._drain_moved_at = now

    def _check_rate(self, now: float) -> None:
        # While the kernel still gets rid of the body the bytes that moved are not known.
        if self._phase == _WAITING or not self._window_at or now - self._window_at <= MIN_RATE_WINDOW_S:
            return
        moved = self._window_bytes
        self._window_at = 0.0
        if moved < MIN_RATE_BYTES_PER_S * MIN_RATE_WINDOW_S and not self.unhurried:
            raise self._expired(TooSlow, MIN_RATE_WINDOW_S, f"only {moved} bytes moved in")

    def _expired(self, kind: type[RequestTimeout], limit_s: float, text: str) -> TimeoutError:
        message = f"{text} {limit_s:.3g} s"
        self.note(kind(message, timeout_s=limit_s))
        return TimeoutError(message)


@contextmanager
def calling(timeouts: Timeouts, *, unhurried: bool = False) -> Iterator[Call]:
    """Have the connections that this thread uses inside the block keep to ``timeouts``. See :class:`Call`."""
    before = current_call()
    call = _thread.call = Call(timeouts, unhurried=unhurried)
    try:
        with blocking(call):
            yield call
    finally:
        _thread.call = before


def current_call() -> Call | None:
    """The call that this thread is making."""
    found: Call | None = getattr(_thread, "call", None)
    return found
