"""What jobs that run a function of the caller's on each object have in common."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any

from s3engine.errors import FunctionUnusable, S3EngineError
from s3engine.functions.logs import Record, give_out
from s3engine.jobs.base import Job
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport

__all__ = ["AppliedJob"]

_FEWEST, _MOST = 2, 256  # one to be done, one to be fetched meanwhile: also at first, while nothing is known
_AHEAD_S = 0.5
"""Of work for each worker: the last ones to finish are not further apart, and answers may take as long."""
_RESULT_BYTES = 128 * 1024 * 1024  # of results that one worker may be making for a caller who does not take them


class AppliedJob(Job):
    """See the module. The tasks are of Kind.APPLY, and ``applied`` is their handler."""

    def __init__(
        self, items: Iterable[Any], context_values: dict[str, Any], emit: Callable[[RequestReport], None]
    ) -> None:
        super().__init__(items, context_values, emit)
        self._mean_s = 0.0
        self._mean_bytes = 0.0
        self.per_worker = _FEWEST

    def next_tasks(self, count: int) -> list[Task]:
        """What its outputs ask for goes out at once; new objects as many as the worker may have."""
        return super().next_tasks(min(count, len(self._ready) + self.fresh))

    # A function that waits for the store keeps its place among ``at_most`` until that has what it made: so what its
    # outputs ask for is not bounded by it.

    @property
    def _room_for_tasks(self) -> int:
        begun = any(task[2] != Kind.APPLY for task in self._ready)
        return max(super()._room_for_tasks, len(self._ready) if begun else 0)

    def _most_parts(self, count: int) -> int:
        return count

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report an object that was not begun."""
        self.report_refused(seq, item if isinstance(item, str) else getattr(item, "key", repr(item)), error)

    def take_result(self, task_id: int, fd: int) -> None:
        """Nobody waits for results."""
        os.close(fd)

    def logged(self, task: Task | None, record: Record) -> None:
        """Handed to the logging, or the warnings, of this process."""
        try:
            give_out(record, "" if task is None else self.url_of(task))
        except Exception as error:  # noqa: BLE001  (a warning that is an error here: handed to the caller)
            self.failure = self.failure or error
            self.broken = True

    def url_of(self, task: Task) -> str:
        """What names its object to the caller."""
        return f"s3://{self.context.bucket}/{task[3]}"

    def learn(self, outcome: tuple[Any, ...], result_bytes: int = 0) -> tuple[float, float]:
        """Of every outcome: how long its function took. Returns function_s and cpu_s."""
        detail, error = outcome[10], outcome[11]
        if isinstance(error, FunctionUnusable):
            self.failure = self.failure or error
            self.broken = True
        if detail is None:
            return 0.0, 0.0
        function_s: float = detail[0]
        self._mean_s += (function_s - self._mean_s) / 8 if self._mean_s else function_s
        self._mean_bytes += (result_bytes - self._mean_bytes) / 8
        # As many objects for each worker as keep it busy for a while, and as their results have room.
        most = max(1.0, _RESULT_BYTES / max(self._mean_bytes, 1.0))
        wanted = min(math.ceil(_AHEAD_S / max(self._mean_s, 1e-6)), most, _MOST)
        self.per_worker = max(int(wanted), min(_FEWEST, int(most)))
        return function_s, detail[1]

    def tell(
        self, seq: int, key: str, outcome: tuple[Any, ...], times: tuple[float, float], *,
        error: S3EngineError | None = None, target: str = "", skipped: str = "",
    ) -> None:  # fmt: skip
        """Emit the report of an object."""
        _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, size, etag, _ = outcome[:11]
        failure, _, verified = outcome[11:]
        error = error or failure
        self.emit(
            RequestReport(
                seq, self.operation, self.context.source_bucket or self.context.bucket, key, size, attempts, success_s,
                total_s, estimate, timeout_s, status, request_id, etag, error, target, "" if error else verified,
                "" if error else skipped, *times,
            )
        )  # fmt: skip
