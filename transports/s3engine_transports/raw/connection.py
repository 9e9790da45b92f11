"""Connections out of urllib3: its pools, TLS contexts, proxies and name look-up; none of its request path.

One urllib3 pool per endpoint. A driver takes a connection out as a :class:`RawLink` and gives it back with ``park()``.
"""

from __future__ import annotations

import os
import queue
import socket
import ssl
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, ConnectFailed, ConnectTimeout

__all__ = ["Connections", "Endpoint", "RawLink"]

# A store may close an idle connection after 5 s (AWS, as the CRT notes) to 75 s (nginx); older ones are not handed out.
MAX_IDLE_S = 4.0
_USER_TIMEOUT_MS = 20_000  # data unacknowledged for so long: the peer is gone (algorithm: TCP_USER_TIMEOUT 20 s)
_KEEPALIVE_IDLE_S = 10


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


def _socket_options() -> list[tuple[int, int, int | bytes]]:
    options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS))
    if hasattr(socket, "TCP_KEEPIDLE"):
        options.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S))
    return options


class RawLink:
    """A connected, non-blocking connection that belongs to a urllib3 pool. See :class:`s3engine.transport.Link`."""

    __slots__ = ("_connection", "_pool", "parked_at", "sock", "used")

    def __init__(self, pool: Any, connection: Any) -> None:
        self._pool = pool
        self._connection = connection
        self.sock = connection.sock
        self.sock.setblocking(False)
        self.used = getattr(connection, "s3engine_used", 0)
        self.parked_at = 0.0

    def close(self) -> None:
        """Close the socket and give the pool its place back."""
        self._connection.close()
        self._pool._put_conn(None)

    def park(self) -> None:
        """Give the idle connection back to the pool for a later call."""
        self._connection.s3engine_used = self.used
        self._connection.s3engine_parked_at = time.monotonic()
        self._pool._put_conn(self._connection)


class Connections:
    """The urllib3 pools of one transport. Safe to use from several threads."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._pools: dict[Endpoint, tuple[Any, bool]] = {}
        self._lock = threading.Lock()
        self._may_have_proxy = any(name.lower().endswith("_proxy") for name in os.environ)

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

    def proxy_for(self, endpoint: Endpoint) -> str:
        """The proxy URL of ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` for an endpoint, or ""."""
        if not self._may_have_proxy:
            return ""
        from urllib.request import getproxies_environment, proxy_bypass  # lazy: 10 ms

        proxies = getproxies_environment()
        proxy = proxies.get(endpoint.scheme) or proxies.get("all") or ""
        if not proxy or proxy_bypass(endpoint.netloc):
            return ""
        return proxy if "//" in proxy else f"http://{proxy}"

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
            "maxsize": self._settings.max_connections, "retries": False, "socket_options": _socket_options(),
        }  # fmt: skip
        if endpoint.scheme == "https":
            keywords.update(self._tls())
        proxy = self.proxy_for(endpoint)
        if not proxy:
            manager: Any = urllib3.PoolManager(**keywords)
            return manager.connection_from_host(endpoint.host, endpoint.port, endpoint.scheme), False
        login = urlsplit(proxy)
        proxy_headers = None
        if login.username:
            user = f"{unquote(login.username)}:{unquote(login.password or '')}"
            proxy_headers = urllib3.make_headers(proxy_basic_auth=user)
        manager = urllib3.ProxyManager(proxy, proxy_headers=proxy_headers, **keywords)
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
            idle_s = time.monotonic() - getattr(connection, "s3engine_parked_at", 0.0)
            if connection.sock is not None and idle_s <= MAX_IDLE_S and not _readable(connection.sock):
                return RawLink(pool, connection)
            connection.close()
        try:
            return self._connect(pool, endpoint, timeout_s)
        except (ConnectFailed, ConnectTimeout):
            pool._put_conn(None)
            raise

    def _connect(self, pool: Any, endpoint: Endpoint, timeout_s: float) -> RawLink:
        # ``timeout_s`` bounds each step: TCP connect per address, the proxy's answer, each turn of the TLS handshake.
        connection: Any = pool._new_conn()
        connection.timeout = timeout_s
        where = f"{endpoint.scheme}://{endpoint.netloc}"
        try:
            if pool.proxy is not None and endpoint.scheme == "https":
                pool._prepare_proxy(connection)
            else:
                connection.connect()
        except (NameResolutionError, socket.gaierror) as error:
            connection.close()
            name = getattr(connection, "host", endpoint.host)  # the proxy's, where there is one
            raise ConnectFailed(f"cannot connect to {where}: the name {name!r} is not known") from error
        except NewConnectionError as error:  # refused, unreachable; a ConnectTimeoutError to urllib3
            connection.close()
            raise ConnectFailed(f"cannot connect to {where}: {_reason(error)}", permanent=False) from error
        except (ConnectTimeoutError, TimeoutError) as error:
            connection.close()
            raise ConnectTimeout(f"no connection to {where} within {timeout_s:g} s", timeout_s=timeout_s) from error
        except (HTTPError, ssl.SSLError, OSError) as error:
            connection.close()
            message = f"cannot connect to {where}: {_reason(error)}"
            raise ConnectFailed(message, permanent=_is_permanent(error)) from error
        return RawLink(pool, connection)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for pool, _ in self._pools.values():
                pool.close()


def _readable(sock: Any) -> bool:
    """A quiet idle connection has nothing to read; one that has was closed by the other side, or is out of step."""
    return urllib3.util.wait_for_read(sock, timeout=0.0)


def _is_permanent(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _reason(error: BaseException) -> str:
    """The innermost cause, in words."""
    seen: BaseException = error
    while seen.__cause__ is not None or seen.__context__ is not None:
        seen = seen.__cause__ or seen.__context__  # type: ignore[assignment]  # one of them is not None
    if isinstance(seen, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({seen.verify_message}); give its CA (--ca-bundle, AWS_CA_BUNDLE)"
    if isinstance(seen, ssl.SSLError):
        return f"TLS failed ({seen.reason or seen}); is it a plain http:// endpoint?"
    if isinstance(seen, OSError) and seen.strerror:
        return f"{seen.strerror}; is the endpoint right and running?"
    return str(seen)
