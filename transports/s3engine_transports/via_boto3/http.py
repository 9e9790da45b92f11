"""Botocore's own HTTP layer over connections that keep to the engine's deadlines.

Botocore has no setting for the classes of its connections. What it has is the event ``before-send``: a handler may
return the answer in place of botocore sending the request. Ours sends the prepared request through
:class:`DeadlineSession`, a ``botocore.httpsession.URLLib3Session`` (so TLS, proxies, Expect and the mapping of errors
are botocore's) whose pools make botocore's connections with the mixin of :mod:`s3engine_transports.deadlines` in front.
Should a botocore of the future not use them, the first answer raises ConfigError: no deadline is lost in silence.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from urllib.parse import urlsplit

from botocore import __version__ as botocore_version
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from botocore.httpsession import URLLib3Session
from urllib3.util import parse_url

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, ConnectFailed, InvalidRequest
from s3engine_transports.deadlines import DeadlineConnection, pool_classes
from s3engine_transports.network import proxy_for, socket_options
from s3engine_transports.timers import Call

__all__ = ["DeadlineSession", "Http"]


class _ExpectingConnection(DeadlineConnection):
    """Not used again after an answer that came in place of ``100 Continue``: the store may still await the body."""

    def getresponse(self) -> Any:
        response = super().getresponse()
        if getattr(self, "_response_received", False) and self.sock is not None:
            self.sock.broken = True
        return response


class _HTTPConnection(_ExpectingConnection, AWSHTTPConnection):  # type: ignore[misc]  # no types for what they share
    pass


class _HTTPSConnection(_ExpectingConnection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _NoRedirects:
    """For a urllib3 pool: a redirect is an answer as any other, whatever botocore asks for."""

    def urlopen(self, *args: Any, **keywords: Any) -> Any:
        return super().urlopen(*args, **{**keywords, "redirect": False})  # type: ignore[misc]  # a mixin


_POOLS = {
    "http": type("_HTTPPool", (_NoRedirects, pool_classes["http"]), {"ConnectionCls": _HTTPConnection}),
    "https": type("_HTTPSPool", (_NoRedirects, pool_classes["https"]), {"ConnectionCls": _HTTPSConnection}),
}


class DeadlineSession(URLLib3Session):
    """For one endpoint. ``ca_bundle`` may be a folder, and "" is the system's CAs, not those of certifi."""

    def __init__(self, settings: TransportSettings, scheme: str, netloc: str) -> None:
        self._check_tls = settings.verify_tls and scheme == "https"
        self._bundle = settings.ca_bundle
        proxy = proxy_for(scheme, netloc)
        self.forwarded = bool(proxy) and scheme == "http"
        """Requests go to a proxy that is told the whole URL."""
        options: dict[str, Any] = {"verify": settings.verify_tls, "socket_options": socket_options()}
        super().__init__(
            proxies={scheme: proxy} if proxy else None, max_pool_connections=settings.max_connections, **options
        )
        # The dictionary that its pool managers look their classes up in.
        self._pool_classes_by_scheme.update(_POOLS)  # type: ignore[attr-defined]

    def _get_ssl_context(self) -> Any:
        context = super()._get_ssl_context()  # type: ignore[misc]
        if self._check_tls and not self._bundle:
            context.load_default_certs()
        return context

    def _setup_ssl_cert(self, conn: Any, url: str, verify: Any) -> None:
        super()._setup_ssl_cert(conn, url, verify)  # type: ignore[misc]
        if self._check_tls:
            folder = os.path.isdir(self._bundle)
            conn.ca_certs = self._bundle if self._bundle and not folder else None
            conn.ca_cert_dir = self._bundle if folder else None


class Http:
    """The sessions of one transport, one for each endpoint. Safe to use from several threads."""

    def __init__(self, settings: TransportSettings) -> None:
        if settings.verify_tls and settings.ca_bundle and not os.path.exists(settings.ca_bundle):
            raise ConfigError(f"the CA bundle {settings.ca_bundle!r} does not exist")
        self._settings = settings
        self._sessions: dict[tuple[str, str], DeadlineSession] = {}
        self._lock = threading.Lock()
        self._closed = False

    def send(self, request: Any, call: Call) -> Any:
        """The answer to a prepared request, an AWSResponse with its body unread. Raises botocore's errors, and ours."""
        session = self._session(request.url)
        if session.forwarded and parse_url(request.url).url != request.url:
            raise InvalidRequest("urllib3 would change this key on its way to the HTTP proxy; do without (no_proxy)")
        request.stream_output = True  # botocore would read a body of any size
        response = session.send(request)
        if not call.answered:
            response.raw.close()
            raise ConfigError(
                f"botocore {botocore_version} does not send through the connections of s3engine, so that no timeout "
                "would hold; use another version of it, or another transport"
            )
        return response

    def _session(self, url: str) -> DeadlineSession:
        parts = urlsplit(url)
        key = parts.scheme, parts.netloc
        found = self._sessions.get(key)
        if found is None:
            with self._lock:
                if self._closed:
                    raise ConnectFailed("the transport is closed")
                found = self._sessions.get(key)
                if found is None:
                    found = self._sessions[key] = DeadlineSession(self._settings, *key)
        return found

    def close(self) -> None:
        """Close all idle connections; later calls raise ConnectFailed."""
        with self._lock:
            self._closed = True
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()
