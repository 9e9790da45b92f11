"""Memory that a worker shares with its function process: a file without a name, cut into pieces by one of the two."""

from __future__ import annotations

import bisect
import mmap
import os

from s3engine.control.shared import anonymous_file

__all__ = ["PAGE_BYTES", "Arena"]

PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
"""Pieces begin on such a border, since a piece can be mapped by itself."""


class Arena:
    """``size_bytes`` of memory in a file. Only the process that made it takes pieces and gives them back.

    The other one gets a copy of ``fd`` and reads, or maps, what it is told of.
    """

    __slots__ = ("_holes", "_map", "_taken", "fd", "free_bytes", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
        self.fd = anonymous_file()
        os.ftruncate(self.fd, self.size_bytes)
        self._map = mmap.mmap(self.fd, self.size_bytes)
        self._holes = [(0, self.size_bytes)]  # (offset, length), by offset, none beside another
        self._taken: dict[int, int] = {}
        self.free_bytes = self.size_bytes
        """In all; a piece needs as many in a row."""

    @property
    def empty(self) -> bool:
        """Nothing is taken."""
        return not self._taken

    def take(self, size_bytes: int) -> int | None:
        """The offset of a piece of at least so many bytes; None when there is no room for it now."""
        wanted = -(-max(size_bytes, 1) // PAGE_BYTES) * PAGE_BYTES
        for index, (offset, length) in enumerate(self._holes):
            if length >= wanted:
                if length == wanted:
                    del self._holes[index]
                else:
                    self._holes[index] = (offset + wanted, length - wanted)
                self._taken[offset] = wanted
                self.free_bytes -= wanted
                return offset
        return None

    def give_back(self, offset: int) -> None:
        """The piece that begins there is not needed any more."""
        length = self._taken.pop(offset)
        self.free_bytes += length
        holes = self._holes
        index = bisect.bisect(holes, (offset, 0))
        if index < len(holes) and holes[index][0] == offset + length:
            length += holes.pop(index)[1]
        if index and sum(holes[index - 1]) == offset:
            holes[index - 1] = (holes[index - 1][0], holes[index - 1][1] + length)
        else:
            holes.insert(index, (offset, length))

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """The bytes there, to be written to."""
        return memoryview(self._map)[offset : offset + size_bytes]

    def close(self) -> None:
        """Let go of the file. The memory goes with the last view, and with the other process's mappings."""
        os.close(self.fd)
