"""Requests as they leave: addressed, with their headers, signed."""

from __future__ import annotations

import binascii
import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from s3engine.chunked import framed, framed_bytes
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError, SourceChanged
from s3engine.file_body import source_error
from s3engine.transport import Body, FilePart, Headers, Sink
from s3engine_transports.clock import StoreClock
from s3engine_transports.common import check_headers, check_key
from s3engine_transports.raw.exchange import RawExchange
from s3engine_transports.raw.routes import Route, Routes
from s3engine_transports.raw.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    UNSIGNED_TRAILER,
    encode_key,
    is_plain_key,
    presign,
    sha256_hex,
    sign,
)
from s3engine_transports.raw.stencils import Stencil, cut, is_plain_value

__all__ = ["Requests"]

R = TypeVar("R")

_HASH_PIECE_BYTES = 1024 * 1024
_MOST_STENCILS = 64
_NO_BUCKETS = ("", ".", "..")  # see check_key
_WITH_BODY = ("PutObject", "UploadPart")  # whose checksum headers are of the body
_OBJECT_OPERATIONS = frozenset((
    "PutObject", "GetObject", "HeadObject", "CopyObject", "DeleteObject", "CreateMultipartUpload", "UploadPart",
    "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts",
))  # fmt: skip


class Requests:
    """Makes the requests of one transport.

    ``credentials`` (None: not signed) and the offset of ``clock`` may be set at any time: they hold from the next
    request on.
    """

    def __init__(self, settings: TransportSettings, routes: Routes, wall_clock: Callable[[], float]) -> None:
        self.credentials: Credentials | None = settings.credentials
        self._payload_signing = settings.payload_signing
        self._route = routes.route
        self._wall_clock = wall_clock
        self._stencils: dict[tuple[Any, ...], Stencil | None] = {}
        self._unfit: set[tuple[Any, ...]] = set()
        self.clock = StoreClock(wall_clock)
        self._date_second = 0
        self._date = ""
        self._agent = f"user-agent: {settings.user_agent}\r\n"

    def _amz_date(self, second: int) -> str:
        """The time to sign with, YYYYMMDDTHHMMSSZ."""
        if second != self._date_second:
            self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._date_second = second
        return self._date

    def _payload_hash(self, body: Body, route: Route, headers: Headers = ()) -> str:
        """What stands for the body in the signature; its SHA-256 is taken out of ``headers`` if it stands there.

        Reads a FilePart once. Raises SourceError, SourceChanged, ConfigError.
        """
        mode = self._payload_signing
        if not body:
            return EMPTY_SHA256
        if mode == "never" or (mode == "auto" and route.endpoint.scheme == "https"):
            return UNSIGNED_PAYLOAD
        for name, value in headers:
            if name == "x-amz-checksum-sha256":
                return _hex(value)
        if type(body) is FilePart:
            return body.sha256 or _hash_part(body)
        return sha256_hex(body)  # type: ignore[arg-type]

    def build(
        self, operation: str, method: str, bucket: str, key: str, finish: Callable[[RawExchange[R]], R], *,
        query: str = "", headers: Headers = (), body: Body = b"", sink: Sink | None = None, first: int = 0,
        last: int = -1, if_match: str = "", trailer: str = "", varying: int = -1,
    ) -> RawExchange[R]:  # fmt: skip
        """The exchange of one request.

        ``varying`` says how many headers, the last ones, differ from request to request while the others are the same
        in many; -1 where nothing is known of that.

        Raises InvalidRequest and ConfigError for what cannot be sent, SourceError when the body's file cannot be read
        for its hash.
        """
        if varying >= 0 and not trailer and not query:
            quick = self.stencilled(operation, method, bucket, key, headers, body, varying)
            if quick is not None:
                endpoint, head = quick
                exchange = RawExchange(
                    endpoint, operation, bucket, key, head, body, finish, sink, first, last, if_match
                )
                exchange.clock_offset_s = self.clock.offset_s
                return exchange
        route = self._route(bucket)
        if key or operation in _OBJECT_OPERATIONS:
            check_key(operation, bucket, key)
            path = route.base + encode_key(key)
        else:
            path = (route.base.rstrip("/") if bucket else "") or "/"
        length = body.length if type(body) is FilePart else len(body)
        credentials = self.credentials
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
            date = self._amz_date(int(self.clock()))
            if trailer:
                payload_hash = UNSIGNED_TRAILER
            else:
                payload_hash = self._payload_hash(body, route, headers if operation in _WITH_BODY else ())
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
        exchange.clock_offset_s = self.clock.offset_s
        if trailer:
            exchange.trailer = trailer
            exchange.checksum = checksum
        return exchange

    def stencilled(
        self, operation: str, method: str, bucket: str, key: str, headers: Headers, body: Body, varying: int
    ) -> tuple[Any, bytes] | None:
        """Endpoint and head of a request of a common kind; None for others. Raises ConfigError."""
        credentials = self.credentials
        if credentials is None or type(body) is not bytes or not is_plain_key(key):
            return None
        if varying == 1:
            name, value = headers[-1]
            if not is_plain_value(value):
                return None
            constant = headers[:-1]
            names: tuple[str, ...] = (name,)
            values: tuple[bytes, ...] = (value.encode(),)
        elif varying:
            name = ""
            constant = headers[:-varying]
            names = tuple([name for name, _ in headers[-varying:]])
            if not all(is_plain_value(value) for _, value in headers[-varying:]):
                return None
            values = tuple([value.encode() for _, value in headers[-varying:]])
        else:
            name, constant, names, values = "", headers, (), ()
        kind = (operation, bucket, constant, names, not body)
        second = int(self._wall_clock() + self.clock.offset_s)
        stencil = self._stencils.get(kind)
        if (
            stencil is None or stencil.second != second or stencil.credentials is not credentials
            or stencil.route is not self._route(bucket)
        ):  # fmt: skip
            stencil = self._cut(kind, method, body, second)
            if stencil is None:
                return None
        if not stencil.hashed:
            return stencil.route.endpoint, stencil.head(key.encode(), values, b"", len(body))
        told = name == "x-amz-checksum-sha256" and operation in _WITH_BODY
        payload_hash = _hex(value) if told else sha256_hex(body)
        return stencil.route.endpoint, stencil.head(key.encode(), values, payload_hash.encode(), len(body))

    def _cut(self, kind: tuple[Any, ...], method: str, body: bytes, second: int) -> Stencil | None:
        """The stencil for this second, kept; None where none is good."""
        stencils = self._stencils
        credentials = self.credentials
        if kind not in stencils:
            # Seen twice before it is cut: where every object has headers of its own it would be cut for nothing.
            if len(stencils) >= _MOST_STENCILS:
                stencils.clear()
            stencils[kind] = None
            return None
        operation, bucket, constant, names, _ = kind
        if kind in self._unfit or credentials is None or operation not in _OBJECT_OPERATIONS or bucket in _NO_BUCKETS:
            return None
        payload_hash = ""
        route = self._route(bucket)
        if not body:
            payload_hash = EMPTY_SHA256
        elif self._payload_signing == "never" or (
            self._payload_signing == "auto" and route.endpoint.scheme == "https"
        ):
            payload_hash = UNSIGNED_PAYLOAD
        elif any(name == "x-amz-checksum-sha256" for name, _ in constant):
            return None
        stencil = cut(
            method, constant, names, payload_hash, bool(body), self._amz_date(second), second, route, credentials,
            self._agent,
        )  # fmt: skip
        if stencil is None:
            if len(self._unfit) >= _MOST_STENCILS:
                self._unfit.clear()
            self._unfit.add(kind)
        else:
            stencils[kind] = stencil
        return stencil

    def presigned_url(self, method: str, bucket: str, key: str, expires_s: int = 3600) -> str:
        """A URL that lets anybody do ``method`` on the object for ``expires_s`` seconds (at most a week)."""
        if self.credentials is None:
            raise ConfigError("a presigned URL needs credentials")
        route = self._route(bucket)
        path = route.base + encode_key(key)
        query = presign(
            method, path, (), route.host, self._amz_date(int(self.clock())), expires_s, self.credentials, route.region
        )
        return f"{route.endpoint.scheme}://{route.host}{path}?{query}"


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
