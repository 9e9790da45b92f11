"""The operations of S3 as blocking calls: the contract of every transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from s3engine.transport.capabilities import Capabilities
from s3engine.transport.values import (
    Body,
    CompletedPart,
    CopyResult,
    DeleteFailure,
    GetResult,
    Headers,
    HeadResult,
    ListPage,
    PartsPage,
    PutResult,
    Timeouts,
    UploadsPage,
)

__all__ = ["Sink", "Transport"]


class Sink(Protocol):
    """Where a response body goes. ``write`` may keep nothing of the view after it returns."""

    def begin(self, info: GetResult) -> None:
        """Called once per attempt when the head of a good answer is known, before the first ``write``."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the body. Raises SinkError."""


class Transport(Protocol):
    """Operations of S3, one blocking call each, safe to use from several threads of one process.

    Every call raises only subclasses of :class:`s3engine.errors.RequestError` (or TransferError for local files)
    and makes one attempt: no retries inside. ``timeouts`` bounds that attempt as :class:`s3engine.transport.Timeouts`
    says. All calls but ``create_multipart_upload`` and ``complete_multipart_upload`` are idempotent.
    """

    capabilities: Capabilities

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        """Store an object, atomically: readers see the old or the new one, never half.

        ``headers`` may hold ``if-match``, ``if-none-match``, ``content-md5`` and ``x-amz-checksum-*``. ``trailer``
        names an algorithm of :mod:`s3engine.checksums` whose value is computed while the body is sent and follows it
        (or is a whole checksum, ``"crc32:" + base64``, which follows it as it is, right or wrong).
        Raises ChecksumMismatch when the answer names another value than was computed.
        """

    def get_object(
        self, bucket: str, key: str, sink: Sink, *,
        first: int = 0, last: int = -1, if_match: str = "", headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        """Read bytes ``first`` to ``last`` (inclusive, -1: the end) into ``sink``.

        ``headers`` may hold ``x-amz-checksum-mode: ENABLED``. Raises NotFound, PreconditionFailed when the ETag is not
        ``if_match``, RangeNotSatisfiable, TruncatedBody.
        """

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts
    ) -> HeadResult:
        """Metadata of an object, or of its part ``part_number`` where the store can tell (its size, then).

        Raises NotFound (with code "NoSuchKey" for want of a body in the answer).
        """

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *,
        if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        """Copy inside the store, at most 5 GiB. A 200 with an error in its body is raised as that error."""

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        """Delete one key; a key that is not there is no error. With ``if_match`` only what still has that ETag.

        Raises PreconditionFailed when the store finds another ETag. Stores that do not know the condition delete.
        """

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        """Delete up to 1000 keys; returns those that failed. Keys must not hold control characters (XML 1.0).

        ``etags`` stand beside the keys ("": whatever is there), or there are none; a key whose object has another ETag
        is a failure of code PreconditionFailed where the store knows the condition. An answer that names a key which
        was not asked for raises ServerFault.
        """

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *,
        delimiter: str = "", continuation_token: str = "", start_after: str = "", max_keys: int = 1000,
        timeouts: Timeouts,
    ) -> ListPage:  # fmt: skip
        """One page of a listing, in the order the store gives."""

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        """Begin an upload in parts; returns its upload id. Not idempotent: a lost answer leaves an orphan."""

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        """Send part ``number`` (1 to 10 000); sending it again replaces it. Checksums as in put_object."""

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int,
        bucket: str, key: str, upload_id: str, number: int, *, if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        """Fill part ``number`` from bytes ``first`` to ``last`` of another object of the store."""

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        """Make the object out of its parts, atomically. A 200 with an error in its body is raised as that error."""

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts) -> None:
        """Forget an upload and its parts. Raises NotFound when it is gone already."""

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts
    ) -> PartsPage:
        """One page of the parts the store has of an upload. Raises NotFound when it is gone."""

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", *, key_marker: str = "", upload_id_marker: str = "", timeouts: Timeouts
    ) -> UploadsPage:
        """One page of the uploads under way below a prefix."""

    def head_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        """Raises NotFound or AccessDenied when the bucket cannot be used."""

    def create_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        """Make a bucket. Raises Conflict or InvalidRequest when the name is taken or bad."""

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        """Delete an empty bucket. Raises InvalidRequest (code BucketNotEmpty), NotFound."""

    def set_credentials(self, credentials: Any) -> None:
        """Use other credentials from the next request on (a :class:`s3engine.credentials.Credentials` or None)."""

    def set_clock_offset(self, offset_s: float) -> None:
        """Add ``offset_s`` to the clock when signing."""

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` (and, on AWS, go to its endpoint) for this bucket from the next request on."""

    def close(self) -> None:
        """Close all connections. Calls after it fail."""
