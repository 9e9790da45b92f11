"""An output of a function that goes to the store in parts, which come while it is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from s3engine.errors import S3EngineError
from s3engine.integrity.choice import Checking
from s3engine.jobs.base import Job
from s3engine.jobs.upload_parts import FileInParts
from s3engine.parts import PartPlan
from s3engine.pool.messages import Kind, Task
from s3engine.sources import FileSource
from s3engine.transport import FilePart, Headers

__all__ = ["OutputInParts"]


class _PartsSoFar(PartPlan):
    """Parts of whatever sizes, as many as there are: a plan that grows, where others are fixed when they are made."""

    __slots__ = ("_ends",)
    _ends: list[int]

    def __init__(self) -> None:
        super().__init__(0, 0, 0)
        object.__setattr__(self, "_ends", [0])

    def add(self, size_bytes: int) -> None:
        """One part more."""
        self._ends.append(self._ends[-1] + size_bytes)
        object.__setattr__(self, "size_bytes", self._ends[-1])
        object.__setattr__(self, "part_bytes", max(self.part_bytes, size_bytes))
        object.__setattr__(self, "count", len(self._ends) - 1)

    def span(self, index: int) -> tuple[int, int]:
        """First and last byte (inclusive) of part ``index``, counted from 0."""
        return self._ends[index], self._ends[index + 1] - 1


class OutputInParts(FileInParts):
    """Begun with its first part, put together after :meth:`seal`. ``stored(size, failed)`` is told of each part.

    Parts are memory of their own, which is let go when the store has it: so it never begins anew.
    """

    __slots__ = ("_after", "_before", "_begun", "_fds", "_sealed", "_stored", "number", "task_id")

    def __init__(
        self, job: Job, task_id: int, number: int, key: str, headers: Headers, checking: Checking | None,
        finished: Callable[[Any, tuple[Any, ...]], None], stored: Callable[[int, int, bool], None],
        before: OutputInParts | None = None,
    ) -> None:  # fmt: skip
        """``before``: one of the same key that was cut off; its upload is to be gone before this one begins, since what
        is looked for among the uploads of a key must not be mistaken for another."""
        super().__init__(job, -1, FileSource("", key), _PartsSoFar(), 0, headers, checking, finished)
        self.task_id = task_id
        """Of the object that it is made of."""
        self.number = number
        self._stored = stored
        self._fds: dict[int, int] = {}
        self._sealed = False
        self._begun = False
        self._before = before
        self._after: Callable[[], None] = _nothing
        self._began_anew = True

    @property
    def is_sealed(self) -> bool:
        """The function has given all of it."""
        return self._sealed

    @property
    def is_over(self) -> bool:
        """Its last word is said."""
        return self._ended

    def add(self, size_bytes: int, fd: int) -> None:
        """One part more."""
        assert isinstance(self.plan, _PartsSoFar)
        index = self.plan.count
        self.plan.add(size_bytes)
        self._fds[index] = fd
        self.etags.append("")
        self._sums.append("")
        if self._ended or self.error is not None:
            self._let_go(index, failed=True)
        elif self.upload_id:
            self.job.composite_ready(self)

    def seal(self) -> None:
        """That was the last one."""
        self._sealed = True
        if self.upload_id and self.error is None and not (self._in_flight or self._more() or self._ended):
            self._completing = True
            self.all_parts_done()

    def begin(self) -> None:
        """Its turn has come."""
        if self._before is not None and not self._before.is_over:
            self._before._after = self.begin
            return
        self._before = None
        self._begun = True
        if self.error is not None:
            self.over(self.error)
        else:
            self.started_at = self.job.clock()
            super().begin()

    def create(self, headers: Any) -> None:
        """Ask for the upload id; nothing is left of an earlier run."""
        self._wanted_headers = headers
        self._ask_for_upload()

    def _created(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        failed_before = self.error
        ledger, self.job.ledger = self.job.ledger, None  # what is in memory no other run can go on with
        try:
            super()._created(state, task, outcome)
        finally:
            self.job.ledger = ledger
        if failed_before is not None and self.upload_id:  # while this was under way
            if self._lost_creates is not None:  # what they look for is ended with this one, once it is known
                self._lost_creates.looked = partial(self.fail, failed_before)
            else:
                self.fail(failed_before)

    def part_task(self, index: int) -> Task:
        """The bytes go with it as memory."""
        size_bytes = self._size_of(index)
        arg = (self.upload_id, index + 1, FilePart("", 0, size_bytes), self._algorithm)
        task = self.job.task(Kind.PART, self.key, size_bytes, arg, self.part_done, index)
        self.job.memory[task[0]] = self._fds[index]
        return task

    def part_done(self, index: int, task: Task, outcome: tuple[Any, ...]) -> None:
        """The store has it, or will not have it."""
        del self.job.memory[task[0]]
        self._let_go(index, failed=outcome[11] is not None)
        super().part_done(index, task, outcome)

    def _let_go(self, index: int, *, failed: bool) -> None:
        os.close(self._fds.pop(index))
        self._stored(self.task_id, self._size_of(index), failed)

    def _size_of(self, index: int) -> int:
        first, last = self.plan.span(index)
        return last + 1 - first

    def all_parts_done(self) -> None:
        """More may come."""
        if self._sealed:
            super().all_parts_done()
        else:
            self._completing = False

    def fail(self, error: S3EngineError) -> None:
        """Ends when what is under way for it is back: parts, and the question for an upload id."""
        if self.error is None:
            self.error = error
        if self._begun and (self.upload_id or self.attempts):
            super().fail(error)

    def over(self, error: S3EngineError | None) -> None:
        """Nothing of it is kept."""
        for index in list(self._fds):
            self._let_go(index, failed=True)
        super().over(error)
        after, self._after = self._after, _nothing
        after()


def _nothing() -> None:
    """Nobody waits for its end."""
