"""Paths around a journal: the files it is made of, and the one spelling that paths have in its rows."""

from __future__ import annotations

import os

from s3engine.errors import SourceError, UnsafeKey
from s3engine.paths import normal_path

__all__ = ["JournalFiles", "RowPaths"]

_ENDS = ("", "-wal", "-shm", "-lock")


class JournalFiles:
    """The journal at ``path`` and what SQLite and the lock keep beside it: no job may move, send or overwrite them."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        real = os.path.realpath(path)
        own = {f"{real}{end}" for end in _ENDS}  # both follow links first
        own.add(_place(os.fspath(path)))
        self._paths = frozenset(own)
        self._names = frozenset(os.path.basename(one).casefold() for one in own)

    def holds(self, path: str) -> bool:
        """Whether ``path`` leads to one of them, by whatever way. Only names like theirs cost a look at the disk."""
        if path.rpartition("/")[2].casefold() not in self._names:
            return False
        try:
            if _place(path) in self._paths or os.path.realpath(path) in self._paths:
                return True
            status = os.stat(path)  # a file system may take several spellings for one
        except (OSError, ValueError):
            return False
        return any(_is(one, status) for one in self._paths)

    def wrong_source(self, path: str) -> SourceError | None:
        """Why ``path`` cannot be uploaded: it is written to all the time, and a move would take it away."""
        if not self.holds(path):
            return None
        return SourceError(
            f"{path!r} belongs to the journal of this job and was left alone; to send it, keep the journal elsewhere",
            path=path,
        )  # fmt: skip

    def wrong_target(self, path: str, key: str) -> UnsafeKey | None:
        """Why ``key`` cannot be downloaded to ``path``."""
        if not self.holds(path):
            return None
        text = f"key {key!r} would be written over the journal of this job; keep the journal elsewhere"
        return UnsafeKey(text, key=key)


def _place(path: str) -> str:
    """``path`` with links resolved, but for the last segment."""
    head, tail = os.path.split(path)
    return os.path.join(os.path.realpath(head or "."), tail)


def _is(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


class RowPaths:
    """Paths as rows have them: in their normal form, from whatever spelling and working directory they came."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._head: str | None = None  # of the path before: files of one folder come one after the other
        self._normal = ""

    def __call__(self, path: str) -> str:
        """The normal form of ``path``, which is relative to the folder that was current when the run began."""
        head, slash, tail = path.rpartition("/")
        if tail in ("", ".", ".."):
            return normal_path(path, self._folder)
        head += slash
        if head != self._head:
            self._normal = normal_path(head or ".", self._folder).rstrip("/")
            self._head = head
        return f"{self._normal}/{tail}"
