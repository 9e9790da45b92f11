"""The connections of a loop lane: being opened, in flight, or idle beside their endpoint.

Connecting (name look-up, proxy, TLS) is urllib3's blocking code, so a few threads do it and hand finished sockets over.
Plain TCP to a known address needs none of that, and is waited for by the poller as everything else.
"""

from __future__ import annotations

import random
import select
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.errors import RequestError, S3EngineError
from s3engine.wire import Wire

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["BEGUN", "CONNECTORS", "IN", "OUT", "Connections"]

IN = select.EPOLLIN if hasattr(select, "EPOLLIN") else select.POLLIN
OUT = select.EPOLLOUT if hasattr(select, "EPOLLOUT") else select.POLLOUT

CONNECTORS = 4
"""How many connections are opened at a time."""

BEGUN = 64
"""How many are begun at a time without a thread. A server's queue of new connections may be as short as 128."""

_MAX_IDLE_S = 4.0  # AWS closes idle connections after about 5 s
_MAX_AGE_S = 60.0  # of a connection, and up to as much again; a new one may find another of the store's addresses


class Connections:
    """See the module. ``wake`` is called in a helper thread when ``take_opened`` has something to take."""

    def __init__(
        self, transport: Any, poller: Any, wake: Callable[[], None], rng: Callable[[], float] = random.random
    ) -> None:
        self._transport = transport
        self._poller = poller
        self._wake = wake
        self._random = rng
        self.wires: dict[int, Wire] = {}
        """All that are open, by descriptor. Always the same dict, as ``idle`` is."""
        self.idle: dict[Any, list[Wire]] = {}
        """Those without a request, by endpoint; the one that has stood longest first."""
        self.opening = 0
        self._opened: deque[tuple[Any, Any]] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self._begin: Callable[[Any], Any] | None = getattr(transport, "begin_link", None)
        self._refused: set[Any] = set()  # endpoints to which the last connection that was begun failed
        self._begun: dict[int, tuple[Wire, Any, float, float]] = {}  # by descriptor: endpoint, since, timeout

    def begin(self, endpoint: Any, timeout_s: float, now: float) -> bool:
        """Begin to open one without a thread; False where that cannot be done."""
        if self._begin is None or endpoint in self._refused:
            return False
        try:
            link = self._begin(endpoint)
        except S3EngineError:
            return False  # open() says what is wrong
        if link is None:
            return False
        wire = Wire(link)
        wire.expires_at = now + _MAX_AGE_S * (1.0 + self._random())  # not all of them at once
        if link.connected:
            self._poller.register(wire.fileno(), IN)
            self.wires[wire.fileno()] = wire
            self.release(wire, endpoint, True, now)
        else:
            self._poller.register(wire.fileno(), OUT)
            self._begun[wire.fileno()] = wire, endpoint, now, timeout_s
            self.opening += 1
        return True

    def on_begun(self, fd: int, now: float) -> None:
        """One that was begun is connected, or failed. Other descriptors are nothing to it."""
        found = self._begun.pop(fd, None)
        if found is None:
            return
        wire, endpoint, _, timeout_s = found
        self.opening -= 1
        link: Any = wire.link
        if link.failed():
            self._refused.add(endpoint)
            self._poller.unregister(fd)
            wire.close()
            if self.opening < CONNECTORS:  # says what is wrong; the others need not say it as well
                self.open(endpoint, timeout_s)
            return
        self._poller.modify(fd, IN)
        self.wires[fd] = wire
        self.release(wire, endpoint, True, now)

    def drop_late(self, now: float) -> None:
        """Give up those that were begun and take too long: :meth:`take_opened` tells."""
        for fd, (wire, endpoint, since, timeout_s) in list(self._begun.items()):
            if now - since > timeout_s:
                del self._begun[fd]
                self._poller.unregister(fd)
                link: Any = wire.link
                self._opened.append((endpoint, link.too_late(timeout_s)))
                wire.close()
                self._wake()

    def open(self, endpoint: Any, timeout_s: float) -> None:
        """Have a thread open one more."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # lazy: 5 ms that plain HTTP to an address does not pay

            self._executor = ThreadPoolExecutor(CONNECTORS, thread_name_prefix="s3engine-connect")
        self.opening += 1
        self._executor.submit(self._open, endpoint, timeout_s)

    def _open(self, endpoint: Any, timeout_s: float) -> None:
        # Runs in a helper thread: touches nothing but the queue and the pipe.
        try:
            result: Any = self._transport.open_link(endpoint, timeout_s)
        except S3EngineError as error:
            result = error
        except Exception as error:  # noqa: BLE001  (a bug must reach the report, not die in a thread)
            result = RequestError(f"cannot connect: {error!r}")
        self._opened.append((endpoint, result))
        self._wake()

    def take_opened(self, now: float) -> Iterator[tuple[Any, S3EngineError]]:
        """Take what the threads have done; gives the endpoints to which there is no connection, and why."""
        while self._opened:
            endpoint, result = self._opened.popleft()
            self.opening -= 1
            if isinstance(result, S3EngineError):
                yield endpoint, result
                continue
            self._refused.discard(endpoint)
            wire = Wire(result)
            wire.used = result.used
            wire.expires_at = now + _MAX_AGE_S * (1.0 + self._random())  # not all of them at once
            self.wires[wire.fileno()] = wire
            self._poller.register(wire.fileno(), IN)
            self.release(wire, endpoint, True, now)

    def release(self, wire: Wire, endpoint: Any, reusable: bool, now: float) -> None:
        """A request is over: keep its connection for the next one, or close it."""
        if not reusable or now > wire.expires_at:
            self.drop(wire)
            return
        wires = self.idle.get(endpoint)
        if wires is None:
            wires = self.idle[endpoint] = []
        wires.append(wire)
        wire.moved_at = now

    def drop(self, wire: Wire) -> None:
        """Close one that is not idle."""
        fd = wire.fileno()
        del self.wires[fd]
        self._poller.unregister(fd)
        wire.close()

    def drop_idle(self, wire: Wire) -> None:
        """Close one that is idle."""
        for wires in self.idle.values():
            if wire in wires:
                wires.remove(wire)
        self.drop(wire)

    def drop_all_idle(self, endpoint: Any) -> None:
        """Close all that are idle beside an endpoint."""
        for wire in list(self.idle.get(endpoint, ())):
            self.drop_idle(wire)

    def drop_stale(self, now: float) -> None:
        """Close those that have been idle for too long."""
        for wires in self.idle.values():
            # The oldest stand first, since connections are taken from the end.
            while wires and now - wires[0].moved_at > _MAX_IDLE_S:
                self.drop_idle(wires[0])

    def close(self) -> None:
        """Close all; a thread that is connecting ends by itself."""
        for wire in list(self.wires.values()):
            self.drop(wire)
        for fd, (wire, _, _, _) in self._begun.items():
            self._poller.unregister(fd)
            wire.close()
        self._begun.clear()
        self.idle.clear()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
