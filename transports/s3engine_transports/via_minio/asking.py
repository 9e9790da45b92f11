"""One request by minio: which client sends it, and what its answer, or the want of one, is for us."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import ClosedPoolError, HTTPError

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, ConnectFailed, InvalidRequest, NotS3, S3EngineError, TruncatedBody
from s3engine.transport import Body, FilePart, Headers, Timeouts
from s3engine_transports.bodies import PartReader
from s3engine_transports.clock import StoreClock
from s3engine_transports.common import UNHURRIED, Answer, check_headers, check_key, with_context
from s3engine_transports.network import amazon_host, is_dns_name
from s3engine_transports.timers import Call, calling
from s3engine_transports.via_minio.client import Client, CurrentCredentials, Pools

__all__ = ["Asker"]

_bucket_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}").fullmatch  # minio puts it into the path as it is


class Asker:
    """The minio clients of one transport, one for each region and addressing style. Safe for several threads."""

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._netloc, self._secure = _parsed(settings.endpoint_url)
        self._credentials = CurrentCredentials(settings.credentials)
        self._pools = Pools(settings, secure=self._secure)
        self._regions: dict[str, str] = {}
        self._clients: dict[tuple[str, bool], Client] = {}
        self._lock = threading.Lock()
        self.clock = StoreClock()
        self._closed = False
        self._client("")  # whatever minio does not like, it says now

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Use other credentials from the next request on."""
        self._credentials.set(credentials)

    def set_clock_offset(self, offset_s: float) -> None:
        """Add ``offset_s`` to the clock when signing."""
        with self._lock:
            self.clock.offset_s = offset_s
            for client in self._clients.values():
                client.offset_s = offset_s

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` for this bucket; on Amazon go to that region's endpoint."""
        self._regions[bucket] = region

    def close(self) -> None:
        """Close all idle connections."""
        self._closed = True
        self._pools.close()

    def ask(
        self, operation: str, method: str, bucket: str, key: str | None, timeouts: Timeouts, *,
        query: dict[str, str] | None = None, headers: Headers = (), body: Body = b"",
    ) -> Answer:  # fmt: skip
        """Carry out one request with a short answer. ``key`` None: the bucket's. Raises what comes instead of one."""
        request = Answer(operation, bucket, key or "", clock_offset_s=self.clock.offset_s)
        unhurried = operation in UNHURRIED
        with calling(timeouts, unhurried=unhurried) as call, _readable(body) as data:
            response = self._execute(
                request, call, method, key, body=data, headers=_for_minio(headers), query_params=query
            )
        return request._replace(status=response.status, headers=_lower(response.headers), content=response.data)

    @contextmanager
    def asking(
        self, operation: str, method: str, bucket: str, key: str, timeouts: Timeouts, headers: Headers
    ) -> Iterator[tuple[Answer, Any]]:
        """A request whose answer's body is read inside the block: the head of the answer, and urllib3's object."""
        request = Answer(operation, bucket, key, clock_offset_s=self.clock.offset_s)
        with calling(timeouts) as call:
            response = self._execute(request, call, method, key, headers=_for_minio(headers), preload_content=False)
            try:
                yield request._replace(status=response.status, headers=_lower(response.headers)), response
            finally:
                # Of chunks (None) nobody knows how much would have to be read first; where the end was seen, the
                # connection is free already.
                if response.length_remaining == 0:
                    response.drain_conn()  # the end of the body has to be seen before the connection is free
                else:
                    response.close()
                response.release_conn()

    def _execute(self, request: Answer, call: Call, method: str, key: str | None, **keywords: Any) -> Any:
        """urllib3's answer, a refusal too."""
        if self._closed:
            raise ConnectFailed("the transport is closed", **request.where())
        if not _bucket_name(request.bucket):
            raise InvalidRequest(
                f"{request.describe()}: minio cannot address a bucket of that name", **request.where()
            )
        if key is not None:
            check_key(request.operation, request.bucket, key)
        self._pools.begin()
        try:
            return self._client(request.bucket)._execute(method, request.bucket, key, **keywords)
        except S3EngineError as error:
            raise with_context(error, request) from error.__cause__
        except UnicodeEncodeError:
            # Not said what it is: it may be the whole request with the session token in it.
            raise InvalidRequest(
                f"{request.describe()}: a parameter of the request is not Unicode", **request.where()
            ) from None
        except Exception as error:
            if call.failure is not None:
                raise with_context(call.failure, request) from error
            answer = self._pools.last_answer
            if answer is None or isinstance(error, HTTPError):
                raise _unanswered(error, request) from error
            # What minio makes of a refusal is less than the answer itself says.
            return answer

    def region(self, bucket: str) -> str:
        """What requests for a bucket are signed for."""
        return self._regions.get(bucket) or self._settings.region

    def _client(self, bucket: str) -> Client:
        region = self.region(bucket)
        style = self._settings.addressing_style
        virtual = style == "virtual" or (style == "auto" and not self._netloc)
        chosen = region, virtual and is_dns_name(bucket)
        found = self._clients.get(chosen)
        if found is None:
            with self._lock:
                try:
                    found = Client(
                        self._settings, self._netloc or amazon_host(region), secure=self._secure, region=region,
                        virtual=chosen[1], credentials=self._credentials, pools=self._pools,
                    )  # fmt: skip
                except ValueError as error:
                    raise ConfigError(f"minio refuses the endpoint or region: {error}") from None
                found.offset_s = self.clock.offset_s
                self._clients[chosen] = found
        return found


def _parsed(endpoint_url: str) -> tuple[str, bool]:
    """Host and port, "" for Amazon, and whether over TLS. Raises ConfigError."""
    if not endpoint_url:
        return "", True
    parts = urlsplit(endpoint_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint_url {endpoint_url!r} must be like http://host:port")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"the transport 'minio' takes no path in endpoint_url: {endpoint_url!r}; use 'raw'")
    return parts.netloc, parts.scheme == "https"


def _for_minio(headers: Headers) -> dict[str, Any]:
    """minio knows Content-MD5 in this spelling alone. Raises ConfigError."""
    check_headers(headers)
    found: dict[str, Any] = {}
    for name, value in headers:
        name = "Content-MD5" if name == "content-md5" else name  # noqa: PLW2901
        found[name] = [*found[name], value] if name in found else [value]
    return found


@contextmanager
def _readable(body: Body) -> Iterator[Any]:
    if not isinstance(body, FilePart):
        yield body
    elif not body.length:
        yield b""
    else:
        with PartReader(body) as reader:
            yield reader


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _unanswered(error: Exception, request: Answer) -> Exception:
    """What it means that no whole answer came although the connection did not break, as far as it was seen."""
    if isinstance(error, ClosedPoolError):
        return ConnectFailed("the transport is closed", **request.where())
    if any(isinstance(cause, IncompleteRead) for cause in (error, error.__cause__, *error.args)):
        return TruncatedBody(
            f"{request.describe()}: the connection closed before the end of the answer", **request.where()
        )
    if isinstance(error, HTTPError):
        return NotS3(
            f"{request.describe()}: the answer is no HTTP/1.1 ({error}). Is the endpoint an S3 endpoint, with the right"
            " scheme and port?", **request.where(),
        )  # fmt: skip
    return error
