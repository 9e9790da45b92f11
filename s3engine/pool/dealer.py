"""Which worker gets which tasks: as much as each has room for, batches in turn, suspects alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from s3engine.channel import MOST_FDS
from s3engine.pool.deaths import Deaths
from s3engine.pool.fleet import Fleet
from s3engine.pool.job_table import Job, JobTable
from s3engine.pool.launch import WorkerHandle
from s3engine.pool.messages import CONTEXT, DOUBTFUL, LARGE_KINDS, MEMORY, TASKS, Kind, Task

__all__ = ["Dealer"]

_CHUNK = 64
_FEW = 16  # at a time for a worker that has hardly any: a job of some dozen large files must not go to one worker
_PREFETCH = 64  # tasks a worker holds beyond its share in flight, so that it never waits for the parent


class Dealer:
    """See the module.

    ``share`` is how many requests a worker has in flight, ``max_parts`` how many parts of large objects all have
    together. ``cancel`` ends a job.
    """

    def __init__(
        self, jobs: JobTable, fleet: Fleet, deaths: Deaths, *, share: int, max_parts: int, cancel: Callable[[Job], None]
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._deaths = deaths
        self._share = share
        self._window = 2 * share + _PREFETCH
        self._max_parts = max_parts
        self._cancel = cancel
        self._given: dict[WorkerHandle, list[Task]] = {}
        """In this turn, and not sent yet: one message to each worker, since a message costs as much as ten tasks."""
        self._memory: dict[WorkerHandle, list[tuple[int, int]]] = {}
        """What goes with these: tasks, and the descriptors of their memory."""

    def deal(self) -> None:
        """Give workers what they have room for."""
        self._deal()
        if self._given:
            self._send()

    def _deal(self) -> None:
        if self._fleet.broken is not None:
            self._refuse_all()
            return
        jobs = self._jobs
        if jobs.suspects:
            self._deal_suspect()
        while jobs.again:
            worker = self._roomiest()
            if worker is None:
                return
            count = min(_CHUNK, self._window - len(worker.tasks), len(jobs.again))
            self._give(worker, [jobs.again.popleft() for _ in range(count)])
        parts = sum(worker.large for worker in self._fleet.workers)
        order = jobs.order
        fruitless = 0
        while fruitless < len(order):
            job = order[0]
            order.rotate(-1)
            fruitless += 1
            if job.paused():
                continue
            if parts < self._max_parts:
                for task in job.next_large(self._max_parts - parts):
                    parts += 1
                    self._give(min(self._free(), key=lambda worker: worker.large), [task])
            worker = self._roomiest(job.context.id if job.per_worker else 0)
            if worker is None:
                return
            count = min(_CHUNK if len(worker.tasks) >= 2 * _FEW else _FEW, self._window - len(worker.tasks))
            if job.at_most:  # few for all: the first worker must not get those of the others
                count = min(count, max(1, self._share - len(worker.tasks)))
            if job.per_worker:  # of functions; what else the job asks for goes out whatever it has of these
                job.fresh = max(0, job.per_worker - worker.applying.get(job.context.id, 0))
            tasks = job.next_tasks(count)
            if job.broken and not job.cancelled:
                self._cancel(job)
            if tasks:
                self._give(worker, tasks)
                fruitless = 0

    def _refuse_all(self) -> None:
        error = self._fleet.broken
        assert error is not None
        for job in list(self._jobs.order):
            while tasks := job.next_large(_CHUNK) + job.next_tasks(_CHUNK):
                for task in tasks:
                    self._jobs.fail(task, error)

    def _deal_suspect(self) -> None:
        """One at a time, alone in a worker: its neighbours must not be blamed for what it does."""
        workers = self._fleet.workers
        if any(worker.solo for worker in workers):
            return
        for worker in workers:
            if not worker.tasks:
                worker.solo = True
                self._give(worker, [self._jobs.suspects.popleft()])
                return
        # None is empty: the one with the least to do gets nothing more until it is.
        min(workers, key=lambda worker: len(worker.tasks)).solo = True

    def _free(self) -> list[WorkerHandle]:
        return [worker for worker in self._fleet.workers if not worker.solo] or self._fleet.workers

    def _roomiest(self, applying: int = 0) -> WorkerHandle | None:
        """Who has the least to do; with ``applying``, a context, of those with room who has the fewest of its."""
        workers = [worker for worker in self._fleet.workers if not worker.solo]
        if not workers:
            return None
        if applying:
            able = [one for one in workers if len(one.tasks) < self._window and not one.channel.wants_write]
            return min(able, key=lambda one: one.applying.get(applying, 0)) if able else None
        worker = min(workers, key=lambda worker: len(worker.tasks))
        # What it has not read yet counts: a slow worker must not make the parent's buffer grow.
        full = len(worker.tasks) >= self._window or worker.channel.wants_write
        return None if full else worker

    def _give(self, worker: WorkerHandle, tasks: list[Task]) -> None:
        held = worker.tasks
        known = 0
        for task in tasks:
            held[task[0]] = task
            if task[2] == Kind.APPLY:
                worker.applying[task[1]] = worker.applying.get(task[1], 0) + 1
            elif task[2] in LARGE_KINDS:
                worker.large += 1
                fd = self._jobs.by_context[task[1]].memory.get(task[0])
                if fd is not None:
                    self._memory.setdefault(worker, []).append((task[0], fd))
            if task[1] != known:
                known = task[1]
                if known not in worker.contexts:
                    self._tell(worker, known)
        given = self._given.get(worker)
        if given is None:
            self._given[worker] = tasks
        else:
            given += tasks

    def _tell(self, worker: WorkerHandle, context_id: int) -> None:
        """Tell a worker of a batch whose first task it is about to get."""
        worker.contexts.add(context_id)
        job = self._jobs.by_context[context_id]
        context = next(context for context in job.contexts if context.id == context_id)
        if job.at_most:
            context = dataclasses.replace(context, prompt=True)
        self._fleet.send(worker, (CONTEXT, context))

    def _send(self) -> None:
        send = self._fleet.send
        deaths = self._deaths.by_task
        for worker, found in self._memory.items():
            for at in range(0, len(found), MOST_FDS):
                some = found[at : at + MOST_FDS]
                send(worker, (MEMORY, [task_id for task_id, _ in some]), [os.dup(fd) for _, fd in some])
        self._memory.clear()
        for worker, tasks in self._given.items():
            if deaths:
                send(worker, (DOUBTFUL, [task[0] for task in tasks if task[0] in deaths]))
            send(worker, (TASKS, tasks))
        self._given.clear()
