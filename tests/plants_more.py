"""More copies of the raw transport with one guarantee broken in each: of what is sent, and of its exchanges."""

from __future__ import annotations

import logging
from typing import Any

from s3engine.errors import AccessDenied, InvalidRequest, RequestError
from s3engine.sinks import MemorySink
from s3engine.transport import DeleteFailure, FilePart, GetResult, HeadResult, PartsPage, PutResult
from s3engine_transports.raw import RawTransport

__all__ = ["NAMED_BY"]


class SwallowsRefusals(RawTransport):
    """Takes a DeleteObjects that was refused for one that deleted everything."""

    def delete_objects(self, *args: Any, **keywords: Any) -> list[DeleteFailure]:
        try:
            return super().delete_objects(*args, **keywords)
        except AccessDenied:
            return []


class SendsFirstPart(RawTransport):
    """Sends every part of a file from the file's beginning."""

    def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: Any, **keywords: Any) -> PutResult:
        body = body._replace(offset=0) if isinstance(body, FilePart) else body
        return super().upload_part(bucket, key, upload_id, number, body, **keywords)


class ClockBackwards(RawTransport):
    """Takes the offset of the clock off instead of adding it."""

    def set_clock_offset(self, offset_s: float) -> None:
        super().set_clock_offset(-offset_s)


class KeepsItsRegion(RawTransport):
    """Signs for one region whatever it is told."""

    def set_region(self, bucket: str, region: str) -> None:
        return


class FirstPartsOnly(RawTransport):
    """Takes the first page of parts for all of them."""

    def list_parts(self, *args: Any, **keywords: Any) -> PartsPage:
        return super().list_parts(*args, **keywords)._replace(next_marker="")


class LogsSecrets(RawTransport):
    """Writes into the log what it signs with."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        logging.getLogger("planted").info("signed with %s", getattr(self._requests.credentials, "secret_key", ""))
        return super().run(exchange, timeouts)


class DropsStorageClass(RawTransport):
    """Sends all headers but one."""

    def put_object(self, bucket: str, key: str, body: Any, headers: Any, **keywords: Any) -> PutResult:
        kept = tuple(pair for pair in headers if pair[0] != "x-amz-storage-class")
        return super().put_object(bucket, key, body, kept, **keywords)


class BeginsTwice(RawTransport):
    """Begins a sink anew when the body has come."""

    def get_object(self, bucket: str, key: str, sink: Any, **keywords: Any) -> GetResult:
        kept = MemorySink()
        result = super().get_object(bucket, key, kept, **keywords)
        sink.begin(result)
        sink.begin(result)
        sink.write(memoryview(kept.body()))
        return result


class NamesBuckets(RawTransport):
    """Lets an empty key mean the bucket."""

    def delete_object(self, bucket: str, key: str, **keywords: Any) -> None:
        try:
            super().delete_object(bucket, key, **keywords)
        except InvalidRequest:
            self.delete_bucket(bucket, **keywords)


class TellsNoWhere(RawTransport):
    """Does not say in its errors what was asked of which bucket."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        try:
            return super().run(exchange, timeouts)
        except RequestError as error:
            context = {name: value for name, value in error._context.items() if name not in ("bucket", "operation")}
            raise type(error)(error.message, **context) from None


class NoExchanges(RawTransport):
    """Says that it can be multiplexed, and cannot."""

    def open_link(self, endpoint: Any, timeout_s: float) -> Any:
        raise NotImplementedError


class DropsChecksums(RawTransport):
    """Sends no checksum of a put."""

    def put_object(self, bucket: str, key: str, body: Any, headers: Any, **keywords: Any) -> PutResult:
        kept = tuple(pair for pair in headers if not pair[0].startswith("x-amz-checksum"))
        return super().put_object(bucket, key, body, kept, **keywords)


class DropsPartChecksums(RawTransport):
    """Tells no checksum of a part at the completion."""

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: Any, **keywords: Any
    ) -> PutResult:
        bare = [part._replace(checksum="") for part in parts]
        return super().complete_multipart_upload(bucket, key, upload_id, bare, **keywords)


class AsksForNoChecksum(RawTransport):
    """Never asks for the checksum that is stored."""

    def get_object(self, *args: Any, headers: Any = (), **keywords: Any) -> GetResult:
        return super().get_object(*args, **keywords)


class WholeHeads(RawTransport):
    """Tells of the object where one of its parts was asked for."""

    def head_object(self, *args: Any, part_number: int = 0, **keywords: Any) -> HeadResult:
        return super().head_object(*args, **keywords)


class WrongTrailers(RawTransport):
    """Announces one checksum and computes another."""

    def put_object(self, *args: Any, trailer: str = "", **keywords: Any) -> PutResult:
        return super().put_object(*args, trailer="crc32" if trailer else "", **keywords)


class DeletesAnyway(RawTransport):
    """Deletes whatever ETag an object has."""

    def delete_objects(self, *args: Any, etags: Any = (), **keywords: Any) -> list[DeleteFailure]:
        return super().delete_objects(*args, **keywords)


NAMED_BY: dict[type[RawTransport], str] = {
    SwallowsRefusals: "error-classes", SendsFirstPart: "parts-of-files", ClockBackwards: "set-clock-offset",
    KeepsItsRegion: "set-region", FirstPartsOnly: "pages", LogsSecrets: "secrets", DropsStorageClass: "headers-sent",
    BeginsTwice: "sink-order", NamesBuckets: "unaddressable-keys", TellsNoWhere: "error-attributes",
    NoExchanges: "exchanges-on-the-wire", DropsChecksums: "checksums-sent", DropsPartChecksums: "checksums-of-parts",
    AsksForNoChecksum: "checksums-asked-for", WholeHeads: "part-of-an-object", DeletesAnyway: "deletes-on-condition",
    WrongTrailers: "trailers",
}  # fmt: skip
"""Which check must name it."""
