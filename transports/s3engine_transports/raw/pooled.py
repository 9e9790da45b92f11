"""Connections out of urllib3: its pools, TLS contexts and proxies; none of its request path.

They are made under one timer: see :class:`s3engine_transports.deadlines.DeadlineConnection`.
"""

from __future__ import annotations

import math
import os
import queue
import ssl
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, ConnectFailed
from s3engine.transport import Timeouts
from s3engine_transports.deadlines import calling, pool_classes
from s3engine_transports.network import connect_error, proxy_login, socket_options
from s3engine_transports.raw.connection import closed

__all__ = ["UrllibPool", "shared_context"]


class UrllibPool:
    """urllib3's pool of one endpoint. See :class:`s3engine_transports.raw.connection.Pool`.

    ``where`` names the endpoint in errors; ``proxy`` is a URL or "". Raises ConfigError for a CA bundle that is not
    there, ConnectFailed for a name that is none.
    """

    def __init__(
        self, settings: TransportSettings, scheme: str, host: str, port: int, where: str, proxy: str
    ) -> None:
        keywords: dict[str, Any] = {
            "maxsize": settings.max_connections, "retries": False, "socket_options": socket_options(),
        }  # fmt: skip
        if scheme == "https":
            keywords.update(_tls(settings))
            if not proxy:  # one that is reached by TLS itself needs the names of the files
                keywords = {name: value for name, value in keywords.items() if not name.startswith("ca_cert")}
                keywords["ssl_context"] = shared_context(settings)
        manager: Any = (
            urllib3.ProxyManager(proxy, proxy_headers=proxy_login(proxy), **keywords) if proxy
            else urllib3.PoolManager(**keywords)
        )  # fmt: skip
        manager.pool_classes_by_scheme = pool_classes
        try:
            self._pool: Any = manager.connection_from_host(host, port, scheme)
        except HTTPError as error:  # a name that cannot be written as one: for most of them it needs the package idna
            raise ConnectFailed(f"cannot connect to {where}: {error}", permanent=True) from error
        self._tunnels = bool(proxy) and scheme == "https"
        self._host = host
        self._where = where
        self.proxy_headers: dict[str, str] = dict(self._pool.proxy_headers or {})

    def take(self) -> Any:
        if self._pool.pool is None:
            raise closed()
        try:
            # urllib3 fills its queue with None, one for each connection that may still be made.
            return self._pool.pool.get(block=False)
        except queue.Empty:
            return None

    def give(self, connection: Any) -> None:
        self._pool._put_conn(connection)

    def connect(self, timeout_s: float) -> Any:
        connection: Any = self._pool._new_conn()
        try:
            with calling(Timeouts(connect_s=timeout_s, attempt_s=math.inf)):
                if self._tunnels:
                    self._pool._prepare_proxy(connection)
                else:
                    connection.connect()
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a certificate for another host
            connection.close()
            host = getattr(connection, "host", self._host)  # the proxy's, where there is one
            raise connect_error(error, self._where, host, timeout_s) from error
        connection.sock = connection.sock.inner  # the exchange has timers of its own
        return connection

    def close(self) -> None:
        self._pool.close()


def shared_context(settings: TransportSettings) -> ssl.SSLContext:
    """What urllib3 would make for each connection anew: certificates read once, 10 ms and more for a system's own.

    AES-128 goes before AES-256, as it does in browsers and with Go: where the server leaves the choice to the client
    that takes a tenth off a large transfer. None is added, and none left out. Raises ConfigError for a bundle that
    cannot be read.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if settings.verify_tls else ssl.CERT_NONE)
    if settings.verify_tls and settings.ca_bundle:
        folder = os.path.isdir(settings.ca_bundle)
        try:
            context.load_verify_locations(**{"capath" if folder else "cafile": settings.ca_bundle})
        except OSError as error:  # also what ssl says of a file without certificates
            text = f"the CA bundle {settings.ca_bundle!r} cannot be read: {error.strerror or error}"
            raise ConfigError(text) from None
    elif settings.verify_tls:
        context.load_default_certs()
    names = [cipher["name"] for cipher in context.get_ciphers() if not cipher["name"].startswith("TLS_")]
    quick = [name for name in names if name.startswith("ECDHE-") and "AES128-GCM" in name]
    if quick:
        context.set_ciphers(":".join((*quick, *(name for name in names if name not in quick))))
    return context


def _tls(settings: TransportSettings) -> dict[str, Any]:
    if not settings.verify_tls:
        return {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    if settings.ca_bundle:
        if not os.path.exists(settings.ca_bundle):
            raise ConfigError(f"the CA bundle {settings.ca_bundle!r} does not exist")
        kind = "ca_cert_dir" if os.path.isdir(settings.ca_bundle) else "ca_certs"
        return {"cert_reqs": "CERT_REQUIRED", kind: settings.ca_bundle}
    return {"cert_reqs": "CERT_REQUIRED"}
