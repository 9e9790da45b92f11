"""Ready-made functions for ``Engine.transform``, ``upload(transform=)`` and ``download(transform=)``.

All of them work through a body piece by piece, so that none has to fit in memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from s3engine.errors import ConfigError
from s3engine.functions.fetched import FetchedObject
from s3engine.functions.outputs import Output

__all__ = ["Gunzip", "Gzip", "JsonLines", "Unchanged", "Unzstd", "Zstd"]

_GZIP_FORMAT = 31  # zlib's number for the largest window, in a gzip header without a time: the same bytes each time


def _zlib() -> Any:
    """zlib-ng where it is installed, twice as fast; what both write the other reads."""
    return importlib.import_module("zlib_ng.zlib_ng") if importlib.util.find_spec("zlib_ng") else zlib


class Unchanged:
    """The body as it is: to write objects anew, with another checksum, storage class, encryption or name."""

    def __call__(self, found: FetchedObject) -> Output:
        """The same bytes."""
        return Output(found.chunks())


class Gzip:
    """gzip, with the header ``content-encoding: gzip``, so that HTTP clients unpack it by themselves.

    What has that header already is left as it is. ``level``: 0 to 9, as zlib has it.
    """

    def __init__(self, level: int = 6) -> None:
        if level not in range(10):
            raise ConfigError(f"level must be 0 to 9, not {level!r}")
        self.level = level

    def __call__(self, found: FetchedObject) -> Output:
        """The packed body."""
        if found.headers.get("content-encoding") == "gzip":
            return Output(found.chunks())
        return Output(self._packed(found), content_encoding="gzip")

    def _packed(self, found: FetchedObject) -> Iterator[bytes]:
        packer = _zlib().compressobj(self.level, zlib.DEFLATED, _GZIP_FORMAT)
        for chunk in found.chunks():
            yield packer.compress(chunk)
        yield packer.flush()


class Gunzip:
    """The inverse: one or more gzip members, without the header. Raises EOFError for a body that is cut off."""

    def __call__(self, found: FetchedObject) -> Output:
        """The unpacked body."""
        library = _zlib()
        return Output(
            _unpacked(found, lambda: library.decompressobj(_GZIP_FORMAT), "gzip stream"), content_encoding=""
        )


def _unpacked(found: FetchedObject, begin: Callable[[], Any], what: str) -> Iterator[bytes]:
    """One stream after another; ``begin`` makes what unpacks one. Raises EOFError when the last is cut off."""
    unpacker: Any = None
    for chunk in found.chunks():
        rest: Any = chunk
        while len(rest):
            if unpacker is None:
                unpacker = begin()
            yield unpacker.decompress(rest)
            rest = unpacker.unused_data
            if unpacker.eof:
                unpacker = None
    if unpacker is not None:
        raise EOFError(f"{found.url} ends in the middle of its {what}")


def _zstandard() -> Any:
    if importlib.util.find_spec("zstandard") is None:
        raise ConfigError("zstd needs the package zstandard; install it with: pip install 's3engine[zstd]'")
    return importlib.import_module("zstandard")


class Zstd:
    """zstd, with the header ``content-encoding: zstd``. ``level``: 1 to 22. Needs the extra ``zstd``."""

    def __init__(self, level: int = 3) -> None:
        if level not in range(1, 23):
            raise ConfigError(f"level must be 1 to 22, not {level!r}")
        _zstandard()
        self.level = level

    def __call__(self, found: FetchedObject) -> Output:
        """The packed body."""
        return Output(self._packed(found), content_encoding="zstd")

    def _packed(self, found: FetchedObject) -> Iterator[bytes]:
        packer = _zstandard().ZstdCompressor(self.level).compressobj()
        for chunk in found.chunks():
            yield packer.compress(chunk)
        yield packer.flush()


class Unzstd:
    """The inverse, without the header. Raises EOFError for a body that is cut off. Needs the extra ``zstd``."""

    def __init__(self) -> None:
        _zstandard()

    def __call__(self, found: FetchedObject) -> Output:
        """The unpacked body."""
        library = _zstandard()
        return Output(
            _unpacked(found, lambda: library.ZstdDecompressor().decompressobj(), "zstd frame"), content_encoding=""
        )


class JsonLines:
    """Of an object of JSON lines those that ``keep`` says True of; None when it says so of no line.

    ``keep`` gets each line parsed by ``loads``; lines go on as they came, and blank ones are left out. Raises
    ValueError for a line that is no JSON, with its number.
    """

    def __init__(self, keep: Callable[[Any], bool], *, loads: Callable[[bytes], Any] = json.loads) -> None:
        self.keep = keep
        self.loads = loads

    def __call__(self, found: FetchedObject) -> Output | None:
        """The lines that are left."""
        lines = self._kept(found)
        first = next(lines, None)
        return None if first is None else Output(_after(first, lines))

    def _kept(self, found: FetchedObject) -> Iterator[bytes]:
        for number, line in enumerate(found.file(), 1):
            if line.isspace():
                continue
            try:
                value = self.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if self.keep(value):
                yield line


def _after(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
