"""The minio client, held to the engine's rules: exact keys, deadlines, proxies, clock, bodies out of files."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import ssl
import threading
from datetime import datetime, timedelta
from typing import Any

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials as MinioCredentials
from minio.credentials.providers import Provider
from minio.time import to_amz_date
from urllib3.util.ssl_ import create_urllib3_context

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, NotS3
from s3engine_transports.bodies import PartReader, read_whole
from s3engine_transports.deadlines import pool_classes
from s3engine_transports.network import proxy_for, proxy_login, socket_options
from s3engine_transports.raw import xml

__all__ = ["Client", "CurrentCredentials", "Pools"]

_HASH_PIECE_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024  # sent or read at a time; urllib3's own 16 KiB would be four times as many system calls


class _Sent(threading.local):
    """What this thread asked for last, and what came back."""

    url = ""
    answer: Any = None


_sent = _Sent()


class _ExactTarget:
    """For a urllib3 pool: requests the path that was signed.

    On its way urllib3 takes ``.`` and ``..`` segments out of it; what it has then is only good to find the pool.
    """

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **keywords: Any) -> Any:
        exact = _sent.url
        if url.startswith("/"):  # not the absolute form, for a proxy
            exact = exact[exact.index("/", len("https://")) :]
        return super()._make_request(conn, method, exact, *args, **keywords)  # type: ignore[misc]  # a mixin


_POOLS = {scheme: type("_ExactPool", (_ExactTarget, found), {}) for scheme, found in pool_classes.items()}


class Pools(urllib3.PoolManager):
    """All connections of one transport, direct and through proxies. Safe to use from several threads."""

    def __init__(self, settings: TransportSettings, *, secure: bool) -> None:
        self._keywords: dict[str, Any] = {
            "num_pools": 256, "maxsize": settings.max_connections, "retries": False,
            "socket_options": socket_options(), "blocksize": _PIECE_BYTES,
        }  # fmt: skip
        if secure:
            # One context for all connections: to read the CAs takes longer than a handshake.
            self._keywords["ssl_context"] = _tls(settings)
            if not settings.verify_tls:
                self._keywords["assert_hostname"] = False
        super().__init__(**self._keywords)
        self.pool_classes_by_scheme = _POOLS
        self._lock = threading.Lock()
        self._proxies: dict[str, str] = {}
        self._proxied: dict[str, urllib3.ProxyManager] = {}

    def urlopen(  # type: ignore[override]  # urllib3's own override is no more compatible
        self, method: str, url: str, redirect: bool = True, **keywords: Any
    ) -> Any:
        """Send one request, whatever minio says about retries and redirects. Raises what urllib3 raises."""
        origin = url[: url.index("/", len("https://"))]
        proxy = self._proxies.get(origin)
        if proxy is None:
            scheme, _, netloc = origin.partition("://")
            proxy = self._proxies[origin] = proxy_for(scheme, netloc)
        headers = keywords["headers"]
        if not all(value.isascii() for value in headers.values()):
            # Signed as UTF-8; http.client would send Latin-1.
            keywords["headers"] = urllib3.HTTPHeaderDict(
                (name, value.encode().decode("latin-1")) for name, value in headers.items()
            )
        _sent.url = url
        _sent.answer = None
        open_ = self._proxied_by(proxy).urlopen if proxy else super().urlopen
        to_be_read = keywords.pop("preload_content", True)
        answer: Any = open_(
            method, url, redirect=False, retries=False, decode_content=False, preload_content=False, **keywords
        )
        if to_be_read or answer.status not in (200, 206):
            answer = _read(answer, method)
        _sent.answer = answer
        if answer.status >= 300 and to_be_read:
            xml.check_harmless(answer.data)  # minio would parse it; who called minio looks at last_answer
        return answer

    def _proxied_by(self, proxy: str) -> urllib3.ProxyManager:
        with self._lock:
            found = self._proxied.get(proxy)
            if found is None:
                found = urllib3.ProxyManager(proxy, proxy_headers=proxy_login(proxy), **self._keywords)
                found.pool_classes_by_scheme = _POOLS
                self._proxied[proxy] = found
            return found

    @property
    def last_answer(self) -> Any:
        """urllib3's answer to the last request of this thread; None when none came."""
        return _sent.answer

    def begin(self) -> None:
        """Forget the last answer of this thread."""
        _sent.answer = None

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for manager in (self, *self._proxied.values()):
                for key in manager.pools.keys():  # noqa: SIM118  (it cannot be iterated)
                    manager.pools[key].close()


def _read(answer: Any, method: str) -> urllib3.HTTPResponse:
    """The same answer with its body in memory; urllib3 would read one of any size. Raises NotS3."""
    try:
        body = read_whole(answer.stream(_PIECE_BYTES, decode_content=False), answer.status)
    except NotS3:
        answer.close()
        raise
    finally:
        answer.release_conn()
    return urllib3.HTTPResponse(
        io.BytesIO(body), headers=answer.headers, status=answer.status, version=answer.version, reason=answer.reason,
        decode_content=False, request_method=method, enforce_content_length=False,
    )  # fmt: skip


def _tls(settings: TransportSettings) -> Any:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if settings.verify_tls else ssl.CERT_NONE)
    bundle = settings.ca_bundle
    if not settings.verify_tls:
        return context
    if not bundle:
        context.load_default_certs()
    elif not os.path.exists(bundle):
        raise ConfigError(f"the CA bundle {bundle!r} does not exist")
    elif os.path.isdir(bundle):
        context.load_verify_locations(capath=bundle)
    else:
        context.load_verify_locations(cafile=bundle)
    return context


class CurrentCredentials(Provider):
    """Those of the engine, as of now; None: anonymous."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._current: Any = None
        self.set(credentials)

    def set(self, credentials: Credentials | None) -> None:
        """Use these from the next request on."""
        self._current = credentials and MinioCredentials(
            credentials.access_key, credentials.secret_key, credentials.token or None
        )

    def retrieve(self) -> Any:
        """For minio."""
        return self._current


class Client(Minio):
    """One per region and addressing style. ``offset_s`` is added to the clock when signing.

    The one private method that it overrides, ``_build_headers``, hashes the body and takes the time to sign with.
    """

    def __init__(
        self, settings: TransportSettings, netloc: str, *, secure: bool, region: str, virtual: bool,
        credentials: CurrentCredentials, pools: Pools,
    ) -> None:  # fmt: skip
        super().__init__(endpoint=netloc, secure=secure, region=region, credentials=credentials, http_client=pools)
        choose = self.enable_virtual_style_endpoint if virtual else self.disable_virtual_style_endpoint
        choose()  # type: ignore[no-untyped-call]
        self.offset_s = 0.0
        self._agent = settings.user_agent
        mode = settings.payload_signing
        self._signs_bodies = mode == "always" or (mode == "auto" and not secure)

    def __del__(self) -> None:
        """Leave the pools alone: they are the transport's. (minio empties them.)"""

    def _build_headers(self, host: str, headers: Any = None, body: Any = None, creds: Any = None) -> tuple[Any, Any]:
        built: tuple[dict[str, Any], datetime] = super()._build_headers(host, headers, None, creds)
        lines, date = built
        lines["User-Agent"] = self._agent
        if body:
            lines["Content-Length"] = str(len(body))
        if creds is not None and self._signs_bodies:
            lines["x-amz-content-sha256"] = _digest(body, "sha256").hexdigest()
        else:
            if creds is not None:
                lines["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
            checked = any(name.lower().startswith(("content-md5", "x-amz-checksum-")) for name in lines)
            if body and not checked:  # as minio does: what is not signed is protected so
                lines["Content-MD5"] = base64.b64encode(_digest(body, "md5").digest()).decode()
        if self.offset_s:
            date += timedelta(seconds=self.offset_s)
            lines["x-amz-date"] = to_amz_date(date)
        return lines, date


def _digest(body: Any, name: str) -> Any:
    digest = hashlib.new(name, usedforsecurity=False)
    if not isinstance(body, PartReader):
        digest.update(body or b"")
        return digest
    # In pieces: a part in memory for each request in flight would be 8 MiB times hundreds.
    while data := body.read(_HASH_PIECE_BYTES):
        digest.update(data)
    body.seek(0)
    return digest
