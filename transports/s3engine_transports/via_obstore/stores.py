"""Obstore's stores: one for each bucket and set of timeouts, since an S3Store is bound to both when it is made.

Making one takes 5 ms of a core and 100 KiB, and no two share connections. So they are kept, the last _KEPT of them, and
timeouts that vary with size and experience are rounded up to a coarse scale (``round_up``: at most a third longer).

What an S3Store would look up by itself: every ``AWS_*`` variable that object_store knows. The engine has resolved those
in its parent process. So each setting with a neutral value is given explicitly, credentials come from a callable of
ours (given as settings, ``AWS_SESSION_TOKEN`` would be added to keys without a token), and a variable that cannot be
overruled is refused with ConfigError.

Proxies are those of :func:`s3engine_transports.network.proxy_for`. Without one a proxy is named all the same, for
every host but the endpoint's own: obstore follows redirects of reads and deletes to wherever they lead, without the
signature but with the session token, and has no setting against it. Nobody listens at that proxy. What is not kept
back: redirects to another port of the same host, and all of them where a proxy is set.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from obstore.store import S3Store

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, ConnectFailed, InvalidRequest, NotSupported
from s3engine.transport import Timeouts
from s3engine_transports.common import Answer
from s3engine_transports.network import MAX_IDLE_S, amazon_host, is_dns_name, proxy_for
from s3engine_transports.via_obstore.failures import GUARD

__all__ = ["FORKED", "Limits", "Stores", "round_up"]

_KEPT = 32
_STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.1, 4.0, 5.0, 6.0, 8.0, 10.0)
_bucket_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}").fullmatch
# There is no value for "none" of these, and each changes what is sent.
_NOT_OVERRULED = frozenset(("aws_checksum_algorithm", "aws_server_side_encryption"))
_NEUTRAL = {
    "s3_express": False, "request_payer": False, "disable_tagging": False, "imdsv1_fallback": False,
    "conditional_put": "etag",
}  # fmt: skip

FORKED = (
    "obstore was in use before this process was forked: its threads are not in the child, and every call would hang; "
    "start workers by forkserver or spawn"
)
_used_in_pid = 0  # the process in which obstore's threads run


def round_up(seconds: float) -> float:
    """The next value of the scale 1, 1.25, 1.5, 2, 2.5, 3.1, 4, 5, 6, 8 times a power of ten."""
    if seconds <= 0.001:
        return 0.001
    unit = 10.0 ** math.floor(math.log10(seconds))
    return next((step * unit for step in _STEPS if step * unit >= seconds * 0.9999), 10.0 * unit)


class Limits(NamedTuple):
    """The timers of a store, in seconds. ``read_s`` is how long nothing may come; 0: as long as ``attempt_s``."""

    connect_s: float
    attempt_s: float
    read_s: float

    @classmethod
    def of(cls, timeouts: Timeouts, *, uploads: bool) -> Limits:
        """Those that keep to ``timeouts``, and end nothing that these would let live.

        reqwest's read timer also runs while a request is connecting or its body is sent, moving or not, so it has room
        for the first and is not used for the second.
        """
        attempt_s = round_up(timeouts.attempt_s)
        read_s = round_up(timeouts.connect_s + max(timeouts.stall_s, timeouts.first_byte_s))
        return cls(round_up(timeouts.connect_s), attempt_s, 0.0 if uploads or read_s >= attempt_s else read_s)


class _Provider:
    """What a store asks for credentials, once in its life. Shows none."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self) -> dict[str, Any]:
        given = self._credentials
        return {
            "access_key_id": given.access_key, "secret_access_key": given.secret_key, "token": given.token or None,
            "expires_at": None,
        }  # fmt: skip


class Stores:
    """Makes and keeps the stores of one transport. Safe to use from several threads.

    Raises ConfigError for an endpoint or CA bundle that is none, and in a process that was forked from one where
    obstore was in use.
    """

    def __init__(self, settings: TransportSettings) -> None:
        if _used_in_pid not in (0, os.getpid()):
            raise ConfigError(FORKED)
        self._settings = settings
        self._provider = self._provider_of(settings.credentials)
        self._regions: dict[str, str] = {}
        self._stores: OrderedDict[tuple[str, Limits, bool], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        self._scheme, self._netloc, self._base = "https", "", ""
        if settings.endpoint_url:
            self._scheme, self._netloc, self._base = _parsed(settings.endpoint_url)
        self._roots = self._read_roots()

    @staticmethod
    def _provider_of(credentials: Credentials | None) -> Callable[[], dict[str, Any]] | None:
        return None if credentials is None else _Provider(credentials)

    def _read_roots(self) -> bytes:
        settings = self._settings
        if self._scheme != "https" or not settings.verify_tls or not settings.ca_bundle:
            return b""
        path = settings.ca_bundle
        if not os.path.exists(path):
            raise ConfigError(f"the CA bundle {path!r} does not exist")
        names = [os.path.join(path, name) for name in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
        found = []
        for name in names:
            if os.path.isfile(name):
                with open(name, "rb") as file:
                    found.append(file.read())
        return b"\n".join(one for one in found if b"BEGIN CERTIFICATE" in one)

    def get(self, request: Answer, limits: Limits, *, one_by_one: bool = False) -> Any:
        """The store for a request. ``one_by_one``: its delete sends DeleteObject, not DeleteObjects.

        Raises InvalidRequest for a bucket's name that cannot stand in a URL, ConnectFailed after ``close``,
        NotSupported in a forked process, ConfigError.
        """
        global _used_in_pid
        pid = os.getpid()
        if _used_in_pid != pid:
            if _used_in_pid:
                raise NotSupported(f"{request.describe()}: {FORKED}", **request.where())
            _used_in_pid = pid
        key = request.bucket, limits, one_by_one
        with self._lock:
            if self._closed:
                raise ConnectFailed(f"{request.describe()}: the transport is closed", **request.where())
            found = self._stores.get(key)
            if found is not None:
                self._stores.move_to_end(key)
                return found
            self.check_bucket(request)
            found = self._stores[key] = self._make(request.bucket, limits, one_by_one)
            if len(self._stores) > _KEPT:
                self._stores.popitem(last=False)
        return found

    @staticmethod
    def check_bucket(request: Answer) -> None:
        """Raise InvalidRequest for a name that no bucket has and that cannot stand in a URL."""
        if not _bucket_name(request.bucket):
            raise InvalidRequest(f"{request.describe()}: {request.bucket!r} is no name of a bucket", **request.where())

    def _make(self, bucket: str, limits: Limits, one_by_one: bool) -> Any:
        settings = self._settings
        for name in os.environ:
            if name.startswith("AWS_") and name.lower() in _NOT_OVERRULED:
                raise ConfigError(f"{name} is set in the environment, and obstore would follow it; unset it")
        region = self._regions.get(bucket) or settings.region or "us-east-1"
        netloc = self._netloc or amazon_host(region)
        style = settings.addressing_style
        virtual = is_dns_name(bucket) and (style == "virtual" or (style == "auto" and not self._netloc))
        endpoint = f"{self._scheme}://{bucket + '.' if virtual else ''}{netloc}{self._base}"
        signing = settings.payload_signing
        config = {
            **_NEUTRAL,
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,  # goes before the other, so its variable would as well
            "region": region,
            "virtual_hosted_style_request": virtual,
            "unsigned_payload": signing == "never" or (signing == "auto" and self._scheme == "https"),
            "skip_signature": self._provider is None,
            "disable_bulk_delete": one_by_one,
        }  # fmt: skip
        try:
            store: Any = S3Store  # its types want every setting spelt out
            return store(
                bucket, config=config, client_options=self._client_options(netloc, limits),
                retry_config={"max_retries": 0}, credential_provider=self._provider,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"obstore cannot use the CA bundle {settings.ca_bundle!r}: {error}") from None

    def _client_options(self, netloc: str, limits: Limits) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "allow_http": self._scheme == "http",
            "http1_only": True,
            "user_agent": settings.user_agent,
            "connect_timeout": timedelta(seconds=limits.connect_s),
            "timeout": timedelta(seconds=limits.attempt_s),
            "pool_idle_timeout": timedelta(seconds=MAX_IDLE_S),
            "pool_max_idle_per_host": str(settings.max_connections),
        }  # fmt: skip
        if limits.read_s:
            options["read_timeout"] = timedelta(seconds=limits.read_s)
        if not settings.verify_tls:
            options["allow_invalid_certificates"] = True
        elif self._roots:
            options["root_certificate"] = self._roots
        proxy = proxy_for(self._scheme, netloc)
        if proxy:
            options["proxy_url"] = proxy
        else:
            options["proxy_url"] = f"http://{GUARD}"
            # A name stands for those below it, too: bucket.host.
            options["proxy_excludes"] = urlsplit(f"//{netloc}").hostname
        return options

    def set_credentials(self, credentials: Credentials | None) -> None:
        """From the next request on."""
        with self._lock:
            self._provider = self._provider_of(credentials)
            self._stores.clear()

    def set_region(self, bucket: str, region: str) -> None:
        """From the next request on."""
        with self._lock:
            self._regions[bucket] = region
            for key in [key for key in self._stores if key[0] == bucket]:
                del self._stores[key]

    def close(self) -> None:
        """Drop all stores, which closes their idle connections."""
        with self._lock:
            self._closed = True
            self._stores.clear()


def _parsed(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ConfigError(f"endpoint_url {url!r} has no valid port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint_url {url!r} must be like http://host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, f"{host}:{port}" if port else host, parts.path.rstrip("/")
