"""The raw transport: every operation as an exchange, and as a blocking call that drives that exchange."""

from __future__ import annotations

import binascii
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from s3engine.chunked import framed, framed_bytes
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.drive import drive
from s3engine.errors import ConfigError, InvalidRequest, SourceChanged
from s3engine.file_body import source_error
from s3engine.transport import (
    Body,
    Capabilities,
    CompletedPart,
    CopyResult,
    DeleteFailure,
    FilePart,
    GetResult,
    Headers,
    HeadResult,
    ListPage,
    PartsPage,
    PutResult,
    Sink,
    Timeouts,
    UploadsPage,
)
from s3engine_transports.common import check_headers, check_key
from s3engine_transports.network import amazon_host, is_dns_name
from s3engine_transports.raw.connection import Connections, Endpoint, RawLink
from s3engine_transports.raw.exchange import RawExchange
from s3engine_transports.raw.exchanges import RawExchanges
from s3engine_transports.raw.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    UNSIGNED_TRAILER,
    encode_key,
    presign,
    sha256_hex,
    sign,
)

__all__ = ["RawTransport"]

R = TypeVar("R")

_HASH_PIECE_BYTES = 1024 * 1024
_WITH_BODY = ("PutObject", "UploadPart")  # whose checksum headers are of the body
_OBJECT_OPERATIONS = frozenset((
    "PutObject", "GetObject", "HeadObject", "CopyObject", "DeleteObject", "CreateMultipartUpload", "UploadPart",
    "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts",
))  # fmt: skip


class Route:
    """How requests for one bucket are addressed and signed; ``base`` precedes the encoded key in the path."""

    __slots__ = ("absolute", "base", "endpoint", "extra", "host", "region")

    def __init__(self, endpoint: Endpoint, base: str, region: str, absolute: str, extra: str) -> None:
        self.endpoint = endpoint
        self.host = endpoint.netloc
        self.base = base
        self.region = region
        self.absolute = absolute  # "http://host:port" when a plain-HTTP proxy wants the absolute form
        self.extra = extra  # header lines for such a proxy


class RawTransport:
    """See :class:`s3engine.transport.Transport`. Opened in the process that uses it; safe for several threads."""

    capabilities = Capabilities(interruptible=True, multiplexable=True, trailers=True)

    def __init__(self, settings: TransportSettings, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._credentials: Credentials | None = settings.credentials
        self._wall_clock = wall_clock
        self._offset_s = 0.0
        self._date_second = 0
        self._date = ""
        self._connections = Connections(settings)
        self._routes: dict[str, Route] = {}
        self._regions: dict[str, str] = {}
        self._lock = threading.Lock()
        self._agent = f"user-agent: {settings.user_agent}\r\n"
        self.exchanges = RawExchanges(self)
        self._parse_endpoint(settings.endpoint_url)

    def _parse_endpoint(self, url: str) -> None:
        self._custom: tuple[Endpoint, str] | None = None
        if not url:
            return
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise ConfigError(f"endpoint_url {url!r} has no valid port") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"endpoint_url {url!r} must be like http://host:port")
        port = port or (443 if parts.scheme == "https" else 80)
        self._custom = Endpoint(parts.scheme, parts.hostname, port), parts.path.rstrip("/")

    # ---- addressing and signing

    def route(self, bucket: str) -> Route:
        """The route of a bucket; "" is the service itself."""
        found = self._routes.get(bucket)
        if found is None:
            found = self._routes[bucket] = self._make_route(bucket)
        return found

    def _make_route(self, bucket: str) -> Route:
        region = self._regions.get(bucket) or self._settings.region
        style = self._settings.addressing_style
        if self._custom is not None:
            endpoint, base = self._custom
            virtual = style == "virtual"
        else:
            endpoint, base = Endpoint("https", amazon_host(region), 443), ""
            virtual = style != "path"
        if virtual and is_dns_name(bucket):
            endpoint = endpoint._replace(host=f"{bucket}.{endpoint.host}")
            base += "/"
        else:
            try:
                base += f"/{quote(bucket, safe='~')}/" if bucket else "/"
            except UnicodeEncodeError:
                raise InvalidRequest(f"the bucket {bucket!r} is not Unicode", bucket=bucket) from None
        pool, absolute = self._connections.pool(endpoint)
        extra = ""
        if absolute:
            extra = "".join(f"{name}: {value}\r\n" for name, value in (pool.proxy_headers or {}).items())
        return Route(endpoint, base, region, f"http://{endpoint.netloc}" if absolute else "", extra)

    def amz_date(self) -> str:
        """The time to sign with, YYYYMMDDTHHMMSSZ."""
        second = int(self._wall_clock() + self._offset_s)
        if second != self._date_second:
            self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._date_second = second
        return self._date

    @property
    def on_amazon(self) -> bool:
        """No endpoint was given: requests go to Amazon S3."""
        return self._custom is None

    def clock(self) -> float:
        """Seconds since the epoch as the store is thought to see them."""
        return self._wall_clock() + self._offset_s

    def payload_hash(self, body: Body, route: Route, headers: Headers = ()) -> str:
        """What stands for the body in the signature; its SHA-256 is taken out of ``headers`` if it stands there.

        Reads a FilePart once. Raises SourceError, SourceChanged, ConfigError.
        """
        mode = self._settings.payload_signing
        if not body:
            return EMPTY_SHA256
        if mode == "never" or (mode == "auto" and route.endpoint.scheme == "https"):
            return UNSIGNED_PAYLOAD
        for name, value in headers:
            if name == "x-amz-checksum-sha256":
                return _hex(value)
        return _hash_part(body) if type(body) is FilePart else sha256_hex(body)  # type: ignore[arg-type]

    def build(
        self, operation: str, method: str, bucket: str, key: str, finish: Callable[[RawExchange[R]], R], *,
        query: str = "", headers: Headers = (), body: Body = b"", sink: Sink | None = None, first: int = 0,
        last: int = -1, if_match: str = "", trailer: str = "",
    ) -> RawExchange[R]:  # fmt: skip
        """The exchange of one request.

        Raises InvalidRequest and ConfigError for what cannot be sent, SourceError when the body's file cannot be read
        for its hash.
        """
        route = self.route(bucket)
        if key or operation in _OBJECT_OPERATIONS:
            check_key(operation, bucket, key)
            path = route.base + encode_key(key)
        else:
            path = (route.base.rstrip("/") if bucket else "") or "/"
        length = body.length if type(body) is FilePart else len(body)
        credentials = self._credentials
        signed = [("host", route.host)]
        checksum = ""
        if headers:
            check_headers(headers)
            signed.extend(headers)
        if trailer:
            signed[1:], length = _trailed(headers, length, trailer)
            if type(body) is not FilePart:
                body, checksum = framed(body, trailer)  # type: ignore[arg-type]
        if credentials is None:
            authorization = ""
            if trailer:  # by this alone the store knows that the body is framed
                signed.append(("x-amz-content-sha256", UNSIGNED_TRAILER))
        else:
            date = self.amz_date()
            if trailer:
                payload_hash = UNSIGNED_TRAILER
            else:
                payload_hash = self.payload_hash(body, route, headers if operation in _WITH_BODY else ())
            signed.append(("x-amz-content-sha256", payload_hash))
            signed.append(("x-amz-date", date))
            if credentials.token:
                signed.append(("x-amz-security-token", credentials.token))
            signature = sign(method, path, query, signed, payload_hash, date, credentials, route.region)
            authorization = f"authorization: {signature.authorization}\r\n"
        lines = "\r\n".join([f"{name}: {value}" for name, value in signed])
        sized = f"content-length: {length}\r\n" if length or method in ("PUT", "POST") else ""
        target = f"{path}?{query}" if query else path
        head = (
            f"{method} {route.absolute}{target} HTTP/1.1\r\n{lines}\r\n{authorization}{sized}{self._agent}"
            f"{route.extra}\r\n"
        ).encode()
        exchange = RawExchange(route.endpoint, operation, bucket, key, head, body, finish, sink, first, last, if_match)
        if trailer:
            exchange.trailer = trailer
            exchange.checksum = checksum
        return exchange

    def presigned_url(self, method: str, bucket: str, key: str, expires_s: int = 3600) -> str:
        """A URL that lets anybody do ``method`` on the object for ``expires_s`` seconds (at most a week)."""
        if self._credentials is None:
            raise ConfigError("a presigned URL needs credentials")
        route = self.route(bucket)
        path = route.base + encode_key(key)
        query = presign(
            method, path, (), route.host, self.amz_date(), expires_s, self._credentials, route.region
        )
        return f"{route.endpoint.scheme}://{route.host}{path}?{query}"

    # ---- connections and state

    def open_link(self, endpoint: Any, timeout_s: float) -> RawLink:
        """A connection for a driver: an idle one or a new one; blocks while connecting."""
        return self._connections.open(endpoint, timeout_s)

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Use other credentials from the next request on."""
        self._credentials = credentials

    def set_clock_offset(self, offset_s: float) -> None:
        """Add ``offset_s`` to the clock when signing."""
        self._offset_s = offset_s

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` for this bucket; on Amazon go to that region's endpoint."""
        self._regions[bucket] = region
        self._routes.pop(bucket, None)

    def close(self) -> None:
        """Close all idle connections."""
        self._connections.close()

    def run(self, exchange: RawExchange[R], timeouts: Timeouts) -> R:
        """Carry out one exchange, blocking."""
        link = self._connections.open(exchange.endpoint, timeouts.connect_s)
        result, reusable = drive(exchange, link, timeouts, used=link.used)
        if reusable:
            link.used += 1
            link.park()
        return result

    # ---- the blocking face: one exchange each

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        return self.run(self.exchanges.put_object(bucket, key, body, headers, trailer=trailer), timeouts)

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        exchange = self.exchanges.get_object(
            bucket, key, sink, first=first, last=last, if_match=if_match, headers=headers
        )
        return self.run(exchange, timeouts)

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts
    ) -> HeadResult:
        return self.run(self.exchanges.head_object(bucket, key, part_number=part_number, headers=headers), timeouts)

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        exchange = self.exchanges.copy_object(source_bucket, source_key, bucket, key, headers, if_match=if_match)
        return self.run(exchange, timeouts)

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        return self.run(self.exchanges.delete_object(bucket, key, if_match=if_match), timeouts)

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        return self.run(self.exchanges.delete_objects(bucket, keys, etags=etags), timeouts)

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", continuation_token: str = "",
        start_after: str = "", max_keys: int = 1000, timeouts: Timeouts,
    ) -> ListPage:  # fmt: skip
        exchange = self.exchanges.list_objects_v2(
            bucket, prefix, delimiter=delimiter, continuation_token=continuation_token, start_after=start_after,
            max_keys=max_keys,
        )  # fmt: skip
        return self.run(exchange, timeouts)

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        return self.run(self.exchanges.create_multipart_upload(bucket, key, headers), timeouts)

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        exchange = self.exchanges.upload_part(
            bucket, key, upload_id, number, body, headers=headers, trailer=trailer
        )
        return self.run(exchange, timeouts)

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int, bucket: str, key: str, upload_id: str,
        number: int, *, if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        exchange = self.exchanges.upload_part_copy(
            source_bucket, source_key, first, last, bucket, key, upload_id, number, if_match=if_match
        )
        return self.run(exchange, timeouts)

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        exchange = self.exchanges.complete_multipart_upload(bucket, key, upload_id, parts, headers=headers)
        return self.run(exchange, timeouts)

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts) -> None:
        return self.run(self.exchanges.abort_multipart_upload(bucket, key, upload_id), timeouts)

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts
    ) -> PartsPage:
        return self.run(self.exchanges.list_parts(bucket, key, upload_id, marker=marker), timeouts)

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", *, key_marker: str = "", upload_id_marker: str = "", timeouts: Timeouts
    ) -> UploadsPage:
        exchange = self.exchanges.list_multipart_uploads(bucket, prefix, key_marker, upload_id_marker)
        return self.run(exchange, timeouts)

    def head_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        return self.run(self.exchanges.head_bucket(bucket), timeouts)

    def create_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        return self.run(self.exchanges.create_bucket(bucket), timeouts)

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        return self.run(self.exchanges.delete_bucket(bucket), timeouts)


def _hash_part(part: FilePart) -> str:
    # In pieces through one buffer: a part in memory for each request in flight would be 8 MiB times hundreds. The
    # second reading, by sendfile, comes from the page cache.
    digest = hashlib.sha256()
    left = part.length
    buffer = memoryview(bytearray(min(_HASH_PIECE_BYTES, max(left, 1))))
    try:
        with open(part.path, "rb", buffering=0) as file:
            file.seek(part.offset)
            while left:
                count = file.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    raise SourceChanged(
                        f"{part.path!r} shrank while it was sent; send it again when it is at rest", path=part.path
                    )
                digest.update(buffer[:count])
                left -= count
    except OSError as error:
        raise source_error(part.path, error) from None
    return digest.hexdigest()


def _trailed(headers: Headers, length: int, trailer: str) -> tuple[list[tuple[str, str]], int]:
    """The headers of a request with a trailer, and the length of its body with the framing. Raises ConfigError."""
    try:
        framed_length = framed_bytes(length, trailer)
    except ValueError as error:
        raise ConfigError(f"trailer {trailer!r}: {error}") from None
    own = [(name, value) for name, value in headers if name != "content-encoding"]
    # Kept without "aws-chunked": https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
    encodings = [value for name, value in headers if name == "content-encoding"]
    own.append(("content-encoding", ",".join((*encodings, "aws-chunked"))))
    own.append(("x-amz-decoded-content-length", str(length)))
    own.append(("x-amz-trailer", f"x-amz-checksum-{trailer.partition(':')[0]}"))
    return own, framed_length


def _hex(checksum: str) -> str:
    try:
        raw = binascii.a2b_base64(checksum)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ConfigError(f"header 'x-amz-checksum-sha256' must be the base64 of a SHA-256, not {checksum!r}")
    return raw.hex()
