"""The jobs under way as the supervisor sees them, and those of their tasks that no worker holds any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from s3engine.errors import S3EngineError
from s3engine.pool.messages import Context, Kind, Task, cancelled_error

__all__ = ["Job", "JobTable"]


class Job(Protocol):
    """What the supervisor works on; see :class:`s3engine.jobs.base.Job`. Called in the supervisor's thread only."""

    context: Context
    cancelled: bool
    stopped: bool
    broken: bool
    failure: BaseException | None
    turned: Callable[[], None]
    wake: Callable[[], None]
    paused: Callable[[], bool]
    at_most: int
    per_worker: int
    fresh: int
    memory: dict[int, int]
    asides: deque[tuple[int, tuple[Any, ...]]]

    @property
    def contexts(self) -> tuple[Context, ...]: ...
    @property
    def finished(self) -> bool: ...
    def start_reading(self) -> None: ...
    def next_tasks(self, count: int) -> list[Task]: ...
    def next_large(self, count: int) -> list[Task]: ...
    def done(self, task: Task, outcome: tuple[Any, ...]) -> None: ...
    def take_result(self, task_id: int, fd: int) -> None: ...
    def logged(self, task: Task | None, record: Any) -> None: ...
    def output(self, task: Task, message: tuple[Any, ...], fd: int, worker: int) -> None: ...
    def worker_lost(self, task: Task) -> None: ...
    def cancel(self) -> None: ...


class JobTable:
    """See the module. Used in the supervisor's thread only."""

    def __init__(self) -> None:
        self.by_context: dict[int, Job] = {}
        """By the id of each of their contexts."""
        self.order: deque[Job] = deque()
        """The one whose turn it is first."""
        self.again: deque[Task] = deque()
        """Tasks of workers that died, for the others."""
        self.suspects: deque[Task] = deque()
        """Of those, the ones to try alone in a worker."""
        self._ended: dict[int, Callable[[], None]] = {}

    def begin(self, job: Job, ended: Callable[[], None]) -> None:
        """Know a job; ``ended()`` is called when it is over."""
        for context in job.contexts:
            self.by_context[context.id] = job
        self.order.append(job)
        self._ended[job.context.id] = ended
        job.start_reading()

    def is_under_way(self, job: Job) -> bool:
        """Begun, and not over."""
        return job.context.id in self._ended

    def fail(self, task: Task, error: S3EngineError) -> None:
        """Tell a task's job that it failed here, without a word from a worker."""
        self.by_context[task[1]].done(task, _failed_outcome(task, error))

    def fail_cancelled(self, task: Task) -> None:
        """The same for a task that is not waited for any more; a worker that died had it."""
        self.fail(task, cancelled_error(task[2], task[3], begun=True))

    def fail_waiting(self, error: S3EngineError) -> None:
        """The same for all that no worker holds."""
        while self.again or self.suspects:
            self.fail((self.again or self.suspects).popleft(), error)

    def cancel_waiting(self, job: Job) -> None:
        """The same for those of a job that was cancelled."""
        for tasks in (self.again, self.suspects):
            for task in [task for task in tasks if self.by_context[task[1]] is job]:
                tasks.remove(task)
                self.fail_cancelled(task)

    def end(self, job: Job) -> None:
        """A job is finished."""
        self.order.remove(job)
        for context in job.contexts:
            del self.by_context[context.id]
        self._ended.pop(job.context.id)()

    def end_all(self, error: BaseException) -> None:
        """The thread ends by ``error``, and so does every job."""
        for job in list(self.order):
            job.failure = job.failure or error
            self._ended.pop(job.context.id)()


def _failed_outcome(task: Task, error: S3EngineError) -> tuple[Any, ...]:
    detail = [(key, error) for key, _ in task[5]] if task[2] == Kind.DELETE else None
    failure = None if task[2] == Kind.DELETE else error
    return (task[0], 0, 0.0, 0.0, 0.0, 0.0, 0, "", max(task[4], 0), "", detail, failure, "", "")
