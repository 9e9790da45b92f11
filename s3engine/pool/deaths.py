"""Why workers die: by a task, from outside, or since none can live here. Counts alone, no process."""

from __future__ import annotations

import enum
import signal

from s3engine.errors import WorkerCrashed

__all__ = ["Deaths", "Next"]

_SUSPECT_AFTER = 2  # workers that died holding the task among others, before it is tried alone in a third
_SOLO_KILLS = 10  # workers killed from outside while they had it alone, before it is given up
_STILLBORN = 8  # workers in a row that died before they were ready: it will not get better
_FRUITLESS = 60  # that were ready, and died in a row without a single task done by any: the same


class Next(enum.Enum):
    """What comes next for a task whose worker died."""

    AGAIN = "any worker may try it"
    ALONE = "it is tried alone in a worker"
    NEVER = "it kills workers"


class Deaths:
    """See the module."""

    def __init__(self) -> None:
        self.by_task: dict[int, tuple[int, int]] = {}
        """Workers that died with a task among others, and alone. Tasks that are done are taken out by the caller."""
        self._stillborn = 0
        self._fruitless = 0

    def worker_ready(self) -> None:
        """A worker has opened its transport."""
        self._stillborn = 0

    def tasks_done(self) -> None:
        """Outcomes have come."""
        self._fruitless = 0

    def count(self, code: int | None, *, ready: bool, held_tasks: bool) -> WorkerCrashed | None:
        """One worker more has died; an error when it is no use to start others."""
        if not ready and not _from_outside(code):
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                return WorkerCrashed(f"worker processes die before they are ready (last exit code {code})")
        elif ready and held_tasks:
            self._fruitless += 1
            if self._fruitless >= _FRUITLESS:
                text = f"{_FRUITLESS} worker processes in a row died with no task done (last exit code {code})"
                return WorkerCrashed(f"{text}; look at what they wrote to stderr, and at the memory there is")
        return None

    def judge(self, task_id: int, code: int | None, *, alone: bool) -> Next:
        """One worker more has died with this task. ``alone``: it was a suspect, and the worker had nothing else."""
        deaths, solo_kills = self.by_task.get(task_id, (0, 0))
        if alone:
            solo_kills += 1
            guilty = not _from_outside(code) or solo_kills >= _SOLO_KILLS
        else:
            deaths += 1
            guilty = False
        if guilty:
            self.by_task.pop(task_id, None)
            return Next.NEVER
        self.by_task[task_id] = (deaths, solo_kills)
        return Next.ALONE if deaths >= _SUSPECT_AFTER else Next.AGAIN


def _from_outside(code: int | None) -> bool:
    """SIGKILL and SIGTERM come from outside as a rule (an operator, the OOM killer); any other end is its own doing."""
    return code in (-signal.SIGKILL, -signal.SIGTERM)
