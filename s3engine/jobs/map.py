"""Map: a function of the caller's on each object, in the function processes; what it returns comes back."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterable
from typing import Any

from s3engine.errors import FunctionUnusable, S3EngineError
from s3engine.functions.calls import FunctionCall
from s3engine.functions.logs import Record, give_out
from s3engine.functions.results import Packed
from s3engine.jobs.base import Job
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.transport import ObjectInfo

__all__ = ["Keep", "MapJob"]

Keep = Callable[[int, Packed, "mmap.mmap | None"], None]
"""Takes the number of an object, what its function returned, and the memory that belongs to it."""

_AT_FIRST = 16
_FEWEST, _MOST = 4, 256
_AHEAD_S = 0.5
"""Of work for each worker: the last ones to finish are not further apart, and answers may take as long."""
_RESULT_BYTES = 128 * 1024 * 1024  # of results that workers may be making for one caller who does not take them


class MapJob(Job):
    """``items`` are keys or ObjectInfo. ``keep`` gets each result, before ``emit`` gets its report."""

    operation = "map"

    def __init__(
        self, items: Iterable[Any], bucket: str, call: FunctionCall, emit: Callable[[RequestReport], None],
        keep: Keep, *, verify: bool = False, ask_checksums: bool = False,
    ) -> None:  # fmt: skip
        values = {
            "bucket": bucket, "function": call, "verify": verify, "ask_checksums": ask_checksums, "prompt": True,
        }  # fmt: skip
        super().__init__(items, values, emit)
        self._keep = keep
        self._memory: dict[int, mmap.mmap] = {}
        self._mean_s = 0.0
        self._mean_bytes = 0.0
        self.per_worker = _AT_FIRST

    def admit(self, seq: int, item: Any) -> None:
        """GetObject and the function, all in one worker."""
        info = ObjectInfo(item, -1) if isinstance(item, str) else item
        self.request(Kind.APPLY, info.key, info.size_bytes, (info.etag, info.last_modified), self._applied, seq)

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report an object that was not begun."""
        self.report_refused(seq, item if isinstance(item, str) else getattr(item, "key", repr(item)), error)

    def take_result(self, task_id: int, fd: int) -> None:
        """Large results come as memory."""
        try:
            self._memory[task_id] = mmap.mmap(fd, 0)
        finally:
            os.close(fd)

    def logged(self, task: Task | None, record: Record) -> None:
        """Handed to the logging, or the warnings, of this process."""
        try:
            give_out(record, "" if task is None else f"s3://{self.context.bucket}/{task[3]}")
        except Exception as error:  # noqa: BLE001  (a warning that is an error here: handed to the caller)
            self.failure = self.failure or error
            self.broken = True

    def _applied(self, seq: int, task: Task, outcome: tuple[Any, ...]) -> None:
        memory = self._memory.pop(task[0], None)
        _, attempts, success_s, total_s, estimate, timeout_s, status, request_id, size, etag, detail = outcome[:11]
        error, _, verified = outcome[11:]
        function_s, cpu_s, packed = detail if detail is not None else (0.0, 0.0, None)
        if detail is not None:
            self._adapt(function_s, 0 if packed is None else packed.size_bytes)
        if isinstance(error, FunctionUnusable):
            self.failure = self.failure or error
            self.broken = True
        if error is None:
            assert packed is not None
            self._keep(seq, packed, memory)
        self.emit(
            RequestReport(
                seq, self.operation, self.context.bucket, task[3], size, attempts, success_s, total_s, estimate,
                timeout_s, status, request_id, etag, error, "", verified, "", function_s, cpu_s,
            )
        )  # fmt: skip

    def _adapt(self, function_s: float, result_bytes: int) -> None:
        """As many objects for each worker as keep it busy for a while, and as their results have room."""
        self._mean_s += (function_s - self._mean_s) / 8 if self._mean_s else function_s
        self._mean_bytes += (result_bytes - self._mean_bytes) / 8
        most = max(1.0, _RESULT_BYTES / max(self._mean_bytes, 1.0))
        wanted = min(math.ceil(_AHEAD_S / max(self._mean_s, 1e-6)), most, _MOST)
        self.per_worker = max(int(wanted), min(_FEWEST, int(most)))
