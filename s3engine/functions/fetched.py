"""What a function gets: an object whose body has come, or comes in chunks."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from s3engine.functions.messages import About

__all__ = ["FetchedObject", "local_body"]

_META = "x-amz-meta-"


class FetchedObject:
    """An object in the hands of a function. Only for the time of that call: nothing more can be read from it later.

    ``state`` is what the batch's ``initializer`` returned in this process, None without one.
    """

    __slots__ = ("_about", "_body", "_chunks", "_closed", "_headers", "_open", "state")

    def __init__(
        self, about: About, state: Any, open_body: Callable[[], memoryview] | None,
        open_chunks: Callable[[], Iterator[bytes]] | None,
    ) -> None:  # fmt: skip
        self._about = about
        self._open = open_body
        self._chunks = open_chunks
        self._body: memoryview | None = None
        self._headers: dict[str, str] | None = None
        self._closed = False
        self.state = state

    def __repr__(self) -> str:
        return f"FetchedObject({self.url!r}, size_bytes={self.size_bytes})"

    @property
    def bucket(self) -> str:
        """Where it lies."""
        return self._about.bucket

    @property
    def key(self) -> str:
        """Its key."""
        return self._about.key

    @property
    def url(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self._about.bucket}/{self._about.key}"

    @property
    def size_bytes(self) -> int:
        """Of its body."""
        return self._about.size_bytes

    @property
    def etag(self) -> str:
        """Without quotes."""
        return self._about.etag

    @property
    def last_modified(self) -> str:
        """As the store told it."""
        return self._about.last_modified

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer that brought it, names in lower case."""
        if self._headers is None:
            self._headers = dict(self._about.headers)
        return self._headers

    @property
    def content_type(self) -> str:
        """ "" when there is none."""
        return self.headers.get("content-type", "")

    @property
    def metadata(self) -> dict[str, str]:
        """User metadata, without the ``x-amz-meta-`` before each name."""
        return {name[len(_META) :]: value for name, value in self.headers.items() if name.startswith(_META)}

    @property
    def body(self) -> memoryview:
        """All of it, read-only. What is made of it without a copy (``numpy.frombuffer``) may be kept: its memory stays.

        A body that came whole lies in the buffer that it was received into. One that comes in chunks (larger than an
        eighth of ``Config.function_buffer_bytes``) is put together in memory of its own.
        """
        if self._body is None:
            self._check()
            if self._open is not None:
                self._body = self._open()
            else:
                whole = bytearray(self.size_bytes)
                at = 0
                for chunk in self._taken_chunks():
                    whole[at : at + len(chunk)] = chunk
                    at += len(chunk)
                self._body = memoryview(whole).toreadonly()
        return self._body

    def __bytes__(self) -> bytes:
        return bytes(self.body)

    def chunks(self) -> Iterator[memoryview | bytes]:
        """The body from its beginning, piece by piece; for a large object while it still comes.

        Once for an object that comes in chunks (ValueError the second time), unless ``body`` was asked for first.
        """
        self._check()
        if self._body is not None or self._open is not None:
            if self.size_bytes:
                yield self.body
            return
        yield from self._taken_chunks()

    def _taken_chunks(self) -> Iterator[bytes]:
        if self._chunks is None:
            raise ValueError(f"{self.url}: its chunks were read already; keep them, or ask for body")
        chunks, self._chunks = self._chunks, None
        return chunks()

    def file(self) -> BinaryIO:
        """The body as a binary file to read from. It can seek, but for an object that comes in chunks."""
        self._check()
        if self._body is not None or self._open is not None:
            return cast(BinaryIO, io.BufferedReader(_Whole(self.body)))
        return cast(BinaryIO, io.BufferedReader(_Stream(self._taken_chunks()), 1024 * 1024))

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self.url}: the call that it was for is over; return what is needed of it")

    def _close(self) -> None:
        self._closed = True
        self._body = self._open = self._chunks = None


def local_body(source: str | bytes) -> memoryview:
    """Of a file, mapped; or of bytes. Raises OSError."""
    if isinstance(source, bytes):
        return memoryview(source)
    with open(source, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


class _Whole(io.RawIOBase):
    """A file over bytes that are there."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), max(0, len(self._body) - self._at))
        buffer[:count] = self._body[self._at : self._at + count]
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._body)}[whence]
        if start + offset < 0:
            raise ValueError(f"there is nothing before the first byte (seek to {start + offset})")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at


class _Stream(io.RawIOBase):
    """A file over chunks to come."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
