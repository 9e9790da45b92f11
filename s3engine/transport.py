"""The seam: what the engine asks of a client of S3, and the values that pass through it.

A transport is a class with the methods of :class:`Transport`, opened inside a worker process and never sent through a
pipe. Imports nothing of the engine but its errors. A transport that can also hand out :class:`Exchange` objects for the
same operations is *multiplexable*: one thread of a worker then drives hundreds of its connections.

Keys are exact: any ``str`` whose UTF-8 form has 1 to 1024 bytes, ``//``, ``.`` and ``..`` included. Headers are pairs
with lower-case names. Bodies are bytes or a :class:`FilePart`; a transport never sees a shared file object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

__all__ = [
    "TIMERS", "Body", "Capabilities", "CompletedPart", "CopyResult", "DeleteFailure", "Exchange", "Exchanges",
    "FilePart", "GetResult", "HeadResult", "Headers", "Link", "ListPage", "MultiplexableTransport", "ObjectInfo",
    "PartsPage", "PutResult", "Sink", "Timeouts", "Transport", "UploadInfo", "UploadsPage",
]  # fmt: skip

Headers = tuple[tuple[str, str], ...]


class Timeouts(NamedTuple):
    """What one attempt may take, in seconds. Each is a timer of its own.

    ``connect_s`` bounds TCP connect, proxy and TLS handshake together (the name look-up is the resolver's affair);
    ``stall_s`` the time in which no byte moves while a body is on its way, in either direction;
    ``first_byte_s`` the wait from the last byte of the request having left this machine to the first of the answer;
    ``attempt_s`` all of it. None of them bounds reading or writing a local file.
    """

    connect_s: float = 3.1
    stall_s: float = 10.0
    first_byte_s: float = 10.0
    attempt_s: float = 60.0


class FilePart(NamedTuple):
    """``length`` bytes of a local file from ``offset`` on.

    The rest is what the file showed when the transfer was planned; a sender raises SourceChanged when the file does not
    agree any more (0 and -1: not known, not checked). ``inode`` and ``ctime_ns`` count together: another file that was
    put in its place differs in both, while some network file systems number a file anew at each look.
    """

    path: str
    offset: int
    length: int
    mtime_ns: int = 0
    file_bytes: int = -1
    inode: int = 0
    ctime_ns: int = 0


Body = bytes | FilePart


class Sink(Protocol):
    """Where a response body goes. ``write`` may keep nothing of the view after it returns."""

    def begin(self, info: GetResult) -> None:
        """Called once per attempt when the head of a good answer is known, before the first ``write``."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the body. Raises SinkError."""


class PutResult(NamedTuple):
    """Answer of PutObject, UploadPart and CompleteMultipartUpload.

    ``checksum`` is what the transport computed for a ``trailer``, else what the answer says the store computed:
    ``"crc32:" + base64`` (see :mod:`s3engine.checksums`), "" when there is none.
    """

    etag: str
    request_id: str = ""
    status: int = 200
    version_id: str = ""
    checksum: str = ""


class GetResult(NamedTuple):
    """Head of a GetObject answer. ``offset`` and ``total_bytes`` tell which bytes of what the body holds."""

    size_bytes: int
    etag: str
    offset: int
    total_bytes: int
    content_type: str = ""
    last_modified: str = ""
    request_id: str = ""
    status: int = 200
    headers: Headers = ()


class HeadResult(NamedTuple):
    """Answer of HeadObject. ``headers`` has all of them, names in lower case."""

    size_bytes: int
    etag: str
    content_type: str = ""
    last_modified: str = ""
    request_id: str = ""
    status: int = 200
    headers: Headers = ()


class CopyResult(NamedTuple):
    """Answer of CopyObject and UploadPartCopy."""

    etag: str
    request_id: str = ""
    status: int = 200


class DeleteFailure(NamedTuple):
    """One key that DeleteObjects did not delete."""

    key: str
    code: str
    message: str


class ObjectInfo(NamedTuple):
    """One object of a listing. ``last_modified`` is the store's ISO 8601 text, ``etag`` without quotes."""

    key: str
    size_bytes: int
    etag: str = ""
    last_modified: str = ""
    storage_class: str = ""


class ListPage(NamedTuple):
    """One answer of ListObjectsV2. ``next_token`` is "" on the last page."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    next_token: str


class CompletedPart(NamedTuple):
    """What CompleteMultipartUpload needs of one part; ``size_bytes`` as ListParts knows it, 0 when not asked.

    ``checksum`` (``"crc32:" + base64``) is told to the store when it is there.
    """

    number: int
    etag: str
    size_bytes: int = 0
    checksum: str = ""


class PartsPage(NamedTuple):
    """One answer of ListParts; ``next_marker`` is "" on the last page."""

    parts: list[CompletedPart]
    next_marker: str


class UploadInfo(NamedTuple):
    """One multipart upload that is neither completed nor aborted. ``initiated`` is ISO 8601 text."""

    key: str
    upload_id: str
    initiated: str


class UploadsPage(NamedTuple):
    """One answer of ListMultipartUploads; both markers "" on the last page."""

    uploads: list[UploadInfo]
    next_key_marker: str
    next_upload_id_marker: str


TIMERS = frozenset(("connect", "stall", "first_byte", "attempt"))
"""The timers of :class:`Timeouts`, without their unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a transport can do, as an attribute of its class, so that it is known before anything is opened.

    The engine refuses or goes around what is not there, in the open. A call that would need it raises NotSupported
    before anything is sent; nothing is ever left out in silence.
    """

    timers: frozenset[str] = TIMERS
    """Which of TIMERS bound every call, each by its own value. One that is missing may be late by any time, but never
    beyond ``attempt_s`` when "attempt" is there."""
    if_match_get: bool = True
    if_match_copy: bool = True
    """Of copy_object and upload_part_copy. Without: the engine copies what is there when the copy is made."""
    multipart: bool = True
    """The calls from create_multipart_upload to list_multipart_uploads. Without: put_object takes bodies of any size,
    and the engine never cuts an upload into parts."""
    copy_parts: bool = True
    """upload_part_copy. Without: no copy of objects above 5 GiB."""
    copy_headers: bool = True
    """copy_object takes headers. Without: the engine refuses a template for copies."""
    copy_between_buckets: bool = True
    exact_keys: bool = True
    """Every legal key can be addressed. Without: a call for one that cannot raises InvalidRequest."""
    error_details: bool = True
    """Errors tell ``retry_after_s``, ``request_id``, ``region``, ``offset_s`` and whether a lost connection was
    ``stale``. Without: a retry waits its own time, one after a connection that had been closed is paid for, and a
    bucket in another region is final."""
    complete_listings: bool = True
    """A listing that the store breaks off (more to come, but no token) is an error. Without: it looks complete."""
    refuses_redirects: bool = True
    """A redirect is never followed. Without: data may come from, or go to, whatever host the endpoint names."""
    buckets: bool = True
    """create_bucket and delete_bucket."""
    if_match_delete: bool = True
    """``if_match`` of delete_object, ``etags`` of delete_objects. Whether the *store* heeds them is another matter."""
    checksums: bool = True
    """put_object and upload_part take ``content-md5`` and ``x-amz-checksum-*`` headers, complete_multipart_upload sends
    what its parts and headers say, get_object and head_object can ask for stored checksums. Without: the engine checks
    uploads by the ETag that comes back."""
    trailers: bool = False
    """put_object and upload_part compute a checksum while they send (``trailer``)."""
    clock_offset: bool = True
    """set_clock_offset is heeded. Without: a machine whose clock is wrong fails with ClockSkewed."""
    fork: bool = True
    """Works in a process forked from one where it was in use. Without: workers come from a fork server."""
    interruptible: bool = False
    """A call under way can be ended from another thread (:mod:`s3engine.interrupt`). Without: after the second Ctrl-C
    a call that blocks in a thread goes on until a timer ends it. Of no account where a loop drives the connections."""
    multiplexable: bool = False
    """See :class:`MultiplexableTransport`."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(name of a field above, why it is not there), for people."""

    def reason(self, name: str) -> str:
        """Why ``name`` is not there."""
        return dict(self.reasons).get(name, f"not among its capabilities ({name})")


class Transport(Protocol):
    """Operations of S3, one blocking call each, safe to use from several threads of one process.

    Every call raises only subclasses of :class:`s3engine.errors.RequestError` (or TransferError for local files)
    and makes one attempt: no retries inside. ``timeouts`` bounds that attempt as :class:`Timeouts` says. All calls
    but ``create_multipart_upload`` and ``complete_multipart_upload`` are idempotent.
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


R_co = TypeVar("R_co", covariant=True)


class Exchange(Protocol[R_co]):
    """One request and its answer, free of I/O: a driver sends ``head`` and ``body`` and feeds what comes back."""

    endpoint: Any
    """Hashable; exchanges of equal endpoint may share a connection. Opaque to the driver."""
    head: bytes
    body: Body
    started: bool
    """A byte of the answer has come."""
    # Optional: ``trailer``, an algorithm of s3engine.checksums. The driver then sends a FilePart in the framing of
    # s3engine.chunked, and leaves the checksum of its bytes in ``checksum``.
    reusable: bool
    """After completion: the connection may carry another exchange."""

    def feed(self, data: memoryview) -> bool:
        """Take received bytes (b"" at end of stream); True when the answer is whole.

        Raises NotS3, TruncatedBody, ConnectionLost, SinkError.
        """

    def result(self) -> R_co:
        """The answer's value, once whole. Raises the RequestError that the answer stands for."""


class Link(Protocol):
    """An open connection, as a transport hands it to a driver: connected, TLS done, non-blocking."""

    sock: Any

    def close(self) -> None:
        """Close the socket."""

    def park(self) -> None:
        """Give the idle connection back to the transport's pool."""


class Exchanges(Protocol):
    """The same operations as :class:`Transport`, each returning an :class:`Exchange` instead of blocking."""

    def __getattr__(self, name: str) -> Any: ...


@runtime_checkable
class MultiplexableTransport(Protocol):
    """What the loop lane needs beyond :class:`Transport`."""

    @property
    def exchanges(self) -> Any:
        """An object with the operations of Transport; each returns an Exchange of its result."""

    def open_link(self, endpoint: Any, timeout_s: float) -> Link:
        """Connect; blocks, so drivers call it from a helper thread. Raises ConnectFailed, ConnectTimeout."""
