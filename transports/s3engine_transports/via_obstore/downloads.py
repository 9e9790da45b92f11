"""Bodies of answers into sinks, and what obstore tells of their heads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import obstore
from obstore.exceptions import BaseError

from s3engine.errors import InvalidRequest, NotSupported, RangeNotSatisfiable, TruncatedBody
from s3engine.transport import GetResult, Headers, HeadResult, Sink
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


def download(attempt: Attempt, sink: Sink, first: int, last: int, if_match: str) -> GetResult:
    """GetObject. What the sink raises comes out as it is."""
    request = attempt.request
    if 0 <= last < first:
        raise InvalidRequest(f"{request.describe()}: there are no bytes {first} to {last}", **request.where())
    options: Any = {"if_match": f'"{if_match}"'} if if_match else {}
    ranged = bool(first) or last >= 0
    if ranged:
        options["range"] = (first, last + 1) if last >= 0 else {"offset": first}
    found = attempt.ask(_get_if_ranged, request.key, options)
    if found is None:
        found = _whole(attempt, options, first)
        ranged = False
    begins, ends = found.range
    total = found.meta["size"]
    size_bytes, etag, modified, headers = _described(found, (min(last + 1, ends) if last >= 0 else ends) - first)
    info = GetResult(
        size_bytes, etag, first, total, dict(headers).get("content-type", ""), modified, "", 206 if ranged else 200,
        headers,
    )  # fmt: skip
    pieces = found.stream(_PIECE_BYTES)
    del found
    sink.begin(info)
    _deliver(attempt, pieces, sink, first - begins, size_bytes)
    return info


def _get_if_ranged(store: Any, key: str, options: Any) -> Any:
    """The answer, or None when it is a 200 to a range."""
    try:
        return obstore.get(store, key, options=options)
    except BaseError as error:
        if "range" in options and is_unranged(error):
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
    del options["range"]
    found = attempt.ask(obstore.get, request.key, options=options)
    total = found.meta["size"]
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
