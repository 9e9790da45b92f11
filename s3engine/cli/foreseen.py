"""What a dry run can know of local files: those that could not be read, and targets that could not be written."""

from __future__ import annotations

import errno
import os

from s3engine.disk import check_target, sink_error
from s3engine.errors import S3EngineError, SinkError, SourceError, UnsafeKey
from s3engine.file_body import check_regular, source_error
from s3engine.paths import FolderGuard

__all__ = ["TargetFolder", "unreadable"]

_FOLDERS = 10_000  # that are remembered as good


def unreadable(path: str, *, remove: bool = False) -> SourceError | None:
    """Why the file could not be uploaded, or with ``remove`` not be removed then."""
    try:
        check_regular(path, os.stat(path))
        if not os.access(path, os.R_OK):
            return source_error(path, _os_error(errno.EACCES))
        if remove and not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
            return SourceError(f"cannot remove {path!r}: its folder is not yours to write to", path=path)
    except SourceError as error:
        return error
    except OSError as error:
        return source_error(path, error)
    return None


class TargetFolder:
    """The folder that objects are to be downloaded to."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._guard = FolderGuard(folder)
        self._good: set[str] = set()
        self._above: list[str] = []

    def wrong(self, relative: str, size_bytes: int) -> S3EngineError | None:
        """Why an object could not be written there: what is in the way on the disk, or comes of the objects before it.

        Those are seen in the order of a listing only (of names in any other order, just the one before).
        """
        path = os.path.join(self._folder, relative)
        if relative.endswith("/") and size_bytes > 0:
            return SinkError(f"key {relative!r} ends in / and has a body; give it another path", key=relative)
        earlier = self._file_above(relative)
        if earlier:
            return sink_error(os.path.join(self._folder, earlier), _os_error(errno.ENOTDIR))
        if os.path.isdir(path) and not relative.endswith("/"):
            return sink_error(path, _os_error(errno.EISDIR))
        try:
            _is_there(path)
            check_target(path)
        except SinkError as error:
            return error
        except OSError as error:  # the whole path is too long
            return sink_error(path, error)
        return self._wrong_folder(os.path.dirname(path), relative)

    def _file_above(self, relative: str) -> str:
        """Of the names before, that which is a file where this one needs a folder."""
        above = self._above
        while above and not relative.startswith(above[-1]):
            above.pop()
        found = next((name for name in above if relative[len(name) : len(name) + 1] == "/"), "")
        above.append(relative)
        return found

    def _wrong_folder(self, folder: str, relative: str) -> S3EngineError | None:
        if folder in self._good:
            return None
        existing = folder or "."
        try:
            while not _is_there(existing):
                existing = os.path.dirname(existing) or "."
            if os.path.isdir(self._folder or "."):
                self._guard.check(existing, relative)
        except UnsafeKey as error:
            return error
        if not os.path.isdir(existing):
            return sink_error(existing, _os_error(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            return sink_error(existing, _os_error(errno.EACCES))
        if len(self._good) >= _FOLDERS:
            self._good.clear()
        self._good.add(folder)
        return None


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
