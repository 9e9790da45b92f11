"""What goes into a transport's calls and comes out of them. No logic but the fields' own."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "Body", "CompletedPart", "CopyResult", "DeleteFailure", "FilePart", "GetResult", "HeadResult", "Headers",
    "ListPage", "ObjectInfo", "PartsPage", "PutResult", "Timeouts", "UploadInfo", "UploadsPage",
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
    put in its place differs in both, while some network file systems number a file anew at each look. ``sha256`` is
    that of the bytes, 64 hexadecimal digits, for a signature that covers them; "": whoever signs reads them for it.
    """

    path: str
    offset: int
    length: int
    mtime_ns: int = 0
    file_bytes: int = -1
    inode: int = 0
    ctime_ns: int = 0
    sha256: str = ""


Body = bytes | FilePart


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
    """One answer of ListObjectsV2. ``next_token`` is "" on the last page.

    ``says_end`` is False for a last page that does not say itself that nothing follows (no ``IsTruncated``): objects
    can be taken from it, but nothing follows from what is not on it.
    """

    objects: list[ObjectInfo]
    prefixes: list[str]
    next_token: str
    says_end: bool = True


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
