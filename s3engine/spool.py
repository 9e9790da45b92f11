"""A listing that was read to its proven end before anything is done: kept in memory while small, on disk when large.

What destroys by comparison or by proportion acts only on such a listing. The file has no name, so nothing is left
behind, whoever dies; it lies where ``TMPDIR`` says.
"""

from __future__ import annotations

import marshal
import pickle
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from s3engine.decided import Decided
from s3engine.transport import ObjectInfo

if TYPE_CHECKING:
    from typing_extensions import Self

    from s3engine.listing import ObjectListing

__all__ = ["Spool", "all_or_nothing", "complete", "item_of", "objects_of", "row_of"]

_ROWS = 2000  # to a block
_LENGTH_BYTES = 4
_FIELDS = len(ObjectInfo._fields)


class Spool:
    """Rows of strings, numbers and tuples of them, appended once and iterated as often as one likes.

    The first ``memory_rows`` stay in memory (some 300 bytes each for a listing); from then on all rows go to a file of
    no name, some 110 bytes each, and memory holds two blocks of 2000.
    """

    def __init__(self, memory_rows: int = 50_000) -> None:
        self._memory_rows = memory_rows
        self._rows: list[tuple[Any, ...]] = []
        self._file: IO[bytes] | None = None
        self._count = 0
        self.file_bytes = 0
        """What stands in the file."""

    def __len__(self) -> int:
        return self._count

    def append(self, row: tuple[Any, ...]) -> None:
        """Add a row. Raises OSError when the disk is full."""
        # Plain tuples: marshal takes no subclasses.
        self._rows.append(tuple(row))
        self._count += 1
        if len(self._rows) >= (_ROWS if self._file is not None else self._memory_rows + 1):
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="s3engine-spool-")  # noqa: SIM115  (closed by close)
        self._file.seek(0, 2)
        for start in range(0, len(self._rows), _ROWS):
            block = marshal.dumps(self._rows[start : start + _ROWS])
            self._file.write(len(block).to_bytes(_LENGTH_BYTES, "little") + block)
            self.file_bytes += _LENGTH_BYTES + len(block)
        self._rows = []

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The rows, in the order they came in. Several iterations may be under way."""
        position = 0
        while position < self.file_bytes:
            assert self._file is not None
            self._file.seek(position)
            length = int.from_bytes(self._file.read(_LENGTH_BYTES), "little")
            rows = marshal.loads(self._file.read(length))
            position += _LENGTH_BYTES + length
            yield from rows
        yield from self._rows

    def close(self) -> None:
        """Give memory and disk back."""
        self._rows = []
        self._count = self.file_bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def complete(listing: ObjectListing, *, memory_rows: int = 50_000) -> tuple[Spool, int]:
    """Read ``listing`` to its end: its objects (those that its filters leave), and how many there are without filters.

    Raises what the listing raises, and ConfigError when the transport cannot tell the end of a listing from a listing
    that was broken off: then nothing is known, so nothing should be done.
    """
    predicate = listing.predicate
    spool = Spool(memory_rows)
    total = 0
    try:
        for page in listing.proven_pages():
            total += len(page.objects)
            for info in page.objects:
                if predicate is None or predicate(info):
                    spool.append(info)
    except BaseException:
        spool.close()
        raise
    return spool, total


def all_or_nothing(listing: ObjectListing) -> Iterator[ObjectInfo]:
    """The objects of a listing, none of them before it has come to its end."""
    spool, _ = complete(listing)
    with spool:
        yield from objects_of(spool)


def objects_of(spool: Spool) -> Iterator[ObjectInfo]:
    """The rows of a spool as what they were."""
    return map(ObjectInfo._make, spool)


def row_of(item: Any) -> tuple[Any, ...]:
    """An item of an input as a row: a key, an ObjectInfo, either of them Decided, or what can be pickled."""
    kind = type(item)
    if kind is str:  # marshal takes no subclasses
        return (item,)
    if kind is ObjectInfo:
        return item  # type: ignore[no-any-return]
    if kind is Decided and item.error is None and type(item.item) in (str, ObjectInfo):
        # By pickle they take ten times as long.
        return (*row_of(item.item), item.condition, item.skip)
    return (b"", pickle.dumps(item, pickle.HIGHEST_PROTOCOL))


def item_of(row: tuple[Any, ...]) -> Any:
    """What row_of made a row of."""
    count = len(row)
    if count == _FIELDS:
        return ObjectInfo._make(row)
    if count == 1:
        return row[0]
    return pickle.loads(row[1]) if count == 2 else Decided(item_of(row[:-2]), row[-2], row[-1])
