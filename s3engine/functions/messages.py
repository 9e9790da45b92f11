"""What crosses between a worker and its function process.

Worker to function process: ``(MEMORY,)`` with the descriptor of the arena, ``(SETUP, context id, FunctionCall)``,
``(RUN, task id, context id, About, offset, size)`` (offset -1: the body comes in chunks),
``(CHUNK, task id, offset, size, last)``, ``(BROKEN_STREAM, task id, error)``, ``(FORGET, context id)``,
``(COLLECT,)``, ``(STOP,)``.
Function process to worker: ``(READY,)``, ``(SET_UP, context id, error | None)``,
``(DONE, task id, function_s, cpu_s, Packed | None, error | None, [offset, ...])``, with a descriptor if ``Packed`` says
so, ``(TAKEN, task id, offset)``, ``(FREED, [offset, ...])``, ``(LOG, task id, record)``.
Offsets in ``DONE`` and ``FREED`` are those of bodies to which nobody refers any more.
"""

from __future__ import annotations

from typing import NamedTuple

from s3engine.transport import Headers

__all__ = [
    "BROKEN_STREAM", "CHUNK", "COLLECT", "DONE", "FORGET", "FREED", "LOG", "MEMORY", "READY", "RUN", "SETUP", "SET_UP",
    "STOP", "TAKEN", "About",
]  # fmt: skip

MEMORY, SETUP, RUN, CHUNK, BROKEN_STREAM, FORGET, COLLECT, STOP, READY, SET_UP, DONE, TAKEN, FREED, LOG = range(14)


class About(NamedTuple):
    """What is known of an object besides its body."""

    bucket: str
    key: str
    size_bytes: int
    etag: str = ""
    last_modified: str = ""
    headers: Headers = ()
    """Of the answer that brought it, names in lower case."""
