"""What a worker process runs: one loop over its channel to the parent, its lane and a clock.

Forked, or started by multiprocessing. The parent is gone when the channel ends; then the worker leaves at
once. Ctrl-C and the SIGHUP of a terminal that closes reach the whole process group, so workers ignore them and let the
parent say what happens.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s3engine.channel import Channel, ChannelClosed
from s3engine.config import TransportSettings
from s3engine.control.retry import RetryPolicy
from s3engine.control.shared import SharedBlock
from s3engine.control.timeouts import TimeoutPolicy
from s3engine.errors import S3EngineError
from s3engine.pool.core import Core
from s3engine.pool.load import open_transport
from s3engine.pool.loop_lane import LoopLane
from s3engine.pool.messages import (
    BROKEN,
    CANCEL,
    CONTEXT,
    CREDENTIALS,
    DOUBTFUL,
    FORGET,
    FUNCTION_PROCESS,
    MEMORY,
    NEED_CREDENTIALS,
    OUTCOMES,
    OUTPUT_STORED,
    READY,
    STOP,
    TASKS,
    Kind,
    Task,
    path_of,
)
from s3engine.pool.thread_lane import ThreadLane
from s3engine.transport import MultiplexableTransport

if TYPE_CHECKING:
    from s3engine.pool.desk import Desk

__all__ = ["WorkerSettings", "run"]

_FLUSH_COUNT = 64
_FLUSH_AFTER_S = 0.01
_PROMPTLY_S = 0.002  # where the parent gives no more until it knows
_TICK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """All that a worker is born with."""

    index: int
    n_slots: int
    limit: int
    transport: str
    """Dotted name."""
    transport_settings: TransportSettings = field(repr=False)
    lane: str
    timeout_policy: TimeoutPolicy
    retry_policy: RetryPolicy
    give_up_after_s: float
    function_buffer_bytes: int = 0
    """For bodies on their way to a function of the caller's."""
    function_memory_bytes: int = 0
    """What the process that runs it may have of its own; 0: any."""
    inherited: tuple[int, ...] = ()
    """Descriptors of the parent that a forked worker must not keep open: other workers' channels."""


class _Descriptor:
    """A file descriptor on its way to a process that is spawned; forked ones just have it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _take_descriptor, (DupFd(self.fd),)


def _take_descriptor(duplicate: Any) -> _Descriptor:
    return _Descriptor(duplicate.detach())


def descriptor(fd: int) -> _Descriptor:
    """Wrap a descriptor for Process(args=...)."""
    return _Descriptor(fd)


def run(settings: WorkerSettings, sock: socket.socket, shared: _Descriptor) -> None:
    """The worker's life. Ends with os._exit: a forked child must not run the parent's atexit handlers."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # as launch.py leaves it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for fd in settings.inherited:
            with contextlib.suppress(OSError):
                os.close(fd)
        _run(settings, Channel(sock), SharedBlock.attach(shared.fd, settings.n_slots))
        code = 0
    except ChannelClosed:
        code = 0  # the parent is gone, and nobody is left to tell
    finally:
        if code:
            import traceback

            traceback.print_exc()
        os._exit(code)


def _run(settings: WorkerSettings, channel: Channel, block: SharedBlock) -> None:
    # Objects made before the fork live for ever in this process; cyclic garbage is hardly made in the loop.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        transport = open_transport(settings.transport, settings.transport_settings)
    except S3EngineError as error:
        channel.send((BROKEN, error))
        return
    core = Core(
        transport, block, settings.index, settings.timeout_policy, settings.retry_policy,
        give_up_after_s=settings.give_up_after_s, need_credentials=lambda: channel.send((NEED_CREDENTIALS,)),
    )  # fmt: skip
    poller = select.epoll() if hasattr(select, "epoll") else select.poll()
    scale = 1.0 if hasattr(select, "epoll") else 1000.0  # epoll.poll takes seconds, poll.poll milliseconds
    loops = settings.lane == "loop" or (
        settings.lane == "auto" and transport.capabilities.multiplexable
        and isinstance(transport, MultiplexableTransport)
    )  # fmt: skip
    lane: Any = (LoopLane if loops else ThreadLane)(core, settings.limit, poller)
    work = _Work(core, lane, channel, poller, settings.function_buffer_bytes)
    channel_fd = channel.fileno()
    poller.register(channel_fd, select.POLLIN)
    channel.send((READY,))
    outcomes: list[tuple[Any, ...]] = []
    flush_at = 0.0
    flush_count = _FLUSH_COUNT
    clock = time.monotonic
    now = clock()
    tick_at = now + _TICK_S
    watching_write = False
    stopping = False
    while not (stopping and lane.idle and (work.desk is None or work.desk.idle)):
        wait_s = lane.wait_s(now)
        desk = work.desk
        if desk is not None:
            wait_s = min(wait_s, desk.wait_s(now))
        if outcomes:
            wait_s = min(wait_s, max(0.0, flush_at - now))
        events = poller.poll(wait_s * scale)
        now = clock()
        for fd, mask in events:
            if fd != channel_fd:
                if desk is not None and fd in desk.fds:
                    desk.on_event(now)
                else:
                    lane.on_event(fd, mask, now)
            elif mask & select.POLLIN or mask & (select.POLLHUP | select.POLLERR):
                for message in channel.receive():
                    stopping = work.take(message, now) or stopping
        lane.wake_delayed(now)
        if now >= tick_at:
            # Before requests are started: who was idle does not know yet what the others have learnt.
            tick_at = now + _TICK_S
            lane.tick(now)
        desk = work.desk
        if desk is not None:
            desk.pump(now)
        lane.pump(now)
        fresh = lane.take_outcomes()
        if desk is not None:
            fresh = desk.sift(fresh, now)
        if work.memory:
            work.let_go(fresh)
        if fresh:
            if not outcomes:
                prompt = any(known.prompt for known in core.contexts.values())
                flush_at = now + (_PROMPTLY_S if prompt else _FLUSH_AFTER_S)
                flush_count = max(1, settings.limit // 8) if prompt else _FLUSH_COUNT
            outcomes += fresh
        # Many in one message: a message costs both sides more than ten outcomes do.
        if outcomes and (
            len(outcomes) >= flush_count or now >= flush_at or (lane.idle and (desk is None or desk.idle))
        ):
            channel.send((OUTCOMES, outcomes))
            outcomes = []
        elif channel.wants_write:
            channel.flush()
        if channel.wants_write != watching_write:
            watching_write = channel.wants_write
            poller.modify(channel_fd, select.POLLIN | (select.POLLOUT if watching_write else 0))
    if work.desk is not None:
        work.desk.close()
    lane.close()
    transport.close()


class _Work:
    """What a worker does with what the parent says."""

    def __init__(self, core: Core, lane: Any, channel: Channel, poller: Any, buffer_bytes: int) -> None:
        self._core = core
        self._lane = lane
        self._for_desk = (core, lane, channel, poller, buffer_bytes)
        self.desk: Desk | None = None
        """For functions of the caller's; made with the first batch that has one."""
        self._channel = channel
        self.memory: dict[int, int] = {}
        """Descriptors of the memory that tasks have with them, by task."""

    def take(self, message: tuple[Any, ...], now: float) -> bool:
        """Do it; True when that is to stop."""
        core, lane, desk = self._core, self._lane, self.desk
        code = message[0]
        if code == TASKS:
            tasks = message[1]
            if self.memory:
                tasks = [self._with_memory(task) for task in tasks]
            if desk is not None:
                desk.submit([task for task in tasks if task[2] == Kind.APPLY])
                tasks = [task for task in tasks if task[2] != Kind.APPLY]
            lane.submit(tasks)
        elif code == CONTEXT:
            core.add_context(message[1])
            if message[1].function is not None:
                self._with_desk()
        elif code == FORGET:
            known = core.contexts.pop(message[1], None)
            if known is not None and known.source_id:
                core.contexts.pop(known.source_id, None)
            if desk is not None:
                desk.forget(message[1])
        elif code == CREDENTIALS:
            core.transport.set_credentials(message[1])
            lane.renewed_credentials()
        elif code == DOUBTFUL:
            core.doubtful.update(message[1])
        elif code == CANCEL:
            lane.cancel(message[1], message[2], now)
            known = core.contexts.get(message[1])
            if known is not None and known.source_id:
                lane.cancel(known.source_id, message[2], now)
            if desk is not None:
                desk.cancel(message[1], message[2], now)
        elif code == FUNCTION_PROCESS:
            self._with_desk().process_came(message, now)
        elif code == MEMORY:
            for task_id in message[1]:
                self.memory[task_id] = self._channel.fds.popleft()
        elif code == OUTPUT_STORED and desk is not None:
            desk.stored(message)
        return bool(code == STOP)

    def _with_memory(self, task: Task) -> Task:
        """A part of an output: its bytes are in memory that came before it."""
        fd = self.memory.get(task[0])
        if fd is None:
            return task
        upload_id, number, part, algorithm = task[5]
        return (*task[:5], (upload_id, number, part._replace(path=path_of(fd)), algorithm))

    def let_go(self, outcomes: list[tuple[Any, ...]]) -> None:
        """Of the memory of tasks that are done."""
        for outcome in outcomes:
            fd = self.memory.pop(outcome[0], None)
            if fd is not None:
                os.close(fd)

    def _with_desk(self) -> Desk:
        if self.desk is None:
            from s3engine.pool.desk import Desk  # lazy: few workers need one

            self.desk = Desk(*self._for_desk)
        return self.desk
