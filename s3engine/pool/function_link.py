"""The function process of a worker, as the worker has it: spoken to, timed, killed, missed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from s3engine.channel import Channel, ChannelClosed
from s3engine.errors import Cancelled, FunctionDied, FunctionTimedOut, FunctionUnusable, S3EngineError
from s3engine.functions import messages as m
from s3engine.functions.arena import Arena
from s3engine.pool.applying import Applying

__all__ = ["FunctionLink"]

_STILLBORN = 5  # processes in a row that end before they can be spoken to
_UNBORN = 3  # that end while they make the function of a batch
_FINALIZERS_S = 5.0  # of a process that is worn out
_LONG_S = 0.02
_AHEAD_OF_LONG = 2  # objects that the process has, of functions that take longer than that
_AHEAD_OF_SHORT = 16


class FunctionLink:
    """See the module. ``ask`` asks the parent for a process; the channel is watched through ``poller``."""

    def __init__(self, arena: Arena, poller: Any, ask: Callable[[], None]) -> None:
        self._arena = arena
        self._poller = poller
        self._ask = ask
        self._asked = False
        self._channel: Channel | None = None
        self._watching_write = False
        self._pid = 0
        self._pid_fd = -1
        self._ready = False
        self._stillborn = 0
        self.mean_s = 0.1
        self._forgetting: set[int] = set()
        """Batches whose finalizers it may be at."""
        self._forgetting_since = 0.0
        self._set_up: dict[int, bool] = {}
        """By batch: whether the process has said that it can do it."""
        self._making: set[int] = set()
        """Those whose function it is making, initializer and all."""
        self._unborn: dict[int, int] = {}
        self.given: deque[Applying] = deque()
        """What the process has; it is at the first of them."""
        self.fd = -1
        """To wait on; -1: none."""
        self._since = 0.0
        self._stands: set[str] = set()
        """Why its time does not count: it waits for the store, or for more of its object."""
        self._standing_since = 0.0
        self._stood_s = 0.0
        self._retired = False
        """It does nothing more of what it was given, and ends by itself."""
        self._killed_by: S3EngineError | None = None
        self.mourned: Applying | None = None
        """What the last process was at when it ended, until it is known how that was."""

    # ---- birth and death

    @property
    def fds(self) -> tuple[int, int]:
        """What its events come on: its channel, and its end. -1: nothing."""
        return self.fd, self._pid_fd

    @property
    def is_there(self) -> bool:
        """It can be spoken to."""
        return self._ready and self._channel is not None

    def want(self) -> None:
        """There is something to do."""
        if self._channel is None and not self._asked:
            self._asked = True
            self._ask()

    def came(self, pid: int, channel_fd: int) -> None:
        """The parent has started one."""
        self._asked = False
        self._channel = Channel(socket.socket(fileno=channel_fd))
        self._pid = pid
        self._pid_fd = -1
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # older than Linux 5.3, or gone already
                # Tells its end, where children that a function forked may keep the channel open.
                self._pid_fd = os.pidfd_open(pid)
                self._poller.register(self._pid_fd, select.POLLIN)
        self._ready = self._retired = False
        self._watching_write = False
        self.fd = self._channel.fileno()
        self._poller.register(self.fd, select.POLLIN)
        self._send((m.MEMORY,), [os.dup(self._arena.fd)])

    def kill(self, why: S3EngineError) -> None:
        """End it; the object that it is at fails with ``why``. Its end is heard of like any other."""
        if self._killed_by is not None or self._channel is None:
            return
        self._killed_by = why
        with contextlib.suppress(OSError):
            if self._pid_fd >= 0:
                signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)
            else:
                os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)  # with what its functions started

    def buried(self) -> list[Applying]:
        """It has ended. Returns what it had besides the object that it was at, which is ``mourned``."""
        assert self._channel is not None
        self._poller.unregister(self.fd)
        self._channel.close()
        if self._pid_fd >= 0:
            self._poller.unregister(self._pid_fd)
            os.close(self._pid_fd)
            self._pid_fd = -1
        self._channel = None
        self.fd = -1
        self._stillborn = 0 if self._ready else self._stillborn + 1
        self._ready = False
        for context_id, done in self._set_up.items():
            if not (done or self.given):
                self._unborn[context_id] = self._unborn.get(context_id, 0) + 1
        self._set_up.clear()
        self._making.clear()
        self._forgetting.clear()
        rest = list(self.given)
        self.given.clear()
        self.mourned = rest.pop(0) if rest and not self._retired else None
        if self.mourned is None:
            self._killed_by = None
        return rest

    def why(self, lost: Applying, exitcode: int | None) -> S3EngineError:
        """The error of the object that the last process was at. ``exitcode`` is how that ended."""
        error, self._killed_by = self._killed_by, None
        if error is not None:
            return error
        assert lost.context.function is not None
        name = lost.context.function.name
        return FunctionDied(
            f"{name} ended its process at s3://{lost.source.bucket}/{lost.key}: {_ended_by(exitcode)}", key=lost.key,
            exitcode=exitcode,
        )  # fmt: skip

    def unusable(self, context_id: int, exitcode: int | None) -> FunctionUnusable | None:
        """Why there is no use in another process, if there is none."""
        if self._stillborn >= _STILLBORN:
            return FunctionUnusable(
                f"{self._stillborn} function processes in a row ended as they began: {_ended_by(exitcode)}"
            )
        if self._unborn.get(context_id, 0) >= _UNBORN:
            return FunctionUnusable(
                f"its imports or its initializer ended {_UNBORN} processes in a row: {_ended_by(exitcode)}"
            )
        return None

    def stop(self) -> None:
        """The worker ends: so does the process, after its finalizers."""
        if self._channel is not None:
            self._send((m.STOP,))

    # ---- to it

    def _send(self, message: tuple[Any, ...], fds: list[int] | tuple[int, ...] = ()) -> None:
        assert self._channel is not None
        with contextlib.suppress(ChannelClosed):  # reading finds that too
            self._channel.send(message, fds)
        self.watch()

    def watch(self) -> None:
        """Have the poller tell when there is room, if something waits for that."""
        if self._channel is not None and self._channel.wants_write != self._watching_write:
            self._watching_write = not self._watching_write
            self._poller.modify(self.fd, select.POLLIN | (select.POLLOUT if self._watching_write else 0))

    def can_do(self, applying: Applying) -> bool:
        """The process has its function."""
        return self._set_up.get(applying.context.id, False)

    def introduce(self, applying: Applying) -> None:
        """Have it make the function, unless it was told to."""
        context = applying.context
        if context.id not in self._set_up:
            self._set_up[context.id] = False
            self._making.add(context.id)
            self._send((m.SETUP, context.id, context.function))

    @property
    def room(self) -> int:
        """How many more to give to it now. Not one by one: a message costs as much as a short function."""
        if self._retired or self._forgetting or self._making:
            return 0  # what it is at there must not count as an object's time
        most = _AHEAD_OF_LONG if self.mean_s > _LONG_S else _AHEAD_OF_SHORT
        return most - len(self.given) if len(self.given) <= most // 2 else 0

    def give(self, some: list[Applying], now: float) -> None:
        """Have them done after those it has."""
        if not self.given:
            self._begins(now)
        self.given += some
        runs = [
            (
                one.task_id, one.context.id, one.about, one.offset, max(one.about.size_bytes, 0), one.local,
                one.output_key, one.headers, one.again,
            )
            for one in some
        ]  # fmt: skip
        self._send((m.RUN, runs))
        for one in some:
            if one.stream is not None:
                stream = one.stream
                for chunk in stream.given:  # a process that ended had them
                    last = stream.all_given and chunk is stream.given[-1]
                    self._send_chunk(one, chunk.offset, chunk.size_bytes, last=last)
                if stream.broken_by is not None:
                    self._send((m.BROKEN_STREAM, one.task_id, stream.broken_by))

    def give_chunk(self, applying: Applying, offset: int, size_bytes: int, *, last: bool, now: float) -> None:
        """More of an object that the process has."""
        if self.given and self.given[0] is applying:
            self._goes_on("body", now)
        self._send_chunk(applying, offset, size_bytes, last=last)

    def _send_chunk(self, applying: Applying, offset: int, size_bytes: int, *, last: bool) -> None:
        self._send((m.CHUNK, applying.task_id, offset, size_bytes, last))

    def waits(self, waiting: bool, now: float) -> None:
        """It waits for the store to have what it made, or does so no more; its time stands still meanwhile."""
        if waiting:
            self._stands_still("store", now)
        else:
            self._goes_on("store", now)

    def break_stream(self, applying: Applying, error: S3EngineError, now: float) -> None:
        """The rest of it will not come."""
        if self.given and self.given[0] is applying:
            self._goes_on("body", now)
        self._send((m.BROKEN_STREAM, applying.task_id, error))

    def stored(self, task_id: int, size_bytes: int, failed: bool) -> None:
        """The store has a part of an output, or will not have it."""
        if self._channel is not None:
            self._send((m.STORED, task_id, size_bytes, failed))

    def forget(self, context_id: int, now: float) -> None:
        """A batch is over."""
        ready = self._set_up.pop(context_id, None)
        self._unborn.pop(context_id, None)
        if context_id in self._making and not self.given:
            self.kill(Cancelled("the batch was over before its initializer was"))
        elif ready is not None:
            self._forgetting.add(context_id)
            self._forgetting_since = now
            self._send((m.FORGET, context_id))

    def forgotten(self, context_id: int) -> None:
        """Its finalizer has run."""
        self._forgetting.discard(context_id)

    def collect(self) -> None:
        """Ask it to let go of bodies that nobody needs."""
        self._send((m.COLLECT,))

    # ---- from it

    def receive(self) -> tuple[list[tuple[Any, ...]], bool]:
        """What it said, and whether that was all that it will ever say."""
        assert self._channel is not None
        # Asked first: what it said before its end is there then.
        ended = self._pid_fd >= 0 and bool(select.select([self._pid_fd], [], [], 0)[0])
        said: list[tuple[Any, ...]] = []
        with contextlib.suppress(ChannelClosed):  # what it said before it ended is still to be read
            self._channel.flush()
        try:
            while True:
                before = len(said)
                for message in self._channel.receive():
                    said.append(message)
                if not ended or len(said) == before:
                    break  # one call stops at a message with a descriptor; of what has ended nothing else tells of more
        except ChannelClosed:
            ended = True
        if not ended:
            self.watch()
        return said, ended

    def retires(self, now: float) -> None:
        """It is worn out, and has told so: finalizers come, then its end."""
        self._retired = True
        self._begins(now)

    def ready(self) -> None:
        """It has begun."""
        self._ready = True

    def set_up(self, context_id: int, *, able: bool) -> None:
        """It can do a batch's function, or never will."""
        self._making.discard(context_id)
        if able:
            if context_id in self._set_up:  # else the batch is over
                self._set_up[context_id] = True
            self._unborn.pop(context_id, None)

    def done(self, function_s: float, now: float) -> Applying:
        """It has done the first that it had."""
        self.mean_s += (function_s - self.mean_s) / 8
        self._begins(now)
        return self.given.popleft()

    def take_fd(self) -> int:
        """The descriptor that came with the last message that had one."""
        assert self._channel is not None
        return self._channel.fds.popleft()

    def starves(self, applying: Applying, now: float) -> None:
        """It has read all that there was of an object; its time stands still until more comes."""
        if self.given and self.given[0] is applying:
            self._stands_still("body", now)

    # ---- its time

    def _begins(self, now: float) -> None:
        self._since = now
        self._stood_s = 0.0
        self._stands.clear()

    def _stands_still(self, why: str, now: float) -> None:
        if not self._stands:
            self._standing_since = now
        self._stands.add(why)

    def _goes_on(self, why: str, now: float) -> None:
        if why in self._stands:
            self._stands.discard(why)
            if not self._stands:
                self._stood_s += now - self._standing_since

    def left_s(self, now: float, *, wanted: bool) -> float | None:
        """How long it may still take for what it is at; None: as long as it likes. ``wanted``: somebody waits."""
        if self._retired and self._killed_by is None:
            return self._since + _FINALIZERS_S - now
        if self._forgetting and not self.given and self._killed_by is None:
            since = max(self._since, self._forgetting_since)
            return since + _FINALIZERS_S - now if wanted else None
        if not self.given or self._stands or self._killed_by is not None:
            return None
        call = self.given[0].context.function
        assert call is not None
        if not call.timeout_s:
            return None
        return self._since + self._stood_s + call.timeout_s - now

    def time_out(self) -> None:
        """It has taken too long."""
        if self._retired or not self.given:
            self.kill(Cancelled("its finalizers took too long"))
            return
        late = self.given[0]
        call = late.context.function
        assert call is not None
        self.kill(
            FunctionTimedOut(
                f"{call.name} took longer than {call.timeout_s:g} s for s3://{late.source.bucket}/{late.key}",
                key=late.key, timeout_s=call.timeout_s,
            )
        )  # fmt: skip

    def cancel(self) -> None:
        """What it is at is not waited for any more."""
        key = self.given[0].key if self.given else ""
        self.kill(Cancelled(f"cancelled while the function was at {key!r}", key=key))


def _ended_by(exitcode: int | None) -> str:
    if exitcode is None:
        return "it is not known how"
    if exitcode >= 0:
        return f"exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"{name} (killed, for want of memory perhaps)" if -exitcode == signal.SIGKILL else name
