"""An input item as a row of the journal, and back."""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

from s3engine import errors
from s3engine.errors import S3EngineError, TransferError
from s3engine.journal.store import BYTES, FILE, INFO, KEY, REJECTED
from s3engine.operations import ObjectHeaders
from s3engine.sources import BytesSource, FileSource, Rejected
from s3engine.transport import ObjectInfo

__all__ = ["Row", "error_from", "item_again", "item_from", "row_of", "sql_text", "text_from"]

Row = tuple[int, Any, Any, int, str, str, int]
"""kind, key, path, size in bytes (-1: not known), etag, extra (JSON), hash of what tells items apart."""


def sql_text(text: str) -> str | bytes:
    """``text`` as SQLite takes it: names of files that are not Unicode go as bytes."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def text_from(value: str | bytes) -> str:
    """The inverse of ``sql_text``."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def _hash(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def row_of(item: Any, normal: Callable[[str], str]) -> Row:
    """The row of an item. ``normal`` gives the one spelling of a path, by which a later run knows the item."""
    kind = type(item)
    if kind is ObjectInfo:
        extra = json.dumps([item.last_modified, item.storage_class]) if item.last_modified else ""
        return INFO, sql_text(item.key), "", item.size_bytes, item.etag, extra, _hash(item.key)
    if kind is str:
        return KEY, sql_text(item), "", -1, "", "", _hash(item)
    if kind is tuple and len(item) in (2, 3):
        item = FileSource(*item)
        kind = FileSource
    if kind is FileSource:
        headers = item.headers
        path = normal(os.fspath(item.path))
        if isinstance(item.key, str) and (headers is None or not headers.has_secret):
            extra = "" if headers is None else json.dumps(_fields(headers))
            return FILE, sql_text(item.key), sql_text(path), -1, "", extra, _hash(f"{item.key}\0{path}")
    # A body in memory, a key of the customer's own encryption: the journal cannot (or must not) hold it.
    given = item.key if isinstance(item, (BytesSource, FileSource)) else item  # never the body
    key = given if isinstance(given, str) else repr(given)
    return BYTES, sql_text(key), "", -1, "", "", _hash(key)


def item_from(kind: int, key: Any, path: Any, size: int, etag: str, extra: str) -> Any:
    """The item of a row that is not of kind BYTES or REJECTED."""
    name = text_from(key)
    if kind == INFO:
        return ObjectInfo(name, size, etag, *(json.loads(extra) if extra else ()))
    if kind == KEY:
        return name
    headers = None
    if extra:
        headers = ObjectHeaders(**json.loads(extra))
    return FileSource(text_from(path), name, headers)


def item_again(
    kind: int, key: Any, path: Any, size: int, etag: str, extra: str, error: str | None, message: Any, *,
    taken_as_it_is: bool,
) -> Any:  # fmt: skip
    """The item for another run of a row that is not done. ``taken_as_it_is``: what is there by now will do."""
    # Of two with one target the first one stands, in this run too.
    if kind == REJECTED or error == "DuplicateKey":
        text = text_from(message or "rejected when the input was read")
        return Rejected(text_from(key), error_from(error or "TransferError", text))
    if kind == INFO and error == "PreconditionFailed" and taken_as_it_is:
        return ObjectInfo(text_from(key), -1)
    return item_from(kind, key, path, size, etag, extra)


def rejected_row(key: str) -> Row:
    """The row of an item that could not be begun."""
    return REJECTED, sql_text(key), "", -1, "", "", _hash(key)


def error_from(name: str, message: str) -> S3EngineError:
    """An error as it is in the journal: its class and its line."""
    found = getattr(errors, name, None)
    if isinstance(found, type) and issubclass(found, S3EngineError):
        return found(message)
    return TransferError(f"{name}: {message}")


def _fields(headers: ObjectHeaders) -> dict[str, Any]:
    """Only what is set; mappings as dicts."""
    found = {field.name: getattr(headers, field.name) for field in dataclasses.fields(headers)}
    return {name: value if isinstance(value, str) else dict(value) for name, value in found.items() if value}
