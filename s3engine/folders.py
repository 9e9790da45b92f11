"""Folders below the target of a download, kept open: a file is put into the folder that was looked at, or nowhere.

A path is looked up anew by every call that names it, so whoever may write to the target folder could put a symbolic
link in the place of a folder between the look and the write. A descriptor stays with its folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import time
import weakref
from collections.abc import Callable

from s3engine.disk import sink_error
from s3engine.errors import UnsafeKey
from s3engine.paths import FolderGuard, unsafe

__all__ = ["CAN_KEEP_FOLDERS", "Folder", "OpenFolders"]

CAN_KEEP_FOLDERS = {os.open, os.mkdir, os.rename, os.stat} <= os.supports_dir_fd
"""Whether this system has files opened and renamed relative to a folder's descriptor (Linux, macOS)."""

# O_PATH (Linux): a folder may be one that we may enter and write to, but not list.
_TO_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK_AGAIN_S = 0.1
_MOST_PATH_BYTES = 4096  # PATH_MAX: relative to a descriptor there is no limit, but nobody could open such a file
_SHARE_OF_DESCRIPTORS = 8
_MOST_OPEN = 1024
_LEAST_OPEN = 16
_A_LINK_PERHAPS = (errno.ENOTDIR, errno.ELOOP)
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)


class Folder:
    """A folder that is open. ``fd`` is closed with the last reference, so another thread's eviction harms nobody."""

    __slots__ = ("fd", "identity", "looked_at")

    def __init__(self, fd: int, now: float) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.looked_at = now

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # nothing was written through it that could get lost
            os.close(self.fd)


class OpenFolders:
    """Folders below the root of ``guard``, made and opened segment by segment; no symbolic link is followed unseen.

    A link that leads to a folder below the root is as good as that folder; any other raises UnsafeKey. A folder that
    was moved away or replaced is noticed within 0.1 s, and what stands there now is looked at as if for the first time.
    ``most`` are kept open (default: an eighth of the descriptors that the process may have, shared by all of its
    batches). Safe for several threads.
    """

    __slots__ = ("__weakref__", "_clock", "_guard", "_long", "_most", "_open", "prefix")

    def __init__(self, guard: FolderGuard, *, most: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._clock = clock
        self._open: dict[str, Folder] = {}
        self.prefix = guard.root.rstrip("/") + "/"
        """Before a relative path it makes the whole one."""
        self._long = _MOST_PATH_BYTES // 4 - len(self.prefix)  # a character has at most four bytes
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        unlimited = soft == resource.RLIM_INFINITY
        self._most = most or (_MOST_OPEN if unlimited else min(_MOST_OPEN, soft // _SHARE_OF_DESCRIPTORS))
        _alive.add(self)

    def of(self, relative: str) -> Folder:
        """The folder in which the file ``relative`` lies (for ``"dir/"``: that folder). Raises UnsafeKey, SinkError."""
        place = relative.rpartition("/")[0]
        if len(relative) > self._long and len(os.fsencode(self.prefix + relative)) >= _MOST_PATH_BYTES:
            raise sink_error(self.prefix + relative, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        found = self._open.get(place)
        if found is not None and self._clock() - found.looked_at < _LOOK_AGAIN_S:
            return found
        try:
            return self._look(found, place, relative)
        except OSError as error:
            raise sink_error(self.prefix + place if place else self._guard.root, error) from None

    def kept(self, relative: str) -> Folder | None:
        """The same if it is open, however long ago it was looked at: to remove what was left there."""
        return self._open.get(relative.rpartition("/")[0])

    def _look(self, found: Folder | None, place: str, relative: str) -> Folder:
        if found is None:
            found = self._enter_or_make_room(place, relative)
        if not self._is_there(found, place, relative):
            # Moved away, removed or replaced; what is above and below it may have been, too.
            self._open.clear()
            self._guard.forget()
            found = self._enter_or_make_room(place, relative)
        return found

    def _is_there(self, folder: Folder, place: str, relative: str) -> bool:
        path = self.prefix + place
        try:
            status = os.stat(path)
            self._guard.check(path, relative)  # it may have been moved out, and a link to it left behind
        except (OSError, UnsafeKey):
            return False
        folder.looked_at = self._clock()
        return (status.st_dev, status.st_ino) == folder.identity

    def _enter_or_make_room(self, place: str, relative: str) -> Folder:
        try:
            return self._enter(place, relative, 0)
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
        self._open.clear()
        return self._enter(place, relative, 0)

    def _enter(self, place: str, relative: str, links: int) -> Folder:
        """Open ``place`` and what leads there, making what is missing. ``links`` were followed on the way to it."""
        found = self._open.get(place)
        if found is not None:
            return found
        guard = self._guard
        if place:
            above, _, name = place.rpartition("/")
            parent = self._enter(above, relative, links)
            try:
                found = Folder(_open_or_make(name, parent.fd), self._clock())
            except OSError as error:
                if error.errno not in _A_LINK_PERHAPS:
                    raise
                found = self._follow(place, relative, links, error)
        else:
            os.makedirs(guard.root, exist_ok=True)
            found = Folder(os.open(guard.real_root, _TO_ENTER), self._clock())
        guard.sync_names(self.prefix + place)
        most = max(_LEAST_OPEN, self._most // len(_alive))
        while len(self._open) >= most:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
                del self._open[next(iter(self._open))]
        self._open[place] = found
        return found

    def _follow(self, place: str, relative: str, links: int, error: OSError) -> Folder:
        """``place`` is a link, or something that is in the way."""
        path = self.prefix + place
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            raise error
        real = self._guard.check(path, relative)
        if links:  # realpath leaves none: somebody is exchanging folders at this moment
            raise unsafe(relative, f"{path!r} became a link while it was looked at")
        if not os.path.isdir(real):  # leads to nothing, or to a file
            raise error
        return self._enter(real[len(self._guard.real_root) :].strip("/"), relative, links + 1)


_alive: weakref.WeakSet[OpenFolders] = weakref.WeakSet()


def _open_or_make(name: str, parent_fd: int) -> int:
    try:
        return os.open(name, _TO_ENTER, dir_fd=parent_fd)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent_fd)
    return os.open(name, _TO_ENTER, dir_fd=parent_fd)
