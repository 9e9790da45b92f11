"""What a dry run can know of local files: those that could not be read, and targets that could not be written."""

from __future__ import annotations

import errno
import os

from s3engine.disk import check_target, sink_error
from s3engine.errors import SinkError, SourceError
from s3engine.file_body import check_regular, source_error

__all__ = ["TargetFolder", "unreadable"]

_FOLDERS = 10_000  # that are remembered as good


def unreadable(path: str) -> SourceError | None:
    """Why the file could not be uploaded."""
    try:
        check_regular(path, os.stat(path))
        if not os.access(path, os.R_OK):
            return source_error(path, _os_error(errno.EACCES))
    except SourceError as error:
        return error
    except OSError as error:
        return source_error(path, error)
    return None


class TargetFolder:
    """The folder that objects are to be downloaded to."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._good: set[str] = set()
        self._above: list[str] = []

    def wrong(self, relative: str) -> SinkError | None:
        """Why nothing could be written there: what is in the way on the disk, or comes of the objects before it.

        Those are seen in the order of a listing only (of names in any other order, just the one before).
        """
        path = os.path.join(self._folder, relative)
        earlier = self._file_above(relative)
        if earlier:
            return sink_error(os.path.join(self._folder, earlier), _os_error(errno.ENOTDIR))
        if os.path.isdir(path) and not relative.endswith("/"):
            return sink_error(path, _os_error(errno.EISDIR))
        try:
            check_target(path)
        except SinkError as error:
            return error
        return self._wrong_folder(os.path.dirname(path))

    def _file_above(self, relative: str) -> str:
        """Of the names before, that which is a file where this one needs a folder."""
        above = self._above
        while above and not relative.startswith(above[-1]):
            above.pop()
        found = next((name for name in above if relative[len(name) : len(name) + 1] == "/"), "")
        above.append(relative)
        return found

    def _wrong_folder(self, folder: str) -> SinkError | None:
        if folder in self._good:
            return None
        existing = folder or "."
        while not os.path.lexists(existing):
            existing = os.path.dirname(existing) or "."
        if not os.path.isdir(existing):
            return sink_error(existing, _os_error(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            return sink_error(existing, _os_error(errno.EACCES))
        if len(self._good) >= _FOLDERS:
            self._good.clear()
        self._good.add(folder)
        return None


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
