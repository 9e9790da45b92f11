"""What the caller gave: arguments of a wrong type are refused at the call, items of an input each in its own report."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.errors import ConfigError
from s3engine.plain import brief
from s3engine.transport import ObjectInfo
from s3engine.uri import check_key

# Sources and headers are imported where items are looked at: a listing has none to look at (8 ms).
if TYPE_CHECKING:
    from s3engine.sources import Rejected

__all__ = [
    "callable_or", "file_path", "flag", "folder_path", "seconds", "sound_objects", "sound_sources", "template_or",
    "text",
]  # fmt: skip

_CHUNK = 256
_URL = "s3://"
_SURE_CHARACTERS = 256  # whatever they are, they have no more bytes than a key may have


def text(name: str, value: Any) -> str:
    """``value``, a str. Raises ConfigError."""
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {_shown(value)}")
    return value


def flag(name: str, value: Any) -> None:
    """Raises ConfigError for what is neither True nor False: the text "no" would count as true."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, not {_shown(value)}")


def seconds(name: str, value: Any) -> float:
    """A time of 0 or more. Raises ConfigError, also for NaN, which is below no other number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"{name} must be a number of seconds, 0 or more, not {_shown(value)}")
    return value


def file_path(name: str, value: Any) -> str:
    """The path of a file. Raises ConfigError."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ConfigError(f"{name} must be the path of a file, as text or pathlib.Path, not {_shown(value)}")
    return path


def folder_path(value: Any) -> str:
    """The path of a folder. Raises ConfigError."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError(f"folder must be the path of a folder, as text or pathlib.Path, not {_shown(value)}")
    return path


def callable_or(name: str, value: Any) -> None:
    """Raises ConfigError for what is neither None nor a function."""
    if value is not None and not callable(value):
        raise ConfigError(f"{name} must be a function, not {_shown(value)}")


def template_or(value: Any) -> None:
    """Raises ConfigError for what is neither None, ObjectHeaders nor a function."""
    from s3engine.operations import ObjectHeaders

    if value is not None and not isinstance(value, ObjectHeaders) and not callable(value):
        raise ConfigError(f"template must be ObjectHeaders or a function that returns them, not {_shown(value)}")


def sound_objects(objects: Any, bucket: str = "") -> Iterable[Any]:
    """Keys and ObjectInfo; what is neither, or no key, comes out as Rejected, as does a URL of another ``bucket``.

    URLs (``s3://bucket/key``) come out as keys.

    An input with marks (a listing, names from a file), or a walk, makes its items itself and is taken as it is. Raises
    ConfigError for what is no input.
    """
    return objects if _input(objects, "keys") else _sound(objects, functools.partial(_objects, bucket=bucket))


def sound_sources(sources: Any) -> Iterable[Any]:
    """FileSource, BytesSource and (path, key) pairs; see ``sound_objects``."""
    return sources if _input(sources, "sources") else _sound(sources, _sources)


class _Sound:
    """Iterates anew as often as what it is around."""

    def __init__(self, items: Iterable[Any], look: Any) -> None:
        self._items = items
        self._look = look

    def __iter__(self) -> Iterator[Any]:
        return self._look(self._items)  # type: ignore[no-any-return]


class _SoundList(_Sound):
    """Around a list, whose items are all there: many at a time are cheaper to read (jobs/reader.py)."""

    def chunks(self) -> Iterator[list[Any]]:
        """The items, many at a time."""
        items: Any = self._items
        at = 0
        while at < len(items):  # asked anew: somebody may append meanwhile
            chunk = items[at : at + _CHUNK]
            at += len(chunk)
            yield list(self._look(chunk))


def _sound(items: Iterable[Any], look: Any) -> _Sound:
    # Exactly these: what is derived from them may give others when it is iterated than when it is sliced.
    return (_SoundList if type(items) in (list, tuple) else _Sound)(items, look)


def _input(items: Any, what: str) -> bool:
    """Whether ``items`` has marks, or is a walk: then all of it is sound. Raises ConfigError."""
    if isinstance(items, (str, bytes)):  # iterable too, and a delete of its letters is no joke
        raise ConfigError(f"the input is the one text {items!r}; give a list: [...]")
    if not hasattr(items, "__iter__") and not hasattr(items, "__getitem__"):
        raise ConfigError(f"the input must be {what} from any iterable, not {_shown(items)}; give a list: [...]")
    return hasattr(items, "marked") or hasattr(items, "leave_out")


def _objects(items: Iterable[Any], bucket: str) -> Iterator[Any]:
    from s3engine.sources import Rejected

    for item in items:
        kind = type(item)
        if kind is ObjectInfo:
            good = type(item[0]) is str and item[0] and type(item[1]) is int
        else:
            good = kind is str and 0 < len(item) <= _SURE_CHARACTERS and item.isascii() and item[:5] != _URL
        yield item if good or kind is Rejected else _object(item, bucket)


def _object(item: Any, bucket: str) -> Any:
    """An item that is not what nearly all of them are."""
    from s3engine.sources import Rejected

    if isinstance(item, ObjectInfo):
        if not isinstance(item.key, str) or not item.key:
            return _rejected(item, "its key is no text, or empty")
        return item if isinstance(item.size_bytes, int) else _rejected(item, "its size is no number; -1: not known")
    if isinstance(item, Rejected):
        return item
    if not isinstance(item, str):
        return _rejected(item, "give a key as text (of a path: str(path)), or an ObjectInfo")
    if item.startswith(_URL) and bucket:
        if not item.startswith(f"{_URL}{bucket}/"):
            text = f"{item} is not in the bucket {bucket!r} of this batch; for a key of such a name give an ObjectInfo"
            return Rejected(item, ConfigError(text))
        item = item[len(_URL) + len(bucket) + 1 :]
    return _with_key(item, item)


def _sources(items: Iterable[Any]) -> Iterator[Any]:
    from s3engine.sources import BytesSource, FileSource

    for item in items:
        kind = type(item)
        if kind is FileSource or kind is BytesSource:
            good = type(item[0]) is (str if kind is FileSource else bytes) and type(item[1]) is str and item[2] is None
            yield item if good else _source(item)
        elif (
            kind is tuple and len(item) == 2 and type(item[0]) is str and type(item[1]) is str
            and 0 < len(item[1]) <= _SURE_CHARACTERS and item[1].isascii()
        ):  # fmt: skip
            yield FileSource(*item)
        else:
            yield _source(item)


def _source(item: Any) -> Any:
    from s3engine.operations import ObjectHeaders
    from s3engine.sources import BytesSource, FileSource, Rejected

    if isinstance(item, Rejected):
        return item
    if not isinstance(item, (FileSource, BytesSource)):
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            return _rejected(item, "give FileSource, BytesSource or pairs of path and key")
        item = FileSource(*item)
    body, key, headers = item
    if isinstance(item, BytesSource):
        if not isinstance(body, (bytes, bytearray, memoryview)):
            return _rejected(item, f"its data is {type(body).__name__}, not bytes; of text give text.encode()")
    elif not isinstance(body, (str, bytes, os.PathLike)):
        return _rejected(item, "its path is neither text nor pathlib.Path")
    if headers is not None and not isinstance(headers, ObjectHeaders):
        return _rejected(item, "its headers are no ObjectHeaders")
    return _with_key(item, key)


def _with_key(item: Any, key: Any) -> Any:
    from s3engine.sources import Rejected

    try:
        check_key(key)
    except ConfigError as error:
        return Rejected(key if isinstance(key, str) else _shown(key), error)
    return item


def _rejected(item: Any, why: str) -> Rejected:
    from s3engine.sources import Rejected

    return Rejected(_shown(item), ConfigError(f"the input gave {_shown(item)}: {why}"))


def _shown(value: Any) -> str:
    return brief(repr(value), 200)
