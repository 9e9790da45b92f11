"""Bodies of requests out of files, bodies of answers into sinks, for transports whose client does neither our way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from s3engine.errors import NotS3, RangeNotSatisfiable, S3EngineError, SourceChanged, TruncatedBody
from s3engine.file_body import check_unchanged, source_error
from s3engine.transport import FilePart, GetResult, Sink
from s3engine_transports.common import Answered, check_etag, most_kept_bytes, with_context
from s3engine_transports.timers import current_call

__all__ = ["PartReader", "deliver", "expected", "is_length", "read_whole"]

_PIECE_BYTES = 256 * 1024
_content_range = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE).fullmatch


class PartReader:
    """A FilePart as a seekable binary file. Use as a context manager.

    Every method raises SourceError when the file cannot be read and SourceChanged when it is not (or, once the last
    byte was read, no longer) the file that was planned; such an error is also noted with the thread's call, because
    clients wrap what bodies raise.
    """

    def __init__(self, part: FilePart) -> None:
        self._part = part
        self._position = 0
        try:
            self._fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _noted(source_error(part.path, error)) from None

    def __enter__(self) -> PartReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._part.length

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position, from the beginning of the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of the part."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._part.length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        part = self._part
        left = max(0, part.length - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        try:
            data = os.pread(self._fd, wanted, part.offset + self._position)
            while len(data) < wanted:
                more = os.pread(self._fd, wanted - len(data), part.offset + self._position + len(data))
                if not more:
                    raise _noted(
                        SourceChanged(
                            f"{part.path!r} shrank while it was sent; send it again when it is at rest", path=part.path
                        )
                    )
                data += more
            self._position += wanted
            if self._position == part.length:
                check_unchanged(part, self._fd)  # before the last byte leaves: the store then keeps nothing of it
        except OSError as error:
            raise _noted(source_error(part.path, error)) from None
        except SourceChanged as error:
            raise _noted(error) from None
        return data


def _noted(error: S3EngineError) -> S3EngineError:
    call = current_call()
    if call is not None:
        call.note(error)
    return error


def deliver(
    answer: Answered, read: Callable[[int], bytes], sink: Sink, *, first: int = 0, last: int = -1,
    if_match: str = "", errors: tuple[type[Exception], ...] = (),
) -> GetResult:  # fmt: skip
    """Have a sink take the body of a good answer (200, 206) to a GET of bytes ``first`` to ``last`` (-1: the end).

    Args:
        answer: Its head.
        read: Gives up to so many bytes of the body as the store sent them (no Content-Encoding undone), b"" at its end.
        sink: What it raises comes out as it is.
        if_match: The ETag that was asked for, "" for any.
        errors: What ``read`` raises when the connection breaks.

    What was not asked for is dropped: a store may ignore the range, or begin before it. A caller that shares
    connections closes this one when ``read`` has not come to the end.

    Raises PreconditionFailed, NotS3, RangeNotSatisfiable, TruncatedBody, and the failure that the thread's call has
    noted.
    """
    check_etag(answer, if_match)
    info, skip = expected(answer, first, last)
    sink.begin(info)
    left = info.size_bytes
    chunked = "content-length" not in answer.headers

    def take(size: int) -> bytes:
        try:
            return read(size)
        except errors as error:
            call = current_call()
            if call is not None and call.failure is not None:
                raise with_context(call.failure, answer) from None
            raise _cut(answer) from error

    while left or skip:
        data = take(min(_PIECE_BYTES, skip + left) if left >= 0 else _PIECE_BYTES)
        if not data:
            break
        view = memoryview(data)
        if skip:
            skipped = min(skip, len(view))
            skip -= skipped
            view = view[skipped:]
        if view:
            sink.write(view)
            left -= len(view) if left >= 0 else 0
    if left > 0 or skip:
        raise _cut(answer)
    if chunked and not left:
        take(1)  # the empty chunk at the end: without it the body was cut
    return info


def _cut(answer: Answered) -> TruncatedBody:
    return TruncatedBody(
        f"{answer.describe()}: the connection closed before the end of the body", status=answer.status, **answer.where()
    )


def read_whole(pieces: Iterable[bytes], status: int, operation: str = "") -> bytes:
    """A body that goes to no sink. Raises NotS3 when it is larger than any that S3 has."""
    kept = []
    size = 0
    limit = most_kept_bytes(status, operation)
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise NotS3("the answer is larger than any S3 answer; is the endpoint an S3 endpoint?", status=status)
        kept.append(piece)
    return b"".join(kept)


def is_length(text: str) -> bool:
    """Whether ``text`` is a Content-Length; at most 18 digits: many times the largest object, and it fits 63 bits."""
    return text.isascii() and text.isdigit() and len(text) < 19


def _not_s3(answer: Answered, why: str) -> NotS3:
    return NotS3(
        f"{answer.describe()}: {why}. Is the endpoint an S3 endpoint, with the right scheme and port?",
        status=answer.status, **answer.where(),
    )  # fmt: skip


def expected(answer: Answered, first: int, last: int) -> tuple[GetResult, int]:
    """What the sink will get of a good answer to a GET, and how many bytes of the body come before it.

    A 200 with Content-Range is a range answer; one without, to a ranged GET, is the whole object.
    Raises NotS3, RangeNotSatisfiable, TruncatedBody.
    """
    headers = answer.headers
    length = headers.get("content-length", "")
    if not first and last < 0 and answer.status == 200 and is_length(length) and not headers.get("content-range"):
        # A whole object, as small ones come by the million: the rest of this function says the same of it.
        size = int(length)
        return GetResult(
            size, headers.get("etag", "").strip('"'), 0, size, headers.get("content-type", ""),
            headers.get("last-modified", ""), headers.get("x-amz-request-id", ""), 200, tuple(headers.items()),
        ), 0  # fmt: skip
    return _expected(answer, first, last)


def _expected(answer: Answered, first: int, last: int) -> tuple[GetResult, int]:
    headers = answer.headers
    where = {"status": answer.status, **answer.where()}
    length = headers.get("content-length", "")
    if length and not is_length(length):
        raise _not_s3(answer, f"Content-Length is {length[:40]!r}")
    if not length and headers.get("transfer-encoding", "").lower() != "chunked":
        raise TruncatedBody(
            f"{answer.describe()}: the answer tells no length, so a cut body could not be told from a whole one",
            **where,
        )  # fmt: skip
    came = int(length) if length else -1
    offset, total = 0, came
    content_range = headers.get("content-range", "")
    if content_range:
        found = _content_range(content_range)
        if found is None:
            raise _not_s3(answer, f"Content-Range is {content_range[:60]!r}")
        offset = int(found[1])
        total = -1 if found[3] == "*" else int(found[3])
        if 0 <= came != int(found[2]) + 1 - offset:
            raise _not_s3(answer, f"{came} bytes came as {content_range[:60]!r}")
    elif answer.status == 206:
        raise _not_s3(answer, "a part of the object came without saying which (206, no Content-Range)")
    if offset > first:
        raise _not_s3(answer, f"byte {first} was asked for, byte {offset} came first")
    if 0 <= total <= first and first:
        raise RangeNotSatisfiable(
            f"{answer.describe()}: byte {first} was asked for, the object has {total} bytes", **where
        )
    skip = first - offset
    # A range may end behind the object.
    end = total if last < 0 or 0 <= total <= last else last + 1
    size = end - first if end >= 0 else max(0, came - skip) if came >= 0 else -1
    info = GetResult(
        size, headers.get("etag", "").strip('"'), first, total, headers.get("content-type", ""),
        headers.get("last-modified", ""), headers.get("x-amz-request-id", ""), answer.status, tuple(headers.items()),
    )  # fmt: skip
    return info, skip
