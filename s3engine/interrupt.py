"""Wake a thread that is blocked in a call on the network: the second stage of a cancel, where a thread makes the calls.

Whoever blocks says so with :func:`blocking`; who wants the thread back calls :func:`interrupt`. A socket is woken by
``shutdown``, which ends a read or write under way in another thread at once, through TLS too; closing it would not.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

__all__ = ["Interruptible", "blocking", "interrupt", "shut_down"]


class Interruptible(Protocol):
    """A call that a thread is making."""

    def interrupt(self) -> None:
        """End it soon, with an error. Called in another thread, at any time."""


_calls: dict[int, Interruptible] = {}  # by thread; each thread writes its own


@contextlib.contextmanager
def blocking(call: Interruptible) -> Iterator[None]:
    """Inside of the block this thread can be woken by ``call.interrupt()``."""
    me = threading.get_ident()
    before = _calls.get(me)
    _calls[me] = call
    try:
        yield
    finally:
        if before is None:
            del _calls[me]
        else:
            _calls[me] = before


def interrupt(threads: Iterable[int]) -> None:
    """Interrupt the calls that these threads (``threading.get_ident()``) are making; those without one are left."""
    for thread in threads:
        call = _calls.get(thread)
        if call is not None:
            call.interrupt()


def shut_down(sock: Any) -> None:
    """End what goes on at a socket (plain or TLS), whichever thread is at it. Nothing happens to one that is closed."""
    inner = getattr(sock, "socket", sock)  # urllib3's TLS inside TLS
    with contextlib.suppress(OSError):
        # Not ssl's own shutdown(): it takes the TLS state away under the thread that is using it.
        socket.socket.shutdown(inner, socket.SHUT_RDWR)
