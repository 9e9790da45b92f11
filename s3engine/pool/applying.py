"""An object on its way through a function, as its worker has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from s3engine import checksums
from s3engine.errors import S3EngineError
from s3engine.functions.messages import About
from s3engine.pool.item import WorkerContext
from s3engine.pool.messages import Task
from s3engine.stored import Stored

__all__ = ["Applying", "Chunk", "Stream"]

_NO_OUTCOME = (0, 0, 0.0, 0.0, 0.0, 0.0, 0, "", 0, "", None, None, "", "")


class Applying:
    """A task of Kind.APPLY."""

    __slots__ = (
        "about", "again", "attempts", "cancelled", "context", "done", "error", "first_at", "headers", "key", "local",
        "offset", "outcome", "output_key", "source", "stored", "stream", "task_id", "temporary", "under_way",
        "verified",
    )  # fmt: skip

    def __init__(self, task: Task, contexts: Mapping[int, WorkerContext]) -> None:
        self.task_id, context_id, _, self.key, size_bytes, arg = task
        etag, last_modified, self.local, self.output_key, self.headers = arg
        self.context = contexts[context_id]
        """Of the batch, and of what is stored."""
        self.source = contexts[self.context.source_id] if self.context.source_id else self.context
        """Of what is fetched."""
        self.about = About(self.source.bucket, self.key, size_bytes, etag, last_modified)
        self.again = False
        """A process was worn out when it came to it: this is the second one."""
        self.attempts = 0
        """Requests made."""
        self.first_at = 0.0
        self.outcome: tuple[Any, ...] = _NO_OUTCOME
        """Of the last request that was made for it."""
        self.offset = -1
        """Of its body in the arena; -1: none."""
        self.stream: Stream | None = None
        self.under_way = 0
        """Requests whose outcomes have not come."""
        self.cancelled = False
        self.error: S3EngineError | None = None
        """Why it ends with the last of its requests."""
        self.verified = ""
        self.done: tuple[Any, ...] | None = None
        """What the process said when it had done it: function_s, cpu_s, Packed or None, Made."""
        self.stored: list[tuple[str, int, str, str]] = []
        """Outputs that the store has: key, size, ETag, how that is verified."""
        self.temporary = ""
        """The file that the process is writing."""

    @property
    def begins_again(self) -> bool:
        """A new process may try it: nothing of it is stored, its body is there, and it was not tried again before."""
        function = self.context.function
        return not (self.again or self.cancelled or self.stream or function is None or function.output)

    def ended(self, now: float, error: S3EngineError | None) -> tuple[Any, ...]:
        """Its own outcome."""
        detail = (*self.done, self.stored) if self.done is not None else None
        _, _, success_s, _, bytes_per_s, timeout_s, status, request_id, *_ = self.outcome
        return (
            self.task_id, self.attempts, success_s, now - (self.first_at or now), bytes_per_s, timeout_s, status,
            request_id, max(self.about.size_bytes, 0), self.about.etag, detail, error, "",
            "" if error is not None else self.verified,
        )  # fmt: skip


class Chunk:
    """A range of a large object, in the arena."""

    __slots__ = ("first", "has_come", "offset", "size_bytes")

    def __init__(self, first: int, size_bytes: int, offset: int) -> None:
        self.first = first
        self.size_bytes = size_bytes
        self.offset = offset
        self.has_come = False


class Stream:
    """A large object that comes in ranges, fetched some at a time and handed over in their order."""

    __slots__ = (
        "_chunk_bytes", "_digest", "asked_bytes", "broken", "broken_by", "coming", "expected", "given", "given_bytes",
        "total_bytes",
    )  # fmt: skip

    def __init__(self, total_bytes: int, chunk_bytes: int, expected: Stored) -> None:
        self.total_bytes = total_bytes
        self._chunk_bytes = chunk_bytes
        self.expected = expected
        self._digest = checksums.new(expected.algorithm) if expected.algorithm else None
        self.asked_bytes = 0
        self.broken = False
        """It will not come to its end."""
        self.broken_by: S3EngineError | None = None
        """Why, for whoever is at it."""
        self.coming: deque[Chunk] = deque()
        """Asked for, and not handed over."""
        self.given: deque[Chunk] = deque()
        """Handed over, and not read by the function."""
        self.given_bytes = 0

    @property
    def held(self) -> int:
        """Chunks in the arena."""
        return len(self.coming) + len(self.given)

    @property
    def all_asked(self) -> bool:
        """Nothing more is to be fetched."""
        return self.asked_bytes >= self.total_bytes

    @property
    def all_given(self) -> bool:
        """Nothing more is to be handed over."""
        return self.given_bytes >= self.total_bytes

    def next_size(self) -> int:
        """Bytes of the next chunk to ask for."""
        return min(self._chunk_bytes, self.total_bytes - self.asked_bytes)

    def ask(self, offset: int) -> Chunk:
        """The next chunk, which goes there."""
        chunk = Chunk(self.asked_bytes, self.next_size(), offset)
        self.asked_bytes += chunk.size_bytes
        self.coming.append(chunk)
        return chunk

    def give(self, view: memoryview) -> Chunk:
        """Hand the next one over; ``view`` has its bytes."""
        chunk = self.coming.popleft()
        self.given.append(chunk)
        self.given_bytes += chunk.size_bytes
        if self._digest is not None:
            self._digest.update(view)
        return chunk

    def digest(self) -> bytes:
        """Of all that was handed over, as ``expected`` has it."""
        assert self._digest is not None
        return self._digest.digest()
