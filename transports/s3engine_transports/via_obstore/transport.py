"""The transport on obstore's blocking calls: what of S3's operations obstore has, and NotSupported for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import obstore

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import NotSupported
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
from s3engine_transports.common import Answer
from s3engine_transports.via_obstore.attempt import Attempt, Background
from s3engine_transports.via_obstore.copies import Copies
from s3engine_transports.via_obstore.deletes import delete_many
from s3engine_transports.via_obstore.downloads import download, head
from s3engine_transports.via_obstore.exact import bucket_answers
from s3engine_transports.via_obstore.listing import Listings
from s3engine_transports.via_obstore.paths import check_key
from s3engine_transports.via_obstore.stores import FORKED, Stores
from s3engine_transports.via_obstore.uploads import Room, upload

__all__ = ["ObstoreTransport"]

_CAPABILITIES = Capabilities(
    timers=frozenset(("connect", "attempt")),
    if_match_copy=False, multipart=False, copy_parts=False, copy_headers=False, copy_between_buckets=False,
    exact_keys=False, error_details=False, refuses_redirects=False,
    complete_listings=False, buckets=False, clock_offset=False, fork=False, if_match_delete=False, checksums=False,
    reasons=(
        ("timers", "obstore's client counts sending a body as waiting, so its read timer is used for requests without "
                   "one only, and is late by the connect timeout; timeouts belong to a store, so they are rounded up"),
        ("if_match_copy", "obstore.copy takes no condition"),
        ("interruptible", "obstore's calls block inside of Rust, where nothing reaches their sockets"),
        ("multipart", "obstore has no calls for single parts; it makes parts of large bodies by itself"),
        ("copy_parts", "obstore has no calls for single parts"),
        ("copy_headers", "obstore.copy takes no headers"),
        ("copy_between_buckets", "a store of obstore is one bucket, and it copies inside one store"),
        ("exact_keys", "obstore refuses or changes keys with an empty segment, '.', '..', '/' at an end, or a control "
                       "character; a listing with such a key raises InvalidRequest or, where that can be found out, "
                       "gives 'a/' as it is (not when it has a body and no keys below it: then it comes as 'a'). "
                       "Delimiters other than '/', and start_after with one, are refused. A page that says that more "
                       "follows but not where is taken for the last, which is found out when it is full"),
        ("error_details", "obstore's errors tell no headers: no Retry-After, no request id of answers without a body, "
                          "no region of a redirect, nothing of the connection; neither do its results: no request id, "
                          "no storage class, the status that is due, few headers. An error's body is read into memory "
                          "whole, and what it says is not found beyond 64 KiB"),
        ("refuses_redirects", "obstore's HTTP client follows redirects of reads and deletes, without the signature but "
                              "with the session token; this transport keeps it from other hosts when no proxy is set, "
                              "not from other ports of the endpoint's host; what is read there, or said to be deleted, "
                              "is taken for the store's"),
        ("complete_listings", "obstore takes a page without a token for the last one; only after a full page of 1000 "
                              "can it be seen that keys are missing. And it takes any 200 for a delete that was done"),
        ("if_match_delete", "obstore's deletes take no condition"),
        ("trailers", "obstore computes none while it sends"),
        ("checksums", "obstore sends no Content-MD5 and no checksum headers, and asks for none"),
        ("buckets", "obstore makes and deletes no buckets"),
        ("clock_offset", "obstore signs with the machine's clock"),
        ("fork", FORKED),
    ),
)  # fmt: skip


class ObstoreTransport:
    """See :class:`s3engine.transport.Transport`. Opened in the process that uses it; safe for several threads.

    One attempt is one request but for these: an upload of more than 16 MiB (in parts of 8 MiB, four at once, by
    obstore; ended by ``attempt_s`` it may leave its parts behind), a copy (HEADs of source and target, because obstore
    takes any 200 for a copy; see :mod:`s3engine_transports.via_obstore.copies`), ``delete_objects`` when keys fail,
    listings (see :mod:`s3engine_transports.via_obstore.listing`), reads of empty objects, and reads from a store that
    answers 200 to ranges (see :func:`s3engine_transports.via_obstore.downloads.download`; a range is read from the
    object's beginning, if that is less than 64 MiB away).

    What is read of files to be sent holds at most 256 MiB in all; an upload that needs more waits its turn before its
    attempt begins. A call under way cannot be ended but by its timers: cancelling a batch waits for them, with a store
    that hangs up to ``attempt_s`` (some 30 s by default), rounded up.

    What obstore keeps to itself is not made up for: results have no request id and no storage class, ``status`` is the
    one that is due, and ``headers`` are the content headers, metadata, ETag, length, date and version only. A PutObject
    with headers other than those, tags and conditions is NotSupported.

    ``connect_s`` and ``attempt_s`` are kept by obstore's client, rounded up by at most a third. The blocking calls are
    used because they cost less than half: 175 to 220 us of a core for a PUT of 1 KiB and 140 to 165 us for a GET,
    against 400 to 490 us and 470 to 590 us by coroutines with a time limit (16 threads, SeaweedFS, two cores). Raises
    ConfigError for settings that obstore cannot follow.
    """

    capabilities = _CAPABILITIES

    def __init__(self, settings: TransportSettings) -> None:
        self._stores = Stores(settings)
        self._background = Background()
        self._listings = Listings()
        self._room = Room()
        self._copies = Copies()
        self._without_ranges: set[str] = set()

    def _attempt(self, operation: str, bucket: str, key: str, timeouts: Timeouts) -> Attempt:
        return Attempt(self._stores, self._background, Answer(operation, bucket, key), timeouts)

    def _on_key(self, operation: str, bucket: str, key: str, timeouts: Timeouts) -> Attempt:
        attempt = self._attempt(operation, bucket, key, timeouts)
        check_key(attempt.request, key)
        return attempt

    # ---- objects

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        request = Answer("PutObject", bucket, key)
        check_key(request, key)
        if trailer:
            _refuse(request, "checksums")
        return upload(
            lambda: Attempt(self._stores, self._background, request, timeouts), request, body, headers, self._room
        )

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        attempt = self._on_key("GetObject", bucket, key, timeouts)
        if headers:
            _refuse(attempt.request, "checksums")
        return download(attempt, sink, first, last, if_match, self._without_ranges)

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts
    ) -> HeadResult:
        attempt = self._on_key("HeadObject", bucket, key, timeouts)
        if headers or part_number:
            _refuse(attempt.request, "checksums")
        return head(attempt)

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        attempt = self._on_key("CopyObject", bucket, key, timeouts)
        request = attempt.request
        for lacking, field in (
            (source_bucket != bucket, "copy_between_buckets"), (headers, "copy_headers"), (if_match, "if_match_copy"),
        ):  # fmt: skip
            if lacking:
                _refuse(request, field)
        check_key(request, source_key)
        return self._copies.copy(attempt, source_key, key)

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        attempt = self._on_key("DeleteObject", bucket, key, timeouts)
        if if_match:
            _refuse(attempt.request, "if_match_delete")
        attempt.ask(obstore.delete, key, one_by_one=True)

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        attempt = self._attempt("DeleteObjects", bucket, "", timeouts)
        if any(etags):
            _refuse(attempt.request, "if_match_delete")
        return delete_many(attempt, keys)

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", continuation_token: str = "",
        start_after: str = "", max_keys: int = 1000, timeouts: Timeouts,
    ) -> ListPage:  # fmt: skip
        attempt = self._attempt("ListObjectsV2", bucket, "", timeouts)
        return self._listings.page(attempt, prefix, delimiter, continuation_token, start_after, max_keys)

    # ---- buckets

    def head_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        attempt = self._attempt("HeadBucket", bucket, "", timeouts)
        Stores.check_bucket(attempt.request)
        bucket_answers(attempt)

    def create_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        _refuse_bucket(Answer("CreateBucket", bucket, ""))

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        _refuse_bucket(Answer("DeleteBucket", bucket, ""))

    # ---- uploads in parts: none

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        _refuse(Answer("CreateMultipartUpload", bucket, key), "multipart")

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        _refuse(Answer("UploadPart", bucket, key), "multipart")

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int, bucket: str, key: str, upload_id: str,
        number: int, *, if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        _refuse(Answer("UploadPartCopy", bucket, key), "copy_parts")

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        _refuse(Answer("CompleteMultipartUpload", bucket, key), "multipart")

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts) -> None:
        _refuse(Answer("AbortMultipartUpload", bucket, key), "multipart")

    def list_parts(self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts) -> PartsPage:
        _refuse(Answer("ListParts", bucket, key), "multipart")

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", *, key_marker: str = "", upload_id_marker: str = "", timeouts: Timeouts
    ) -> UploadsPage:
        _refuse(Answer("ListMultipartUploads", bucket, ""), "multipart")

    # ---- state

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Use other credentials from the next request on, on new connections."""
        self._stores.set_credentials(credentials)

    def set_clock_offset(self, offset_s: float) -> None:
        """Nothing: see ``capabilities.clock_offset``."""

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` for this bucket; on Amazon go to that region's endpoint."""
        self._stores.set_region(bucket, region)

    def close(self) -> None:
        """Drop all stores. Calls after it raise ConnectFailed, and so do uploads in parts or waiting for room."""
        self._stores.close()
        self._room.close()
        self._background.close()


def _refuse(request: Answer, field: str) -> NoReturn:
    raise NotSupported(
        f"{request.describe()}: {_CAPABILITIES.reason(field)}; use another transport, e.g. raw", **request.where()
    )


def _refuse_bucket(request: Answer) -> NoReturn:
    raise NotSupported(
        f"{request.describe()}: obstore makes and deletes no buckets; use another transport, e.g. raw",
        **request.where(),
    )  # fmt: skip
