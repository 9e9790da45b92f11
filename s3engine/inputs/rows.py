"""What every reader of an input gives: blocks of rows, each with its place, so that reading can go on behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

__all__ = ["Bad", "Block", "Details", "Place", "Reader", "Row"]


class Place(NamedTuple):
    """A place between two rows."""

    file: int = 0
    """Number of the file, from 0."""
    offset: int = 0
    """Bytes (of text; unpacked, where it was packed) or rows (of Parquet) before it."""
    line: int = 0
    """Number of the last line, or row, before it."""


class Bad(NamedTuple):
    """In the place of details: the row cannot be used."""

    why: str


class Details(NamedTuple):
    """What a table tells beside the name. ``size_bytes`` is -1 and texts are "" where it does not."""

    bucket: str = ""
    key: str = ""
    """Of a table of files: the key to give."""
    size_bytes: int = -1
    etag: str = ""
    last_modified: str = ""


Row: TypeAlias = "tuple[str, int, int, Any]"
"""Name, line (from 1), offset behind the row; None, Details or Bad. A plain tuple: there are ten million of them."""


class Block(NamedTuple):
    """Rows of one file that follow each other, some thousand at most."""

    label: str
    """How messages call the file."""
    start: Place
    """Behind the row before the first one."""
    rows: list[Row]


class Reader(Protocol):
    """One file."""

    def blocks(self, start: Place) -> Iterator[Block]:
        """The rows behind ``start``. Raises ConfigError for what is no such file, SourceError when reading fails."""
