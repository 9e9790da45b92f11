"""Delete: DeleteObjects of up to 1000 keys, a report per key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from s3engine.errors import S3EngineError
from s3engine.jobs.base import Job
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport

__all__ = ["MAX_KEYS", "DeleteJob", "KeyDeleter"]

MAX_KEYS = 1000  # of one DeleteObjects
# What XML 1.0 cannot say, and \r, which parsers turn into \n: such keys go alone, in the path of a DeleteObject.
_unsafe = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]").search


class KeyDeleter:
    """Collects keys and sends them together; ``deleted(state, outcome, error)`` is called for each."""

    __slots__ = ("_deleted", "_job", "_keys", "_states")

    def __init__(self, job: Job, deleted: Callable[[Any, tuple[Any, ...], S3EngineError | None], None]) -> None:
        self._job = job
        self._deleted = deleted
        self._keys: list[str] = []
        self._states: list[Any] = []

    @property
    def held(self) -> int:
        """Keys not sent yet."""
        return len(self._keys)

    def add(self, key: str, state: Any) -> None:
        """Delete ``key``, soon."""
        if _unsafe(key):
            self._send([key], [state])
            return
        self._keys.append(key)
        self._states.append(state)
        if len(self._keys) >= MAX_KEYS:
            self.flush()

    def flush(self) -> None:
        """Send what was collected."""
        if self._keys:
            self._send(self._keys, self._states)
            self._keys = []
            self._states = []

    def _send(self, keys: list[str], states: list[Any]) -> None:
        self._job.request(Kind.DELETE, "", 0, keys, self._done, states)

    def _done(self, states: list[Any], task: Task, outcome: tuple[Any, ...]) -> None:
        failed = dict(outcome[10] or ())
        for key, state in zip(task[5], states, strict=True):
            self._deleted(state, outcome, failed.get(key))


class DeleteJob(Job):
    """``items`` are keys or ObjectInfo."""

    operation = "delete"

    def __init__(self, items: Iterable[Any], bucket: str, emit: Callable[[RequestReport], None]) -> None:
        super().__init__(items, {"bucket": bucket}, emit)
        self._deleter = KeyDeleter(self, self._deleted)

    def admit(self, seq: int, item: Any) -> None:
        """Collect."""
        key, size_bytes = (item, 0) if isinstance(item, str) else (item.key, item.size_bytes)
        self._deleter.add(key, (seq, key, size_bytes))

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report a key that was not begun."""
        self.report_refused(seq, item if isinstance(item, str) else getattr(item, "key", repr(item)), error)

    def flush(self) -> None:
        """Send what was collected."""
        self._deleter.flush()

    def pending(self) -> bool:
        """Keys are collected."""
        return self._deleter.held > 0

    def cancel(self) -> None:
        """Collected keys are not deleted any more."""
        self._deleter.flush()
        super().cancel()

    def _deleted(self, state: tuple[int, str, int], outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        seq, key, size_bytes = state
        self.report(seq, key, outcome, error=error, size_bytes=size_bytes)
