"""PutObject, of a file and of bytes."""

from __future__ import annotations

import os
import stat
import time
from typing import Any

from s3engine.control.estimator import OpClass
from s3engine.errors import SourceChanged
from s3engine.file_body import check_regular, source_error
from s3engine.operations import content_type_headers
from s3engine.pool.item import Action, Ended, Item
from s3engine.pool.messages import Kind, NeedsParts
from s3engine.report import LENGTH_ONLY
from s3engine.transport import FilePart, Headers, Timeouts

__all__ = ["ACTIONS", "end_put"]

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_IN_MEMORY_BYTES = 256 * 1024  # below this a body is read in one call and sent with its head
_new = tuple.__new__
_TICKS_NS = 20_000_000  # two ticks of the slowest clock that Linux is built with (100 a second)


def _extra_headers(item: Item, path: str, own: Headers | None) -> Headers:
    context = item.context
    headers = context.headers if own is None else own
    types = context.content_types
    if types is None or (own is not None and any(name == "content-type" for name, _ in own)):
        return headers
    suffix = path[path.rfind(".") :]  # what guess_type goes by, but for compression: foo.tar.gz
    cached = types.get(suffix) if own is None else None
    if cached is None:
        cached = content_type_headers(path, headers, True)
        if own is None and len(types) < 1000:
            types[suffix] = cached
    return cached


def _open_source(item: Item) -> None:
    path = item.arg[0]
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer.
        fd = os.open(path, _OPEN_FLAGS)
        try:
            status = os.fstat(fd)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode):
                check_regular(path, status)
            if size > item.context.threshold_bytes:
                raise NeedsParts(
                    "large", size_bytes=size, mtime_ns=status.st_mtime_ns, inode=status.st_ino,
                    ctime_ns=status.st_ctime_ns,
                )  # fmt: skip
            data = _read_whole(fd, status, path) if size <= _IN_MEMORY_BYTES else b""
        finally:
            os.close(fd)
    except OSError as error:
        raise source_error(path, error) from None
    checker = item.context.checker
    if size > _IN_MEMORY_BYTES:
        part = FilePart(path, 0, size, status.st_mtime_ns, size, status.st_ino, status.st_ctime_ns)
        if checker is None:
            item.body = part
        else:
            checker.hold(item, part, checker.whole, whole=True)
    else:
        item.body = data
    item.size_bytes = size
    item.file_state = (status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _read_whole(fd: int, before: os.stat_result, path: str) -> bytes:
    """A small file that is the same before and after it is read. Raises SourceChanged, OSError."""
    size = before.st_size
    data = os.read(fd, size + 1)
    after = os.fstat(fd)
    # Times of files go by ticks of some milliseconds: within one, only the bytes tell whether they were changed.
    if (
        len(data) == size == after.st_size
        and after.st_mtime_ns == before.st_mtime_ns
        and (time.time_ns() - after.st_mtime_ns > _TICKS_NS or os.pread(fd, size + 1, 0) == data)
    ):
        return data
    raise SourceChanged(f"{path!r} changed while it was read; send it again when it is at rest", path=path)


def _begin_put(item: Item, api: Any, timeouts: Timeouts) -> Any:
    arg = item.arg
    return _put(item, api, _extra_headers(item, arg[0], arg[1]), timeouts)


def _put(item: Item, api: Any, headers: Headers, timeouts: Timeouts) -> Any:
    context = item.context
    checker = context.checker
    if checker is not None:
        headers = checker.headers(item, headers, checker.whole)
        if item.trailer:
            return api.put_object(
                context.bucket, item.key, item.body, headers, trailer=item.trailer, timeouts=timeouts
            )
    return api.put_object(context.bucket, item.key, item.body, headers, timeouts=timeouts)


def _open_bytes(item: Item) -> None:
    item.body = item.arg[0]
    item.size_bytes = len(item.body)


def _begin_put_bytes(item: Item, api: Any, timeouts: Timeouts) -> Any:
    return _put(item, api, _extra_headers(item, item.key, item.arg[1]), timeouts)


def end_put(item: Item, result: Any) -> Ended:
    """What was proven of the body."""
    checker = item.context.checker
    checksum, verified = checker.proven(item, result) if checker is not None else ("", LENGTH_ONLY)
    item.body = b""
    # As a tuple: a NamedTuple's own way to be made takes three times as long.
    return _new(Ended, (result.etag, result.request_id, result.status, item.file_state, checksum, verified))


ACTIONS = {
    Kind.PUT_FILE: Action(OpClass.PUT, _open_source, _begin_put, end_put),
    Kind.PUT_BYTES: Action(OpClass.PUT, _open_bytes, _begin_put_bytes, end_put),
}
