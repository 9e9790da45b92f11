"""Copies of the raw transport with one guarantee broken in each: of bodies, keys, errors, timers and identity."""

from __future__ import annotations

import gzip
import time
from typing import Any
from urllib.parse import urlsplit

import urllib3

from s3engine.errors import ConnectionLost, NotFound, RequestError, ServerFault, Throttled, TruncatedBody, WrongRegion
from s3engine.sinks import MemorySink
from s3engine.transport import CompletedPart, CopyResult, DeleteFailure, FilePart, GetResult, PartsPage
from s3engine_transports.raw import RawTransport

__all__ = ["NAMED_BY"]


class TrimsKeys(RawTransport):
    """Takes blanks off the ends of keys."""

    def put_object(self, bucket: str, key: str, *args: Any, **keywords: Any) -> Any:
        return super().put_object(bucket, key.strip(" "), *args, **keywords)


class IgnoresLast(RawTransport):
    """Reads to the end whatever range was asked for."""

    def get_object(self, *args: Any, last: int = -1, **keywords: Any) -> GetResult:
        return super().get_object(*args, **keywords)


class IgnoresIfMatch(RawTransport):
    """Reads the object in whatever state it is."""

    def get_object(self, *args: Any, if_match: str = "", **keywords: Any) -> GetResult:
        return super().get_object(*args, **keywords)


class CopiesWhatever(RawTransport):
    """Copies the object in whatever state it is."""

    def copy_object(self, *args: Any, if_match: str = "", **keywords: Any) -> CopyResult:
        return super().copy_object(*args, **keywords)


class DropsHeaders(RawTransport):
    """Sends no header but its own."""

    def put_object(self, bucket: str, key: str, body: Any, headers: Any, **keywords: Any) -> Any:
        return super().put_object(bucket, key, body, (), **keywords)


class ForgetsOffsets(RawTransport):
    """Sends a part of a file from the file's beginning."""

    def put_object(self, bucket: str, key: str, body: Any, headers: Any, **keywords: Any) -> Any:
        body = body._replace(offset=0) if isinstance(body, FilePart) else body
        return super().put_object(bucket, key, body, headers, **keywords)


class IgnoresChanges(RawTransport):
    """Does not look whether a file is still the one that was planned."""

    def put_object(self, bucket: str, key: str, body: Any, headers: Any, **keywords: Any) -> Any:
        body = body._replace(mtime_ns=0, file_bytes=-1) if isinstance(body, FilePart) else body
        return super().put_object(bucket, key, body, headers, **keywords)


class Unpacks(RawTransport):
    """Gives a packed body unpacked, as HTTP clients do."""

    def get_object(self, bucket: str, key: str, sink: Any, **keywords: Any) -> GetResult:
        kept = MemorySink()
        result = super().get_object(bucket, key, kept, **keywords)
        body = kept.body()
        sink.begin(result)
        sink.write(memoryview(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body))
        return result


class SwallowsDeleteErrors(RawTransport):
    """Takes every key of DeleteObjects for deleted."""

    def delete_objects(self, *args: Any, **keywords: Any) -> list[DeleteFailure]:
        super().delete_objects(*args, **keywords)
        return []


class ThrottlesAreFaults(RawTransport):
    """Does not tell a store that is busy from one that is broken."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        try:
            return super().run(exchange, timeouts)
        except Throttled as error:
            raise ServerFault(error.message, **error._context) from None


class TriesTwice(RawTransport):
    """Retries by itself."""

    def put_object(self, *args: Any, **keywords: Any) -> Any:
        try:
            return super().put_object(*args, **keywords)
        except ServerFault:
            return super().put_object(*args, **keywords)


class TakesCutBodies(RawTransport):
    """Takes what came for the whole."""

    def get_object(self, bucket: str, key: str, sink: Any, **keywords: Any) -> GetResult:
        try:
            return super().get_object(bucket, key, sink, **keywords)
        except TruncatedBody:
            return GetResult(sink.received, "", 0, sink.received)


class TakesAnyCopy(RawTransport):
    """Takes a 200 for a success, whatever its body says."""

    def copy_object(self, *args: Any, **keywords: Any) -> CopyResult:
        try:
            return super().copy_object(*args, **keywords)
        except RequestError as error:
            if error.status == 200:
                return CopyResult("")
            raise


class _Patient(RawTransport):
    """Leaves one timer out."""

    without = ""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        return super().run(exchange, timeouts._replace(**{self.without: 60.0}))


class NeverStalls(_Patient):
    """Knows no stall timer."""

    without = "stall_s"


class WaitsForAnswers(_Patient):
    """Knows no first-byte timer."""

    without = "first_byte_s"


class AttemptsForEver(_Patient):
    """Knows no attempt timer."""

    without = "attempt_s"


class ShowsSecrets(RawTransport):
    """Tells in its errors what it signed with."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        try:
            return super().run(exchange, timeouts)
        except RequestError as error:
            error.args = (f"{error} (signed with {getattr(self._requests.credentials, 'secret_key', '')})",)
            raise


class _Custom(ServerFault):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text, status=status)


class Unpicklable(RawTransport):
    """Raises an error of its own that cannot be sent to another process."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        try:
            return super().run(exchange, timeouts)
        except ServerFault as error:
            raise _Custom(error.status, error.message) from None


class FirstPageOnly(RawTransport):
    """Forgets the token, and so begins again with every page."""

    def list_objects_v2(self, *args: Any, continuation_token: str = "", **keywords: Any) -> Any:
        return super().list_objects_v2(*args, **keywords)


class PrefixesAreFolders(RawTransport):
    """Takes a prefix for a folder, as object stores behind a file system do."""

    def list_objects_v2(self, bucket: str, prefix: str = "", **keywords: Any) -> Any:
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        return super().list_objects_v2(bucket, folder, **keywords)


class ClosesGaps(RawTransport):
    """Numbers the parts of a completion anew, 1, 2, 3."""

    def complete_multipart_upload(self, bucket: str, key: str, upload_id: str, parts: Any, **keywords: Any) -> Any:
        renumbered = [CompletedPart(number, part.etag) for number, part in enumerate(parts, 1)]
        return super().complete_multipart_upload(bucket, key, upload_id, renumbered, **keywords)


class ForgetsUploads(RawTransport):
    """Says of an upload that is gone that it has no parts."""

    def list_parts(self, *args: Any, **keywords: Any) -> PartsPage:
        try:
            return super().list_parts(*args, **keywords)
        except NotFound:
            return PartsPage([], "")


class MixesThreads(RawTransport):
    """Keeps the key of a call where the next call puts its own."""

    def get_object(self, bucket: str, key: str, sink: Any, **keywords: Any) -> GetResult:
        self.key = key
        time.sleep(0.002)
        return super().get_object(bucket, self.key, sink, **keywords)


class KeepsCredentials(RawTransport):
    """Signs for ever with what it was opened with."""

    def set_credentials(self, credentials: Any) -> None:
        return


class KeepsItsClock(RawTransport):
    """Signs the machine's time."""

    def set_clock_offset(self, offset_s: float) -> None:
        return


class FollowsRedirects(RawTransport):
    """Goes wherever an answer points, with its signature."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        try:
            return super().run(exchange, timeouts)
        except WrongRegion:
            there = urlsplit(exchange.headers.get("location", ""))
            if not there.netloc:
                raise
            urllib3.request("GET", there.geturl(), headers={"authorization": "AWS4-HMAC-SHA256 ..."}, timeout=5)
            raise


class NeverStale(RawTransport):
    """Does not tell a connection that had been closed from one that was lost."""

    def run(self, exchange: Any, timeouts: Any) -> Any:
        try:
            return super().run(exchange, timeouts)
        except ConnectionLost as error:
            raise ConnectionLost(error.message, **{**error._context, "stale": False}) from None


class NeverCloses(RawTransport):
    """Goes on after its end."""

    def close(self) -> None:
        return


NAMED_BY: dict[type[RawTransport], str] = {
    TrimsKeys: "exact-keys", IgnoresLast: "ranges", IgnoresIfMatch: "if-match-get", CopiesWhatever: "copy-if-match",
    DropsHeaders: "headers", ForgetsOffsets: "file-part", IgnoresChanges: "file-changed", Unpacks: "encoded-body",
    SwallowsDeleteErrors: "delete-errors", ThrottlesAreFaults: "error-classes", TriesTwice: "one-attempt",
    TakesCutBodies: "truncated", TakesAnyCopy: "error-in-200", NeverStalls: "stall-timer-down",
    WaitsForAnswers: "first-byte-timer", AttemptsForEver: "attempt-timer", ShowsSecrets: "secrets",
    Unpicklable: "picklable-errors", FirstPageOnly: "list-pages", PrefixesAreFolders: "list-prefix",
    ClosesGaps: "multipart-gaps", ForgetsUploads: "multipart-abort", MixesThreads: "threads",
    KeepsCredentials: "set-credentials", KeepsItsClock: "set-clock-offset", FollowsRedirects: "redirects",
    NeverStale: "stale", NeverCloses: "closed",
}  # fmt: skip
"""Which check must name it."""
