"""The raw transport: every operation as an exchange, and as a blocking call that drives that exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.drive import drive
from s3engine.transport import (
    Body,
    Capabilities,
    CompletedPart,
    CopyResult,
    DeleteFailure,
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
from s3engine_transports.network import address_family, proxy_for
from s3engine_transports.raw.connection import Connections, RawLink
from s3engine_transports.raw.exchange import RawExchange
from s3engine_transports.raw.exchanges import RawExchanges
from s3engine_transports.raw.requests import Requests
from s3engine_transports.raw.routes import Route, Routes

if TYPE_CHECKING:
    from s3engine_transports.raw.begun import BegunLink

__all__ = ["RawTransport"]

R = TypeVar("R")

class RawTransport:
    """See :class:`s3engine.transport.Transport`. Opened in the process that uses it; safe for several threads."""

    capabilities = Capabilities(interruptible=True, multiplexable=True, trailers=True)

    @staticmethod
    def worker_modules(settings: TransportSettings) -> Sequence[str]:
        """What is imported late, and yet needed by every worker: none where the loop itself begins all connections."""
        parts = urlsplit(settings.endpoint_url)
        netloc = parts.netloc.rpartition("@")[2]
        known = parts.scheme == "http" and address_family(parts.hostname or "") is not None
        return () if known and not proxy_for("http", netloc) else ("s3engine_transports.raw.pooled",)

    def __init__(self, settings: TransportSettings, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._connections = Connections(settings)
        self._routes = Routes(settings, self._connections)
        self._requests = Requests(settings, self._routes, wall_clock)
        self.exchanges = RawExchanges(self._requests, self._routes)

    # ---- connections and state

    def open_link(self, endpoint: Any, timeout_s: float) -> RawLink:
        """A connection for a driver: an idle one or a new one; blocks while connecting."""
        return self._connections.open(endpoint, timeout_s)

    def begin_link(self, endpoint: Any) -> BegunLink | None:
        """A connection that is not waited for, or None where only :meth:`open_link` can connect."""
        return self._connections.begin(endpoint)

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Use other credentials from the next request on."""
        self._requests.credentials = credentials

    def set_clock_offset(self, offset_s: float) -> None:
        """Add ``offset_s`` to the clock when signing."""
        self._requests.clock.offset_s = offset_s

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` for this bucket; on Amazon go to that region's endpoint."""
        self._routes.set_region(bucket, region)

    def route(self, bucket: str) -> Route:
        """How requests for ``bucket`` are addressed; "" is the service itself."""
        return self._routes.route(bucket)

    def presigned_url(self, method: str, bucket: str, key: str, expires_s: int = 3600) -> str:
        """A URL that lets anybody do ``method`` on the object for ``expires_s`` seconds (at most a week)."""
        return self._requests.presigned_url(method, bucket, key, expires_s)

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
