"""``max_delete``: how much may be destroyed at most, counted before anything is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from s3engine.errors import ConfigError, DeleteLimitExceeded
from s3engine.listing import ObjectListing
from s3engine.sources import Rejected
from s3engine.spool import Spool, complete, item_of, row_of
from s3engine.transport import ObjectInfo

__all__ = ["DeleteLimit", "within"]

_number = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?(%?)", re.ASCII).fullmatch
_MILLIONTHS = 1_000_000


@dataclass(frozen=True, slots=True)
class DeleteLimit:
    """At most ``count`` objects, or at most ``millionths`` of each 1 % of all there are; whichever is not None."""

    text: str
    count: int | None
    millionths: int | None

    @classmethod
    def parse(cls, value: int | str, name: str = "max_delete") -> DeleteLimit:
        """From 1000, "1000" or "12.5%". Raises ConfigError, in which it is called ``name``."""
        found = None if isinstance(value, bool) else _number(str(value))
        if found is not None:
            whole, fraction, percent = found.groups()
            if not percent and fraction is None:
                return cls(str(value), int(whole), None)
            millionths = int(whole) * _MILLIONTHS + int((fraction or "").ljust(6, "0"))
            if percent and millionths <= 100 * _MILLIONTHS:
                return cls(str(value), None, millionths)
        raise ConfigError(f"{name} must be a number of objects or a percentage from 0% to 100%, not {value!r}")

    def allows(self, count: int, total: int) -> bool:
        """Whether ``count`` of ``total`` may go."""
        if self.count is not None:
            return count <= self.count
        assert self.millionths is not None
        return count * 100 * _MILLIONTHS <= self.millionths * total


def within(objects: Iterable[Any], limit: DeleteLimit) -> Iterator[str | ObjectInfo | Rejected]:
    """``objects``, after all of them were counted; nothing comes out when they are too many.

    A percentage is of all objects below the prefix of a listing, before its filters. Raises DeleteLimitExceeded, what
    the listing raises, and ConfigError for a percentage of what is no listing.
    """
    spool, total, rejected = counted(objects, limit)
    count = len(spool) - rejected
    try:
        if not limit.allows(count, total):
            of = f" of {total}" if total >= 0 else ""
            raise DeleteLimitExceeded(
                f"{count}{of} objects would be deleted, more than the limit of {limit.text}; nothing was deleted",
                limit=limit.text, count=count, total=total,
            )  # fmt: skip
        yield from map(item_of, spool)
    finally:
        spool.close()


def counted(objects: Iterable[Any], limit: DeleteLimit) -> tuple[Spool, int, int]:
    """All of ``objects``, how many there are before filters (-1: not known), how many failed before they were any."""
    if isinstance(objects, ObjectListing):
        return (*complete(objects), 0)
    if limit.count is None:
        raise ConfigError(f"a limit of {limit.text} is a part of a listing; for other input give a number of objects")
    spool = Spool()
    rejected = 0
    for item in objects:
        rejected += isinstance(item, Rejected)
        spool.append(row_of(item))
    return spool, -1, rejected
