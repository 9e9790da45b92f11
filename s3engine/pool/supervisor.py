"""The parent's side of the pool: starts workers, deals tasks out, takes outcomes in, replaces workers that die.

One thread runs all of it. Others speak to it through ``submit``, ``cancel`` and ``stop``, which only queue a call.
Start order matters under ``fork``: all workers are forked before this thread exists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import wait as wait_for_sentinels
from typing import Any, Protocol

from s3engine.control.retry import govern_budget
from s3engine.control.shared import CONTROL_HEARTBEAT_S, SharedBlock
from s3engine.credentials import Credentials, CredentialSource
from s3engine.errors import EngineClosed, NoCredentials, S3EngineError, WorkerCrashed
from s3engine.pool.channel import ChannelClosed
from s3engine.pool.launch import WorkerHandle, choose_start_method, launch
from s3engine.pool.load import load_transport
from s3engine.pool.messages import (
    BROKEN,
    CANCEL,
    CONTEXT,
    CREDENTIALS,
    DOUBTFUL,
    FORGET,
    LARGE_KINDS,
    NEED_CREDENTIALS,
    OUTCOMES,
    READY,
    STOP,
    TASKS,
    Context,
    Kind,
    Task,
    cancelled_error,
)
from s3engine.pool.watch import Watch
from s3engine.pool.worker import WorkerSettings

__all__ = ["Job", "Supervisor"]

_TICK_S = 0.1
_CHUNK = 64
_PREFETCH = 64  # tasks a worker holds beyond its share in flight, so that it never waits for the parent
_SUSPECT_AFTER = 2  # workers that died holding the task among others, before it is tried alone in a third
_SOLO_KILLS = 10  # workers killed from outside while they had it alone, before it is given up
_CREDENTIALS_EVERY_S = 30.0
_JOIN_S = 5.0
_HARD_AGAIN_S = 6.0  # after the hard cancel: what was begun since, to clean up, is ended too
_HARD_KILL_S = 2.0  # after that: whoever still has something of the batch is killed
_STILLBORN = 8  # workers in a row that died before they were ready: it will not get better
_FRUITLESS = 60  # that were ready, and died in a row without a single task done by any: the same


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

    @property
    def contexts(self) -> tuple[Context, ...]: ...
    @property
    def finished(self) -> bool: ...
    def start_reading(self) -> None: ...
    def next_tasks(self, count: int) -> list[Task]: ...
    def next_large(self, count: int) -> list[Task]: ...
    def done(self, task: Task, outcome: tuple[Any, ...]) -> None: ...
    def cancel(self) -> None: ...


class Supervisor:
    """See the module."""

    def __init__(
        self, settings: WorkerSettings, n_workers: int, *, concurrency: int, start_method: str,
        block: SharedBlock,
        credentials: CredentialSource, max_parts_in_flight: int, grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._block = block
        self._credentials = credentials
        self._max_parts = max_parts_in_flight
        self._grace_s = grace_s
        self._clock = clock
        self._concurrency = concurrency
        self._n_workers = n_workers
        self._share = -(-concurrency // n_workers)
        self._window = 2 * self._share + _PREFETCH
        self._method = choose_start_method(start_method)
        if self._method == "fork":
            # Once here instead of once in each worker: forked children have what is imported.
            load_transport(settings.transport)
        self._workers: list[WorkerHandle] = []
        self._jobs: dict[int, Job] = {}  # by the id of each of their contexts
        self._order: deque[Job] = deque()
        self._ended: dict[int, Callable[[], None]] = {}
        self._deaths: dict[int, tuple[int, int]] = {}  # by task: workers that died with it among others, and alone
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._hard_cancel: list[tuple[float, int, Job]] = []  # when, how often it came already, what
        self._watch = Watch(block)
        self._broken: S3EngineError | None = None
        self._failing = threading.Lock()
        self._failed: BaseException | None = None  # a bug ended the thread
        self._stillborn = 0
        self._fruitless = 0
        self._stopping = False
        self._refreshing = False
        self._refresh_at = clock() + _CREDENTIALS_EVERY_S
        self._tick_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        for index in range(n_workers):
            self._workers.append(self._start(index, self._method))
        self._thread = threading.Thread(target=self._run, name="s3engine-supervisor", daemon=True)
        self._thread.start()

    # ---- called from any thread

    def submit(self, job: Job, ended: Callable[[], None]) -> None:
        """Work on a job; ``ended()`` is called in the supervisor's thread when it is over."""

        def begin() -> None:
            for context in job.contexts:
                self._jobs[context.id] = job
            self._order.append(job)
            self._ended[job.context.id] = ended
            job.start_reading()

        job.wake = self.wake
        with self._failing:
            if self._failed is not None:
                raise EngineClosed(f"this engine failed ({self._failed!r}); make a new one")
            self._call(begin)

    def cancel(self, job: Job) -> None:
        """End a job: nothing new is begun, what is in flight has ``grace_s`` to end."""
        self._call(lambda: self._cancel(job))

    def stop(self) -> None:
        """End all workers and the thread. Jobs should be over."""
        self._call(self._begin_stop)
        self._thread.join()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, in the order of their slots."""
        return [worker.process.pid for worker in self._workers]

    @property
    def ready(self) -> bool:
        """Whether each worker has opened its transport, or it is known that none ever will."""
        return self._broken is not None or self._failed is not None or all(one.ready for one in self._workers)

    def wake(self) -> None:
        """Make the thread look again."""
        try:
            os.write(self._wake_write, b"\0")
        except (BlockingIOError, OSError):
            return  # full of wake-ups already, or closed: the thread is gone

    def _call(self, function: Callable[[], None]) -> None:
        self._calls.append(function)
        self.wake()

    # ---- the thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:
            # A bug in here must end the batches, not leave their callers waiting for ever.
            with self._failing:
                self._failed = error
            while self._calls:
                # What ended this thread may end each of these too (no memory for a thread): a job that was to begin is
                # in the order by then, and ends below with the first error.
                with contextlib.suppress(Exception):
                    self._calls.popleft()()
            for job in list(self._order):
                job.failure = job.failure or error
                self._ended.pop(job.context.id)()
            raise
        finally:
            self._end_workers()
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _turn(self) -> None:
        events = self._selector.select(max(0.0, min(_TICK_S, self._tick_at - self._clock())))
        for key, mask in events:
            worker: WorkerHandle | None = key.data
            if worker is None:
                _drain(self._wake_read)
            elif mask & selectors.EVENT_READ:
                self._receive(worker)
            elif worker.channel.wants_write:
                self._send(worker, None)
        while self._calls:
            self._calls.popleft()()
        now = self._clock()
        if now >= self._tick_at:
            self._tick(now)
        self._deal()
        for job in self._order:
            job.turned()
        self._end_jobs()

    def _tick(self, now: float) -> None:
        self._tick_at = now + _TICK_S
        self._block.control[CONTROL_HEARTBEAT_S] = now
        govern_budget(self._block, self._settings.retry_policy)
        if self._broken is None and any(not worker.process.is_alive() for worker in self._workers):
            for worker in list(self._workers):
                if not worker.process.is_alive():
                    self._receive(worker)  # whatever it still said, then the end of the stream
        if self._hard_cancel:
            self._cancel_hard(now)
        for worker in self._watch.look(self._workers, now):
            worker.process.kill()
        if now >= self._refresh_at and not self._credentials.fixed:
            self._refresh(only_if_changed=True)

    # ---- outcomes

    def _receive(self, worker: WorkerHandle) -> None:
        try:
            for message in worker.channel.receive():
                code = message[0]
                if code == OUTCOMES:
                    self._take_outcomes(worker, message[1])
                elif code == NEED_CREDENTIALS:
                    self._refresh(only_if_changed=False)
                elif code == BROKEN:
                    self._broken = message[1]
                    self._fail_everything(message[1])
                elif code == READY:
                    worker.ready = True
                    self._stillborn = 0
        except ChannelClosed:
            self._died(worker)

    def _take_outcomes(self, worker: WorkerHandle, outcomes: list[tuple[Any, ...]]) -> None:
        if self._broken is not None:
            return  # all has been reported as failed already
        tasks = worker.tasks
        deaths = self._deaths
        self._fruitless = 0
        for outcome in outcomes:
            task = tasks.pop(outcome[0])
            if task[2] in LARGE_KINDS:
                worker.large -= 1
            if deaths:
                deaths.pop(outcome[0], None)
            self._jobs[task[1]].done(task, outcome)
        if worker.solo and not tasks:
            worker.solo = False

    def _died(self, worker: WorkerHandle) -> None:
        """Hand what it held to the others and put a new one in its place."""
        self._selector.unregister(worker.channel.sock)
        worker.channel.close()
        worker.process.join()
        code = worker.process.exitcode
        orphans = list(worker.tasks.values())
        worker.tasks.clear()
        # SIGKILL and SIGTERM come from outside as a rule (an operator, the OOM killer); any other end is its own doing.
        from_outside = code in (-signal.SIGKILL, -signal.SIGTERM)
        if not worker.ready and not from_outside and not self._stopping and self._broken is None:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                self._broken = WorkerCrashed(f"worker processes die before they are ready (last exit code {code})")
                self._fail_everything(self._broken)
        elif worker.ready and orphans and not self._stopping and self._broken is None:
            self._fruitless += 1
            if self._fruitless >= _FRUITLESS:
                text = f"{_FRUITLESS} worker processes in a row died with no task done (last exit code {code})"
                self._broken = WorkerCrashed(f"{text}; look at what they wrote to stderr, and at the memory there is")
                self._fail_everything(self._broken)
        if self._broken is not None:
            for task in orphans:
                self._jobs[task[1]].done(task, _failed_outcome(task, self._broken))
            return
        if self._stopping:
            return
        for task in orphans:
            if self._hard_cancel and self._is_over(task):
                self._jobs[task[1]].done(task, _failed_outcome(task, _cancelled(task)))
                continue
            deaths, solo_kills = self._deaths.get(task[0], (0, 0))
            if worker.solo and len(orphans) == 1:
                solo_kills += 1
                guilty = not from_outside or solo_kills >= _SOLO_KILLS
            else:
                deaths += 1
                guilty = False
            self._deaths[task[0]] = (deaths, solo_kills)
            if guilty:
                del self._deaths[task[0]]
                error = WorkerCrashed(
                    f"{task[3] or 'a batch of deletes'!r}: every worker that tried it died (last exit code {code})",
                    key=task[3],
                )
                self._jobs[task[1]].done(task, _failed_outcome(task, error))
            elif deaths >= _SUSPECT_AFTER:
                self._suspects.append(task)
            else:
                self._again.append(task)
        # A fork from here would copy the locks of other threads; the other methods start from a clean process.
        method = "forkserver" if self._method == "fork" else self._method
        position = self._workers.index(worker)
        self._workers[position] = self._start(worker.index, method)

    def _fail_everything(self, error: S3EngineError) -> None:
        """No worker can be had: nothing will ever be done."""
        while self._again or self._suspects:
            task = (self._again or self._suspects).popleft()
            self._jobs[task[1]].done(task, _failed_outcome(task, error))
        for worker in self._workers:
            for task in list(worker.tasks.values()):
                self._jobs[task[1]].done(task, _failed_outcome(task, error))
            worker.tasks.clear()
            worker.large = 0

    # ---- tasks

    def _deal(self) -> None:
        """Give workers what they have room for."""
        if self._broken is not None:
            self._refuse_all()
            return
        if self._suspects:
            self._deal_suspect()
        while self._again:
            worker = self._roomiest()
            if worker is None:
                return
            count = min(_CHUNK, self._window - len(worker.tasks), len(self._again))
            self._give(worker, [self._again.popleft() for _ in range(count)])
        parts = sum(worker.large for worker in self._workers)
        fruitless = 0
        while fruitless < len(self._order):
            job = self._order[0]
            self._order.rotate(-1)
            fruitless += 1
            if job.paused():
                continue
            if parts < self._max_parts:
                for task in job.next_large(self._max_parts - parts):
                    parts += 1
                    self._give(min(self._free(), key=lambda worker: worker.large), [task])
            worker = self._roomiest()
            if worker is None:
                return
            count = min(_CHUNK, self._window - len(worker.tasks))
            if job.at_most:  # few for all: the first worker must not get those of the others
                count = min(count, max(1, self._share - len(worker.tasks)))
            tasks = job.next_tasks(count)
            if job.broken and not job.cancelled:
                self._cancel(job)
            if tasks:
                self._give(worker, tasks)
                fruitless = 0

    def _refuse_all(self) -> None:
        assert self._broken is not None
        for job in list(self._order):
            while tasks := job.next_large(_CHUNK) + job.next_tasks(_CHUNK):
                for task in tasks:
                    job.done(task, _failed_outcome(task, self._broken))

    def _deal_suspect(self) -> None:
        """One at a time, alone in a worker: its neighbours must not be blamed for what it does."""
        if any(worker.solo for worker in self._workers):
            return
        for worker in self._workers:
            if not worker.tasks:
                worker.solo = True
                self._give(worker, [self._suspects.popleft()])
                return
        # None is empty: the one with the least to do gets nothing more until it is.
        min(self._workers, key=lambda worker: len(worker.tasks)).solo = True

    def _free(self) -> list[WorkerHandle]:
        return [worker for worker in self._workers if not worker.solo] or self._workers

    def _roomiest(self) -> WorkerHandle | None:
        workers = [worker for worker in self._workers if not worker.solo]
        if not workers:
            return None
        worker = min(workers, key=lambda worker: len(worker.tasks))
        # What it has not read yet counts: a slow worker must not make the parent's buffer grow.
        full = len(worker.tasks) >= self._window or worker.channel.wants_write
        return None if full else worker

    def _give(self, worker: WorkerHandle, tasks: list[Task]) -> None:
        for task in tasks:
            worker.tasks[task[0]] = task
            if task[2] in LARGE_KINDS:
                worker.large += 1
            context_id = task[1]
            if context_id not in worker.contexts:
                worker.contexts.add(context_id)
                job = self._jobs[context_id]
                context = next(context for context in job.contexts if context.id == context_id)
                if job.at_most:
                    context = dataclasses.replace(context, prompt=True)
                self._send(worker, (CONTEXT, context))
        if self._deaths:
            self._send(worker, (DOUBTFUL, [task[0] for task in tasks if task[0] in self._deaths]))
        self._send(worker, (TASKS, tasks))

    def _send(self, worker: WorkerHandle, message: Any) -> None:
        channel = worker.channel
        try:
            if message is None:
                channel.flush()
            else:
                channel.send(message)
        except ChannelClosed:
            return  # reading finds the end of the stream too, after the last outcomes
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.wants_write else 0)
        if self._selector.get_key(channel.sock).events != interest:
            self._selector.modify(channel.sock, interest, worker)

    # ---- ends

    def _cancel(self, job: Job) -> None:
        if (job.cancelled and not job.stopped) or job.context.id not in self._ended:
            return
        job.cancel()
        for tasks in (self._again, self._suspects):
            for task in [task for task in tasks if self._jobs[task[1]] is job]:
                tasks.remove(task)
                job.done(task, _failed_outcome(task, _cancelled(task)))
        self._send_cancel(job, hard=False)
        self._hard_cancel.append((self._clock() + self._grace_s, 0, job))

    def _cancel_hard(self, now: float) -> None:
        """A batch is over soon after its grace, whatever a store, a disk or a worker does."""
        due = [entry for entry in self._hard_cancel if entry[0] <= now and entry[2] in self._order]
        self._hard_cancel = [entry for entry in self._hard_cancel if entry[0] > now]
        for _, stage, job in due:
            self._send_cancel(job, hard=True)
            if stage > 1:
                # A call that nothing can wake (obstore's), a worker that is stopped, a disk that does not answer.
                for worker in self._workers:
                    if any(self._jobs[task[1]] is job for task in worker.tasks.values()):
                        worker.process.kill()
            self._hard_cancel.append((now + (_HARD_KILL_S if stage else _HARD_AGAIN_S), stage + 1, job))

    def _is_over(self, task: Task) -> bool:
        """Of a batch whose hard cancel has come: what a dead worker had of it is not done again."""
        job = self._jobs[task[1]]
        return any(entry[1] and entry[2] is job for entry in self._hard_cancel)

    def _send_cancel(self, job: Job, *, hard: bool) -> None:
        for context in job.contexts:
            for worker in self._workers:
                if context.id in worker.contexts:
                    self._send(worker, (CANCEL, context.id, hard))

    def _end_jobs(self) -> None:
        for job in [job for job in self._order if job.finished]:
            self._order.remove(job)
            for context in job.contexts:
                del self._jobs[context.id]
                for worker in self._workers:
                    if context.id in worker.contexts:
                        worker.contexts.discard(context.id)
                        self._send(worker, (FORGET, context.id))
            self._ended.pop(job.context.id)()

    def _begin_stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            self._send(worker, (STOP,))

    def _end_workers(self) -> None:
        limit = self._clock() + _JOIN_S
        for worker in self._workers:
            while worker.channel.wants_write and worker.process.is_alive() and self._clock() < limit:
                self._send(worker, None)
                time.sleep(0.005)  # a worker reads within milliseconds, or will be killed below
        waiting = [worker.process for worker in self._workers]
        while waiting and self._clock() < limit:
            wait_for_sentinels([process.sentinel for process in waiting], timeout=limit - self._clock())
            waiting = [process for process in waiting if process.is_alive()]
        for process in waiting:
            process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.process.close()
            worker.channel.close()

    # ---- workers and credentials

    def _start(self, index: int, method: str) -> WorkerHandle:
        # A forked child has copies of the parent's ends of the other channels: while it lives the other workers
        # would not see the parent die.
        inherited: tuple[int, ...] = ()
        if method == "fork":
            others = (worker.channel.fileno() for worker in self._workers)
            inherited = (self._wake_read, self._wake_write, *others)
        share, rest = divmod(self._concurrency, self._n_workers)
        limit = share + 1 if index < rest else share
        settings = dataclasses.replace(self._settings, index=index, limit=limit, inherited=inherited)
        worker = launch(settings, method, self._block.fd)
        self._selector.register(worker.channel.sock, selectors.EVENT_READ, worker)
        return worker

    def _refresh(self, *, only_if_changed: bool) -> None:
        """Look credentials up away from this thread (it may take seconds) and hand them to all workers."""
        self._refresh_at = self._clock() + _CREDENTIALS_EVERY_S
        if self._refreshing:
            return
        self._refreshing = True

        def look_up() -> None:
            try:
                found: Credentials | S3EngineError | None = self._credentials.current()
            except S3EngineError as error:
                found = error
            except Exception as error:  # noqa: BLE001  (botocore and its plug-ins may raise anything)
                found = NoCredentials(f"cannot get credentials: {type(error).__name__}: {error}")
            self._call(lambda: self._refreshed(found, only_if_changed))

        threading.Thread(target=look_up, name="s3engine-credentials", daemon=True).start()

    def _refreshed(self, found: Credentials | S3EngineError | None, only_if_changed: bool) -> None:
        self._refreshing = False
        old = self._settings.transport_settings.credentials
        if isinstance(found, S3EngineError):
            found = old  # the workers go on with what they have; the store's refusal will say what is wrong
        if only_if_changed and found == old:
            return
        settings = dataclasses.replace(self._settings.transport_settings, credentials=found)
        self._settings = dataclasses.replace(self._settings, transport_settings=settings)
        for worker in self._workers:
            self._send(worker, (CREDENTIALS, found))


def _drain(fd: int) -> None:
    try:
        os.read(fd, 65536)
    except BlockingIOError:
        return


def _cancelled(task: Task) -> S3EngineError:
    return cancelled_error(task[2], task[3], begun=True)  # a worker that died had it


def _failed_outcome(task: Task, error: S3EngineError) -> tuple[Any, ...]:
    detail = [(key, error) for key, _ in task[5]] if task[2] == Kind.DELETE else None
    failure = None if task[2] == Kind.DELETE else error
    return (task[0], 0, 0.0, 0.0, 0.0, 0.0, 0, "", max(task[4], 0), "", detail, failure, "", "")

