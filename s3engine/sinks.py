"""Where bodies of downloads go. See :class:`s3engine.transport.Sink`."""

from __future__ import annotations

import contextlib
import os

from s3engine.disk import preallocate, sink_error, sync_folder
from s3engine.errors import PreconditionFailed, S3EngineError, SinkError
from s3engine.transport import GetResult

__all__ = ["FileSink", "MemorySink", "PartSink", "temporary_path"]

_SMALL_BYTES = 256 * 1024
# A link that somebody planted under the temporary name is not followed.
_TO_WRITE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def temporary_path(path: str, token: str) -> str:
    """The name a download has until it is whole: beside the target (one file system), short enough for any."""
    return os.path.join(os.path.dirname(path), f".s3engine-{token}.part")


class MemorySink:
    """Keeps the body."""

    __slots__ = ("_pieces", "info", "received")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.received = 0
        self.info: GetResult | None = None

    def begin(self, info: GetResult) -> None:
        """Start anew, unless the answer continues where the last one broke off."""
        if info.offset != self.received or not info.offset:
            self._pieces.clear()
            self.received = 0
        self.info = info

    def write(self, data: memoryview) -> None:
        """Keep a piece."""
        self._pieces.append(bytes(data))
        self.received += len(data)

    def body(self) -> bytes:
        """All of it."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class FileSink:
    """A whole object into a file: written under a temporary name, renamed by :meth:`commit`.

    ``limit_bytes``: a larger object raises ``too_large(info)`` before a byte is written. A small body is kept until
    ``commit`` and written in one go. ``fsync``: ``commit`` ends when file and name are on the disk.
    """

    __slots__ = (
        "_fd", "_fsync", "_limit_bytes", "_pieces", "_temporary", "_too_large", "etag", "failed", "info", "path",
        "received",
    )  # fmt: skip

    def __init__(
        self, path: str, token: str, limit_bytes: int, too_large: type[S3EngineError], *, fsync: bool = False
    ) -> None:
        self.path = path
        self.etag = ""
        self.received = 0
        self.failed = False
        """The file system refused something."""
        self.info: GetResult | None = None
        self._temporary = temporary_path(path, token)
        self._fd = -1
        self._pieces: list[bytes] = []
        self._fsync = fsync
        self._limit_bytes = limit_bytes
        self._too_large = too_large

    def begin(self, info: GetResult) -> None:
        """Take a new body, or the rest of the one that broke off."""
        self.info = info
        if self._limit_bytes and info.total_bytes > self._limit_bytes and not info.offset:
            raise self._too_large("object is large", size_bytes=info.total_bytes, etag=info.etag)
        if self.received and info.offset != self.received:
            self._restart()
        elif self.received and self.etag and info.etag and info.etag != self.etag:
            # A store that ignores If-Match: this is the rest of another object.
            raise PreconditionFailed(f"the object changed while {self.path!r} was read: its ETag is now {info.etag}")
        self.etag = info.etag

    def _restart(self) -> None:
        self.received = 0
        self._pieces.clear()
        if self._fd >= 0:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)

    def write(self, data: memoryview) -> None:
        """Write a piece. Raises SinkError."""
        self.received += len(data)
        if self._fd < 0:
            if self.received <= _SMALL_BYTES:
                self._pieces.append(bytes(data))
                return
            self._open()
        self._write(data)

    def reserve(self, size_bytes: int) -> None:
        """Ask the file system now whether there is room, before a request is made. Raises SinkError."""
        if self._fd < 0:
            self._open()
            preallocate(self._temporary, max(size_bytes, 1), self.path)

    def _open(self) -> None:
        try:
            # No O_EXCL: after the death of a worker another one goes on with the same name.
            self._fd = os.open(self._temporary, _TO_WRITE | os.O_TRUNC, 0o666)
        except OSError as error:
            raise self._error(error) from None
        for piece in self._pieces:
            self._write(memoryview(piece))
        self._pieces.clear()

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise self._error(error) from None

    def commit(self) -> None:
        """Give the file its name. Raises SinkError."""
        if self._fd < 0:
            self._open()
        try:
            if self._fsync:
                os.fsync(self._fd)
            fd, self._fd = self._fd, -1  # whatever close says, the number is free afterwards
            os.close(fd)  # where a network file system tells that there was no room
            os.replace(self._temporary, self.path)
            if self._fsync:
                sync_folder(self.path)
        except OSError as error:
            self.discard()
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            raise self._error(error) from None

    def discard(self) -> None:
        """Remove what was written. Never raises: what made it fail is told, not what came of it."""
        self._pieces.clear()
        self.received = 0
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    def _error(self, error: OSError) -> SinkError:
        self.failed = True
        return sink_error(self.path, error)


class PartSink:
    """Bytes ``first`` to ``last`` of an object into their place in a file that other parts are written to as well."""

    __slots__ = ("_etag", "_fd", "_next", "_path", "first", "last", "received")

    def __init__(self, path: str, first: int, last: int, etag: str) -> None:
        self._path = path
        self._fd = -1
        self._etag = etag
        self.first = first
        self.last = last
        self._next = first
        self.received = 0

    def begin(self, info: GetResult) -> None:
        """Open the file. Raises PreconditionFailed when a store that ignores If-Match sends another object."""
        if self._etag and info.etag and info.etag != self._etag:
            raise PreconditionFailed(f"the object changed while {self._path!r} was read: its ETag is now {info.etag}")
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, _TO_WRITE, 0o666)
            except OSError as error:
                raise self._error(error) from None

    def resume_at(self) -> int:
        """The first byte that is still missing."""
        return self._next

    def write(self, data: memoryview) -> None:
        """Write a piece at its place. Raises SinkError."""
        try:
            while data:
                count = os.pwrite(self._fd, data, self._next)
                self._next += count
                self.received += count
                data = data[count:]
        except OSError as error:
            raise self._error(error) from None

    def sync(self) -> None:
        """Have what is written reach the disk. Raises SinkError."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._error(error) from None

    def close(self) -> None:
        """Close the file; what is written stays. Raises SinkError."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.close(fd)
            except OSError as error:
                raise self._error(error) from None

    def _error(self, error: OSError) -> SinkError:
        return sink_error(self._path, error)
