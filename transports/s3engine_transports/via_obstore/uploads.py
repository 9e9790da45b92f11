"""PutObject: headers as obstore's attributes, small bodies in one request, large ones in parts that obstore makes."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import obstore

from s3engine.errors import ConfigError, ConnectFailed, NotSupported, RequestError, S3EngineError
from s3engine.transport import Body, FilePart, Headers, PutResult
from s3engine_transports.bodies import PartReader
from s3engine_transports.common import Answer
from s3engine_transports.via_obstore.attempt import Attempt
from s3engine_transports.via_obstore.downloads import ATTRIBUTES

__all__ = ["Room", "upload"]

MIB = 1024 * 1024
# The engine's own threshold and size of parts, so that an object gets the same ETag by any transport.
_WHOLE_BYTES = 16 * MIB
_PART_BYTES = 8 * MIB
_PARTS_AT_ONCE = 4
_MAX_PARTS = 10_000
# A condition can only stand on a whole object, which obstore then holds in memory.
_WHOLE_WITH_CONDITION_BYTES = 64 * MIB
_SMALL_BYTES = MIB
_META = "x-amz-meta-"
_token = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


class Room:
    """Memory for bodies that are on their way. Safe to use from several threads.

    Who needs more than there is waits, and so does who comes later: a large body is not passed by small ones for ever.
    """

    def __init__(self, room_bytes: int = 256 * MIB) -> None:
        self._all = self._free = room_bytes
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._closed = False

    @contextmanager
    def take(self, request: Answer, size_bytes: int) -> Iterator[None]:
        """Hold so many bytes; all there are for what is larger. A few do not count.

        Raises ConnectFailed when it is closed before there is room.
        """
        taken = min(size_bytes, self._all) if size_bytes > _SMALL_BYTES else 0
        if taken:
            self._wait(request, taken)
        try:
            yield
        finally:
            if taken:
                with self._changed:
                    self._free += taken
                    self._changed.notify_all()

    def _wait(self, request: Answer, taken: int) -> None:
        place = object()
        with self._changed:
            self._waiting.append(place)
            try:
                self._changed.wait_for(
                    lambda: self._closed or (self._waiting[0] is place and self._free >= taken)
                )  # fmt: skip
                if self._closed:
                    raise ConnectFailed(f"{request.describe()}: the transport is closed", **request.where())
                self._free -= taken
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()

    def close(self) -> None:
        """Who waits is told; nobody gets room any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Given(NamedTuple):
    """Headers in obstore's terms."""

    attributes: dict[str, str]
    tags: dict[str, str]
    mode: Any


def _given(request: Answer, headers: Headers) -> _Given:
    attributes: dict[str, str] = {}
    tags: dict[str, str] = {}
    mode: Any = None
    seen = set()
    for name, value in headers:
        if _control(value) or not _token(name):
            raise ConfigError(f"header {name!r} must not hold a line break or another control character")
        if name in seen:
            raise ConfigError(f"header {name!r} is there more than once")
        seen.add(name)
        metadata = name.removeprefix(_META)
        if name in ATTRIBUTES:
            attributes[ATTRIBUTES[name]] = value
        elif metadata != name and not any(metadata == other.lower() for other in ATTRIBUTES.values()):
            attributes[metadata] = value
        elif name == "x-amz-tagging":
            tags.update(parse_qsl(value, keep_blank_values=True))
        elif name == "if-none-match" and value == "*":
            mode = "create"
        elif name == "if-match":
            mode = {"e_tag": value}
        else:
            raise NotSupported(
                f"{request.describe()}: obstore cannot send the header {name!r}; use another transport, e.g. raw",
                **request.where(),
            )  # fmt: skip
    return _Given(attributes, tags, mode)


class _Watched(PartReader):
    """Ends with the attempt, and keeps its error: obstore makes an OSError of it."""

    def __init__(self, part: FilePart, attempt: Attempt) -> None:
        super().__init__(part)
        self._attempt = attempt
        self.error: S3EngineError | None = None

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes. Obstore aborts the upload when this raises."""
        try:
            self._attempt.left_s()
            return super().read(size)
        except S3EngineError as error:
            self.error = error
            raise


def upload(begin: Callable[[], Attempt], request: Answer, body: Body, headers: Headers, room: Room) -> PutResult:
    """Send an object. ``begin`` starts the attempt, once there is room for the body.

    Raises ConfigError and NotSupported for headers, SourceError and SourceChanged for files, RequestError.
    """
    given = _given(request, headers)
    size_bytes = body.length if type(body) is FilePart else len(body)
    if given.mode is not None and size_bytes > _WHOLE_WITH_CONDITION_BYTES:
        raise NotSupported(
            f"{request.describe()}: obstore sends a condition with whole objects only, and this one has {size_bytes} "
            "bytes; use another transport, e.g. raw",
            **request.where(),
        )  # fmt: skip
    if size_bytes <= _WHOLE_BYTES or given.mode is not None:
        # Obstore sends bytes from where they are. Of what is read from a file the allocator keeps about as much again.
        with room.take(request, 2 * size_bytes if type(body) is FilePart else 0):
            return _whole(begin(), body, given)
    part_bytes = max(_PART_BYTES, -(-size_bytes // (_MAX_PARTS * MIB)) * MIB)
    with room.take(request, part_bytes * (_PARTS_AT_ONCE + 2)):
        return _in_parts(begin(), body, given, part_bytes)


def _whole(attempt: Attempt, body: Body, given: _Given) -> PutResult:
    if type(body) is FilePart:
        with PartReader(body) as reader:
            data: Any = reader.read()
    else:
        data = body
    answered = attempt.ask(
        obstore.put, attempt.request.key, data, uploads=True, attributes=given.attributes or None,
        tags=given.tags or None, mode=given.mode, use_multipart=False,
    )  # fmt: skip
    return _result(answered)


def _in_parts(attempt: Attempt, body: Body, given: _Given, part_bytes: int) -> PutResult:
    if type(body) is not FilePart:
        return _send_parts(attempt, body, given, part_bytes)
    reader = _Watched(body, attempt)
    with reader:
        try:
            return _send_parts(attempt, reader, given, part_bytes)
        except RequestError:
            if reader.error is not None:
                raise reader.error from None
            raise


def _send_parts(attempt: Attempt, data: Any, given: _Given, part_bytes: int) -> PutResult:
    answered = attempt.in_time(
        lambda store: obstore.put_async(
            store, attempt.request.key, data, attributes=given.attributes or None, tags=given.tags or None,
            use_multipart=True, chunk_size=part_bytes, max_concurrency=_PARTS_AT_ONCE,
        ),
        uploads=True,
    )  # fmt: skip
    return _result(answered)


def _result(answered: Any) -> PutResult:
    return PutResult((answered["e_tag"] or "").strip('"'), "", 200, answered["version"] or "")
