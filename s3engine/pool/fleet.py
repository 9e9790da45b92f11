"""The worker processes as a whole: started, spoken to, replaced, ended."""

from __future__ import annotations

import dataclasses
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any

from s3engine.channel import ChannelClosed
from s3engine.credentials import Credentials
from s3engine.errors import S3EngineError
from s3engine.pool.forked import wait_for_ends
from s3engine.pool.launch import WorkerHandle, launch, launch_function_process
from s3engine.pool.messages import CREDENTIALS, FORGET, FUNCTION_PROCESS, STOP
from s3engine.pool.worker import WorkerSettings

__all__ = ["Fleet"]

_JOIN_S = 5.0


class Fleet:
    """See the module. ``selector`` gets each worker's channel, with its WorkerHandle as data.

    ``block_fd`` is the shared memory's file; ``inherited`` are the descriptors that a forked worker must close. With
    ``functions`` each worker gets its function process at once.
    """

    def __init__(
        self, settings: WorkerSettings, n_workers: int, *, concurrency: int, method: str, block_fd: int,
        selector: selectors.BaseSelector, inherited: tuple[int, ...], functions: bool,
    ) -> None:  # fmt: skip
        self.settings = settings
        """Of the workers to come: with the newest credentials."""
        self.broken: S3EngineError | None = None
        """Why no worker can be had; None while they can."""
        self._concurrency = concurrency
        self._n_workers = n_workers
        self._method = method
        self._block_fd = block_fd
        self._selector = selector
        self._inherited = inherited
        self.workers: list[WorkerHandle] = []
        """In the order of their slots."""
        self._stopping = False
        self._forks = True  # nobody else has a thread yet
        for index in range(n_workers):
            self.workers.append(self._start(index, method))
        if functions:  # else with the first task that needs one
            for worker in self.workers:
                self.give_function_process(worker)
        self._forks = False

    def _start(self, index: int, method: str) -> WorkerHandle:
        # A forked child has copies of the parent's ends of the other channels: while it lives the other workers
        # would not see the parent die.
        inherited: tuple[int, ...] = ()
        if method == "fork":
            others = (worker.channel.fileno() for worker in self.workers)
            inherited = (*self._inherited, *others)
        share, rest = divmod(self._concurrency, self._n_workers)
        limit = share + 1 if index < rest else share
        settings = dataclasses.replace(self.settings, index=index, limit=limit, inherited=inherited)
        worker = launch(settings, method, self._block_fd)
        self._selector.register(worker.channel.sock, selectors.EVENT_READ, worker)
        return worker

    def give_function_process(self, worker: WorkerHandle) -> None:
        """Start one for a worker that has none, or whose own has ended."""
        from s3engine.functions.process import FunctionProcessSettings  # lazy: few engines need it

        code = worker.function_process.bury() if worker.function_process is not None else None
        worker.function_process = None  # it is buried once, whatever comes of the next one
        # As in replace(): the first ones may be forked, while there is no other thread.
        method = self._method if self._forks or self._method != "fork" else "forkserver"
        inherited: tuple[int, ...] = ()
        if method == "fork":
            others = (one.function_process.life_fd for one in self.workers if one.function_process is not None)
            inherited = (*self._inherited, *(one.channel.fileno() for one in self.workers), *others)
        settings = FunctionProcessSettings(
            inherited=inherited, memory_bytes=self.settings.function_memory_bytes,
            processes=self._n_workers,
        )  # fmt: skip
        worker.function_process, channel_fd = launch_function_process(settings, method)
        self.send(worker, (FUNCTION_PROCESS, worker.function_process.process.pid, code), [channel_fd])

    def bury(self, worker: WorkerHandle) -> int | None:
        """Close what belonged to a worker that died; returns its exit code."""
        if worker.function_process is not None and not self._stopping:  # else end() waits for its finalizers
            worker.function_process.bury()
            worker.function_process = None
        self._selector.unregister(worker.channel.sock)
        worker.channel.close()
        worker.process.join()
        code: int | None = worker.process.exitcode
        return code

    def replace(self, worker: WorkerHandle) -> None:
        """Put a new one in the place of one that died."""
        # A fork from here would copy the locks of other threads; the other methods start from a clean process.
        method = "forkserver" if self._method == "fork" else self._method
        position = self.workers.index(worker)
        worker.process.close()
        self.workers[position] = self._start(worker.index, method)

    def send(self, worker: WorkerHandle, message: Any, fds: Sequence[int] = ()) -> None:
        """Send a message, or for None what has not been sent of earlier ones. ``fds`` are closed when they are sent."""
        channel = worker.channel
        try:
            if message is None:
                channel.flush()
            else:
                channel.send(message, fds)
        except ChannelClosed:
            return  # reading finds the end of the stream too, after the last outcomes
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.wants_write else 0)
        if self._selector.get_key(channel.sock).events != interest:
            self._selector.modify(channel.sock, interest, worker)

    def forget(self, context_id: int) -> None:
        """Have the workers forget a batch that is over."""
        for worker in self.workers:
            if context_id in worker.contexts:
                worker.contexts.discard(context_id)
                worker.applying.pop(context_id, None)
                self.send(worker, (FORGET, context_id))

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Hand credentials to all workers, and to those to come."""
        settings = dataclasses.replace(self.settings.transport_settings, credentials=credentials)
        self.settings = dataclasses.replace(self.settings, transport_settings=settings)
        for worker in self.workers:
            self.send(worker, (CREDENTIALS, credentials))

    def stop(self) -> None:
        """Tell all workers to end."""
        self._stopping = True
        for worker in self.workers:
            self.send(worker, (STOP,))

    def end(self, clock: Callable[[], float]) -> None:
        """Wait until all workers have ended; those that do not are killed."""
        limit = clock() + _JOIN_S
        for worker in self.workers:
            while worker.channel.wants_write and worker.process.is_alive() and clock() < limit:
                self.send(worker, None)
                time.sleep(0.005)  # a worker reads within milliseconds, or will be killed below
        waiting = [worker.process for worker in self.workers]
        while waiting and clock() < limit:
            wait_for_ends([process.sentinel for process in waiting], limit - clock())
            waiting = [process for process in waiting if process.is_alive()]
        for process in waiting:
            process.kill()
        for worker in self.workers:
            if worker.function_process is not None:
                worker.function_process.wait(limit - clock())
                worker.function_process.bury()
            worker.process.join()
            worker.process.close()
            worker.channel.close()
