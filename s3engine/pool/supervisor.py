"""The parent's side of the pool: starts workers, deals tasks out, takes outcomes in, replaces workers that die.

One thread runs all of it. Others speak to it through ``submit``, ``cancel`` and ``stop``, which only queue a call.
Start order matters under ``fork``: all workers are forked before this thread exists.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from s3engine.channel import ChannelClosed
from s3engine.control.retry import govern_budget
from s3engine.control.shared import CONTROL_HEARTBEAT_S, SharedBlock
from s3engine.credentials import CredentialSource
from s3engine.errors import EngineClosed, S3EngineError, WorkerCrashed
from s3engine.pool.cancels import Cancels
from s3engine.pool.dealer import Dealer
from s3engine.pool.deaths import Deaths, Next
from s3engine.pool.fleet import Fleet
from s3engine.pool.job_table import Job, JobTable
from s3engine.pool.launch import WorkerHandle, choose_start_method
from s3engine.pool.load import worker_modules
from s3engine.pool.messages import (
    BROKEN,
    LARGE_KINDS,
    LOGGED,
    NEED_CREDENTIALS,
    NEED_FUNCTION_PROCESS,
    OUTCOMES,
    OUTPUT_END,
    OUTPUT_PART,
    READY,
    RESULT,
    Kind,
)
from s3engine.pool.renewal import CredentialRenewal
from s3engine.pool.watch import Watch
from s3engine.pool.worker import WorkerSettings

__all__ = ["Supervisor"]

_TICK_S = 0.1


class Supervisor:
    """See the module."""

    def __init__(
        self, settings: WorkerSettings, n_workers: int, *, concurrency: int, start_method: str,
        block: SharedBlock,
        credentials: CredentialSource, max_parts_in_flight: int, grace_s: float, functions: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._retry_policy = settings.retry_policy
        self._block = block
        self._clock = clock
        method = choose_start_method(start_method)
        if method == "fork":
            # Once here instead of once in each worker: forked children have what is imported.
            for module in worker_modules(settings.transport, settings.transport_settings):
                importlib.import_module(module)
            if functions:
                importlib.import_module("s3engine.pool.desk")
                importlib.import_module("s3engine.functions.process")
        self._calls: deque[Callable[[], None]] = deque()
        self._failing = threading.Lock()
        self._failed: BaseException | None = None  # a bug ended the thread
        self._stopping = False
        self._tick_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._fleet = Fleet(
            settings, n_workers, concurrency=concurrency, method=method, block_fd=block.fd, selector=self._selector,
            inherited=(self._wake_read, self._wake_write), functions=functions,
        )  # fmt: skip
        self._jobs = JobTable()
        self._deaths = Deaths()
        self._cancels = Cancels(self._jobs, self._fleet, grace_s)
        self._dealer = Dealer(
            self._jobs, self._fleet, self._deaths, share=-(-concurrency // n_workers), max_parts=max_parts_in_flight,
            cancel=self._cancel,
        )  # fmt: skip
        self._renewal = CredentialRenewal(credentials, self._fleet, self._call, clock)
        self._watch = Watch(block)
        self._thread = threading.Thread(target=self._run, name="s3engine-supervisor", daemon=True)
        self._thread.start()

    # ---- called from any thread

    def submit(self, job: Job, ended: Callable[[], None]) -> None:
        """Work on a job; ``ended()`` is called in the supervisor's thread when it is over."""
        job.wake = self.wake
        with self._failing:
            if self._failed is not None:
                raise EngineClosed(f"this engine failed ({self._failed!r}); make a new one")
            self._call(lambda: self._jobs.begin(job, ended))

    def cancel(self, job: Job) -> None:
        """End a job: nothing new is begun, what is in flight has ``grace_s`` to end, deletes 6 s more."""
        self._call(lambda: self._cancel(job))

    def stop(self) -> None:
        """End all workers and the thread. Jobs should be over."""
        self._call(self._begin_stop)
        self._thread.join()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, in the order of their slots."""
        return [worker.process.pid for worker in self._fleet.workers]

    @property
    def ready(self) -> bool:
        """Whether each worker has opened its transport, or it is known that none ever will."""
        fleet = self._fleet
        return fleet.broken is not None or self._failed is not None or all(one.ready for one in fleet.workers)

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
            self._jobs.end_all(error)
            raise
        finally:
            self._fleet.end(self._clock)
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
                self._fleet.send(worker, None)
        while self._calls:
            self._calls.popleft()()
        now = self._clock()
        if now >= self._tick_at:
            self._tick(now)
        self._dealer.deal()
        for job in self._jobs.order:
            job.turned()
            while job.asides:
                self._send_aside(*job.asides.popleft())
        self._end_jobs()

    def _tick(self, now: float) -> None:
        self._tick_at = now + _TICK_S
        self._block.control[CONTROL_HEARTBEAT_S] = now
        govern_budget(self._block, self._retry_policy)
        workers = self._fleet.workers
        if self._fleet.broken is None and any(not worker.process.is_alive() for worker in workers):
            for worker in list(workers):
                if not worker.process.is_alive():
                    self._receive(worker)  # whatever it still said, then the end of the stream
        self._cancels.tick(now)
        for worker in self._watch.look(workers, now):
            worker.process.kill()
        self._renewal.tick(now)

    def _cancel(self, job: Job) -> None:
        self._cancels.cancel(job, self._clock())

    def _end_jobs(self) -> None:
        for job in [job for job in self._jobs.order if job.finished]:
            for context in job.contexts:
                self._fleet.forget(context.id)
            self._jobs.end(job)

    def _begin_stop(self) -> None:
        self._stopping = True
        self._fleet.stop()

    # ---- what workers say, and their deaths

    def _receive(self, worker: WorkerHandle) -> None:
        try:
            for message in worker.channel.receive():
                code = message[0]
                if code == OUTCOMES:
                    self._take_outcomes(worker, message[1])
                elif code == NEED_CREDENTIALS:
                    self._renewal.start(only_if_changed=False)
                elif code == BROKEN:
                    self._give_up(message[1])
                elif code == READY:
                    worker.ready = True
                    self._deaths.worker_ready()
                elif code == NEED_FUNCTION_PROCESS:
                    self._fleet.give_function_process(worker)
                elif code in (RESULT, LOGGED, OUTPUT_PART, OUTPUT_END):
                    self._take_aside(worker, message)
        except ChannelClosed:
            self._died(worker)

    def _take_outcomes(self, worker: WorkerHandle, outcomes: list[tuple[Any, ...]]) -> None:
        if self._fleet.broken is not None:
            return  # all has been reported as failed already
        tasks = worker.tasks
        jobs = self._jobs.by_context
        deaths = self._deaths.by_task
        self._deaths.tasks_done()
        take = tasks.pop
        context_id = 0
        for outcome in outcomes:
            task = take(outcome[0])
            if task[2] in LARGE_KINDS:
                worker.large -= 1
            elif task[2] == Kind.APPLY:
                worker.applying[task[1]] -= 1
            if deaths:
                deaths.pop(outcome[0], None)
            if task[1] != context_id:
                context_id = task[1]
                done = jobs[context_id].done
            done(task, outcome)
        if worker.solo and not tasks:
            worker.solo = False

    def _take_aside(self, worker: WorkerHandle, message: tuple[Any, ...]) -> None:
        """What belongs to a task besides its outcome: memory with its result, what its function made, or logged."""
        task = worker.tasks.get(message[1])
        job = self._jobs.by_context.get(task[1]) if task is not None else None
        fd = worker.channel.fds.popleft() if message[0] in (RESULT, OUTPUT_PART) else -1
        if message[0] != LOGGED:
            if task is None or job is None:
                if fd >= 0:
                    os.close(fd)
            elif message[0] == RESULT:
                job.take_result(task[0], fd)
            else:
                job.output(task, message, fd, worker.index)
        else:
            if job is None:  # an initializer's word
                job = next((one for one in self._jobs.order if one.context.function is not None), None)
            if job is not None:
                job.logged(task, message[2])
            else:  # a finalizer's: its batch is over, and nobody waits for what is raised here
                from s3engine.functions.logs import give_out_or_print

                give_out_or_print(message[2])

    def _send_aside(self, index: int, message: tuple[Any, ...]) -> None:
        """To the worker of this slot."""
        for worker in self._fleet.workers:
            if worker.index == index:
                self._fleet.send(worker, message)

    def _died(self, worker: WorkerHandle) -> None:
        """Hand what it held to the others and put a new one in its place."""
        code = self._fleet.bury(worker)
        jobs = self._jobs
        orphans = list(worker.tasks.values())
        worker.tasks.clear()
        if not self._stopping and self._fleet.broken is None:
            hopeless = self._deaths.count(code, ready=worker.ready, held_tasks=bool(orphans))
            if hopeless is not None:
                self._give_up(hopeless)
        if self._fleet.broken is not None:
            for task in orphans:
                jobs.fail(task, self._fleet.broken)
            return
        if self._stopping:
            return
        alone = worker.solo and len(orphans) == 1
        for task in orphans:
            if task[2] == Kind.APPLY:
                jobs.by_context[task[1]].worker_lost(task)
            if self._cancels.is_over(task):
                jobs.fail_cancelled(task)
                continue
            comes_next = self._deaths.judge(task[0], code, alone=alone)
            if comes_next is Next.AGAIN:
                jobs.again.append(task)
            elif comes_next is Next.ALONE:
                jobs.suspects.append(task)
            else:
                name = repr(task[3] or "a batch of deletes")
                text = f"{name}: every worker that tried it died (last exit code {code})"
                jobs.fail(task, WorkerCrashed(text, key=task[3]))
        self._fleet.replace(worker)

    def _give_up(self, error: S3EngineError) -> None:
        """No worker can be had: nothing will ever be done."""
        self._fleet.broken = error
        self._jobs.fail_waiting(error)
        for worker in self._fleet.workers:
            for task in list(worker.tasks.values()):
                self._jobs.fail(task, error)
            worker.tasks.clear()
            worker.large = 0


def _drain(fd: int) -> None:
    try:
        os.read(fd, 65536)
    except BlockingIOError:
        return
