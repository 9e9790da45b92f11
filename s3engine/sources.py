"""Where bodies come from."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from s3engine.errors import ConfigError, S3EngineError
from s3engine.operations import ObjectHeaders
from s3engine.paths import normal_path

__all__ = ["BytesSource", "FileSource", "FilesBelow", "Rejected", "Source", "files_recursive"]

_FIRST_CHUNK = 16  # files: the first workers begin at once
_LAST_CHUNK = 256
_PATIENCE_S = 0.01


class FileSource(NamedTuple):
    """A local file and the key it gets. Opened in a worker, sent by ``sendfile`` where that works."""

    path: str
    key: str
    headers: ObjectHeaders | None = None
    """Instead of the batch's template."""


class BytesSource(NamedTuple):
    """A body in memory; it crosses to a worker through a pipe, so files are better named than read."""

    data: bytes
    key: str
    headers: ObjectHeaders | None = None


class Rejected(NamedTuple):
    """In the place of a source, a key or an object: an item that failed before it was one.

    Every batch takes it and reports it, numbered like the others, with ``error``; nothing is sent for it.
    """

    key: str
    error: S3EngineError


Source: TypeAlias = "FileSource | BytesSource"


class FilesBelow(Iterator[FileSource]):
    """The walk, and what a journal tells it from other walks by."""

    def __init__(self, root: str, prefix: str) -> None:
        self._root = root
        self._prefix = prefix
        self._walk = _walk(root, prefix)
        self._rest: Iterator[FileSource] = iter(())  # of the chunk that is given out one by one
        self._unwanted: Callable[[str], bool] | None = None
        self.identity = f"files below {normal_path(root)} as {prefix!r}"

    def __next__(self) -> FileSource:
        unwanted = self._unwanted
        while True:
            for found in self._rest:
                if unwanted is None or not unwanted(found.path):
                    return found
            self._rest = iter(next(self._walk))

    def chunks(self) -> Iterator[list[FileSource]]:
        """What is left of the walk, many files at a time; what was found for 10 ms does not wait for another folder."""
        for chunk in chain((list(self._rest),), self._walk):
            unwanted = self._unwanted
            if unwanted is not None:
                yield [file for file in chunk if not unwanted(file.path)]
            elif chunk:
                yield chunk

    def leave_out(self, unwanted: Callable[[str], bool]) -> None:
        """Pass over the files whose paths it says of that they are not meant: those of a job's own journal."""
        self._unwanted = unwanted

    def below(self, folder: str, key: str) -> Iterator[FileSource]:
        """What this walk would give of ``folder``, which an earlier one could not list and gave as ``key``."""
        root = normal_path(self._root)
        above: set[tuple[int, int]] = set()
        upper = folder
        while upper != root and len(upper) > len(root):
            upper = os.path.dirname(upper)
            with contextlib.suppress(OSError):
                status = os.stat(upper)
                above.add((status.st_dev, status.st_ino))
        found = chain.from_iterable(_walk(folder, self._prefix if folder == root else f"{key}/", above))
        unwanted = self._unwanted
        return found if unwanted is None else (file for file in found if not unwanted(file.path))

    def close(self) -> None:
        """Give the walk up: no folder stays open."""
        self._walk.close()
        self._rest = iter(())


def files_recursive(folder: str | os.PathLike[str], prefix: str = "") -> FilesBelow:
    """All files below ``folder``; each key is ``prefix`` followed by the path relative to it, with ``/`` between.

    ``prefix`` is taken as it is: say ``"logs/"`` for keys like ``logs/a``. Symbolic links are followed, but not in
    circles. What is no regular file, or cannot be read, comes too and fails by name in the report. Flat memory; the
    order is the file system's. An upload with a journal below ``folder`` leaves that out. Raises ConfigError when
    ``folder`` is no folder, or ``prefix`` no text.
    """
    root = os.fspath(folder) if isinstance(folder, (str, os.PathLike)) else None
    if not isinstance(root, str):
        raise ConfigError(f"folder must be the path of a folder, as text or pathlib.Path, not {folder!r}")
    if not isinstance(prefix, str):
        raise ConfigError(f"prefix must be text, not {prefix!r}")
    if not os.path.isdir(root):
        raise ConfigError(f"{root!r} is not a folder")
    return FilesBelow(root, prefix)


class _Open(NamedTuple):
    """A folder that is being read, and the prefix of what it holds."""

    path: str
    prefix: str
    entries: Any
    identity: tuple[int, int]


def _walk(
    root: str, prefix: str, above: Iterable[tuple[int, int]] = (), clock: Callable[[], float] = time.monotonic
) -> Generator[list[FileSource], None, None]:  # fmt: skip
    """The files in chunks of growing size; what was found for 10 ms goes out before another folder is opened."""
    # A stack instead of recursion: folders may lie deeper than Python can call. Files come by the hundred thousand:
    # one straight loop, and tuple.__new__, which makes a FileSource in half the time of its own constructor.
    stack: list[_Open] = []
    above = set(above)
    folder, key = root, prefix
    chunk: list[FileSource] = []
    most = _FIRST_CHUNK
    since_s = clock()
    start = prefix
    new = tuple.__new__
    try:
        while True:
            opened = _open(folder, key)
            if opened is None:
                chunk.append(FileSource(folder, key.rstrip("/")))  # the worker will find out why, and report it
            elif opened.identity in above:
                opened.entries.close()  # a link that leads back up
            else:
                stack.append(opened)
                above.add(opened.identity)
            below: os.DirEntry[str] | None = None
            while stack and below is None:
                opened = stack[-1]
                start = opened.prefix
                try:
                    for entry in opened.entries:
                        try:
                            is_folder = entry.is_dir()
                        except OSError:  # a link that leads to itself
                            is_folder = False
                        if is_folder:
                            below = entry
                            break
                        chunk.append(new(FileSource, (entry.path, start + entry.name, None)))
                        if len(chunk) >= most:
                            yield chunk
                            chunk = []
                            most = min(2 * most, _LAST_CHUNK)
                            since_s = clock()
                except OSError:
                    chunk.append(FileSource(opened.path, start.rstrip("/")))
                if below is None:
                    opened.entries.close()
                    above.discard(opened.identity)
                    stack.pop()
            if chunk and (below is None or clock() - since_s > _PATIENCE_S):
                yield chunk
                chunk = []
                since_s = clock()
            if below is None:
                return
            folder, key = below.path, f"{start}{below.name}/"
    finally:
        for opened in stack:
            opened.entries.close()


def _open(folder: str, prefix: str) -> _Open | None:
    try:
        status = os.stat(folder)
        return _Open(folder, prefix, os.scandir(folder), (status.st_dev, status.st_ino))
    except OSError:
        return None
