"""Which job a journal belongs to: texts by name, compared one by one.

What decides what is done, and to what, is compared; how fast or by whom is not. A function cannot be compared: its name
stands for it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from s3engine.errors import JournalMismatch
from s3engine.journal.files import RowPaths
from s3engine.operations import ObjectHeaders, is_secret

__all__ = ["ENGINES_OWN", "Identity", "check_identity", "described", "endpoint_name"]

Identity = Mapping[str, str]
ENGINES_OWN = frozenset((
    "endpoint", "operation", "bucket", "source_bucket", "headers", "guess_content_type", "input", "existing", "folder",
    "path", "key",
))  # fmt: skip
"""Names that the engine gives; all others are a command's."""


def endpoint_name(url: str, region: str) -> str:
    """An endpoint without credentials in it; AWS by its region."""
    if not url:
        return f"AWS {region}"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def described(value: Any) -> str:
    """A setting as text: equal texts for what does the same, as far as that can be known."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, ObjectHeaders):
        return ", ".join(f"{name}: {_open(name, text)}" for name, text in sorted(value.as_headers()))
    known = getattr(value, "identity", None)
    if isinstance(known, str):
        return known
    if isinstance(value, (list, tuple)):
        return _items(value)
    if isinstance(value, functools.partial):
        return described(value.func)
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _items(items: Sequence[Any]) -> str:
    """A list by what tells its items apart, in their order: keys, and paths of files."""
    digest = hashlib.blake2b(digest_size=16)
    normal = RowPaths(os.getcwd())
    for item in items:
        path: Any = getattr(item, "path", "")
        name = item if isinstance(item, str) else getattr(item, "key", "")
        if type(item) is tuple and len(item) > 1:
            path, name = item[:2]
        where = normal(os.fspath(path)) if path and isinstance(path, (str, os.PathLike)) else ""
        digest.update(f"{name}\0{where}\0".encode("utf-8", "surrogatepass"))
    return f"{len(items)} items, {digest.hexdigest()}"


def _open(name: str, value: str) -> str:
    if not is_secret(name):
        return value
    return "sha256 " + hashlib.sha256(value.encode()).hexdigest()[:16]


def check_identity(path: str, recorded: Identity, given: Identity) -> None:
    """Raises JournalMismatch with the first field that differs."""
    for name in (*given, *(name for name in recorded if name not in given)):
        old, new = recorded.get(name, ""), given.get(name, "")
        if old != new:
            raise JournalMismatch(
                f"journal {path!r} belongs to another job: {name} was {old!r} and is {new!r} now. "
                f"{_way(old) if name == 'endpoint' else ''}Repeat the command "
                "it was made by (s3engine journal show tells which), or name another journal for this one",
                field=name, recorded=old, given=new,
            )  # fmt: skip


def _way(endpoint: str) -> str:
    if "://" in endpoint:
        return f"--endpoint-url {endpoint} (or AWS_ENDPOINT_URL) leads there. "
    return f"--region {endpoint.removeprefix('AWS ')} without an endpoint URL leads there. "
