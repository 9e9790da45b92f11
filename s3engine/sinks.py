"""Where bodies of downloads go. See :class:`s3engine.transport.Sink`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from s3engine import checksums
from s3engine.disk import check_target, give_name, set_aside, sink_error, sync_folder
from s3engine.errors import PreconditionFailed, S3EngineError, ServerFault, SinkError
from s3engine.folders import Folder, OpenFolders
from s3engine.stored import NOTHING, Stored, composite, digest_of
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

    ``limit_bytes``: a larger object raises ``too_large`` before a byte is written. A small body is kept until
    ``commit`` and written in one go. ``evidence`` says what the store has to say of the bytes; what came is to be
    compared with that (``expected``, :meth:`digest`) before ``commit``. An object that only the checksums of its parts
    describe is too large as well: whoever fetches it must know the parts. ``fsync``: ``commit`` ends when file and name
    are on the disk. ``folders``: ``path`` is relative to their root, and every call that makes, renames or removes a
    file names it relative to its open folder; what they raise comes out of ``write``, ``reserve`` and ``commit``.
    """

    __slots__ = (
        "_digest", "_evidence", "_fd", "_folders", "_fsync", "_limit_bytes", "_name", "_pieces", "_relative",
        "_temporary", "_too_large", "etag", "expected", "failed", "info", "path", "received",
    )  # fmt: skip

    def __init__(
        self, path: str, token: str, limit_bytes: int, too_large: type[S3EngineError],
        evidence: Callable[[GetResult], Stored] | None = None, *, fsync: bool = False,
        folders: OpenFolders | None = None,
    ) -> None:  # fmt: skip
        self._folders = folders
        if folders is None:
            self.path = self._name = path
            self._temporary = temporary_path(path, token)
        else:
            self.path = folders.prefix + path
            self._relative = path
            self._name = path.rpartition("/")[2]
            self._temporary = f".s3engine-{token}.part"
        self.etag = ""
        self.received = 0
        self.expected = NOTHING
        self._evidence = evidence
        self._digest: checksums.Digest | None = None
        self.failed = False
        """The file system refused something."""
        self.info: GetResult | None = None
        self._fd = -1
        self._pieces: list[bytes] = []
        self._fsync = fsync
        self._limit_bytes = limit_bytes
        self._too_large = too_large

    def begin(self, info: GetResult) -> None:
        """Take a new body, or the rest of the one that broke off."""
        self.info = info
        if self._limit_bytes and info.total_bytes > self._limit_bytes and not info.offset:
            raise self._too_large(
                "object is large", size_bytes=info.total_bytes, etag=info.etag, headers=info.headers
            )
        if self.received and info.offset != self.received:
            self.restart()
        elif self.received and self.etag and info.etag and info.etag != self.etag:
            # A store that ignores If-Match: this is the rest of another object.
            raise PreconditionFailed(f"the object changed while {self.path!r} was read: its ETag is now {info.etag}")
        self.etag = info.etag
        if not self.received and self._evidence is not None:
            self.expected = self._evidence(info)
            if self.expected.parts > 1:
                if info.total_bytes > self.expected.parts:
                    raise self._too_large(
                        "object came in parts", size_bytes=info.total_bytes, etag=info.etag, headers=info.headers
                    )
                self.expected = NOTHING
            if self._fd >= 0 and self.expected.algorithm:  # there is a file already, so nothing will be kept
                self._digest = checksums.new(self.expected.algorithm)

    def restart(self) -> None:
        """Forget what came: the next body begins with the first byte."""
        self.received = 0
        self._digest = None
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
            if self.expected.algorithm:
                self._digest = checksums.new(self.expected.algorithm)
            self._open(self._folder())
        self._write(data)

    def digest(self) -> bytes:
        """Of what came, by the algorithm of ``expected``: equal to its value when all is right."""
        expected = self.expected
        if self._digest is None:
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces = [body]
            return digest_of(expected, body)
        value = self._digest.digest()
        return composite(expected.algorithm, (value,)) if expected.parts else value

    def reserve(self, size_bytes: int) -> None:
        """Ask the file system now whether there is room, before a request is made. Raises SinkError."""
        if self._fd < 0:
            self._open(self._folder())
            try:
                set_aside(self._fd, max(size_bytes, 1))
            except OSError as error:
                raise sink_error(self.path, error) from None

    def _folder(self) -> Folder | None:
        """Asked for anew each time: an object that is on its way keeps no folder open. Hold it while its fd is used."""
        return None if self._folders is None else self._folders.of(self._relative)

    def _open(self, folder: Folder | None) -> None:
        folder_fd = folder.fd if folder is not None else None
        try:
            # No O_EXCL: after the death of a worker another one goes on with the same name.
            self._fd = os.open(self._temporary, _TO_WRITE | os.O_TRUNC, 0o666, dir_fd=folder_fd)
        except OSError as error:
            raise self._error(error) from None
        for piece in self._pieces:
            self._write(piece)
        self._pieces.clear()

    def _write(self, data: bytes | memoryview) -> None:
        if self._digest is not None:
            self._digest.update(data)
        try:
            count = os.write(self._fd, data)
            while count < len(data):
                data = memoryview(data)[count:]
                count = os.write(self._fd, data)
        except OSError as error:
            raise self._error(error) from None

    def commit(self) -> None:
        """Give the file its name. Raises SinkError, and what the folders raise."""
        try:
            folder = self._folder()
            if folder is None:
                check_target(self.path)
            if self._fd < 0:
                self._open(folder)
            if self._fsync:
                os.fsync(self._fd)
            fd, self._fd = self._fd, -1  # whatever close says, the number is free afterwards
            os.close(fd)  # where a network file system tells that there was no room
            if folder is None:
                os.replace(self._temporary, self.path)
            else:
                give_name(self._temporary, self._name, self.path, folder.fd)
            if self._fsync:
                sync_folder(self.path, folder.fd if folder is not None else None)
        except (OSError, S3EngineError) as error:
            self.discard()
            self._unlink()
            raise (self._error(error) if isinstance(error, OSError) else error) from None

    def discard(self) -> None:
        """Remove what was written. Never raises: what made it fail is told, not what came of it."""
        self._pieces.clear()
        self.received = 0
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)
            self._unlink()

    def _unlink(self) -> None:
        folder = self._folders.kept(self._relative) if self._folders is not None else None
        with contextlib.suppress(OSError):
            if folder is not None:
                os.unlink(self._temporary, dir_fd=folder.fd)
            else:
                os.unlink(os.path.join(os.path.dirname(self.path), self._temporary))

    def _error(self, error: OSError) -> SinkError:
        self.failed = True
        return sink_error(self.path, error)


class PartSink:
    """Bytes ``first`` to ``last`` of an object into their place in a file that other parts are written to as well.

    ``size_bytes`` is how many the object has (-1: not known). ``algorithm`` names the checksum that is computed of the
    part while it is written, "" for none. ``target`` is the name that the file gets, for errors ("": ``path``).
    """

    __slots__ = (
        "_algorithm", "_digest", "_etag", "_fd", "_next", "_path", "_size_bytes", "_target", "first", "last",
        "received",
    )  # fmt: skip

    def __init__(
        self, path: str, first: int, last: int, etag: str, size_bytes: int = -1, algorithm: str = "",
        target: str = "",
    ) -> None:  # fmt: skip
        self._path = path
        self._target = target or path
        self._fd = -1
        self._etag = etag
        self._size_bytes = size_bytes
        self._algorithm = algorithm
        self._digest = checksums.new(algorithm) if algorithm else None
        self.first = first
        self.last = last
        self._next = first
        self.received = 0

    def begin(self, info: GetResult) -> None:
        """Open the file.

        Raises PreconditionFailed when a store that ignores If-Match sends another object, ServerFault when what comes
        does not follow what is there.
        """
        if self._etag and info.etag and info.etag != self._etag:
            raise PreconditionFailed(f"the object changed while {self._target!r} was read: its ETag is now {info.etag}")
        if 0 <= self._size_bytes != info.total_bytes >= 0:
            raise PreconditionFailed(
                f"the object for {self._target!r} has {info.total_bytes} bytes, not {self._size_bytes}: it was written "
                "again, or the table is wrong"
            )
        self._etag = self._etag or info.etag  # a further attempt must go on with the same object
        if info.offset != self._next:
            raise ServerFault(f"byte {info.offset} of an object came where byte {self._next} was asked for")
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, _TO_WRITE, 0o666)
            except OSError as error:
                raise self._error(error) from None

    def resume_at(self) -> int:
        """The first byte that is still missing."""
        return self._next

    def restart(self) -> None:
        """Forget what came: the next body begins with the first byte."""
        self._next = self.first
        self.received = 0
        self._digest = checksums.new(self._algorithm) if self._algorithm else None

    @property
    def checksum(self) -> str:
        """Of what came, ``"crc32:" + base64``; "" without an algorithm."""
        return checksums.text(self._algorithm, self._digest.digest()) if self._digest is not None else ""

    def write(self, data: memoryview) -> None:
        """Write a piece at its place. Raises SinkError."""
        if self._digest is not None:
            self._digest.update(data)
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
        return sink_error(self._target, error)
