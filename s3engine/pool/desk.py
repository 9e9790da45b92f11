"""Tasks of Kind.APPLY in a worker: their bodies are fetched into an arena, and its function process does the rest.

The desk makes requests of its own for them (numbered below 0), which go through the worker's lane like any others:
retries, budget, timeouts and all. Memory bounds how far it fetches ahead: objects get room in the order in which they
came, so that one which needs more is never overtaken for ever.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from s3engine.errors import FunctionUnusable, S3EngineError
from s3engine.file_body import check_regular, source_error
from s3engine.functions import messages as m
from s3engine.functions.arena import Arena
from s3engine.pool.applying import Applying
from s3engine.pool.bodies import Bodies
from s3engine.pool.core import Core
from s3engine.pool.function_link import FunctionLink
from s3engine.pool.messages import LOGGED, NEED_FUNCTION_PROCESS, RESULT, Kind, Task, cancelled_error
from s3engine.pool.outgoing import Outgoing

__all__ = ["Desk"]

_STOCK_S = 0.1
_STOCK_FETCHES = 4
_MOST_LOGS_BYTES = 4 * 1024 * 1024  # that wait for the parent; more records are dropped

Handler = Callable[[Applying, tuple[Any, ...], Any, float], None]


class Desk:
    """See the module. ``lane`` makes the requests, ``channel`` leads to the parent."""

    def __init__(self, core: Core, lane: Any, channel: Any, poller: Any, buffer_bytes: int) -> None:
        self._core = core
        self._lane = lane
        self._channel = channel
        self._arena = Arena(buffer_bytes)
        self.link = FunctionLink(self._arena, poller, lambda: channel.send((NEED_FUNCTION_PROCESS,)))
        self._bodies = Bodies(self, self._arena)
        self._outgoing = Outgoing(self, channel)
        self._ids = itertools.count(-1, -1)
        self._requests: dict[int, tuple[Applying, Handler, Any]] = {}
        self.under_way: dict[int, Applying] = {}
        """All that it has, by task."""
        self.waiting: deque[Applying] = deque()
        """For room."""
        self.ready: deque[Applying] = deque()
        """Their bodies are there, or have begun to come."""
        self._held: set[int] = set()
        """Bodies of objects that are done, to which the function still refers."""
        self._asked_to_collect = False
        self._fetch_s = 0.0
        self._moved = False
        """Something came since it was last seen to."""
        self._unusable: dict[int, FunctionUnusable] = {}
        self._outcomes: list[tuple[Any, ...]] = []

    @property
    def fds(self) -> tuple[int, int]:
        """What events of the function process come on."""
        return self.link.fds

    @property
    def idle(self) -> bool:
        """Nothing to do and nothing under way."""
        return not self.under_way

    # ---- from the parent

    def submit(self, tasks: list[Task]) -> None:
        """Take tasks of Kind.APPLY."""
        for task in tasks:
            applying = Applying(task, self._core.contexts)
            self.under_way[applying.task_id] = applying
            self.waiting.append(applying)

    def process_came(self, message: tuple[Any, ...], now: float) -> None:
        """The parent has started a function process."""
        _, pid, exitcode = message
        link = self.link
        lost = link.mourned
        if lost is not None:
            link.mourned = None
            why = link.why(lost, exitcode)
            if exitcode == m.WORN_OUT and lost.begins_again:
                lost.again = True
                self.ready.appendleft(lost)
            else:
                self.failed(lost, why, now)
        link.came(pid, self._channel.fds.popleft())
        for context_id in {one.context.id for one in self.under_way.values()}:
            error = link.unusable(context_id, exitcode)
            if error is not None:
                self._give_up(context_id, error, now)

    def cancel(self, context_id: int, hard: int, now: float) -> None:
        """Drop what has not begun; ``hard``: the function under way as well."""
        given = self.link.given
        for applying in [one for one in self.under_way.values() if one.context.id == context_id]:
            if applying in given:
                applying.cancelled = bool(hard)  # what the process has, it may do, while there is time
                if hard and given[0] is applying:
                    self.link.cancel()
            elif applying.done is None:
                self._drop(applying, now)

    def forget(self, context_id: int) -> None:
        """A batch is over."""
        self.link.forget(context_id, self._core.clock())
        self._unusable.pop(context_id, None)

    # ---- requests of its own

    def request(
        self, applying: Applying, kind: int, key: str, arg: Any, size_bytes: int, handler: Handler, extra: Any = None,
    ) -> None:  # fmt: skip
        """Make one; ``handler(applying, outcome, extra, now)`` gets what becomes of it."""
        number = next(self._ids)
        self._requests[number] = (applying, handler, extra)
        applying.under_way += 1
        applying.first_at = applying.first_at or self._core.clock()
        context = applying.source if kind in (Kind.FETCH, Kind.HEAD) else applying.context
        self._lane.submit([(number, context.id, kind, key, size_bytes, arg)])

    def sift(self, outcomes: list[tuple[Any, ...]], now: float) -> list[tuple[Any, ...]]:
        """Take the outcomes of its own requests; returns the others, and those of its tasks."""
        others = []
        for outcome in outcomes:
            request = self._requests.pop(outcome[0], None)
            if request is None:
                others.append(outcome)
                continue
            applying, handler, extra = request
            applying.under_way -= 1
            self._moved = True
            if outcome[1]:
                # One more than what was tried again, however many requests an object takes.
                applying.attempts = max(applying.attempts, 1) + outcome[1] - 1
            applying.outcome = outcome
            self._fetch_s += (outcome[3] - self._fetch_s) / 8
            handler(applying, outcome, extra, now)
        others += self._outcomes
        self._outcomes = []
        return others

    # ---- the process

    def on_event(self, now: float) -> None:
        """Something came from the function process, or it has room."""
        link = self.link
        if link.fd < 0:
            return  # it was heard of by the other of its two descriptors
        said, ended = link.receive()
        for message in said:
            code = message[0]
            if code == m.DONE:
                self._done(message, now)
            elif code == m.TAKEN:
                self._bodies.taken(message[1], message[2], now)
            elif code == m.LOG:
                if self._channel.unsent_bytes < _MOST_LOGS_BYTES:
                    self._channel.send((LOGGED, message[1], message[2]))
            elif code == m.FREED:
                self._let_go(message[1])
                self._collected()
            elif code == m.SET_UP:
                link.set_up(message[1], able=message[2] is None)
                if message[2] is not None:
                    self._give_up(message[1], message[2], now)
            elif code == m.READY:
                link.ready()
            elif code == m.FORGOTTEN:
                link.forgotten(message[1])
            elif code == m.RETIRED:
                if message[1]:
                    self.under_way[message[1]].again = True
                link.retires(now)
            elif code == m.WAITING:
                link.waits(message[1], now)
            else:
                self._outgoing.take(message)
        if ended:
            self._buried(now)

    def stored(self, message: tuple[Any, ...]) -> None:
        """The parent has had a part of an output stored, or could not."""
        self.link.stored(*message[1:])

    def _done(self, message: tuple[Any, ...], now: float) -> None:
        _, task_id, function_s, cpu_s, packed, error, freed, made = message
        applying = self.link.done(function_s, now)
        assert applying.task_id == task_id
        if packed is not None and packed.sizes:
            self._channel.send((RESULT, task_id), [self.link.take_fd()])
        if applying.offset >= 0:
            self._held.add(applying.offset)
            applying.offset = -1
        self._let_go(freed)
        applying.done = (function_s, cpu_s, packed, made)
        self._bodies.over(applying)
        applying.error = applying.error or error
        self.settle(applying, now)

    def _let_go(self, offsets: list[int]) -> None:
        for offset in offsets:
            self._held.discard(offset)
            self._arena.give_back(offset)

    def _collected(self) -> None:
        """It has let go of what it could; if that does not do, a new process refers to nothing."""
        self._asked_to_collect = False
        if self._held:
            self.link.cancel()

    def _buried(self, now: float) -> None:
        rest = self.link.buried()
        lost = self.link.mourned
        if lost is not None:
            self._bodies.over(lost)
        if lost is not None and lost.temporary:
            with contextlib.suppress(OSError):  # it has its name already, or was never made
                os.unlink(lost.temporary)
        for applying in reversed(rest):
            if applying.cancelled:
                self.settle(applying, now)
            else:
                self.ready.appendleft(applying)
        for offset in self._held:
            self._arena.give_back(offset)
        self._held.clear()
        self._asked_to_collect = False
        self.link.want()

    def _give_up(self, context_id: int, error: FunctionUnusable, now: float) -> None:
        """No process can do it."""
        self._unusable[context_id] = error
        for applying in [one for one in self.under_way.values() if one.context.id == context_id]:
            if applying.done is None:
                applying.error = applying.error or error
                self._drop(applying, now)

    # ---- what is next

    def pump(self, now: float) -> None:
        """Fetch what there is room for, and give the process what it can do."""
        link = self.link
        self._moved = False
        left_s = link.left_s(now, wanted=bool(self.under_way))
        if left_s is not None and left_s <= 0:
            link.time_out()
        if not self.under_way:
            return
        link.want()
        has_room = self._bodies.pump()
        while self.waiting and has_room and not self._well_stocked():
            applying = self.waiting.popleft()
            unusable = self._unusable.get(applying.context.id)
            if unusable is not None:
                self.failed(applying, unusable, now)
            elif applying.local is not None:
                self._look(applying, now)
            elif not self._bodies.fetch(applying):
                self.waiting.appendleft(applying)
                has_room = False
        if link.is_there:
            self._give(now)
        if not (has_room or self._requests or self.ready or link.given or self._asked_to_collect) and self._held:
            self._asked_to_collect = True
            link.collect()

    def _well_stocked(self) -> bool:
        """The process has bodies for a while: those to come are asked for together, which costs all sides less."""
        if self._requests:
            return False  # in the middle of that
        ahead_s = self.link.mean_s * len(self.ready)
        return ahead_s > _STOCK_S and ahead_s > _STOCK_FETCHES * self._fetch_s

    def _give(self, now: float) -> None:
        link = self.link
        room = link.room
        if not (room and self.ready):
            return
        some: list[Applying] = []
        unknown: Applying | None = None
        for _ in range(len(self.ready)):
            applying = self.ready.popleft()
            if link.can_do(applying):
                some.append(applying)
                if len(some) == room:
                    break
            else:
                unknown = unknown or applying
                self.ready.append(applying)
        if some:
            link.give(some, now)
            for applying in some:
                if applying.stream is not None:
                    self._bodies.more_chunks(applying)
        if unknown is not None:
            link.introduce(unknown)  # after what it can do: an initializer may take its time

    def _look(self, applying: Applying, now: float) -> None:
        """A local body: the process opens the file itself, if it is one."""
        size_bytes = len(applying.local) if isinstance(applying.local, bytes) else 0
        applying.first_at = now
        if isinstance(applying.local, str):
            try:
                status = os.stat(applying.local)
                check_regular(applying.local, status)
            except OSError as error:
                self.failed(applying, source_error(applying.local, error), now)
                return
            except S3EngineError as error:
                self.failed(applying, error, now)
                return
            size_bytes = status.st_size
        applying.about = applying.about._replace(size_bytes=size_bytes)
        self.ready.append(applying)

    def wait_s(self, now: float) -> float:
        """How long the poller may sleep."""
        if self._moved:
            return 0.0  # what came has a next step
        left_s = self.link.left_s(now, wanted=bool(self.under_way))
        return 1.0 if left_s is None else max(0.0, left_s)

    def close(self) -> None:
        """The worker ends."""
        self.link.stop()

    # ---- the end of a task

    def failed(self, applying: Applying, error: S3EngineError | None, now: float) -> None:
        """It will not be done; it ends with the last of its requests."""
        applying.error = applying.error or error
        applying.cancelled = True
        self.settle(applying, now)

    def _drop(self, applying: Applying, now: float) -> None:
        for line in (self.waiting, self.ready):
            if applying in line:
                line.remove(applying)
        self.failed(applying, None, now)

    def settle(self, applying: Applying, now: float) -> None:
        """End it, if nothing more is to come: neither from the process nor from the store."""
        if applying.under_way or applying in self.link.given or applying is self.link.mourned:
            return
        if applying.task_id not in self.under_way or not (applying.cancelled or applying.done is not None):
            return
        error = applying.error
        if error is None and applying.done is None:
            error = cancelled_error(Kind.APPLY, applying.key, begun=False)
        del self.under_way[applying.task_id]
        self._bodies.give_back(applying)
        self._outcomes.append(applying.ended(now, error))
