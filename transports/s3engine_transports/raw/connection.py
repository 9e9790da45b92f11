"""Connections of the raw transport, by endpoint. A driver takes one as a :class:`RawLink` and gives it back.

They come out of urllib3's pools (``pooled.py``). A transport that makes single calls (``TransportSettings.single``)
over plain HTTP without a proxy connects by itself (``direct.py``), since importing urllib3 takes longer than a listing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from s3engine.config import TransportSettings
from s3engine.errors import ConnectFailed
from s3engine_transports.network import MAX_AGE_S, MAX_IDLE_S, is_readable, proxy_for

if TYPE_CHECKING:
    from s3engine_transports.raw.begun import BegunLink

__all__ = ["Connection", "Connections", "Endpoint", "Pool", "RawLink"]


class Endpoint(NamedTuple):
    """Where to connect. Equal endpoints share connections."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """Host and port as the Host header has them: no port when it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


class Connection(Protocol):
    """What is kept in a pool: urllib3's connection, or one of ``direct.py``."""

    sock: Any
    s3engine_used: int
    s3engine_parked_at: float
    s3engine_retires_at: float

    def close(self) -> None:
        """Close the socket."""


class Pool(Protocol):
    """The connections of one endpoint."""

    proxy_headers: dict[str, str]
    """For requests that a proxy gets in plain HTTP."""

    def take(self) -> Connection | None:
        """An idle one, or None: then :meth:`connect`, or give None back. Raises ConnectFailed once it is closed."""

    def give(self, connection: Connection | None) -> None:
        """Keep one, or a place for one."""

    def connect(self, timeout_s: float) -> Connection:
        """A new one. ``timeout_s`` bounds every address, the proxy and TLS together, but not the name look-up.

        Raises ConnectFailed, ConnectTimeout.
        """

    def close(self) -> None:
        """Close those that are idle."""


class RawLink:
    """A connected, non-blocking connection that belongs to a pool. See :class:`s3engine.transport.Link`."""

    __slots__ = ("_clock", "_connection", "_pool", "sock", "used")

    def __init__(self, pool: Pool, connection: Connection, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pool = pool
        self._connection = connection
        self.sock = connection.sock
        self.sock.setblocking(False)
        self.used = getattr(connection, "s3engine_used", 0)

    def close(self) -> None:
        """Close the socket and give the pool its place back."""
        self._connection.close()
        self._pool.give(None)

    def park(self) -> None:
        """Give the idle connection back to the pool for a later call."""
        self._connection.s3engine_used = self.used
        self._connection.s3engine_parked_at = self._clock()
        self._pool.give(self._connection)


class Connections:
    """The pools of one transport. Safe to use from several threads. ``clock`` is monotonic; ``rng``: 0 to below 1."""

    def __init__(
        self, settings: TransportSettings, *, clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._random = rng or _uniform
        self._settings = settings
        self._pools: dict[Endpoint, tuple[Pool, bool]] = {}
        self._lock = threading.Lock()
        self._absolute: dict[Endpoint, bool] = {}
        self._closed = False

    def is_absolute(self, endpoint: Endpoint) -> bool:
        """Whether requests need the absolute form (plain HTTP through a proxy). Makes no pool."""
        found = self._absolute.get(endpoint)
        if found is None:
            found = endpoint.scheme == "http" and bool(proxy_for(endpoint.scheme, endpoint.netloc))
            self._absolute[endpoint] = found
        return found

    def pool(self, endpoint: Endpoint) -> tuple[Pool, bool]:
        """The pool of an endpoint and whether requests need the absolute form (plain HTTP through a proxy)."""
        found = self._pools.get(endpoint)
        if found is None:
            with self._lock:
                found = self._pools.get(endpoint)
                if found is None:
                    found = self._pools[endpoint] = self._make(endpoint)
        return found

    def _make(self, endpoint: Endpoint) -> tuple[Pool, bool]:
        where = f"{endpoint.scheme}://{endpoint.netloc}"
        proxy = proxy_for(endpoint.scheme, endpoint.netloc)
        if self._settings.single and endpoint.scheme == "http" and not proxy:
            from s3engine_transports.raw.direct import DirectPool

            return DirectPool(endpoint.host, endpoint.port, where), False
        from s3engine_transports.raw.pooled import UrllibPool

        made = UrllibPool(self._settings, endpoint.scheme, endpoint.host, endpoint.port, where, proxy)
        return made, bool(proxy) and endpoint.scheme == "http"

    def open(self, endpoint: Endpoint, timeout_s: float) -> RawLink:
        """A connection, an idle one if there is a good one. Raises ConnectFailed, ConnectTimeout."""
        if self._closed:
            raise closed()
        pool, _ = self.pool(endpoint)
        connection = pool.take()
        if connection is not None:
            now = self._clock()
            fresh = now - connection.s3engine_parked_at <= MAX_IDLE_S and now <= connection.s3engine_retires_at
            if connection.sock is not None and fresh and not is_readable(connection.sock):
                return RawLink(pool, connection, self._clock)
            connection.close()
        try:
            connection = pool.connect(timeout_s)
        except BaseException:
            pool.give(None)
            raise
        connection.s3engine_retires_at = self._clock() + MAX_AGE_S * (1.0 + self._random())
        return RawLink(pool, connection, self._clock)

    def begin(self, endpoint: Endpoint) -> BegunLink | None:
        """A new connection that is not waited for; None where only :meth:`open` can: TLS, a proxy, a name."""
        if endpoint.scheme != "http" or self._closed or self.is_absolute(endpoint):
            return None
        from s3engine_transports.raw.begun import begin

        return begin(endpoint.host, endpoint.port, f"{endpoint.scheme}://{endpoint.netloc}")

    def close(self) -> None:
        """Close all idle connections."""
        self._closed = True
        with self._lock:
            for pool, _ in self._pools.values():
                pool.close()


def _uniform() -> float:
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)  # importing random takes longer than a listing's one number


def closed() -> ConnectFailed:
    """What a pool says that was closed."""
    return ConnectFailed("the transport is closed")
