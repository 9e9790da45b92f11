"""What the columns of a table are called, and what a row of it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from s3engine.errors import ConfigError
from s3engine.inputs.rows import Bad, Details
from s3engine.plain import number_of

__all__ = ["FIELDS", "Columns", "field_of", "inventory_fields", "without_header"]

FIELDS = ("bucket", "key", "path", "size", "etag", "last_modified", "version", "latest", "marker")
_NAMES = {
    "bucket": "bucket", "key": "key", "objectkey": "key", "path": "path", "size": "size", "sizebytes": "size",
    "etag": "etag", "lastmodified": "last_modified", "lastmodifieddate": "last_modified", "version": "version",
    "versionid": "version", "islatest": "latest", "isdeletemarker": "marker",
}  # fmt: skip
_MOST_BYTES = (1 << 63) - 1
_NO = ("false", "0", "no", "")


def field_of(name: str) -> str:
    """The field that a column of this name holds, "" when none: "Last Modified" and "LastModifiedDate" are one."""
    plain = "".join(character for character in name.lower() if character.isalnum())
    return _NAMES.get(plain, "")


def inventory_fields(schema: str) -> list[str]:
    """From ``fileSchema`` of a manifest of CSV files: "Bucket, Key, VersionId, ..."."""
    return [field_of(name) for name in schema.split(",")]


def without_header(row: Sequence[str]) -> list[str]:
    """The fields of a table that has no header, told by its first row.

    Amazon's orders: bucket, key, version (Batch Operations); bucket, key, size, last modified, ETag (Inventory of
    current versions); bucket, key, version, is latest, is delete marker, size, last modified, ETag (of all versions).
    Else bucket, key, version, size, last modified, ETag. A table of one column holds keys.
    """
    count = len(row)
    if count == 1:
        return ["key"]
    if count <= 3:
        return ["bucket", "key", "version"][:count]
    if row[3].lower() in ("true", "false"):
        found = ["bucket", "key", "version", "latest", "marker", "size", "last_modified", "etag"]
    elif row[2].isdigit() and not row[3].isdigit():
        found = ["bucket", "key", "size", "last_modified", "etag"]
    else:
        found = ["bucket", "key", "version", "size", "last_modified", "etag"]
    return (found + [""] * count)[:count]


class Columns:
    """Takes rows apart. ``fields`` is what each column holds ("": nothing of use).

    ``local``: the table names files (column ``path``), else objects (column ``key``). Raises ConfigError when that
    column is missing; ``names`` are what the columns are called.
    """

    def __init__(self, fields: Sequence[str], names: Sequence[str], label: str, *, local: bool) -> None:
        needed = "path" if local else "key"
        if needed not in fields:
            raise ConfigError(f"{label!r} has no column {needed!r}; its columns are {', '.join(map(repr, names))}")
        for field in FIELDS:
            if fields.count(field) > 1:
                twice = [name for name in names if field_of(name) == field]
                raise ConfigError(
                    f"{label!r} has two columns of one name for {field!r}: {', '.join(map(repr, twice))}; leave one of "
                    "them, and give the other another name"
                )
        self.count = len(fields)
        self.local = local
        self._at = {field: index for index, field in reversed(list(enumerate(fields))) if field}

    def take(self, row: Sequence[Any]) -> tuple[str, Details | Bad] | None:
        """Name and details of a row of text or None; None for what is no current object."""
        if len(row) != self.count:
            return "", Bad(f"it has {number_of(len(row), 'column')}, and the table {self.count}")
        at = self._at
        if "marker" in at and not _no(row[at["marker"]]):
            return None
        latest = "latest" in at
        if latest and _no(row[at["latest"]]):
            return None
        key = row[at["key"]] if "key" in at else ""
        path = row[at["path"]] if "path" in at else ""
        if type(path) is bytes:
            path = path.decode("utf-8", "surrogateescape")
        if type(key) is bytes:
            key = key.decode("utf-8", "surrogateescape")
        name = path if self.local else key
        if name and not isinstance(name, str):
            return "", Bad(f"its {'path' if self.local else 'key'} is no text: {name!r}")
        if not name:
            return "", Bad(f"its {'path' if self.local else 'key'} is empty")
        if not self.local and not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                return name.encode("utf-8", "backslashreplace").decode(), Bad("its key is not UTF-8")
        version = row[at["version"]] if "version" in at else ""
        if version and version != "null" and not latest and not self.local:
            return name, Bad("it names a version, and only current versions can be worked on")
        size = row[at["size"]] if "size" in at else None
        size_bytes = -1
        if size is not None and size != "":
            try:
                size_bytes = int(size)
            except (TypeError, ValueError, OverflowError):
                return name, Bad(f"its size is no number: {size!r:.40}")
            if size_bytes < 0:
                return name, Bad(f"its size is below zero: {size_bytes}")
            if size_bytes > _MOST_BYTES:
                return name, Bad(f"its size is more than any object has: {str(size)[:40]}")
        etag = row[at["etag"]] if "etag" in at else ""
        modified = row[at["last_modified"]] if "last_modified" in at else ""
        bucket = row[at["bucket"]] if "bucket" in at else ""
        return name, Details(
            bucket or "", (key or "") if self.local else "", size_bytes, (etag or "").strip('"'), str(modified or "")
        )


def _no(value: Any) -> bool:
    return str(value).lower() in _NO if value is not None else True
