"""How a batch is cancelled: at first nothing new, after a grace period what is in flight, in the end the workers."""

from __future__ import annotations

from s3engine.pool.fleet import Fleet
from s3engine.pool.job_table import Job, JobTable
from s3engine.pool.messages import CANCEL, Task

__all__ = ["Cancels"]

_HARD_AGAIN_S = 6.0  # after the hard cancel: deletes, and what was begun since to clean up, are ended too
_HARD_KILL_S = 2.0  # after that: whoever still has something of the batch is killed


class Cancels:
    """See the module. ``grace_s`` is for what is in flight."""

    def __init__(self, jobs: JobTable, fleet: Fleet, grace_s: float) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._grace_s = grace_s
        self._hard: list[tuple[float, int, Job]] = []  # when, how often it came already, what

    def cancel(self, job: Job, now: float) -> None:
        """Begin nothing new of a job; the rest follows by ``tick``."""
        if (job.cancelled and not job.stopped) or not self._jobs.is_under_way(job):
            return
        job.cancel()
        self._jobs.cancel_waiting(job)
        self._send(job, hard=0)
        self._hard.append((now + self._grace_s, 0, job))

    def tick(self, now: float) -> None:
        """A batch is over soon after its grace, whatever a store, a disk or a worker does."""
        if not self._hard:
            return
        jobs = self._jobs
        due = [entry for entry in self._hard if entry[0] <= now and entry[2] in jobs.order]
        self._hard = [entry for entry in self._hard if entry[0] > now]
        for _, stage, job in due:
            self._send(job, hard=2 if stage else 1)
            if stage > 1:
                # A call that nothing can wake (obstore's), a worker that is stopped, a disk that does not answer.
                for worker in self._fleet.workers:
                    if any(jobs.by_context[task[1]] is job for task in worker.tasks.values()):
                        worker.process.kill()
            self._hard.append((now + (_HARD_KILL_S if stage else _HARD_AGAIN_S), stage + 1, job))

    def is_over(self, task: Task) -> bool:
        """Of a batch whose hard cancel has come: what a dead worker had of it is not done again."""
        if not self._hard:
            return False
        job = self._jobs.by_context[task[1]]
        return any(entry[1] and entry[2] is job for entry in self._hard)

    def _send(self, job: Job, *, hard: int) -> None:
        for context in job.contexts:
            for worker in self._fleet.workers:
                if context.id in worker.contexts:
                    self._fleet.send(worker, (CANCEL, context.id, hard))
