"""``max_delete``: how much may be destroyed at most, counted before anything is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeGuard

from s3engine.errors import ConfigError, DeleteLimitExceeded
from s3engine.listing import ObjectListing
from s3engine.plain import number_of
from s3engine.sources import Rejected
from s3engine.spool import Spool, complete, item_of, row_of

if TYPE_CHECKING:
    from s3engine.journal.earlier import Earlier

__all__ = ["DeleteLimit", "Within", "within"]

_number = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?(%?)", re.ASCII).fullmatch
_MILLIONTHS = 1_000_000
_CHUNK = 1000


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


def within(objects: Iterable[Any], limit: DeleteLimit) -> Within:
    """``objects``, after all of them were counted; nothing comes out when they are too many.

    Raises ConfigError for a percentage of what is no listing.
    """
    if limit.count is None and not _is_listing(objects):
        raise ConfigError(f"a limit of {limit.text} is a part of a listing; for other input give a number of objects")
    return Within(objects, limit)


class Within:
    """Objects that come out after all of them were counted, if they are not too many.

    A percentage is of all objects below the prefix of a listing, before its filters. Iterating raises
    DeleteLimitExceeded, and what the listing raises.
    """

    def __init__(self, objects: Iterable[Any], limit: DeleteLimit) -> None:
        self._objects = objects
        self._limit = limit

    def __iter__(self) -> Iterator[Any]:
        spool, total, rejected = counted(self._objects)
        try:
            self._check(len(spool) - rejected, total, 0)
            yield from map(item_of, spool)
        finally:
            spool.close()

    def chunks(self) -> Iterator[list[Any]]:
        """The same, many at a time."""
        objects = iter(self)
        while chunk := list(islice(objects, _CHUNK)):
            yield chunk

    def all_of_job(self, earlier: Earlier) -> tuple[Iterator[Any], int]:
        """The objects, and how many there are for a percentage (-1: not known). The limit is one for all runs of a job.

        Everything is counted by this call, which raises what iterating does.
        """
        total, fresh, items = earlier.total, 0, iter(())
        if earlier.input_goes_on:
            spool, found, _ = counted(self._objects)
            items = _closing(spool)
            total = max(total, found + earlier.done if found >= 0 else -1)
            fresh = sum(1 for item in map(item_of, spool) if type(item) is not Rejected and not earlier.has(item))
        if total < 0 and self._limit.count is None:
            raise ConfigError(
                f"a limit of {self._limit.text} is a part of a listing, and no run of this journal has counted one; "
                "give a number of objects"
            )
        self._check(earlier.done + earlier.waiting + fresh, total, earlier.done)
        return items, total

    def _check(self, count: int, total: int, done: int) -> None:
        limit = self._limit
        if limit.allows(count, total):
            return
        end = f"earlier runs of its journal have done {done}, nothing more" if done else "nothing"
        raise DeleteLimitExceeded(
            f"{f'{count} of {total} objects' if total >= 0 else number_of(count)} would be deleted"
            f"{' by this job' if done else ''}, more than the limit of {limit.text}; {end} was deleted",
            limit=limit.text, count=count, total=total,
        )  # fmt: skip


def _closing(spool: Spool) -> Iterator[Any]:
    with spool:
        yield from map(item_of, spool)


def _is_listing(objects: object) -> TypeGuard[ObjectListing]:
    """Not what inherits from one and iterates in a way of its own: it may leave some out."""
    return isinstance(objects, ObjectListing) and type(objects).__iter__ is ObjectListing.__iter__


def counted(objects: Iterable[Any]) -> tuple[Spool, int, int]:
    """All of ``objects``, how many there are before filters (-1: not known), how many failed before they were any."""
    if _is_listing(objects):
        return (*complete(objects), 0)
    spool = Spool()
    rejected = 0
    for item in objects:
        rejected += isinstance(item, Rejected)
        spool.append(row_of(item))
    return spool, -1, rejected
