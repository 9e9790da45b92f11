"""What becomes of a function's outputs in its process: on to the worker for the store, or into files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from s3engine.errors import ConfigError, S3EngineError
from s3engine.functions import messages as m
from s3engine.functions.calls import FunctionCall
from s3engine.functions.outputs import Output, cut, headers_of, outputs_of, pieces_of
from s3engine.operations import content_type_headers
from s3engine.paths import FolderGuard, safe_relative
from s3engine.sinks import FileSink, temporary_path
from s3engine.transport import Headers
from s3engine.uri import check_key

__all__ = ["Files", "Objects", "Writer"]


class Writer(Protocol):
    """Writes all that a function returned."""

    def write(self, task_id: int, value: Any, key: str, base: Headers, source: Headers | None) -> m.Made:
        """Raises what the function's own code raises, TypeError, and errors of ours."""


def _named(value: Any, key: str) -> Iterator[tuple[str, Output]]:
    """Outputs with their keys. Raises ConfigError for two with one key."""
    seen: set[str] = set()
    for output in outputs_of(value):
        name = output.key or key
        if name in seen:
            raise ConfigError(f"two outputs have the key {name!r}; give each its own: Output(body, key=...)")
        seen.add(name)
        yield name, output


class Objects:
    """Outputs that the worker puts into the store. ``wait`` returns when so many bytes more may be on their way."""

    def __init__(
        self, call: FunctionCall, send: Callable[..., None], wait: Callable[[int], None]
    ) -> None:
        self._call = call
        self._send = send
        self._wait = wait

    def write(self, task_id: int, value: Any, key: str, base: Headers, source: Headers | None) -> m.Made:
        """Small bodies whole, larger ones in parts, while they are made."""
        count = in_parts = 0
        for name, output in _named(value, key):
            check_key(name)
            headers = content_type_headers(name, headers_of(output, base, source), self._call.guess_content_type)
            in_parts += self._store(task_id, count, name, headers, output)
            count += 1
        return m.Made(count, in_parts)

    def _store(self, task_id: int, number: int, key: str, headers: Headers, output: Output) -> bool:
        """Whether it went in parts."""
        in_parts = False
        for part, last in cut(pieces_of(output.body), self._call.part_bytes):
            try:
                self._wait(part.size_bytes)
                if last and not in_parts:
                    inline = part.inline if part.fd < 0 else None
                    self._send((m.PUT, task_id, key, headers, inline, part.size_bytes), _given_away(part))
                    return False
                in_parts = True
                part.into_file()
                self._send((m.PART, task_id, number, key, headers, part.size_bytes), _given_away(part))
            finally:
                part.close()
        self._send((m.END, task_id, number))
        return True


def _given_away(part: Any) -> tuple[int, ...]:
    """Its descriptor, which whoever sends it closes."""
    if part.fd < 0:
        return ()
    fd, part.fd = part.fd, -1
    return (fd,)


class Files:
    """Outputs that go into files below a folder, each under a temporary name until it is whole."""

    def __init__(self, call: FunctionCall, tell: Callable[[int, str], None]) -> None:
        """``tell`` gets each temporary path before it is made: of whom to remove it if this process is killed."""
        self._guard = FolderGuard(call.root)
        self._token = call.token
        self._tell = tell

    def write(self, task_id: int, value: Any, key: str, base: Headers, source: Headers | None) -> m.Made:
        """Raises UnsafeKey, SinkError."""
        files: list[tuple[str, int]] = []
        for name, output in _named(value, key):
            path = self._guard.ready(safe_relative(name))
            # The name belongs to the object, not to the process: whoever does it again writes over what is left of it.
            token = f"{self._token}-{task_id}-{len(files)}"
            self._tell(task_id, temporary_path(path, token))
            sink = FileSink(path, token, 0, S3EngineError)
            try:
                for piece in pieces_of(output.body):
                    sink.write(piece)
                size_bytes = sink.received
                sink.commit()
            except BaseException:
                with contextlib.suppress(S3EngineError):
                    sink.discard()
                raise
            files.append((name, size_bytes))
        return m.Made(len(files), 0, tuple(files))
