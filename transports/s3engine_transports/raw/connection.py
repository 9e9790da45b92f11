"""Connections out of urllib3: its pools, TLS contexts and proxies; none of its request path.

They are made under one timer: see :class:`s3engine_transports.deadlines.DeadlineConnection`. One urllib3 pool per
endpoint. A driver takes a connection out as a :class:`RawLink` and gives it back with ``park()``.
"""

from __future__ import annotations

import math
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import urllib3
from urllib3.exceptions import HTTPError

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, ConnectFailed, ConnectTimeout
from s3engine.transport import Timeouts
from s3engine_transports.deadlines import calling, pool_classes
from s3engine_transports.network import (
    MAX_AGE_S,
    MAX_IDLE_S,
    connect_error,
    is_readable,
    proxy_for,
    proxy_login,
    socket_options,
)

__all__ = ["Connections", "Endpoint", "RawLink"]


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


class RawLink:
    """A connected, non-blocking connection that belongs to a urllib3 pool. See :class:`s3engine.transport.Link`."""

    __slots__ = ("_clock", "_connection", "_pool", "sock", "used")

    def __init__(self, pool: Any, connection: Any, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pool = pool
        self._connection = connection
        self.sock = connection.sock
        self.sock.setblocking(False)
        self.used = getattr(connection, "s3engine_used", 0)

    def close(self) -> None:
        """Close the socket and give the pool its place back."""
        self._connection.close()
        self._pool._put_conn(None)

    def park(self) -> None:
        """Give the idle connection back to the pool for a later call."""
        self._connection.s3engine_used = self.used
        self._connection.s3engine_parked_at = self._clock()
        self._pool._put_conn(self._connection)


class Connections:
    """The urllib3 pools of one transport. Safe to use from several threads. ``clock`` is monotonic."""

    def __init__(
        self, settings: TransportSettings, *, clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._random = rng
        self._settings = settings
        self._pools: dict[Endpoint, tuple[Any, bool]] = {}
        self._lock = threading.Lock()

    def _tls(self) -> dict[str, Any]:
        settings = self._settings
        if not settings.verify_tls:
            return {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        if settings.ca_bundle:
            if not os.path.exists(settings.ca_bundle):
                raise ConfigError(f"the CA bundle {settings.ca_bundle!r} does not exist")
            kind = "ca_cert_dir" if os.path.isdir(settings.ca_bundle) else "ca_certs"
            return {"cert_reqs": "CERT_REQUIRED", kind: settings.ca_bundle}
        return {"cert_reqs": "CERT_REQUIRED"}

    def pool(self, endpoint: Endpoint) -> tuple[Any, bool]:
        """The pool of an endpoint and whether requests need the absolute form (plain HTTP through a proxy)."""
        found = self._pools.get(endpoint)
        if found is None:
            with self._lock:
                found = self._pools.get(endpoint)
                if found is None:
                    found = self._pools[endpoint] = self._make(endpoint)
        return found

    def _make(self, endpoint: Endpoint) -> tuple[Any, bool]:
        keywords: dict[str, Any] = {
            "maxsize": self._settings.max_connections, "retries": False, "socket_options": socket_options(),
        }  # fmt: skip
        if endpoint.scheme == "https":
            keywords.update(self._tls())
        proxy = proxy_for(endpoint.scheme, endpoint.netloc)
        if not proxy:
            manager: Any = urllib3.PoolManager(**keywords)
            manager.pool_classes_by_scheme = pool_classes
            return manager.connection_from_host(endpoint.host, endpoint.port, endpoint.scheme), False
        manager = urllib3.ProxyManager(proxy, proxy_headers=proxy_login(proxy), **keywords)
        manager.pool_classes_by_scheme = pool_classes
        return manager.connection_from_host(endpoint.host, endpoint.port, endpoint.scheme), endpoint.scheme == "http"

    def open(self, endpoint: Endpoint, timeout_s: float) -> RawLink:
        """A connection, an idle one if there is a good one. Raises ConnectFailed, ConnectTimeout."""
        pool, _ = self.pool(endpoint)
        if pool.pool is None:
            raise ConnectFailed("the transport is closed")
        try:
            # urllib3 fills its queue with None, one for each connection that may still be made.
            connection = pool.pool.get(block=False)
        except queue.Empty:
            connection = None
        if connection is not None:
            now = self._clock()
            fresh = now - connection.s3engine_parked_at <= MAX_IDLE_S and now <= connection.s3engine_retires_at
            if connection.sock is not None and fresh and not is_readable(connection.sock):
                return RawLink(pool, connection, self._clock)
            connection.close()
        try:
            return self._connect(pool, endpoint, timeout_s)
        except (ConnectFailed, ConnectTimeout):
            pool._put_conn(None)
            raise

    def _connect(self, pool: Any, endpoint: Endpoint, timeout_s: float) -> RawLink:
        # ``timeout_s`` bounds all of it but the name look-up: every address, the proxy and the TLS handshake.
        connection: Any = pool._new_conn()
        where = f"{endpoint.scheme}://{endpoint.netloc}"
        try:
            with calling(Timeouts(connect_s=timeout_s, attempt_s=math.inf)):
                if pool.proxy is not None and endpoint.scheme == "https":
                    pool._prepare_proxy(connection)
                else:
                    connection.connect()
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a certificate for another host
            connection.close()
            host = getattr(connection, "host", endpoint.host)  # the proxy's, where there is one
            raise connect_error(error, where, host, timeout_s) from error
        connection.sock = connection.sock.inner  # the exchange has timers of its own
        connection.s3engine_retires_at = self._clock() + MAX_AGE_S * (1.0 + self._random())
        return RawLink(pool, connection, self._clock)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for pool, _ in self._pools.values():
                pool.close()
