"""Bodies of answers into sinks, and what obstore tells of their heads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import obstore
from obstore.exceptions import BaseError

from s3engine.errors import (
    InvalidRequest,
    NotS3,
    NotSupported,
    PreconditionFailed,
    RangeNotSatisfiable,
    ServerFault,
    TruncatedBody,
)
from s3engine.transport import GetResult, Headers, HeadResult, Sink
from s3engine_transports.common import quoted_etag
from s3engine_transports.via_obstore.attempt import Attempt
from s3engine_transports.via_obstore.failures import is_unranged

__all__ = ["ATTRIBUTES", "download", "head"]

ATTRIBUTES = {
    "content-type": "Content-Type", "cache-control": "Cache-Control", "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding", "content-language": "Content-Language",
    "x-amz-storage-class": "Storage-Class",
}  # fmt: skip
"""Headers by what obstore calls them; any other attribute is metadata of the user's."""

_NAMES = {attribute: header for header, attribute in ATTRIBUTES.items()}
_PIECE_BYTES = 256 * 1024
# What may be read in vain, from a store that ignores ranges, to get to the first byte that was asked for.
_SKIPPED_BYTES = 64 * 1024 * 1024


def head(attempt: Attempt) -> HeadResult:
    """HeadObject. ``headers`` are those that obstore keeps: content headers, metadata, ETag, length and date."""
    found = attempt.ask(obstore.get, attempt.request.key, options={"head": True})
    size_bytes, etag, modified, headers = _described(found, found.meta["size"])
    return HeadResult(size_bytes, etag, dict(headers).get("content-type", ""), modified, "", 200, headers)


def download(
    attempt: Attempt, sink: Sink, first: int, last: int, if_match: str, without_ranges: set[str]
) -> GetResult:  # fmt: skip
    """GetObject. What the sink raises comes out as it is.

    Obstore tells no status, and takes a 206 with some of the bytes, or an empty 204, for a whole object. So a whole
    object is asked for as the range from byte 0 on, of which obstore checks the 206 and how many bytes there are in
    all. A store that answers 200 to ranges (its buckets are kept in ``without_ranges``), or 416 because the object is
    empty, is asked without, and what came is compared with a HEAD.
    """
    request = attempt.request
    if 0 <= last < first:
        raise InvalidRequest(f"{request.describe()}: there are no bytes {first} to {last}", **request.where())
    options: Any = {"if_match": quoted_etag(if_match)} if if_match else {}
    ranged = bool(first) or last >= 0
    found = None
    if ranged or request.bucket not in without_ranges:
        found = _by_range(attempt, options, first, last, without_ranges)
    if found is None:
        found = _whole(attempt, options, first)
        ranged = False
    begins, ends = found.range
    total = found.meta["size"]
    size_bytes, etag, modified, headers = _described(found, (min(last + 1, ends) if last >= 0 else ends) - first)
    if if_match and etag != if_match.strip('"'):
        raise PreconditionFailed(
            f"{request.describe()}: the object's ETag is {etag!r}, not {if_match!r}", status=412, **request.where()
        )
    info = GetResult(
        size_bytes, etag, first, total, dict(headers).get("content-type", ""), modified, "", 206 if ranged else 200,
        headers,
    )  # fmt: skip
    pieces = found.stream(_PIECE_BYTES)
    del found
    sink.begin(info)
    _deliver(attempt, pieces, sink, first - begins, size_bytes)
    return info


def _by_range(attempt: Attempt, options: Any, first: int, last: int, without_ranges: set[str]) -> Any:
    """The answer to a range, or to none from a store that has an empty object; None when it answers 200 to ranges."""
    wanted = (first, last + 1) if last >= 0 else {"offset": first}
    try:
        found = attempt.ask(_get_if_ranged, attempt.request.key, {**options, "range": wanted})
    except RangeNotSatisfiable:
        if first or last >= 0:
            raise
        found = attempt.ask(obstore.get, attempt.request.key, options=options)
        if not found.meta["size"] and found.meta["e_tag"]:
            return found
        raise ServerFault(
            f"{attempt.request.describe()}: no bytes to the range of all of them, and {found.meta['size']} without one",
            **attempt.request.where(),
        ) from None
    if found is None:
        without_ranges.add(attempt.request.bucket)
    return found


def _get_if_ranged(store: Any, key: str, options: Any) -> Any:
    """The answer, or None when it is a 200 to a range."""
    try:
        return obstore.get(store, key, options=options)
    except BaseError as error:
        if is_unranged(error):
            return None
        raise


def _whole(attempt: Attempt, options: Any, first: int) -> Any:
    """The whole object, from a store that answers 200 to ranges: obstore refuses such an answer, right as it may be."""
    request = attempt.request
    if first > _SKIPPED_BYTES:
        raise NotSupported(
            f"{request.describe()}: the store answers 200 to a range, which obstore does not take, and byte {first} is "
            "too far from the beginning to read up to it; use another transport, e.g. raw",
            status=200, **request.where(),
        )  # fmt: skip
    found = attempt.ask(obstore.get, request.key, options=options)
    came = found.meta["size"]
    if not came and not found.meta["e_tag"]:
        raise NotS3(f"{request.describe()}: the answer has no body and no ETag", **request.where())
    total = attempt.ask(obstore.get, request.key, options={"head": True}).meta["size"]
    if came != total:
        raise TruncatedBody(
            f"{request.describe()}: {came} bytes came of an object that has {total}", **request.where()
        )
    if first and first >= total:
        raise RangeNotSatisfiable(
            f"{request.describe()}: byte {first} was asked for, the object has {total} bytes",
            status=200, **request.where(),
        )  # fmt: skip
    return found


def _deliver(attempt: Attempt, pieces: Iterator[Any], sink: Sink, skip: int, left: int) -> None:
    request = attempt.request
    while left:
        piece = attempt.go_on(next, pieces, None)
        if piece is None:
            raise TruncatedBody(
                f"{request.describe()}: the connection closed before the end of the body", **request.where()
            )
        view = memoryview(piece)
        if skip:
            skipped = min(skip, len(view))
            skip -= skipped
            view = view[skipped:]
        view = view[:left]
        if view:
            left -= len(view)
            sink.write(view)


def _described(found: Any, size_bytes: int) -> tuple[int, str, str, Headers]:
    """Size, ETag, date and headers of what obstore found."""
    meta = found.meta
    modified: datetime = meta["last_modified"]
    text = format_datetime(modified, usegmt=True) if modified.timestamp() else ""  # without: 1970
    etag = meta["e_tag"] or ""
    headers = [("content-length", str(size_bytes))]
    if etag:
        headers.append(("etag", etag))
    if text:
        headers.append(("last-modified", text))
    if meta["version"]:
        headers.append(("x-amz-version-id", meta["version"]))
    for name, value in found.attributes.items():
        headers.append((_NAMES.get(name) or f"x-amz-meta-{name.lower()}", value))
    return size_bytes, etag.strip('"'), text, tuple(headers)
