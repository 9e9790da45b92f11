"""Which keys came before: certainly not (nearly all, at once), or perhaps (settled later, exactly)."""

from __future__ import annotations

import pickle
import weakref
from array import array
from collections.abc import Iterator
from typing import Any

__all__ = ["Aside", "SeenBefore"]

_WORDS = 1 << 22  # of 64 bits: 32 MiB
_CHUNK = 50_000  # keys that wait in memory: some 20 MB


class SeenBefore:
    """A Bloom filter of 32 MiB: says False of a key that certainly did not come before, True of one that perhaps did.

    Each key sets four bits of one word, so that it costs one access to memory. Of ten million different keys a few
    thousand are called "perhaps" (``double``, 64 MiB: a few hundred); with more the filter fills, and more are. About
    1 us a key.
    """

    __slots__ = ("_last", "_words")

    def __init__(self, *, double: bool = False) -> None:
        self._words = array("Q", bytes(8)) * (2 * _WORDS if double else _WORDS)
        self._last = len(self._words) - 1

    def add(self, key: str | int) -> bool:
        """Whether ``key`` perhaps came before; remembers it."""
        mark = hash(key)  # 64 bits, seeded at random in each process
        # Bits 0 to 23 choose the four bits, those from 24 on the word.
        bits = _PAIRS[mark & 4095] | _PAIRS[(mark >> 12) & 4095]
        index = (mark >> 24) & self._last
        words = self._words
        word = words[index]
        if word & bits == bits:
            return True
        words[index] = word | bits
        return False

    def has(self, key: str | int) -> bool:
        """Whether ``key`` perhaps came before."""
        mark = hash(key)
        bits = _PAIRS[mark & 4095] | _PAIRS[(mark >> 12) & 4095]
        return self._words[(mark >> 24) & self._last] & bits == bits


_PAIRS = tuple((1 << (number & 63)) | (1 << (number >> 6)) for number in range(4096))


class Aside:
    """Rows set aside, in chunks; all but the newest chunk wait in a temporary file that has no name."""

    def __init__(self, chunk: int = _CHUNK) -> None:
        self._chunk = chunk
        self._newest: list[Any] = []
        self._file: Any = None
        self.count = 0

    def add(self, entry: Any) -> None:
        """Keep ``entry`` (anything that pickle takes). Raises OSError when the disk is full."""
        self.count += 1
        self._newest.append(entry)
        if len(self._newest) >= self._chunk:
            if self._file is None:
                import tempfile  # lazy: 4 ms, for very many duplicates

                self._file = tempfile.TemporaryFile(prefix="s3engine-")  # noqa: SIM115  (as long as this lives)
                weakref.finalize(self, self._file.close)
            pickle.dump(self._newest, self._file, pickle.HIGHEST_PROTOCOL)
            self._newest = []

    def chunks(self) -> Iterator[list[Any]]:
        """All entries in the order they came, chunk by chunk. Once."""
        if self._file is not None:
            with self._file as file:
                size = file.tell()
                file.seek(0)
                while file.tell() < size:
                    yield pickle.load(file)
            self._file = None
        newest, self._newest = self._newest, []
        if newest:
            yield newest
