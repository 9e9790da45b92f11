"""CopyObject, from a client that takes any 200 for a copy: whether there is one is found out by HEADs."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

import obstore

from s3engine.errors import AccessDenied, NotFound, ServerFault
from s3engine.transport import CopyResult
from s3engine_transports.via_obstore.attempt import Attempt

__all__ = ["Copies"]

# Last-Modified has whole seconds: an object made so much later has another one.
_APART_S = 1.1


class _Seen(NamedTuple):
    """What a HEAD shows of an object; equal ones cannot be told apart."""

    etag: str
    size_bytes: int
    modified: Any
    attributes: tuple[tuple[str, str], ...]

    def is_copy_of(self, source: _Seen) -> bool:
        """Holds the same, metadata and all."""
        return (
            bool(self.etag) and not self.etag.startswith("W/")
            and (self.etag, self.size_bytes, self.attributes) == (source.etag, source.size_bytes, source.attributes)
        )  # fmt: skip


_ABSENT = _Seen("", -1, None, ())


class Copies:
    """The copies of one transport. Safe to use from several threads.

    Obstore reads an ``<Error>`` in a 200, but takes an empty one or a web page for success. So a copy counts when
    source and target show the same ETag, size and metadata after it. Where stores give a copy another ETag (that of an
    object uploaded in parts, on Amazon), it counts when the size is the source's and the target is not what it was
    before the copy. The first time, that is not known: the copy is made again. From then on the target is looked at
    before each copy, too. What cannot be told is another writer who puts an object of the same size at the same time.
    """

    def __init__(self) -> None:
        self._looks_before = threading.Event()

    def copy(self, attempt: Attempt, source_key: str, key: str) -> CopyResult:
        """Copy inside a bucket. Raises ServerFault when a 200 was no copy or that cannot be told, RequestError."""
        before = _before(attempt, key) if self._looks_before.is_set() else None
        for turn in range(2):
            attempt.ask(obstore.copy, source_key, key)
            source = _seen(attempt, source_key)
            target = _after(attempt, key)
            if target.is_copy_of(source):
                break
            if target.size_bytes != source.size_bytes:
                raise _no_copy(attempt, f"{target.size_bytes} bytes of {source.size_bytes} are there")
            if before is not None and target != before:
                break
            if turn:
                raise _no_copy(attempt, "the target is what it was before")
            self._looks_before.set()
            before = target
            time.sleep(min(_APART_S, attempt.left_s()))
        return CopyResult(target.etag.strip('"'), "", 200)


def _seen(attempt: Attempt, key: str) -> _Seen:
    found = attempt.ask(obstore.get, key, options={"head": True})
    meta = found.meta
    # A copy may be in another storage class.
    attributes = {name: value for name, value in found.attributes.items() if name != "Storage-Class"}
    return _Seen(meta["e_tag"] or "", meta["size"], meta["last_modified"], tuple(sorted(attributes.items())))


def _before(attempt: Attempt, key: str) -> _Seen | None:
    """The target, or None when one may not look: without the right to list, a missing one is AccessDenied."""
    try:
        return _seen(attempt, key)
    except NotFound:
        return _ABSENT
    except AccessDenied:
        return None


def _after(attempt: Attempt, key: str) -> _Seen:
    try:
        return _seen(attempt, key)
    except NotFound:
        raise _no_copy(attempt, "nothing is there") from None


def _no_copy(attempt: Attempt, why: str) -> ServerFault:
    return ServerFault(
        f"{attempt.request.describe()}: answered 200, and then there is no copy: {why}",
        status=200, **attempt.request.where(),
    )  # fmt: skip
