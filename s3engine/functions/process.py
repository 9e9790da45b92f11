"""What a function process runs: the caller's function on one object after another.

It stands beside a worker, which has the sockets, and shares an arena with it: bodies lie there, and what crosses is a
few numbers. So whatever the function does, the network goes on; and what kills this process costs the object that it
was at, no other.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from s3engine.channel import Channel, ChannelClosed
from s3engine.errors import FunctionError, FunctionUnusable, S3EngineError
from s3engine.functions import messages as m
from s3engine.functions.calls import FunctionCall
from s3engine.functions.fetched import FetchedObject, local_body
from s3engine.functions.known import Known, called, class_of, described, failure, is_own, packed_result
from s3engine.functions.logs import send_logs, set_level
from s3engine.functions.results import Packed
from s3engine.functions.surroundings import allow_children, end_with, leave_room, limit, own_group
from s3engine.functions.wear import Wear, is_want
from s3engine.functions.writing import Files, Objects, Writer
from s3engine.transport import Headers

__all__ = ["FunctionProcessSettings", "run"]

_COPIED_BYTES = 64 * 1024
"""Up to here a body is copied (10 us), above it is mapped: mmap and munmap cost as much."""
_MOST_UNSTORED = 64  # outputs and parts that the store does not have: each may take a descriptor, in three processes
_MOST_UNSENT_BYTES = 1024 * 1024  # of log records, while a function runs


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionProcessSettings:
    """All that a function process is born with."""

    inherited: tuple[int, ...] = ()
    """Descriptors of the parent that a forked one must not keep open."""
    memory_bytes: int = 0
    """It may have so much memory of its own; 0: any."""
    processes: int = 1
    """That are to share the machine's memory."""


def run(settings: FunctionProcessSettings, sock: socket.socket, life_fd: Any) -> None:
    """The process's life. ``life_fd`` is a pipe that ends when the engine's process does."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.set_wakeup_fd(-1)
        for fd in settings.inherited:
            with contextlib.suppress(OSError):
                os.close(fd)
        gc.freeze()
        own_group()
        allow_children()
        end_with(life_fd.fd)
        limit(settings.memory_bytes)
        _Process(Channel(sock), settings.processes).live()
        code = 0
    except ChannelClosed:
        code = 0  # the worker is gone; whatever it had to do here is done by another
    except MemoryError:
        code = m.WORN_OUT
    finally:
        if code == 1:
            traceback.print_exc()
        with contextlib.suppress(Exception):
            _flush_streams()
        os._exit(code)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


class _Process:
    """See the module."""

    def __init__(self, channel: Channel, processes: int = 1) -> None:
        self._channel = channel
        self._processes = processes
        self._wear: Wear | None = None
        """From the end of the first object on."""
        self._retires = False
        """It is worn out: another process goes on."""
        self._again = 0
        """The object that is to be tried again there; 0: none."""
        self._poller = select.poll()
        self._poller.register(channel.fileno(), select.POLLIN)
        self._messages: deque[tuple[Any, ...]] = deque()
        self._known: dict[int, Known] = {}
        self._chunks: dict[int, deque[tuple[Any, ...]]] = {}
        """Of objects that come in chunks: by task, those that came and were not read."""
        self._arena_fd = -1
        self._freed: list[int] = []
        self._bodies: dict[int, weakref.ref[mmap.mmap]] = {}
        """Mapped pieces that somebody may refer to, by offset."""
        # A function may have threads, and these may log; so may a finalizer of an object, in the middle of a send.
        self._sending = threading.RLock()
        self._is_sending = False
        self._late: deque[tuple[tuple[Any, ...], tuple[int, ...]]] = deque()
        self._pid = os.getpid()
        self._task_id = 0
        self._waited_s = 0.0
        """For chunks, by the function under way."""
        self._broken: S3EngineError | None = None
        """Why the rest of the object under way will not come."""
        self._unstored_bytes = 0
        self._unstored = 0
        """Of outputs that the store does not have yet."""
        self._lost = False
        """An output of the object under way could not be stored."""

    def live(self) -> None:
        """Until the worker says that it is enough. Raises ChannelClosed."""
        send_logs(self._log)
        os.register_at_fork(after_in_child=self._channel.sock.close)  # a child must not keep it open
        self._channel.send((m.READY,))
        while True:
            while not self._messages:
                self._wait()
            message = self._messages.popleft()
            code = message[0]
            if code == m.RUN:
                self._run(*message[1:])
                if self._retires:
                    self._send((m.RETIRED, self._again))
                    self._end()
                    return
            elif code == m.SETUP:
                self._set_up(message[1], message[2])
            elif code == m.FORGET:
                self._forget(message[1])
            elif code == m.COLLECT:
                gc.collect()
                self._send((m.FREED, self._take_freed()))
            elif code == m.MEMORY:
                self._arena_fd = self._channel.fds.popleft()
            elif code == m.STOP:
                self._end()
                return

    def _end(self) -> None:
        for context_id in list(self._known):
            self._forget(context_id)
        while self._channel.wants_write:
            self._wait()

    def _wait(self) -> None:
        """For messages, and for room for ours."""
        write = select.POLLOUT if self._channel.wants_write else 0
        self._poller.modify(self._channel.fileno(), select.POLLIN | write)
        self._poller.poll()
        if write:
            with self._sending:
                self._channel.flush()
        for message in self._channel.receive():
            code = message[0]
            if code == m.STORED:
                # Never below 0: a process before this one may have made it.
                self._unstored_bytes = max(0, self._unstored_bytes - message[2])
                self._unstored = max(0, self._unstored - 1)
                self._lost = self._lost or (message[3] and message[1] == self._task_id)
                continue
            if code == m.CHUNK or code == m.BROKEN_STREAM:
                chunks = self._chunks.get(message[1])
                if chunks is not None:  # else its object is over
                    chunks.append(message)
                continue
            if code == m.RUN:
                self._chunks.update((run[0], deque()) for run in message[1] if run[3] < 0)
                self._messages.extend((m.RUN, *run) for run in message[1])
                continue
            self._messages.append(message)

    def _send(self, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
        with self._sending:
            self._late.append((message, fds))
            if self._is_sending:
                return
            self._is_sending = True
            try:
                while self._late:
                    self._channel.send(*self._late.popleft())
            finally:
                self._is_sending = False

    # ---- a batch

    def _set_up(self, context_id: int, call: FunctionCall) -> None:
        error = None
        set_level(call.log_level)
        try:
            self._known[context_id] = Known(call, self._writer(call))
        except BaseException as raised:  # noqa: BLE001  (imports and the initializer are the caller's: handed to it)
            text = "".join(traceback.format_exception(raised))
            error = FunctionUnusable(
                f"{call.name} cannot be used in a function process: {described(raised)}",
                exception=class_of(raised), traceback=text,
            )  # fmt: skip
        self._send((m.SET_UP, context_id, error))

    def _writer(self, call: FunctionCall) -> Writer | None:
        if call.output == "objects":
            return Objects(call, self._send, lambda size_bytes: self._wait_stored(size_bytes, call.most_unstored_bytes))
        if call.output == "files":
            return Files(call, lambda task_id, path: self._send((m.WRITING, task_id, path)))
        return None

    def _forget(self, context_id: int) -> None:
        known = self._known.pop(context_id, None)
        if known is not None and known.finalizer is not None:
            try:
                known.finalizer(known.state)
            except BaseException:
                import logging

                logging.getLogger("s3engine").exception("the finalizer of %s failed", known.name)
        with contextlib.suppress(ChannelClosed):
            self._send((m.FORGOTTEN, context_id))

    # ---- an object

    def _run(
        self, task_id: int, context_id: int, about: m.About, offset: int, size: int, source: Any, key: str,
        headers: Headers, last: bool,
    ) -> None:  # fmt: skip
        known = self._known[context_id]
        self._task_id = task_id
        self._broken = None
        self._lost = False
        self._waited_s = 0.0
        if source is not None:
            found = FetchedObject(about, known.state, lambda: local_body(source), None)
        elif offset >= 0:
            found = FetchedObject(about, known.state, lambda: self._body(offset, size), None)
        else:
            found = FetchedObject(about, known.state, None, lambda: self._read_chunks(task_id))
        made = m.Made()
        begins_again = not last and (offset >= 0 or source is not None)  # what came in chunks is gone
        packed: Packed | None = None
        fd: int | None = None
        error: S3EngineError | None = None
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        try:
            value = called(known, found)
            if known.writer is not None:
                begins_again = False  # something may be stored
                made = known.writer.write(task_id, value, key, headers, about.headers if source is None else None)
            else:
                packed, fd = packed_result(known, value)
            del value
        except BaseException as raised:  # noqa: BLE001  (sys.exit and all: it costs this object alone)
            self._leave_child(raised)
            if is_want(raised):
                self._retires = True
                leave_room()
                if begins_again and self._wear is not None:
                    self._again = task_id  # others before it have used that up
                    return
            error = raised if isinstance(raised, S3EngineError) and is_own(raised) else failure(known, found, raised)
        self._leave_child(None)
        took_s = time.perf_counter() - began_s - self._waited_s
        took_cpu_s = time.process_time() - began_cpu_s
        if self._broken is not None:
            error = self._broken
        if error is not None and fd is not None:
            os.close(fd)
            fd = None
        if offset >= 0 and offset not in self._bodies:
            self._freed.append(offset)  # nobody looked, or at a copy; what is mapped says itself when it goes
        found._close()
        del found
        self._chunks.pop(task_id, None)
        self._task_id = 0
        packed = None if error is not None else packed
        message = (m.DONE, task_id, took_s, took_cpu_s, packed, error, self._take_freed(), made)
        self._send(message, () if fd is None else (fd,))
        while self._channel.wants_write:
            self._wait()
        if self._wear is None:
            self._wear = Wear(self._processes)
        elif self._wear.worn():
            self._retires = True

    def _leave_child(self, raised: BaseException | None) -> None:
        """A function may fork and come back twice: only one of the two is this process."""
        if os.getpid() != self._pid:
            if raised is not None and not isinstance(raised, SystemExit):
                traceback.print_exception(raised)
            os._exit(raised.code if isinstance(raised, SystemExit) and isinstance(raised.code, int) else bool(raised))

    # ---- its body

    def _body(self, offset: int, size: int) -> memoryview:
        if size <= _COPIED_BYTES:
            return memoryview(os.pread(self._arena_fd, size, offset))
        mapped = mmap.mmap(self._arena_fd, size, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
        self._bodies[offset] = weakref.ref(mapped, lambda _: self._unmapped(offset))
        return memoryview(mapped)

    def _unmapped(self, offset: int) -> None:
        del self._bodies[offset]
        self._freed.append(offset)

    def _take_freed(self) -> list[int]:
        freed = self._freed
        self._freed = []
        return freed

    def _read_chunks(self, task_id: int) -> Iterator[bytes]:
        chunks = self._chunks[task_id]
        last = False
        while not last:
            while not chunks:
                since_s = time.perf_counter()
                self._wait()
                self._waited_s += time.perf_counter() - since_s
            message = chunks.popleft()
            if message[0] == m.BROKEN_STREAM:
                self._broken = message[2]
                raise message[2]
            _, _, offset, size, last = message
            data = os.pread(self._arena_fd, size, offset)
            self._send((m.TAKEN, task_id, offset))
            yield data

    # ---- its outputs

    def _wait_stored(self, size_bytes: int, most_bytes: int) -> None:
        """Until there is room for so many more that the store does not have. Raises FunctionError."""
        since_s = time.perf_counter()

        def full() -> bool:
            return bool(self._unstored) and (
                self._unstored_bytes + size_bytes > most_bytes or self._unstored >= _MOST_UNSTORED
            )

        if full():
            self._send((m.WAITING, True))
            while full() and not self._lost:
                self._wait()
            self._send((m.WAITING, False))
        self._waited_s += time.perf_counter() - since_s
        if self._lost:
            raise FunctionError("an output could not be stored")  # what the worker knows goes before it
        self._unstored_bytes += size_bytes
        self._unstored += 1

    # ---- what it says besides

    def _log(self, record: Any) -> None:
        """From any thread of the function's."""
        if os.getpid() != self._pid:
            return  # a child that the function forked: the channel is not its own
        main = threading.current_thread() is threading.main_thread()
        if self._channel.unsent_bytes > _MOST_UNSENT_BYTES:
            if not main:
                return  # only one thread may wait here; who logs megabytes a second from others loses some
            while self._channel.unsent_bytes > _MOST_UNSENT_BYTES:
                self._wait()
        with contextlib.suppress(ChannelClosed):  # the worker is gone: finalizers have their time all the same
            self._send((m.LOG, self._task_id, record))
