"""The bytes of an input: a file, packed or not, or a pipe; to be read more than once, also where that is a pipe."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import tempfile
import weakref
import zlib
from typing import Any, Protocol

from s3engine.errors import ConfigError, SourceChanged, SourceError

__all__ = ["InputFile", "Stream"]

_SKIP_BYTES = 1024 * 1024


class Stream(Protocol):
    """Bytes, one after the other."""

    def read(self, count: int, /) -> bytes:
        """Up to ``count`` bytes, as many as are there; b"" at the end."""

    def close(self) -> None:
        """Let go."""


class InputFile:
    """A file by its path, or "-" for standard input. ``packed``: gzip.

    A pipe can be read once only, so what is read of it is kept in a temporary file that has no name. Raises ConfigError
    when there is no such file.
    """

    def __init__(self, path: str, *, packed: bool = False, label: str = "") -> None:
        self.path = path
        self.label = label or ("standard input" if path == "-" else path)
        self._packed = packed
        self._kept: _Kept | None = None
        self._seen: tuple[int, int, int] | None = None
        self.positionable = True
        """Whether a later process can go on in the middle of it."""
        try:
            status = os.fstat(sys.stdin.fileno()) if path == "-" else os.stat(path)
        except (OSError, ValueError, io.UnsupportedOperation) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot read names from {self.label!r}: {reason}") from None
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{path!r} is a folder; --from takes a file with a name on each line (or a table)")
        if path == "-" or not stat.S_ISREG(status.st_mode):
            self.positionable = False
        elif not os.access(path, os.R_OK):
            raise ConfigError(f"cannot read names from {path!r}: Permission denied")

    @property
    def identity(self) -> str:
        """Tells this file from another; "" for a pipe."""
        return os.path.realpath(self.path) if self.positionable else ""

    @property
    def stamp(self) -> str:
        """Another one after a change, as a rule; a new one does not mean that anything is different in it."""
        status = os.stat(self.path)
        return f"{status.st_size}:{status.st_mtime_ns}"

    def open(self, offset: int = 0) -> Stream:
        """The bytes from ``offset`` on. Raises SourceError; SourceChanged when it is not what it was the first time."""
        try:
            raw = self._open()
            if not self._packed:
                if offset:
                    raw.seek(offset)
                return raw
            unpacked = _Unpacked(raw, self.label)
        except OSError as error:
            raise SourceError(f"cannot read {self.label!r}: {error.strerror or error}", path=self.path) from None
        while offset:
            skipped = len(unpacked.read(min(offset, _SKIP_BYTES)))
            if not skipped:
                break
            offset -= skipped
        return unpacked

    def open_seekable(self) -> Any:
        """A binary file for readers that jump about in it; a pipe is read to its end first."""
        if not self.positionable and (self._kept is None or not self._kept.whole):
            stream = self._open()
            while stream.read(_SKIP_BYTES):
                continue
        return self._open()

    def _open(self) -> io.RawIOBase:
        if not self.positionable:
            if self._kept is None:
                if self.path == "-":
                    self._kept = _Kept(sys.stdin.fileno(), close=False)
                else:
                    self._kept = _Kept(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC), close=True)
            return _KeptReader(self._kept)
        raw = open(self.path, "rb", buffering=0)  # noqa: SIM115  (handed on)
        status = os.fstat(raw.fileno())
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._seen is not None and self._seen != seen:
            raw.close()
            raise SourceChanged(f"{self.label!r} was changed while its names were read", path=self.path)
        self._seen = seen
        return raw


class _Kept:
    """A pipe, and the file that gets what was read of it."""

    def __init__(self, fd: int, *, close: bool) -> None:
        self.fd = fd
        self.file = tempfile.TemporaryFile(prefix="s3engine-")  # noqa: SIM115  (as long as the input)
        weakref.finalize(self, self.file.close)
        if close:
            weakref.finalize(self, os.close, fd)
        self.size_bytes = 0
        self.whole = False

    def more(self, count: int) -> bytes:
        data = b"" if self.whole else os.read(self.fd, count)
        if not data:
            self.whole = True
            return data
        try:
            rest = memoryview(data)
            at = self.size_bytes
            while rest:
                written = os.pwrite(self.file.fileno(), rest, at)
                at += written
                rest = rest[written:]
        except OSError as error:
            folder = tempfile.gettempdir()
            text = f"cannot keep what comes from a pipe below {folder!r}: {error.strerror} (TMPDIR names another place)"
            raise SourceError(text, path=folder) from None
        self.size_bytes += len(data)
        return data


class _KeptReader(io.RawIOBase):
    """Reads what was kept, then the rest of the pipe."""

    def __init__(self, kept: _Kept) -> None:
        super().__init__()
        self._kept = kept
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1, /) -> bytes:
        kept = self._kept
        if count < 0:
            count = max(kept.size_bytes - self._at, 0)
        if self._at < kept.size_bytes:
            data = os.pread(kept.file.fileno(), min(count, kept.size_bytes - self._at), self._at)
        else:
            data = kept.more(count)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._kept.size_bytes}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at


class _Unpacked:
    """gzip, with its errors as ours."""

    def __init__(self, raw: Any, label: str) -> None:
        self._raw = raw
        self._file = gzip.GzipFile(fileobj=raw, mode="rb")
        self._label = label
        self._begun = False

    def read(self, count: int, /) -> bytes:
        try:
            data = self._file.read1(count)
            self._begun = True
            return data
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            if not self._begun and isinstance(error, gzip.BadGzipFile):
                raise ConfigError(f"{self._label!r} ends in .gz and is not packed by gzip; mend its name") from None
            raise SourceError(f"{self._label!r} is no whole gzip file: {error}", path=self._label) from None

    def close(self) -> None:
        self._file.close()
        self._raw.close()
