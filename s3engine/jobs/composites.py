"""The large objects of a job: few are open at a time, and parts of one go out before those of the next."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from s3engine.pool.messages import Task

__all__ = ["Composite", "Composites"]

_OPEN = 32


class Composite(Protocol):
    """An object that moves in parts: gives its part tasks out one by one."""

    def begin(self) -> None:
        """Ask for what is needed before the first part."""

    @property
    def busy(self) -> bool:
        """No further part now; ask again when one has come back."""

    def take(self) -> Task | None:
        """The next part's task, or None when there is none (left)."""

    def cancel(self) -> None:
        """Stop: no more parts, undo what can be undone."""


class Composites:
    """Those that wait, and those whose parts may be taken. An object is open from its ``begin`` to :meth:`over`."""

    __slots__ = ("_open", "_taking", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Composite] = deque()
        self._taking: deque[Composite] = deque()
        self._open = 0

    @property
    def empty(self) -> bool:
        """Nothing waits, and no part is to be taken."""
        return not self._taking and not self._waiting

    def add(self, composite: Composite) -> None:
        """It waits for its turn to begin."""
        self._waiting.append(composite)

    def begin(self) -> None:
        """Begin as many of those that wait as may be open."""
        while self._waiting and self._open < _OPEN:
            self._open += 1
            self._waiting.popleft().begin()

    def ready(self, composite: Composite) -> None:
        """Its parts may be taken."""
        if composite not in self._taking:  # one that begins anew may still stand there
            self._taking.append(composite)

    def take(self, count: int) -> list[Task]:
        """Up to ``count`` tasks of parts, all of one object before those of the next."""
        tasks: list[Task] = []
        busy: list[Composite] = []
        while self._taking and len(tasks) < count:
            composite = self._taking[0]
            if composite.busy:
                busy.append(self._taking.popleft())
            elif (task := composite.take()) is None:
                self._taking.popleft()
            else:
                tasks.append(task)
        self._taking.extendleft(reversed(busy))
        return tasks

    def over(self) -> None:
        """The last word of one is said."""
        self._open -= 1

    def cancel(self) -> None:
        """Stop all of them."""
        for composite in (*self._taking, *self._waiting):
            composite.cancel()
        self._taking.clear()
        self._waiting.clear()
