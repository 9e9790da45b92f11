"""Requests as they leave: addressed, with their headers, signed."""

from __future__ import annotations

import binascii
import hashlib
import time
from collections.abc import Callable
from typing import TypeVar

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
    presign,
    sha256_hex,
    sign,
)

__all__ = ["Requests"]

R = TypeVar("R")

_HASH_PIECE_BYTES = 1024 * 1024
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
        self.clock = StoreClock(wall_clock)
        self._date_second = 0
        self._date = ""
        self._agent = f"user-agent: {settings.user_agent}\r\n"

    def _amz_date(self) -> str:
        """The time to sign with, YYYYMMDDTHHMMSSZ."""
        second = int(self.clock())
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
            date = self._amz_date()
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

    def presigned_url(self, method: str, bucket: str, key: str, expires_s: int = 3600) -> str:
        """A URL that lets anybody do ``method`` on the object for ``expires_s`` seconds (at most a week)."""
        if self.credentials is None:
            raise ConfigError("a presigned URL needs credentials")
        route = self._route(bucket)
        path = route.base + encode_key(key)
        query = presign(
            method, path, (), route.host, self._amz_date(), expires_s, self.credentials, route.region
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
