"""From keys to paths below a folder, without ever leaving it."""

from __future__ import annotations

import os
import re

from s3engine.disk import ANOTHER_NAME, sink_error, sync_folder
from s3engine.errors import ConfigError, UnsafeKey

__all__ = ["FolderGuard", "normal_path", "safe_relative", "unsafe"]


_MOST_KNOWN = 10_000
_TEMPORARY = ".s3engine-"  # begins the names of :func:`s3engine.sinks.temporary_path`


def normal_path(path: str, folder: str = "") -> str:
    """The one spelling of a local path: absolute, without ``.``, ``..``, ``//`` or a ``/`` at its end.

    Relative paths are below ``folder`` (default: the working directory). ``..`` leads up from where a symbolic link
    leads, as it does for the system; other links stay as they are.
    """
    path = os.path.join(folder or os.getcwd(), path)
    segments = path.split("/")
    if ".." in segments:
        behind = len(segments) - segments[::-1].index("..")
        try:
            path = os.path.join(os.path.realpath("/".join(segments[:behind])), *segments[behind:])
        except ValueError:  # what no file system can write; who opens it will tell
            return path
    return os.path.normpath("/" + path.lstrip("/"))


def safe_relative(key: str) -> str:
    """``key`` as a relative path. Raises UnsafeKey when it has no faithful and safe place below a folder.

    Refused are what would leave the folder (``..``, a leading ``/``), what the file system folds together with another
    key (``//``, ``.``), NUL, names of temporary files of downloads, and names the file system cannot hold. Raises
    ConfigError for what is no text: a function of the caller gave it.
    """
    if not isinstance(key, str):
        raise ConfigError(f"a path below the target folder must be text, not {key!r}; of a path give str(path)")
    if len(key) < 256 and _plainly_safe(key):
        return key
    return _examined(key)


# Nothing to object to, seen at one go: ASCII segments that begin with no dot, a name behind the last slash. What is as
# short as one segment may be has no segment that is too long.
_SEGMENT = r"[\x01-\x2d\x30-\x7f][\x01-\x2e\x30-\x7f]*"
_plainly_safe = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*").fullmatch


def _examined(key: str) -> str:
    if "\0" in key:
        raise unsafe(key, "it holds a NUL byte")
    segments = key.split("/")
    if _TEMPORARY in key and any(part.startswith(_TEMPORARY) and part.endswith(".part") for part in segments):
        raise unsafe(key, "downloads have names like it until they are whole")
    folder = len(segments) > 1 and segments[-1] == ""  # "dir/": a folder marker
    for segment in segments[:-1] if folder else segments:
        if segment in ("", ".", ".."):
            raise unsafe(key, f"a path cannot have the segment {segment!r}")
        try:
            long = len(os.fsencode(segment)) > 255
        except UnicodeEncodeError:
            raise unsafe(key, "the file system cannot write it") from None
        if long:
            raise unsafe(key, "a segment is longer than 255 bytes")
    return key


def unsafe(key: str, why: str) -> UnsafeKey:
    """The error for a key that has no place."""
    return UnsafeKey(f"key {key!r} has no place below the target folder: {why}; {ANOTHER_NAME}", key=key)


class FolderGuard:
    """Makes folders below a root and sees to it that they are really there, symbolic links included.

    ``sync``: their names are on the disk too, whoever made them: what is moved there is about to be deleted elsewhere.
    """

    __slots__ = ("_known", "_root_made", "_sync", "_synced", "real_root", "root")

    def __init__(self, root: str, *, sync: bool = False) -> None:
        self.root = root
        self._sync = sync
        self._synced: set[str] = set()
        self.real_root = os.path.realpath(root)
        self._root_made = False
        self._known: set[str] = set()

    def ready(self, relative: str) -> str:
        """The full path for ``relative``, its folder made. Raises UnsafeKey, SinkError."""
        path = os.path.join(self.root, relative)
        folder = os.path.dirname(path)
        if folder not in self._known:
            self._make(folder, relative)
            if len(self._known) > _MOST_KNOWN:  # bounded: a batch may have more folders than fit in memory
                self._known.clear()
            self._known.add(folder)
        return path

    def forget(self) -> None:
        """Somebody moves folders: what was known of them, and which names of theirs were synced, holds no longer."""
        self._known.clear()
        self._synced.clear()
        self._root_made = False

    def check(self, existing: str, relative: str) -> str:
        """Where ``existing``, a path at or below the root or above it, is really. Raises UnsafeKey for elsewhere."""
        real = os.path.realpath(existing)
        if real != self.real_root and not real.startswith(self.real_root.rstrip("/") + "/"):
            raise unsafe(relative, f"{existing!r} is a link that leads out of it")
        return real

    def _make(self, folder: str, relative: str) -> None:
        try:
            if not self._root_made:
                # Before looking at links: what exists of the way to the folder is then at or below the root.
                os.makedirs(self.root, exist_ok=True)
                self._root_made = True
            # A link that was there before could lead out: look where the nearest folder that exists really is.
            existing = folder
            while not os.path.lexists(existing):
                existing = os.path.dirname(existing)
            self.check(existing, relative)
            os.makedirs(folder, exist_ok=True)
            self.sync_names(folder)
        except OSError as error:
            raise sink_error(folder, error) from None

    def sync_names(self, folder: str) -> None:
        """Those of this folder and of all above it, each of which stands in the next, if that is wanted at all."""
        if not self._sync:
            return
        if len(self._synced) > _MOST_KNOWN:
            self._synced.clear()
        below_root = True
        folder = os.path.abspath(folder)
        root = os.path.abspath(self.root)
        while folder not in self._synced and folder != os.path.dirname(folder):
            try:
                sync_folder(folder)
            except PermissionError:
                if below_root:
                    raise
                # Above the target may be folders of others that one may pass but not read; those were there before.
            self._synced.add(folder)
            below_root = below_root and folder != root
            folder = os.path.dirname(folder)
