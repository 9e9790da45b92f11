"""What crosses between a worker and its function process.

Worker to function process: ``(MEMORY,)`` with the descriptor of the arena, ``(SETUP, context id, FunctionCall)``,
``(RUN, [(task id, context id, About, offset, size, source, key, headers, last), ...])`` (offset -1: the body comes in
chunks, or is the ``source``: a path, or bytes; ``key`` is that of its output; ``last``: it is not to be tried again),
``(CHUNK, task id, offset, size, last)``, ``(BROKEN_STREAM, task id, error)``, ``(STORED, task id, size, whether it
failed)``, ``(FORGET, context id)``, ``(COLLECT,)``, ``(STOP,)``.
Function process to worker: ``(READY,)``, ``(SET_UP, context id, error | None)``, ``(TAKEN, task id, offset)``,
``(DONE, task id, function_s, cpu_s, Packed | None, error | None, [offset, ...], Made)``, with a descriptor if
``Packed`` says so, ``(RETIRED, task id)`` (it does nothing more, and ends; an object that is to be tried again, or 0),
``(PUT, task id, key, headers, bytes | None, size)`` with a descriptor instead of the bytes,
``(PART, task id, number of the output, key, headers, size)`` with one, ``(END, task id, number of the output)``,
``(WRITING, task id, temporary path)``, ``(WAITING, whether it waits for the store)``,
``(FREED, [offset, ...])``, ``(FORGOTTEN, context id)``, ``(LOG, task id, record)``.
Offsets in ``DONE`` and ``FREED`` are those of bodies to which nobody refers any more.
"""

from __future__ import annotations

from typing import NamedTuple

from s3engine.transport import Headers

__all__ = [
    "BROKEN_STREAM", "CHUNK", "COLLECT", "DONE", "END", "FORGET", "FORGOTTEN", "FREED", "LOG", "MEMORY", "PART",
    "PUT", "READY", "RETIRED", "RUN", "SETUP", "SET_UP", "STOP", "STORED", "TAKEN", "WAITING", "WORN_OUT",
    "WRITING", "About", "Made",
]  # fmt: skip

MEMORY, SETUP, RUN, CHUNK, BROKEN_STREAM, FORGET, COLLECT, STOP, READY, SET_UP, DONE, TAKEN, FREED, LOG = range(14)
PUT, PART, END, STORED, WRITING, WAITING, RETIRED, FORGOTTEN = range(14, 22)


WORN_OUT = 76
"""Exit code of a process that had no memory left for its own work, between two functions: no object is to blame."""


class Made(NamedTuple):
    """What a function made of an object, besides what workers were told to store."""

    outputs: int = 0
    """In all."""
    in_parts: int = 0
    """Of those, the ones that go in parts."""
    files: tuple[tuple[str, int], ...] = ()
    """Paths below the folder, and sizes."""


class About(NamedTuple):
    """What is known of an object besides its body."""

    bucket: str
    key: str
    size_bytes: int
    etag: str = ""
    last_modified: str = ""
    headers: Headers = ()
    """Of the answer that brought it, names in lower case."""
