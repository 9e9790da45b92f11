"""What a function makes of an object: the bodies to be stored, and how they are named and described."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from s3engine.control.shared import anonymous_file
from s3engine.operations import ObjectHeaders
from s3engine.transport import Headers

__all__ = ["INLINE_BYTES", "Output", "Part", "cut", "headers_of", "outputs_of", "pieces_of"]

INLINE_BYTES = 64 * 1024
"""Up to here a body goes with the message, above it in memory of its own."""
_READ_BYTES = 1024 * 1024
_KEPT = frozenset(
    ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
)
_META = "x-amz-meta-"


@dataclass(frozen=True, slots=True)
class Output:
    """One object (or file) that a function makes. Returning bytes is the same as ``Output(those bytes)``.

    What is not said here stays as it is: an object made of an object has the content type, content encoding, metadata
    and the like of that one.
    """

    body: Any
    """Bytes, or anything like them; an iterable of such, whose length need not be known; a binary file. Text: UTF-8."""
    key: str = ""
    """Of the object, or the path below the folder of a download; "": the one that the batch has for it."""
    content_type: str = ""
    content_encoding: str | None = None
    """As "gzip"; "" takes away what the source has."""
    metadata: Mapping[str, str] | None = None
    """Instead of the source's user metadata."""
    headers: ObjectHeaders | None = None
    """Instead of all of the source's; the fields above go before it."""


def _is_bytes(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview, str)) or hasattr(value, "__array_interface__")


def outputs_of(value: Any) -> Iterator[Output]:
    """What a function returned, as outputs: none for None, many for an iterable of them; else one.

    Raises TypeError for what is neither bytes, Output, nor an iterable of either.
    """
    if value is None:
        return
    if isinstance(value, Output):
        yield value
        return
    if _is_bytes(value) or hasattr(value, "read"):
        yield Output(value)
        return
    if not hasattr(value, "__iter__") or isinstance(value, (Mapping, Set)):
        raise TypeError(
            f"it returned {type(value).__name__}; a transform returns bytes, Output, an iterable of either, or None"
        )
    items = iter(value)
    for first in items:
        if isinstance(first, Output):
            yield first
            for other in items:
                if not isinstance(other, Output):
                    raise TypeError(f"it gave {type(other).__name__} among its outputs; give Output(...) for each")
                yield other
        else:
            yield Output(_with_first(first, items))
        return
    if not isinstance(value, (list, tuple)):  # a generator that gave nothing made an empty body
        yield Output(b"")


def _with_first(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def pieces_of(body: Any) -> Iterator[memoryview]:
    """The bytes of an output, piece by piece. Raises TypeError, and whatever the body's own code raises."""
    if _is_bytes(body):
        yield _bytes(body)
    elif hasattr(body, "read"):
        while data := body.read(_READ_BYTES):
            yield _bytes(data)
    elif isinstance(body, Iterable):
        for piece in body:
            yield _bytes(piece)
    else:
        raise TypeError(f"the body of an output is {type(body).__name__}; give bytes, a file, or an iterable of bytes")


def _bytes(piece: Any) -> memoryview:
    if isinstance(piece, str):
        piece = piece.encode()
    try:
        view = memoryview(piece)
    except TypeError:
        raise TypeError(f"a body is made of bytes, not of {type(piece).__name__}") from None
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


class Part:
    """Bytes on their way to the store: few in a message, many in a file without a name."""

    __slots__ = ("_pieces", "fd", "size_bytes")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.fd = -1
        self.size_bytes = 0

    def add(self, data: memoryview) -> None:
        """More of it."""
        self.size_bytes += len(data)
        if self.fd < 0 and self.size_bytes <= INLINE_BYTES:
            self._pieces.append(bytes(data))
            return
        if self.fd < 0:
            self.fd = anonymous_file()
            for piece in self._pieces:
                _write(self.fd, memoryview(piece))
            self._pieces.clear()
        _write(self.fd, data)

    @property
    def inline(self) -> bytes:
        """The bytes, where there is no file."""
        return b"".join(self._pieces)

    def into_file(self) -> None:
        """Have a file in any case."""
        if self.fd < 0:
            self.fd = anonymous_file()
            for piece in self._pieces:
                _write(self.fd, memoryview(piece))

    def close(self) -> None:
        """It is not needed after all."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _write(fd: int, data: memoryview) -> None:
    while data:
        count = os.write(fd, data)
        data = data[count:]


def cut(pieces: Iterable[memoryview], part_bytes: int) -> Iterator[tuple[Part, bool]]:
    """Parts, each with whether it is the last; at least one, which may be empty.

    Of ``part_bytes`` each, the last as long as what is left. The size doubles after each thousand parts: so 10 000 of
    them, more than which no object has, hold more than the 5 TiB that no object exceeds.
    """
    part = Part()
    most_bytes = part_bytes
    count = 0
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if part.size_bytes == most_bytes:
                    full, part = part, Part()
                    count += 1
                    most_bytes = part_bytes << count // 1000
                    yield full, False
                room = most_bytes - part.size_bytes
                part.add(rest[:room])
                rest = rest[room:]
    except BaseException:
        part.close()
        raise
    yield part, True


def headers_of(output: Output, base: Headers, source: Headers | None) -> Headers:
    """The headers of an output. ``base``: of the batch; ``source``: of the object that it is made of, if of any.

    Raises ConfigError.
    """
    if output.headers is not None:
        found = dict(output.headers.as_headers())
    elif source is not None and not base:
        found = {name: value for name, value in source if name in _KEPT or name.startswith(_META)}
    else:
        found = dict(base)
    if output.content_encoding is not None:
        found.pop("content-encoding", None)
    if output.metadata is not None:
        found = {name: value for name, value in found.items() if not name.startswith(_META)}
    own = ObjectHeaders(
        content_type=output.content_type, content_encoding=output.content_encoding or "",
        metadata=output.metadata or {},
    )  # fmt: skip
    found |= dict(own.as_headers())
    return tuple(found.items())
