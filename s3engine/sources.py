"""Where bodies come from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from s3engine.errors import ConfigError
from s3engine.operations import ObjectHeaders

__all__ = ["BytesSource", "FileSource", "Source", "files_recursive"]


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


Source: TypeAlias = "FileSource | BytesSource"


def files_recursive(folder: str | os.PathLike[str], prefix: str = "") -> Iterator[FileSource]:
    """All files below ``folder``; each key is ``prefix`` followed by the path relative to it, with ``/`` between.

    ``prefix`` is taken as it is: say ``"logs/"`` for keys like ``logs/a``. Symbolic links are followed, but not in
    circles. What is no regular file, or cannot be read, comes too and fails by name in the report. Flat memory; the
    order is the file system's. Raises ConfigError when ``folder`` is no folder.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise ConfigError(f"{root!r} is not a folder")
    return _walk(root, prefix, frozenset())


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[FileSource]:
    try:
        status = os.stat(folder)
        entries = os.scandir(folder)
    except OSError:
        yield FileSource(folder, prefix.rstrip("/"))  # the worker will find out why, and report it
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return  # a link that leads back up
    with entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {identity})
            else:
                yield FileSource(entry.path, prefix + entry.name)
