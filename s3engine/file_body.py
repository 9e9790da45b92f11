"""A part of a local file while it is sent: read piece by piece, and looked at again before its end leaves."""

from __future__ import annotations

import os
import stat

from s3engine.chunked import MOST_FRAMING_BYTES, Framing
from s3engine.errors import SourceChanged, SourceError
from s3engine.transport import FilePart

__all__ = ["FileBody", "check_regular", "check_unchanged", "has_changed", "source_error"]

_NO_BUFFER = memoryview(b"")


def check_regular(path: str, status: os.stat_result) -> None:
    """Raise SourceError for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        what = _folder(path) if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise SourceError(f"cannot upload {path!r}: it is {what}", path=path)


def _folder(path: str) -> str:
    try:
        os.scandir(path).close()
    except OSError:
        return "a folder that cannot be listed"
    return "a folder; name the files in it, or give it alone as SRC"


def source_error(path: str, error: OSError) -> SourceError:
    """The SourceError for an OSError on reading ``path``."""
    return SourceError(f"cannot read {path!r}: {error.strerror or error}", path=path)


def has_changed(part: FilePart, status: os.stat_result) -> bool:
    """Whether the file is no longer what it was when the transfer was planned."""
    return bool(
        (part.file_bytes >= 0 and status.st_size != part.file_bytes)
        or (part.mtime_ns and status.st_mtime_ns != part.mtime_ns)
        or (part.inode and status.st_ino != part.inode and status.st_ctime_ns != part.ctime_ns)
    )


def check_unchanged(part: FilePart, fd: int) -> None:
    """Raise SourceChanged when the open file is no longer what it was when the transfer was planned."""
    if has_changed(part, os.fstat(fd)):
        raise SourceChanged(
            f"{part.path!r} changed while it was sent; send it again when it is at rest", path=part.path
        )


class FileBody:
    """The file that a connection sends of. One object serves all exchanges of its connection, one after another.

    ``fd`` is -1 while none is open; ``left`` bytes are still to be sent, from ``offset`` on.
    """

    __slots__ = ("_buffer", "_framing", "_part", "fd", "left", "offset")

    def __init__(self) -> None:
        self.fd = -1
        self.left = 0
        self._framing: Framing | None = None
        self._buffer = _NO_BUFFER

    def open(self, part: FilePart, trailer: str) -> None:
        """Begin with ``part``; ``trailer`` as in put_object, "" for none. Raises SourceError."""
        self._part = part
        try:
            self.fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise source_error(part.path, error) from None
        self.offset = part.offset
        self.left = part.length
        self._framing = Framing(part.length, trailer) if trailer else None

    @property
    def framed(self) -> bool:
        """More is to come from :meth:`next_framed`."""
        return self._framing is not None and self.fd >= 0

    def read(self, size: int) -> bytes:
        """What comes next, without going on. Raises SourceError."""
        try:
            return os.pread(self.fd, size, self.offset)
        except OSError as error:
            raise self.error(error) from None

    def sent(self, count: int) -> None:
        """So many bytes are sent. Raises SourceChanged when there was nothing to send."""
        if not count:
            raise self._shrank()
        self.offset += count
        self.left -= count

    def next_framed(self, size: int) -> tuple[memoryview, str]:
        """The next piece of a body with a trailer, and its checksum with the last.

        The piece lies in a buffer that the next one is read into. The file is looked at before the last one leaves.
        Raises SourceError, SourceChanged.
        """
        framing = self._framing
        assert framing is not None
        # Framed where it lies: the file's bytes are copied once, out of the page cache.
        ahead = framing.ahead()
        begin = len(ahead)
        size = min(size, framing.fits)
        if len(self._buffer) < size + MOST_FRAMING_BYTES:
            self._buffer = memoryview(bytearray(size + MOST_FRAMING_BYTES))
        buffer = self._buffer
        buffer[:begin] = ahead
        count = 0
        if size:
            try:
                count = os.preadv(self.fd, (buffer[begin : begin + size],), self.offset)
            except OSError as error:
                raise self.error(error) from None
            if not count:
                raise self._shrank()
            self.offset += count
            self.left -= count
        behind = framing.behind(buffer[begin : begin + count])
        end = begin + count + len(behind)
        buffer[begin + count : end] = behind
        if self.left:
            return buffer[:end], ""
        self.check()
        self._framing = None
        return buffer[:end], framing.checksum

    def look(self) -> None:
        """Raise SourceChanged when it is no longer what it was when the transfer was planned."""
        check_unchanged(self._part, self.fd)

    def check(self) -> None:
        """Close it. Raises SourceChanged when it is no longer what it was when the transfer was planned."""
        try:
            check_unchanged(self._part, self.fd)
        finally:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Send no more of it. Only while one is open."""
        self._framing = None
        self.left = 0
        os.close(self.fd)
        self.fd = -1

    def error(self, error: OSError) -> SourceError:
        """The SourceError for an OSError on reading it."""
        return source_error(self._part.path, error)

    def _shrank(self) -> SourceChanged:
        path = self._part.path
        return SourceChanged(f"{path!r} shrank while it was sent; send it again when it is at rest", path=path)
