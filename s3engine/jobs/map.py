"""Map: a function of the caller's on each object, in the function processes; what it returns comes back."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from typing import Any

from s3engine.functions.calls import FunctionCall
from s3engine.functions.results import Packed
from s3engine.jobs.applied import AppliedJob
from s3engine.pool.messages import Kind, Task
from s3engine.report import RequestReport
from s3engine.transport import ObjectInfo

__all__ = ["Keep", "MapJob"]

Keep = Callable[[int, Packed, "mmap.mmap | None"], None]
"""Takes the number of an object, what its function returned, and the memory that belongs to it."""


class MapJob(AppliedJob):
    """``items`` are keys or ObjectInfo. ``keep`` gets each result, before ``emit`` gets its report."""

    operation = "map"

    def __init__(
        self, items: Iterable[Any], bucket: str, call: FunctionCall, emit: Callable[[RequestReport], None],
        keep: Keep, *, verify: bool = False, ask_checksums: bool = False,
    ) -> None:  # fmt: skip
        values = {"bucket": bucket, "function": call, "verify": verify, "ask_checksums": ask_checksums}
        super().__init__(items, values, emit)
        self._keep = keep
        self._results: dict[int, mmap.mmap] = {}

    def admit(self, seq: int, item: Any) -> None:
        """GetObject and the function, all in one worker."""
        info = ObjectInfo(item, -1) if isinstance(item, str) else item
        arg = (info.etag, info.last_modified, None, "", ())
        self.request(Kind.APPLY, info.key, info.size_bytes, arg, self._applied, seq)

    def take_result(self, task_id: int, fd: int) -> None:
        """Large results come as memory."""
        try:
            self._results[task_id] = mmap.mmap(fd, 0)
        finally:
            os.close(fd)

    def _applied(self, seq: int, task: Task, outcome: tuple[Any, ...]) -> None:
        memory = self._results.pop(task[0], None)
        packed = outcome[10][2] if outcome[10] is not None else None
        times = self.learn(outcome, 0 if packed is None else packed.size_bytes)
        if packed is not None and outcome[11] is None:
            self._keep(seq, packed, memory)
        self.tell(seq, task[3], outcome, times)
