"""What crosses between parent and workers. Hot values are plain tuples: they pickle in a third of the time of classes.

Parent to worker: ``(TASKS, [task, ...])``, ``(CONTEXT, Context)``, ``(FORGET, context_id)``,
``(CREDENTIALS, Credentials | None)``, ``(CANCEL, context_id, hard)``, ``(STOP,)``, ``(DOUBTFUL, [task id, ...])``:
these, which follow, were begun by a worker that died; ``(FUNCTION_PROCESS, pid, exit code of the one before)`` with the
descriptor of its channel; ``(MEMORY, [task id, ...])`` with as many descriptors, before these tasks;
``(OUTPUT_STORED, task id, size, whether it failed)``. ``hard`` 0: what has not begun; 1: what is in flight as well, but
for deletes; 2: these too.
Worker to parent: ``(READY,)``, ``(OUTCOMES, [outcome, ...])``, ``(NEED_CREDENTIALS,)``, ``(BROKEN, error)``,
``(NEED_FUNCTION_PROCESS,)``, ``(RESULT, task id)`` with a descriptor, before that task's outcome,
``(LOGGED, task id, record)``, ``(OUTPUT_PART, task id, number, key, headers, size)`` with a descriptor,
``(OUTPUT_END, task id, number)``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from s3engine.errors import Cancelled, S3EngineError
from s3engine.integrity.choice import Checking
from s3engine.transport import Headers

if TYPE_CHECKING:
    from s3engine.functions.calls import FunctionCall

__all__ = [
    "BROKEN",
    "CANCEL",
    "CHANGES",
    "CONTEXT",
    "CREDENTIALS",
    "DOUBTFUL",
    "FORGET",
    "FUNCTION_PROCESS",
    "LARGE_KINDS",
    "LOCAL_KINDS",
    "LOGGED",
    "MEMORY",
    "NEED_CREDENTIALS",
    "NEED_FUNCTION_PROCESS",
    "OUTCOMES",
    "OUTPUT_END",
    "OUTPUT_PART",
    "OUTPUT_STORED",
    "READY",
    "RESULT",
    "STOP",
    "TASKS",
    "WITH_CHECKSUMS",
    "Context",
    "Kind",
    "NeedsParts",
    "Outcome",
    "StoreIsWell",
    "Task",
    "cancelled_error",
    "is_given_up", "path_of",
]  # fmt: skip

TASKS, CONTEXT, FORGET, CREDENTIALS, CANCEL, STOP, READY, OUTCOMES, NEED_CREDENTIALS, BROKEN, DOUBTFUL = range(11)
FUNCTION_PROCESS, NEED_FUNCTION_PROCESS, RESULT, LOGGED, OUTPUT_PART, OUTPUT_END, OUTPUT_STORED, MEMORY = range(11, 19)

Task: TypeAlias = tuple[int, int, int, str, int, Any]
"""(task id, context id, Kind, key, size_bytes or -1, argument). The argument of each Kind stands beside it."""


class Kind:
    """What a task does: plain numbers, since they are compared and pickled by the thousand."""

    PUT_FILE = 0  # (path, Headers or None)
    PUT_BYTES = 1  # (bytes, Headers or None)
    GET_FILE = 2  # (target path below the context's root, expected ETag or "", token of the temporary name)
    GET_PART = 3  # (temporary path, first byte, last byte, ETag, bytes of the object, algorithm or "", path)
    COPY = 4  # (source key, expected ETag or "", Headers or None)
    DELETE = 5  # [(key, expected ETag or ""), ...]
    HEAD = 6  # None; 0: with stored checksums, if the batch verifies; WITH_CHECKSUMS: anyway; or the number of a part
    CREATE = 7  # Headers
    PART = 8  # (upload id, part number, FilePart, algorithm of its checksum or "")
    PART_COPY = 9  # (upload id, part number, source key, first byte, last byte, ETag)
    COMPLETE = 10  # (upload id, [(number, ETag, size, checksum), ...][, whether the whole has one too[, conditions]])
    ABORT = 11  # upload id
    LIST_PARTS = 13  # (upload id, marker)
    GET_BYTES = 12  # expected ETag or ""
    READ_FILE = 14  # (path, algorithm, bytes of a part or 0)
    LIST_UPLOADS = 16  # (key marker, upload id marker)
    ASK = 17  # what a task becomes to find out whether the store is well (control/outage.py)
    FETCH = 18  # Wanted (pool/actions/fetch.py); a worker's own
    APPLY = 19  # (ETag or "", its time or "", path or bytes or None, key of its output, Headers); pool/desk.py does it
    LOOK = 15  # what a PUT_FILE, PUT_BYTES or COPY becomes when it may have been done already (pool/own_writes.py)


WITH_CHECKSUMS = -1
"""Argument of a Kind.HEAD."""
CHANGES = frozenset((Kind.PUT_FILE, Kind.PUT_BYTES, Kind.COPY, Kind.DELETE, Kind.COMPLETE))
"""Tasks after which objects are others than before."""
LARGE_KINDS = frozenset((Kind.PART, Kind.GET_PART, Kind.PART_COPY))
"""Tasks that move a part of a large object: few of them are in flight at a time."""
LOCAL_KINDS = frozenset((Kind.READ_FILE,))
"""Tasks without a request: a lane that must not block carries them out in a thread of their own."""


class Outcome(NamedTuple):
    """What became of a task; crosses as a plain tuple. ``detail`` by Kind: an upload id (CREATE), HeadResult (HEAD),
    ([UploadInfo, ...], key marker, id marker) (LIST_UPLOADS), [(key, error), ...] (DELETE), the body (GET_BYTES), what
    is wrong with the object, or "" (COMPLETE, with ``verified`` "whole" when the answer proves that nothing is left
    out), the checksum (READ_FILE; of the parts' checksums for parts), GetResult (FETCH), (function_s, cpu_s, Packed or
    None, Made, [(key, size, ETag, verified), ...] of what was put) (APPLY)."""

    task_id: int
    attempts: int
    success_s: float
    total_s: float
    estimate_bytes_per_s: float
    timeout_s: float
    status: int
    request_id: str
    size_bytes: int
    etag: str
    detail: Any
    error: S3EngineError | None
    checksum: str = ""
    """Of the bytes that were sent or received: ``"crc32:" + base64``; "" when none was computed."""
    verified: str = ""
    """See RequestReport.verified."""


def is_given_up(kind: int, hard: int) -> bool:
    """Whether a cancel of this hardness ends a request of this kind that is in flight.

    A delete has longer than others: what is gone should be known.
    """
    return hard > 1 or (hard == 1 and kind != Kind.DELETE)


def path_of(fd: int) -> str:
    """A path by which this process can open the file of one of its descriptors anew."""
    return f"/proc/self/fd/{fd}" if os.path.isdir("/proc/self/fd") else f"/dev/fd/{fd}"


def cancelled_error(kind: int, key: str, *, begun: bool) -> Cancelled:
    """For a task that is not waited for any more. ``begun``: a request of it may have reached the store."""
    name = repr(key) if key else "it"
    if begun and kind in CHANGES:
        text = f"cancelled while the request for {name} was under way: it is not known whether the store did it"
        return Cancelled(text, key=key)
    return Cancelled(f"cancelled before {name} was done", key=key)


class NeedsParts(S3EngineError):
    """Not an error to anybody outside: the object is too large for one request, so the parent splits it."""

    size_bytes: int
    mtime_ns: int = 0
    inode: int = 0
    ctime_ns: int = 0
    etag: str = ""
    headers: Headers = ()
    """Of the answer to a GET, which tell the stored checksums."""


class StoreIsWell(S3EngineError):
    """Not an error to anybody outside: the answer to a Kind.ASK."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all tasks of a batch have in common; sent once to each worker."""

    id: int
    bucket: str
    source_bucket: str = ""
    headers: Headers = ()
    guess_content_type: bool = False
    root: str = ""
    """Downloads stay below this folder; absolute."""
    fsync: bool = False
    """Downloads are done when they are on the disk."""
    threshold_bytes: int = 0
    checking: Checking | None = None
    """What is done about the bytes of uploads."""
    verify: bool = False
    """Downloads are compared with what the store says of their bytes."""
    ask_checksums: bool = False
    """The transport can ask for stored checksums."""
    function: FunctionCall | None = None
    """The caller's own, for APPLY."""
    source: Context | None = None
    """Where the objects of APPLY come from, if elsewhere."""
    prompt: bool = False
    """The parent gives no more before it has heard what became of this: tell it soon."""
