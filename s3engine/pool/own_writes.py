"""412 to a request that was sent before: was the write that stood in the way our own?

A PutObject with If-None-Match or If-Match whose answer is lost may have been carried out. Sent again it is refused,
because the object is there, or has another ETag: ours. So the worker looks at the object before it believes the 412.
The same for CopyObject; CompleteMultipartUpload is looked after where its parts are known (jobs/transfer.py).

Only equal bytes count as our own: the MD5 that the ETag is, or a checksum the store kept. Where the store tells neither
the 412 stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from s3engine import checksums
from s3engine.errors import (
    ConnectFailed,
    ConnectTimeout,
    NetworkError,
    PreconditionFailed,
    S3EngineError,
    ServerFault,
    Throttled,
)
from s3engine.file_body import check_unchanged, source_error
from s3engine.pool.messages import Kind
from s3engine.transport import Body, FilePart, HeadResult, Timeouts

__all__ = ["Looking", "begin_look", "end_look", "is_ours", "leaves_doubt", "may_be_ours", "start_looking"]

_PIECE_BYTES = 1024 * 1024
_MD5_DIGITS = 32
_KEPT_CHECKSUMS = (("x-amz-checksum-mode", "ENABLED"),)


class Looking(NamedTuple):
    """What an item was before it began to look."""

    kind: int
    size_bytes: int
    refusal: PreconditionFailed


def leaves_doubt(error: S3EngineError) -> bool:
    """Whether the store may have done what was asked although the attempt failed with ``error``."""
    if isinstance(error, (ConnectFailed, ConnectTimeout)):
        return False
    return isinstance(error, (NetworkError, ServerFault, Throttled))


def may_be_ours(item: Any, error: S3EngineError) -> bool:
    """Whether ``error`` may come from this item's own earlier attempt."""
    return isinstance(error, PreconditionFailed) and item.doubtful and item.kind in (
        Kind.PUT_FILE, Kind.PUT_BYTES, Kind.COPY,
    )  # fmt: skip


def start_looking(item: Any, refusal: PreconditionFailed) -> None:
    """Turn the item into one that looks at its object."""
    item.looking = Looking(item.kind, item.size_bytes, refusal)
    if item.kind == Kind.PUT_FILE:  # between attempts a body of a file is not kept
        mtime_ns, inode, ctime_ns = item.file_state
        item.body = FilePart(item.arg[0], 0, item.size_bytes, mtime_ns, item.size_bytes, inode, ctime_ns)
    item.kind = Kind.LOOK
    item.size_bytes = 0  # a HeadObject moves no body
    item.exchange = None


def begin_look(item: Any, api: Any, timeouts: Timeouts) -> Any:
    """Ask for the object's metadata, with its checksums where the transport can."""
    capabilities = getattr(api, "capabilities", None)
    headers = _KEPT_CHECKSUMS if capabilities is None or capabilities.checksums else ()
    return api.head_object(item.context.bucket, item.key, headers=headers, timeouts=timeouts)


def end_look(item: Any, found: HeadResult) -> str:
    """Back to what the item was; by what the object is known to be ours. Raises its refusal when it is another's."""
    kind, size_bytes, refusal = item.looking
    item.size_bytes = size_bytes
    if kind == Kind.COPY:
        proof = "etag" if item.arg[1] and found.etag == item.arg[1] else ""
    else:
        proof = is_ours(item.body, found)
    if not proof:
        raise refusal
    item.body = b""
    return proof


def is_ours(body: Body, found: HeadResult) -> str:
    """By which algorithm the object is known to have the bytes of ``body``; "" when by none.

    Raises SourceError, SourceChanged.
    """
    size_bytes = body.length if isinstance(body, FilePart) else len(body)
    if found.size_bytes != size_bytes:
        return ""
    # An ETag of 32 digits is mostly the MD5; where it is not (SSE-KMS), a checksum may tell.
    if len(found.etag) == _MD5_DIGITS and _digest("md5", body).hex() == found.etag.lower():
        return "md5"
    kept = dict(found.headers)
    for algorithm in checksums.ALGORITHMS:
        value = kept.get(checksums.header_name(algorithm), "")
        if value and "-" not in value and checksums.available(algorithm):
            same = checksums.text(algorithm, _digest(algorithm, body)) == f"{algorithm}:{value}"
            return algorithm if same else ""
    return ""


def _digest(algorithm: str, body: Body) -> bytes:
    digest = checksums.new(algorithm)
    for piece in _pieces(body):
        digest.update(piece)
    return digest.digest()


def _pieces(body: Body) -> Iterator[bytes]:
    if not isinstance(body, FilePart):
        yield body
        return
    left = body.length
    try:
        with open(body.path, "rb", buffering=0) as file:
            file.seek(body.offset)
            while left:
                piece = file.read(min(_PIECE_BYTES, left))
                if not piece:
                    break  # it shrank; check_unchanged says so
                left -= len(piece)
                yield piece
            check_unchanged(body, file.fileno())
    except OSError as error:
        raise source_error(body.path, error) from None
