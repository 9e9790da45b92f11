"""A task and its batch as a worker has them: what the attempts have in common, and what the tasks have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from s3engine.control.outage import OpenFailures
from s3engine.errors import S3EngineError, SinkError
from s3engine.folders import CAN_KEEP_FOLDERS, OpenFolders
from s3engine.paths import FolderGuard
from s3engine.pool.messages import Context, Kind, Task
from s3engine.pool.own_writes import Looking
from s3engine.pool.room import Room
from s3engine.pool.uploads import Checker
from s3engine.sinks import FileSink, PartSink
from s3engine.stored import ASK, Stored, stored
from s3engine.transport import Body, GetResult, Headers, Timeouts

__all__ = ["Action", "Ended", "Item", "WorkerContext", "abandon", "start_asking", "stop_asking"]


class WorkerContext:
    """A Context as a worker uses it: with its caches."""

    __slots__ = (
        "ask", "bucket", "checker", "content_types", "endpoint", "folders", "fsync", "function", "guard", "headers",
        "id", "prompt", "source_bucket", "source_id", "threshold_bytes", "verify", "wary",
    )  # fmt: skip

    def __init__(self, context: Context, room: Room | None = None, *, from_file: bool = False) -> None:
        self.id = context.id
        self.bucket = context.bucket
        self.source_bucket = context.source_bucket
        self.headers = context.headers
        guess = context.guess_content_type and not any(name == "content-type" for name, _ in context.headers)
        self.content_types: dict[str, Headers] | None = {} if guess else None
        self.guard = FolderGuard(context.root, sync=context.fsync) if context.root else None
        self.folders = OpenFolders(self.guard) if self.guard is not None and CAN_KEEP_FOLDERS else None
        self.threshold_bytes = context.threshold_bytes
        self.fsync = context.fsync
        self.wary = False  # the target's file system has refused a file
        self.checker = None
        if context.checking is not None:
            self.checker = Checker(context.checking, room or Room(), from_file=from_file)
        self.prompt = context.prompt
        self.function = context.function
        self.source_id = context.source.id if context.source is not None else 0
        self.verify = context.verify
        self.ask: Headers = ASK if context.verify and context.ask_checksums else ()
        self.endpoint: Any = None  # where the exchanges of this context went last

    def evidence(self, info: GetResult) -> Stored:
        """What the store says of the bytes of a whole object."""
        return stored(info.headers, info.etag, self.bucket)


NO_FILE = (0, 0, 0)


class Item:
    """A task while a worker has it: what its attempts have in common."""

    # Of the class until they are set: an object that goes well at once needs few of them.
    attempts = 0
    """Requests made."""
    failed = 0
    """Of those, the ones that count against max_attempts."""
    free_used = 0
    paid = 0
    first_at = 0.0
    exchange: Any = None
    sink: Any = None
    body: Body = b""
    held_bytes = 0
    """Of the body, counted in the worker's room."""
    checksum = ""
    """Of the body."""
    trailer = ""
    """The algorithm of one that goes behind the body."""
    doubted = False
    """An ETag may have disproved an earlier attempt."""
    failures: list[tuple[str, S3EngineError]] | None = None
    etag = ""
    file_state = NO_FILE
    """Of the file that was sent: mtime_ns, inode, ctime_ns."""
    error: S3EngineError | None = None
    """Of the last attempt, while it waits for the next."""
    timeouts: Timeouts | None = None
    verdict: Any = None
    stopped = False
    """A task without a request, of a batch that was cancelled."""
    doubtful = False
    """An attempt failed, and the store may have done it all the same."""
    probe = False
    """The attempt under way was let through to find out whether the store is back."""
    looking: Looking | None = None
    open_failures: OpenFailures | None = None
    """Made at the first failure."""
    asking: tuple[int, int] | None = None
    """Kind and size, while it only asks whether the store is well."""
    bytes_per_s = 0.0
    """The estimate that the last attempt was issued with."""
    started_at = 0.0

    def __init__(self, task: Task, context: WorkerContext) -> None:
        self.task_id, _, self.kind, self.key, self.size_bytes, self.arg = task
        self.context = context


class Ended(NamedTuple):
    """What ``end`` adds to an outcome."""

    etag: str = ""
    request_id: str = ""
    status: int = 200
    detail: Any = None
    checksum: str = ""
    verified: str = ""


class Action(NamedTuple):
    """How a kind of task is begun and ended: see :mod:`s3engine.pool.actions`."""

    op: int
    prepare: Callable[[Item], None] | None
    begin: Callable[[Item, Any, Timeouts], Any]
    end: Callable[[Item, Any], Ended]


def start_asking(item: Item) -> None:
    """Turn the item into one that asks whether the store is well."""
    item.asking = item.kind, item.size_bytes
    item.kind = Kind.ASK
    item.size_bytes = 0  # it moves no body


def stop_asking(item: Item) -> None:
    """Back to what the item was."""
    if item.asking is not None:
        item.kind, item.size_bytes = item.asking
        item.asking = None


def abandon(item: Item) -> None:
    """Undo what a task that will not be done left behind on this side."""
    sink = item.sink
    if isinstance(sink, FileSink):
        sink.discard()
        item.context.wary = item.context.wary or sink.failed
    elif isinstance(sink, PartSink):
        with contextlib.suppress(SinkError):  # the task failed already, and by another error
            sink.close()
    item.body = b""
