"""When the store is asked what it compares: before a large object of an upload, or after many small ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from s3engine.decided import Decided
from s3engine.errors import ConfigError
from s3engine.integrity.choice import Checking
from s3engine.jobs.asking import Asking
from s3engine.jobs.reader import chunks_of
from s3engine.sources import BytesSource
from s3engine.uri import check_key

__all__ = ["asked_in_time"]

# So many small objects are worth the dozen requests that asking the store takes, and so many bytes: MD5, which is taken
# until then, does 0.7 GB/s.
_ENOUGH = 100
_ENOUGH_BYTES = 16 * 1024 * 1024


def asked_in_time(
    items: Iterable[Any], asking: Asking, threshold_bytes: int, found: Callable[[Checking], None]
) -> Iterable[Any]:
    """``items``, for the reader's thread; ``found`` is called once with what the store's answer means.

    Items that follow the question wait for the answer; what came before them does not. When the batch was cancelled
    meanwhile they end there. Has ``chunks`` if the class of ``items`` has.
    """
    kind = _OneByOne if chunks_of(items) is None else _InChunks
    return kind(items, asking, threshold_bytes, found)


class _OneByOne:
    def __init__(
        self, items: Iterable[Any], asking: Asking, threshold_bytes: int, found: Callable[[Checking], None]
    ) -> None:
        self._items: Any = items
        self._asking = asking
        self._enough_bytes = min(_ENOUGH_BYTES, threshold_bytes)
        self._found = found
        self._count = self._bytes = 0

    def __iter__(self) -> Iterator[Any]:
        items = iter(self._items)
        for item in items:
            if self._is_time(item):
                if self._goes_on(item):
                    yield item
                    yield from items  # nothing is looked at any more
                return
            yield item

    def _is_time(self, given: Any) -> bool:
        """Whether this item is worth the question, and can be asked about."""
        self._count += 1
        item = given.item if type(given) is Decided and not given.skip else given
        key = item[1] if isinstance(item, tuple) and len(item) > 1 else ""
        self._bytes += _size_bytes(item)
        enough = self._count > _ENOUGH or self._bytes > self._enough_bytes
        return enough and isinstance(key, str) and _is_good(key)

    def _goes_on(self, given: Any) -> bool:
        """Ask. False when the batch was cancelled."""
        item = given.item if type(given) is Decided else given
        checking = self._asking.ask(given, item[1])
        if checking is None:
            return False
        self._found(checking)
        return True


class _InChunks(_OneByOne):
    def chunks(self) -> Iterator[list[Any]]:
        """The same, many items at a time."""
        chunks = self._items.chunks()
        for chunk in chunks:
            at = next((at for at, item in enumerate(chunk) if self._is_time(item)), None)
            if at is None:
                yield chunk
                continue
            if at:
                yield chunk[:at]
            if self._goes_on(chunk[at]):
                yield chunk[at:]
                yield from chunks
            return


def _size_bytes(item: Any) -> int:
    if not isinstance(item, tuple):
        return 0
    try:
        return memoryview(item.data).nbytes if type(item) is BytesSource else os.stat(item[0]).st_size
    except (OSError, ValueError, TypeError):
        return 0  # its own report will say


def _is_good(key: str) -> bool:
    try:
        check_key(key)
    except ConfigError:
        return False
    return True
