"""Rows become items of a batch, once each: what comes twice or cannot be used comes out as Rejected.

A key that certainly did not come before goes out at once. One that perhaps did is set aside, and settled at the end of
the input by reading it again: then it is known which rows have it. So memory stays flat and no duplicate is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from s3engine.distinct import Aside, SeenBefore
from s3engine.errors import ConfigError, DuplicateKey
from s3engine.inputs.rows import Block, Place, Reader
from s3engine.sources import FileSource, Rejected
from s3engine.transport import ObjectInfo

__all__ = ["Item", "Items", "Part", "Shape"]

Item: TypeAlias = "str | ObjectInfo | FileSource | Rejected"
ItemT = TypeVar("ItemT")
Shape: TypeAlias = "Callable[[str, int, str, Any], tuple[str, Item] | None]"
"""Label, line, name and details to key and item; None for a row that is not meant. A Rejected comes without a key."""

_MARKED_ASIDE = 500  # places of rows set aside that a mark may hold; then they are settled


class Part(Protocol):
    """One file of an input."""

    @property
    def label(self) -> str:
        """How messages call it."""

    def opened(self) -> AbstractContextManager[Reader]:
        """Its reader."""


class Items(Generic[ItemT]):
    """An input of a batch: iterate it for keys, ObjectInfo or FileSource, with Rejected among them.

    Each iteration reads the files anew; standard input and pipes come out of a temporary file the second time.
    Iterating raises ConfigError for a file that is not what it was taken for, SourceError when reading fails,
    SourceChanged when a file was written to in the meantime, and what fetching from S3 raises.
    """

    def __init__(
        self, parts: Sequence[Part], shapes: Sequence[Shape], *, positionable: bool, identity: str, stamp: str = ""
    ) -> None:
        self._parts = parts
        self._shapes = shapes  # one for each part
        self.rows = 0
        """Rows of the last iteration so far, bad ones and those that are not meant included."""
        self.positionable = positionable
        """Whether a later process can begin behind a mark; not so for standard input and pipes."""
        self.identity = identity
        """Tells this input from another, by its place; "" for pipes."""
        self.stamp = stamp
        """Sizes and times of the last write of its files. A journal that knows another one compares the items."""

    @property
    def label(self) -> str:
        """The names of the files, for messages."""
        return ", ".join(part.label for part in self._parts)

    def check(self) -> None:
        """Look at the beginning of each file that can be read again. Raises ConfigError, SourceError."""
        if self.positionable:
            for number in range(len(self._parts)):
                for _ in self._blocks(Place(number)):
                    break

    def __iter__(self) -> Iterator[ItemT | Rejected]:
        """The items."""
        return self._read(Place(), with_marks=False)

    def again(self) -> Iterator[ItemT | Rejected]:
        """The items once more, for counting: without looking for duplicates, and without touching ``rows``."""
        for block in self._blocks(Place()):
            shape = self._shapes[block.start.file]
            for name, line, _, details in block.rows:
                made = shape(block.label, line, name, details)
                if made is not None:
                    yield made[1]  # type: ignore[misc]  # the shape makes ItemT

    def marked(self, after: str = "") -> Iterator[tuple[ItemT | Rejected, str]]:
        """Pairs of an item and a mark: from ``marked(mark)`` come the items behind it, earlier rows are not read.

        With them come those before it that were set aside then and had not come out yet. What comes twice, once before
        and once behind the mark, is not noticed. Raises ConfigError when ``after`` is no mark.
        """
        start, aside = _parse(after)
        return self._again(start, aside)

    def _again(self, start: Place, aside: list[Place]) -> Iterator[tuple[ItemT | Rejected, str]]:
        whole = _text(start)
        for index, place in enumerate(aside):
            row = self._row_at(place)
            if row is not None:
                yield row, "+".join((whole, *map(_text, aside[index + 1 :])))
        yield from self._read(start, with_marks=True)

    def _row_at(self, place: Place) -> ItemT | Rejected | None:
        for block in self._blocks(place):
            name, line, _, details = block.rows[0]
            made = self._shapes[place.file](block.label, line, name, details)
            return None if made is None else made[1]  # type: ignore[return-value]  # the shape makes ItemT
        return None

    def _blocks(self, start: Place) -> Iterator[Block]:
        for number in range(start.file, len(self._parts)):
            with self._parts[number].opened() as reader:
                yield from reader.blocks(start if number == start.file else Place(number))

    def _read(self, start: Place, *, with_marks: bool) -> Iterator[Any]:
        # Marks must name what is set aside, so less of it is wanted: a filter of twice the size.
        seen = SeenBefore(double=with_marks)
        aside = Aside()
        places: list[str] = []
        self.rows = 0
        suffix = here = ""
        for block in self._blocks(start):
            label, (number, before, before_line), rows = block
            self.rows += len(rows)
            shape = self._shapes[number]
            for name, line, behind, details in rows:
                made = shape(label, line, name, details)
                if made is not None:
                    key, item = made
                    if key and seen.add(key):
                        aside.add((key, item, label, number, line))
                        if with_marks:
                            places.append(f"{number}:{before}:{before_line}")
                            suffix += f"+{places[-1]}"
                            if len(places) >= _MARKED_ASIDE:
                                yield from self._marked_settled(aside, start, f"{number}:{behind}:{line}", places)
                                aside, places, suffix = Aside(), [], ""
                    elif with_marks:
                        yield item, f"{number}:{behind}:{line}{suffix}"
                    else:
                        yield item
                before = behind
                before_line = line
            here = f"{number}:{before}:{before_line}"
        if with_marks:
            yield from self._marked_settled(aside, start, here, places)
        else:
            yield from self._settled(aside, start)

    def _marked_settled(
        self, aside: Aside, start: Place, here: str, places: list[str]
    ) -> Iterator[tuple[ItemT | Rejected, str]]:
        """``here`` is behind all rows that were read; ``places`` are those of what is set aside."""
        for number, item in enumerate(self._settled(aside, start), 1):
            yield item, "+".join((here, *places[number:]))

    def _settled(self, aside: Aside, start: Place) -> Iterator[ItemT | Rejected]:
        """All that was set aside, in its order.

        Reads the input again for each chunk of it, to see where its keys came first.
        """
        for chunk in aside.chunks():
            first: dict[str, tuple[int, int, str] | None] = dict.fromkeys(entry[0] for entry in chunk)
            missing = len(first)
            for number, line, label, key in self._keys(start):
                if first.get(key, _OTHER) is None:
                    first[key] = (number, line, label)
                    missing -= 1
                    if not missing:
                        break
            for key, item, label, number, line in chunk:
                found = first[key]
                if found is None or found[:2] == (number, line):
                    yield item
                    continue
                text = f"{label}:{line}: {key!r} comes twice; {found[2]}:{found[1]} had it first, and stands"
                error = DuplicateKey(text, key=key, file=label, line=line, first_file=found[2], first_line=found[1])
                yield Rejected(key, error)

    def _keys(self, start: Place) -> Iterator[tuple[int, int, str, str]]:
        for label, (number, _, _), rows in self._blocks(start):
            shape = self._shapes[number]
            for name, line, _, details in rows:
                made = shape(label, line, name, details)
                if made is not None:
                    yield number, line, label, made[0]


_OTHER = (0, 0, "")


def _text(place: Place) -> str:
    return f"{place.file}:{place.offset}:{place.line}"


def _parse(mark: str) -> tuple[Place, list[Place]]:
    if not mark:
        return Place(), []
    try:
        places = [Place(*map(int, text.split(":"))) for text in mark.split("+")]
    except (TypeError, ValueError):
        raise ConfigError(f"{mark!r} is no mark of an input") from None
    return places[0], places[1:]
