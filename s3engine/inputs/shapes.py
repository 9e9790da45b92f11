"""From a row to a key and an item: for objects of a bucket, and for files of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from s3engine.errors import MalformedRow
from s3engine.inputs.items import Item, Shape
from s3engine.inputs.rows import Bad
from s3engine.sources import FileSource, Rejected
from s3engine.transport import ObjectInfo

__all__ = ["Wanted", "files_shape", "objects_shape"]

Wanted = Callable[[str], bool]


def _bad(label: str, line: int, name: str, why: str) -> tuple[str, Item]:
    where = f"{label}:{line}"
    return "", Rejected(name or where, MalformedRow(f"{where}: {why}", key=name, file=label, line=line))


def objects_shape(
    bucket: str, prefix: str, wanted: Wanted | None, *, whole_keys: bool, outside: bool, no_marker: bool
) -> Shape:
    """``whole_keys``: names are keys (tables), else they follow ``prefix`` (lists).

    ``outside``: keys that do not begin with ``prefix`` are not meant, else they are bad. ``no_marker``: nor is the key
    that is the prefix itself.
    """
    cut = len(prefix)

    def listed(label: str, line: int, name: str, details: Any) -> tuple[str, Item] | None:
        if details is not None:
            return _bad(label, line, name, details.why)
        if wanted is not None and not wanted(name):
            return None
        key = prefix + name
        return key, key

    def tabled(label: str, line: int, name: str, details: Any) -> tuple[str, Item] | None:
        if details is None:
            return None
        if type(details) is Bad:
            return _bad(label, line, name, details.why)
        of, _, size_bytes, etag, last_modified = details
        if of and of != bucket:
            return _bad(label, line, name, f"it is of the bucket {of!r}, not {bucket!r}")
        if not name.startswith(prefix):
            return None if outside else _bad(label, line, name, f"its key does not begin with {prefix!r}")
        if (no_marker and name == prefix) or (wanted is not None and not wanted(name[cut:])):
            return None
        if size_bytes < 0 and not etag:
            return name, name
        return name, ObjectInfo(name, size_bytes, etag, last_modified)

    return tabled if whole_keys else listed


def files_shape(folder: str, prefix: str, wanted: Wanted | None) -> Shape:
    """Names are paths below ``folder``; a key is ``prefix`` and the name, or what a table says in its place."""
    base = os.path.join(folder, "")

    def shape(label: str, line: int, name: str, details: Any) -> tuple[str, Item] | None:
        own = ""
        if details is not None:
            if type(details) is Bad:
                return _bad(label, line, name, details.why)
            own = details.key
        elif not name:
            return None
        relative = name
        if relative[0] in "./":
            while relative.startswith(("./", "/")):  # as find says them
                relative = relative[1:] if relative[0] == "/" else relative[2:]
            if not relative or relative == ".":
                return _bad(label, line, name, "it names the folder itself")
        if ".." in relative and ".." in relative.split("/"):
            return _bad(label, line, name, f"it leads out of {folder!r}")
        if "\0" in relative:
            return _bad(label, line, name, "a path cannot hold NUL")
        if wanted is not None and not wanted(relative):
            return None
        key = prefix + (own or relative)
        return key, FileSource(base + relative, key)

    return shape
