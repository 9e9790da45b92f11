"""The thread lane: one thread per request in flight, for transports whose calls block (boto3, minio, obstore)."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from collections import deque
from typing import Any

from s3engine.control.retry import Verdict
from s3engine.errors import NetworkError, RequestError, S3EngineError, TransferError
from s3engine.interrupt import interrupt
from s3engine.pool.actions import ACTIONS
from s3engine.pool.core import Core
from s3engine.pool.item import Item
from s3engine.pool.local_work import LocalWork
from s3engine.pool.messages import LOCAL_KINDS, Task, is_given_up
from s3engine.pool.room import NoRoom

__all__ = ["ThreadLane"]

MOST_THREADS = 128
"""Of one worker: more only hand the interpreter's lock around."""
_CREDENTIALS_WAIT_S = 10.0
_ROOM_EVERY_S = 0.02


class ThreadLane:
    """The same face as LoopLane. Threads only call the transport; everything else is done under one lock."""

    def __init__(self, core: Core, limit: int, poller: Any) -> None:
        self._core = core
        self._limit = min(limit, MOST_THREADS)
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[Item, int] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._submits = 0
        self._cancelled: dict[int, int] = {}  # by context: how many submits had been when the cancel came
        self._local = LocalWork(core, self._wake)
        self._closing = threading.Event()
        self._woken = threading.Condition(self._lock)  # credentials came, or a cancel
        self._generation = 0
        self._in_call: dict[int, tuple[int, int]] = {}  # by thread: context and Kind of the call that it is making
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        poller.register(self._wake_read, select.POLLIN)

    @property
    def idle(self) -> bool:
        """Nothing to do and nothing under way."""
        with self._lock:
            return self._unfinished == 0 and not self._local.under_way

    def submit(self, tasks: list[Task]) -> None:
        """Take tasks."""
        items: deque[Item] = deque()
        for item in map(self._core.item, tasks):
            if item.kind in LOCAL_KINDS:
                self._local.start(item)
            else:
                items.append(item)
        with self._lock:
            self._unfinished += len(items)
            self._submits += 1
        while len(self._threads) < min(self._limit, self._unfinished):
            thread = threading.Thread(target=self._work, name=f"s3engine-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for item in items:
            self._queue.put((item, self._submits))

    def take_outcomes(self) -> list[tuple[Any, ...]]:
        """The outcomes since the last call."""
        with self._lock:
            return self._core.take_outcomes()

    def wait_s(self, now: float) -> float:
        """How long the poller may sleep."""
        return 0.1

    def on_event(self, fd: int, mask: int, now: float) -> None:
        """A thread has finished something."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        with self._lock:
            self._local.collect()

    def pump(self, now: float) -> None:
        """Threads take their work themselves."""

    def wake_delayed(self, now: float) -> None:
        """Threads wait out their delays themselves."""

    def tick(self, now: float) -> None:
        """Ten times a second."""
        with self._lock:
            self._core.tick(now)

    def renewed_credentials(self) -> None:
        """Fresh credentials have come."""
        with self._woken:
            self._generation += 1
            self._woken.notify_all()

    def cancel(self, context_id: int, hard: int, now: float) -> None:
        """Drop what has not begun; ``hard``: wake the calls under way as well (see CANCEL in messages).

        A call of a transport that is not ``interruptible`` ends by its timeouts.
        """
        with self._woken:
            # Only what is here already: what comes later undoes (AbortMultipartUpload) or completes what was begun.
            self._cancelled[context_id] = self._submits
            self._woken.notify_all()
            if hard:
                interrupt(
                    thread for thread, (context, kind) in self._in_call.items()
                    if context == context_id and is_given_up(kind, hard)
                )  # fmt: skip
        if hard:
            self._local.cancel(context_id)

    def close(self) -> None:
        """Tell the threads to end; they are daemons, so one that hangs in a call does not keep the process."""
        self._closing.set()
        with self._woken:
            self._woken.notify_all()
        self._local.close()
        for _ in self._threads:
            self._queue.put(None)

    # ---- in the threads

    def _work(self) -> None:
        me = threading.get_ident()
        while True:
            entry = self._queue.get()
            if entry is None:
                return
            self._carry_out(*entry)
            with self._lock:
                self._in_call.pop(me, None)
                self._unfinished -= 1
            self._wake()

    def _wake(self) -> None:
        # A pipe that is full is full of wake-ups already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _carry_out(self, item: Item, submit: int) -> None:
        core = self._core
        me = threading.get_ident()
        while True:
            now = core.clock()
            if self._is_cancelled(item, submit):
                with self._lock:
                    core.cancelled(item, now)
                return
            if core.pauses.active:
                wait_s = core.pauses.wait_s(item.context.bucket, now)
                if wait_s > 0:
                    self._wait(wait_s, item, submit)
                    continue
            action = ACTIONS[item.kind]
            item.first_at = item.first_at or now
            item.started_at = now
            try:
                if action.prepare is not None:
                    action.prepare(item)
                with self._lock:
                    item.timeouts = timeouts = core.deadlines.timeouts(action.op, item.size_bytes, item.failed)
                    self._in_call[me] = (item.context.id, item.kind)
                item.attempts += 1
                item.bytes_per_s = core.deadlines.bytes_per_s[action.op]
                result = action.begin(item, core.transport, timeouts)
                ended = action.end(item, result)
            except NoRoom:
                # Others are in flight, or there would be room. Looked at now and then, for a cancel too.
                self._closing.wait(_ROOM_EVERY_S)
                continue
            except S3EngineError as error:
                if not self._goes_on(item, submit, error):
                    return
                continue
            except Exception as error:  # noqa: BLE001  (a foreign client may raise anything; the report names it)
                failure = RequestError if not isinstance(error, OSError) else TransferError
                if not self._goes_on(item, submit, failure(f"{item.key!r}: {type(error).__name__}: {error}")):
                    return
                continue
            now = core.clock()
            with self._lock:
                # A blocking client shows no phases: the whole call counts as latency for small bodies only.
                if item.size_bytes < 65536:
                    core.estimator.observe_latency(action.op, now - item.started_at)
                else:
                    core.estimator.observe_transfer(action.op, item.size_bytes, now - item.started_at)
                core.succeeded(item, ended, now)
            return

    def _is_cancelled(self, item: Item, submit: int) -> bool:
        return submit <= self._cancelled.get(item.context.id, 0)

    def _wait(self, wait_s: float, item: Item, submit: int) -> None:
        """Sleep, unless the batch is cancelled or the worker ends."""
        with self._woken:
            self._woken.wait_for(lambda: self._closing.is_set() or self._is_cancelled(item, submit), wait_s)

    def _goes_on(self, item: Item, submit: int, error: S3EngineError) -> bool:
        """After a failed attempt: wait as long as it takes and say whether to try again."""
        core = self._core
        with self._woken:
            self._in_call.pop(threading.get_ident(), None)
            if self._is_cancelled(item, submit) and isinstance(error, NetworkError):
                core.cancelled(item, core.clock())  # the call was woken, or would be made again in vain
                return False
            decision = core.failed(item, error, core.clock())
            if decision is None:
                return False
            if decision.verdict == Verdict.CREDENTIALS:
                generation = self._generation
                self._woken.wait_for(
                    lambda: self._generation != generation or self._is_cancelled(item, submit), _CREDENTIALS_WAIT_S
                )
                return True
        while True:
            self._wait(decision.delay_s, item, submit)
            if self._closing.is_set() or self._is_cancelled(item, submit) or not decision.waiting:
                return True
            with self._lock:
                decision = core.admit(item, core.clock())
            if decision is None:
                return False
