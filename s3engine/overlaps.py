"""Copies inside one bucket whose target is the source of another object of the batch: found before anything is copied.

The input is read to its end first, so that new keys which fall below a prefix that is being listed are no part of it.
It waits in a spool (in memory while small, then in a file without a name), so memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from s3engine.decided import Decided
from s3engine.distinct import SeenBefore
from s3engine.errors import ConfigError, DuplicateKey
from s3engine.sources import Rejected
from s3engine.spool import Spool, item_of, row_of
from s3engine.transport import ObjectInfo

__all__ = ["Overlap", "same_object", "with_overlaps"]

_AT_ONCE = 50_000  # targets that are looked for together: some 10 MB

Key = Callable[[ObjectInfo], str]


class Overlap(NamedTuple):
    """An object of a copy inside one bucket whose target is the source of another object."""

    key: str
    target: str
    item: Any = None
    """What came of the input."""

    def error(self) -> DuplicateKey:
        """Copying it now could overwrite what is still to be copied, and a move would then delete the copy."""
        text = (
            f"target {self.target!r} is itself a source of this batch; {self.key!r} was left as it is. "
            "Do it in two steps, through another prefix"
        )
        return DuplicateKey(text, key=self.key)


def same_object(source: str, target: str) -> ConfigError | None:
    """The error for a copy onto itself, by the URIs of both; None when it is none."""
    return ConfigError(f"source and target are the same object: {target}") if source == target else None


def with_overlaps(
    items: Iterable[Any], key: Key, *, also: Callable[[], Iterable[str]] = tuple, memory_rows: int = 50_000,
    at_once: int = _AT_ONCE,
) -> Iterator[Any]:  # fmt: skip
    """The items in their order, with an Overlap in the place of each whose target is a source too.

    What is left out anyway (rejected, to be skipped, not to be decided) comes as it is. ``also`` gives keys that are
    sources of the same job and none of the items: an earlier run has done them. It may be called again and again.

    Of more than ``memory_rows`` sources a filter of 32 MiB says of nearly every target that it is none. The few others
    are looked for in the spool, ``at_once`` of them in one reading. Raises OSError when the disk is full.
    """
    with Spool(memory_rows) as spool:
        sources: set[str] | SeenBefore = set()
        for item in items:
            sources.add(_source(item))
            spool.append(row_of(item))
            if len(spool) == memory_rows + 1:
                sources = _filter(map(_source, _items(spool)))
        for name in also():
            sources.add(name)
            if isinstance(sources, set) and len(sources) > memory_rows + 1:
                sources = _filter(sources)
        perhaps = sources.has if isinstance(sources, SeenBefore) else sources.__contains__
        ahead, behind = _items(spool), _items(spool)
        while True:
            count, targets = _suspects(ahead, perhaps, key, at_once)
            if not count:
                return
            if targets:
                targets = {name for name in chain(map(_source, _items(spool)), also()) if name in targets}
            for item in islice(behind, count):
                yield _marked(item, targets, key) if targets and _is_written(item) else item


def _filter(keys: Iterable[str]) -> SeenBefore:
    found = SeenBefore()
    for key in keys:
        found.add(key)
    return found


def _suspects(
    ahead: Iterator[Any], perhaps: Callable[[str], bool], key: Key, at_once: int
) -> tuple[int, set[str]]:
    """Up to ``at_once`` targets that may be sources, and the number of items that were read for them.

    Items before the first such target come at once, so that work can begin on them.
    """
    count = 0
    targets: set[str] = set()
    for item in ahead:
        count += 1
        if _is_written(item):
            info = _info(item)
            target = key(info)
            # What is no text is nobody's key: whoever writes it will say so.
            if isinstance(target, str) and target != info.key and perhaps(target):
                targets.add(target)
        if len(targets) >= at_once or (not targets and count >= at_once):
            break
    return count, targets


def _marked(item: Any, found: set[str], key: Key) -> Any:
    info = _info(item)
    target = key(info)
    overlaps = isinstance(target, str) and target in found and target != info.key
    return Overlap(info.key, target, item) if overlaps else item


def _is_written(item: Any) -> bool:
    if type(item) is Decided:
        return not item.skip and item.error is None
    return type(item) is not Rejected


def _items(spool: Spool) -> Iterator[Any]:
    return map(item_of, spool)


def _source(item: Any) -> str:
    """The key of an item; of a rejected one what is no key."""
    if isinstance(item, str):
        return item
    if type(item) is Rejected:
        return ""
    return _info(item).key


def _info(item: Any) -> ObjectInfo:
    inner = item.item if type(item) is Decided else item
    return ObjectInfo(inner, -1) if isinstance(inner, str) else inner
