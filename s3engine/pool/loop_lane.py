"""The loop lane: one thread of a worker drives all its connections through one poller.

Nothing in here blocks on the network. Connecting (name look-up, proxy, TLS) is urllib3's blocking code and runs in a
few helper threads, which hand finished sockets over. Deadlines are looked at ten times a second over all connections
in flight, after the events of that turn were handled, and after another turn when the lane itself was away: a busy CPU,
a slow disk or a stopped process is not mistaken for a slow network.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import select
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from s3engine.control.retry import Verdict
from s3engine.errors import ConnectionLost, RequestError, S3EngineError, TransferError
from s3engine.pool.actions import ACTIONS
from s3engine.pool.core import Core
from s3engine.pool.item import Item
from s3engine.pool.local_work import LocalWork
from s3engine.pool.messages import LOCAL_KINDS, Task
from s3engine.pool.room import NoRoom
from s3engine.wire import RECEIVE_BYTES, Wire

__all__ = ["LoopLane"]

_IN = select.EPOLLIN if hasattr(select, "EPOLLIN") else select.POLLIN
_OUT = select.EPOLLOUT if hasattr(select, "EPOLLOUT") else select.POLLOUT
_CONNECTORS = 4
_ENOUGH_WHEN_FAST = 32
_EXPECT_BYTES = 1024 * 1024  # smaller bodies are sent sooner than asked about
_UNANSWERED = 3  # announced in vain: this endpoint does not know how
_EXPECTATION_FAILED = 417
_FAST_S = 0.005
_MAX_IDLE_S = 4.0  # AWS closes idle connections after about 5 s
_CREDENTIALS_WAIT_S = 10.0
_TICK_S = 0.1
_AWAY_S = 1.0  # ticks are 0.1 s apart; after more than this the lane itself was away
_MAX_AGE_S = 60.0  # of a connection, and up to as much again; a new one may find another of the store's addresses
_TRANSFER_BYTES = 64 * 1024  # smaller bodies say nothing about bandwidth; the estimator has its own, larger minimum


class LoopLane:
    """See the module. ``limit`` is how many requests may be in flight."""

    def __init__(self, core: Core, limit: int, poller: Any) -> None:
        self._core = core
        self._transport = core.transport
        self._limit = limit
        self._poller = poller
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._wires: dict[int, Wire] = {}
        self._idle: dict[Any, list[Wire]] = {}
        self._pending: deque[Item] = deque()
        self._delayed: list[tuple[float, int, Item, bool]] = []
        self._for_credentials: list[tuple[float, Item]] = []
        self._for_room: deque[tuple[int, Item]] = deque()  # with the bytes of their bodies
        self._sequence = 0
        self._in_flight = 0
        self._connecting = 0
        self._ticked_at = core.clock()
        self._unanswered: dict[Any, int] = {}  # by endpoint: bodies announced in vain
        self._connected: deque[tuple[Any, Any]] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self._local = LocalWork(core, self._wake)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        poller.register(self._wake_read, _IN)

    @property
    def idle(self) -> bool:
        """Nothing to do and nothing under way."""
        return not (
            self._in_flight or self._pending or self._delayed or self._for_credentials or self._for_room
            or self._local.under_way
        )

    def submit(self, tasks: list[Task]) -> None:
        """Take tasks."""
        for item in map(self._core.item, tasks):
            if item.kind in LOCAL_KINDS:
                self._local.start(item)
            else:
                self._pending.append(item)

    def take_outcomes(self) -> list[tuple[Any, ...]]:
        """The outcomes since the last call."""
        return self._core.take_outcomes()

    def wait_s(self, now: float) -> float:
        """How long the poller may sleep."""
        if self._delayed:
            return min(0.1, max(0.0, self._delayed[0][0] - now))
        return 0.1 if self._in_flight or self._connecting or self._pending or self._for_credentials else 1.0

    # ---- events

    def on_event(self, fd: int, mask: int, now: float) -> None:
        """Something happened on one of the lane's descriptors."""
        wire = self._wires.get(fd)
        if wire is None:
            if fd == self._wake_read:
                self._take_connected(now)
            return
        item: Item | None = wire.item
        if item is None:
            # An idle connection has nothing to say: it was closed, or is out of step.
            self._drop_idle(wire)
            return
        try:
            if mask & ~_OUT:
                held = wire.held_until
                if wire.on_readable(self._buffer, now):
                    self._answered(wire, item, now)
                    return
                if held and wire.wants_write:
                    self._poller.modify(fd, _IN | _OUT)
            if mask & _OUT and wire.wants_write:
                wire.on_writable(now)
                if not wire.wants_write:
                    self._poller.modify(fd, _IN)
        except ConnectionLost as lost:
            self._cut_off(wire, item, lost, now)
        except Exception as error:  # noqa: BLE001  (whatever it is, it concerns this object alone)
            self._broke(wire, item, _as_ours(item, error), now)

    def _cut_off(self, wire: Wire, item: Item, lost: ConnectionLost, now: float) -> None:
        """Sending failed: there may be an answer that says why."""
        try:
            if wire.sent:
                raise lost
            wire.read_refusal(self._buffer, now, lost)
        except Exception:  # noqa: BLE001  (what was wrong with the answer matters less than that it was cut off)
            self._broke(wire, item, lost, now)
        else:
            self._answered(wire, item, now)

    def _answered(self, wire: Wire, item: Item, now: float) -> None:
        exchange = wire.exchange
        assert exchange is not None
        action = ACTIONS[item.kind]
        reusable = wire.finish()
        self._in_flight -= 1
        item.exchange = None
        try:
            result = exchange.result()
            estimator = self._core.estimator
            estimator.observe_latency(action.op, wire.first_byte_at - wire.drained_at)
            size = item.size_bytes
            if size > _TRANSFER_BYTES:
                began, over = (wire.first_byte_at, now) if item.sink is not None else (wire.started_at, wire.drained_at)
                estimator.observe_transfer(action.op, size, over - began)
            ended = action.end(item, result)
        except Exception as unknown:  # noqa: BLE001  (whatever it is, it concerns this object alone)
            error = _as_ours(item, unknown)
            if getattr(exchange, "status", 0) == _EXPECTATION_FAILED:
                # A proxy of HTTP/1.0, say. The body was not sent, and will be, unannounced and at nobody's expense.
                self._unanswered[exchange.endpoint] = _UNANSWERED
                error = ConnectionLost(str(error), stale=True)
            # Some stores misread what follows a refused body: such a connection is not used again.
            if reusable and exchange.body:
                reusable = False
            self._release(wire, exchange.endpoint, reusable, now)
            self._retry(item, error, now)
            return
        if self._unanswered and getattr(exchange, "continued", False):
            self._unanswered.pop(exchange.endpoint, None)
        self._core.succeeded(item, ended, now)
        self._release(wire, exchange.endpoint, reusable, now)

    def _release(self, wire: Wire, endpoint: Any, reusable: bool, now: float) -> None:
        if not reusable or now > wire.expires_at:
            self._forget(wire)
            wire.close()
            return
        wires = self._idle.get(endpoint)
        if wires is None:
            wires = self._idle[endpoint] = []
        wires.append(wire)
        wire.moved_at = now

    def _broke(self, wire: Wire, item: Item, error: S3EngineError, now: float) -> None:
        self._in_flight -= 1
        self._forget(wire)
        wire.close()
        self._retry(item, error, now)

    def _retry(self, item: Item, error: S3EngineError, now: float) -> None:
        decision = self._core.failed(item, error, now)
        if decision is None:
            return
        if decision.verdict == Verdict.RECONNECT:
            # Those that stood idle beside it were closed as well, mostly; the free retry must not go over one of them.
            for wire in list(self._idle.get(item.context.endpoint, ())):
                self._drop_idle(wire)
        if decision.verdict == Verdict.CREDENTIALS:
            self._for_credentials.append((now + _CREDENTIALS_WAIT_S, item))
        elif decision.delay_s <= 0:
            self._pending.appendleft(item)
        else:
            self._delay(now + decision.delay_s, item, decision.waiting)

    def _delay(self, until: float, item: Item, waiting: bool) -> None:
        self._sequence += 1
        heapq.heappush(self._delayed, (until, self._sequence, item, waiting))

    # ---- starting requests

    def pump(self, now: float) -> None:
        """Start what may be started."""
        pending = self._pending
        if self._for_room:
            self._let_in()
        pauses = self._core.pauses
        while pending and self._in_flight < self._limit:
            item = pending[0]
            if pauses.active:
                wait_s = pauses.wait_s(item.context.bucket, now)
                if wait_s > 0:
                    pending.popleft()
                    self._delay(now + wait_s, item, False)
                    continue
            endpoint = item.context.endpoint
            if endpoint is not None and not self._idle.get(endpoint):
                self._connect(endpoint)
                return
            pending.popleft()
            if not self._launch(item, now):
                return

    def _let_in(self) -> None:
        """Put items whose bodies have room now back in line, the one that waited longest first."""
        free_bytes = self._core.room.free_bytes
        fitting: list[Item] = []
        while self._for_room and self._for_room[0][0] <= free_bytes:
            size_bytes, item = self._for_room.popleft()
            free_bytes -= size_bytes
            fitting.append(item)
        self._pending.extendleft(reversed(fitting))

    def _launch(self, item: Item, now: float) -> bool:
        """Start one item; False when it has to wait for a connection."""
        action = ACTIONS[item.kind]
        try:
            exchange = item.exchange
            if exchange is None:
                if action.prepare is not None:
                    action.prepare(item)
                item.timeouts = timeouts = self._core.timeouts(action.op, item.size_bytes, item.failed)
                exchange = action.begin(item, self._transport.exchanges, timeouts)
        except NoRoom as full:
            self._for_room.append((full.size_bytes, item))
            return True
        except Exception as error:  # noqa: BLE001  (a path with a NUL, say: it concerns this object alone)
            item.first_at = item.first_at or now
            item.started_at = now
            self._retry(item, _as_ours(item, error), now)
            return True
        endpoint = exchange.endpoint
        wires = self._idle.get(endpoint)
        if not wires:
            item.exchange = exchange
            item.context.endpoint = endpoint
            self._pending.appendleft(item)
            self._connect(endpoint)
            return False
        wire = wires.pop()
        now = self._core.clock()  # preparing may have read a file
        item.started_at = now
        if not item.first_at:
            item.first_at = now
        item.bytes_per_s = self._core.bytes_per_s[action.op]
        item.attempts += 1
        item.context.endpoint = endpoint
        self._in_flight += 1
        wire.item = item
        assert item.timeouts is not None
        expect_s = 0.0
        if (
            now < self._core.throttled_until and item.size_bytes >= _EXPECT_BYTES and exchange.body
            and self._unanswered.get(endpoint, 0) < _UNANSWERED
        ):  # fmt: skip
            expect_s = self._core.expect_s(action.op)
        try:
            wire.start(exchange, item.timeouts, now, expect_s=expect_s)
            if wire.wants_write:
                self._poller.modify(wire.fileno(), _IN | _OUT)
        except ConnectionLost as lost:
            self._cut_off(wire, item, lost, now)
        except S3EngineError as error:
            self._broke(wire, item, error, now)
        return True

    # ---- connections

    def _connect(self, endpoint: Any) -> None:
        wanted = min(len(self._pending), self._limit - self._in_flight)
        if self._connecting >= min(_CONNECTORS, wanted):
            return
        if self._in_flight >= _ENOUGH_WHEN_FAST:
            # Where answers come at once more connections only cost: each about as much as eight small requests.
            known = self._core.estimator.estimate(ACTIONS[self._pending[0].kind].op)
            if known.latency_n >= _ENOUGH_WHEN_FAST and known.latency_mean_s < _FAST_S:
                return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_CONNECTORS, thread_name_prefix="s3engine-connect")
        item = self._pending[0]
        connect_s = item.timeouts.connect_s if item.timeouts is not None else 3.1
        self._connecting += 1
        self._executor.submit(self._open, endpoint, connect_s)

    def _open(self, endpoint: Any, timeout_s: float) -> None:
        # Runs in a helper thread: touches nothing but the queue and the pipe.
        try:
            result: Any = self._transport.open_link(endpoint, timeout_s)
        except S3EngineError as error:
            result = error
        except Exception as error:  # noqa: BLE001  (a bug must reach the report, not die in a thread)
            result = RequestError(f"cannot connect: {error!r}")
        self._connected.append((endpoint, result))
        self._wake()

    def _wake(self) -> None:
        # From any thread.
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _take_connected(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        self._local.collect()
        while self._connected:
            endpoint, result = self._connected.popleft()
            self._connecting -= 1
            if isinstance(result, S3EngineError):
                self._connect_failed(endpoint, result, now)
                continue
            wire = Wire(result)
            wire.used = result.used
            wire.expires_at = now + _MAX_AGE_S * (1.0 + random.random())  # not all of them at once
            self._wires[wire.fileno()] = wire
            self._poller.register(wire.fileno(), _IN)
            self._release(wire, endpoint, True, now)

    def _connect_failed(self, endpoint: Any, error: S3EngineError, now: float) -> None:
        """A failed connect is an attempt of the item that has waited longest for that endpoint."""
        for index, item in enumerate(self._pending):
            if item.context.endpoint == endpoint:
                del self._pending[index]
                item.attempts += 1
                item.started_at = now
                item.first_at = item.first_at or now
                self._retry(item, error, now)
                return

    def _forget(self, wire: Wire) -> None:
        fd = wire.fileno()
        del self._wires[fd]
        self._poller.unregister(fd)

    def _drop_idle(self, wire: Wire) -> None:
        for wires in self._idle.values():
            if wire in wires:
                wires.remove(wire)
        self._forget(wire)
        wire.close()

    # ---- time

    def tick(self, now: float) -> None:
        """Ten times a second, after the events: what is late, what may go on."""
        away_s = now - self._ticked_at - _TICK_S
        if away_s > _AWAY_S:
            # Stopped, or held up by a disk or a busy CPU. What came meanwhile is still in the sockets: read it first,
            # in the next turn, and judge after that.
            for wire in self._wires.values():
                if wire.item is not None:
                    wire.excuse(away_s, now)
        else:
            self._end_late(now)
        self._ticked_at = now
        for wires in self._idle.values():
            # The oldest stand first, since connections are taken from the end.
            while wires and now - wires[0].moved_at > _MAX_IDLE_S:
                self._drop_idle(wires[0])
        if self._for_credentials and self._for_credentials[0][0] < now:
            self.renewed_credentials()
        self._core.tick(now)

    def _end_late(self, now: float) -> None:
        late: list[tuple[Wire, Item, S3EngineError]] = []
        for wire in self._wires.values():
            item: Item | None = wire.item
            if item is not None:
                if wire.held_until and now >= wire.held_until:
                    try:
                        self._send_unasked(wire, item, now)
                    except S3EngineError as failure:
                        late.append((wire, item, failure))
                        continue
                timeout = wire.overdue(now)
                if timeout is not None:
                    late.append((wire, item, timeout))
        for wire, item, error in late:
            self._broke(wire, item, error, now)

    def _send_unasked(self, wire: Wire, item: Item, now: float) -> None:
        endpoint = item.context.endpoint
        self._unanswered[endpoint] = self._unanswered.get(endpoint, 0) + 1
        wire.release(now)
        self._poller.modify(wire.fileno(), _IN | _OUT if wire.wants_write else _IN)

    def wake_delayed(self, now: float) -> None:
        """Put items whose wait is over back in line."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, item, waiting = heapq.heappop(self._delayed)
            if waiting:
                decision = self._core.admit(item, now)
                if decision is None:
                    continue
                if decision.waiting:
                    self._delay(now + decision.delay_s, item, True)
                    continue
            self._pending.append(item)

    def renewed_credentials(self) -> None:
        """Fresh credentials have come (or were waited for long enough)."""
        self._pending.extend(item for _, item in self._for_credentials)
        self._for_credentials.clear()

    # ---- ends

    def cancel(self, context_id: int, hard: bool, now: float) -> None:
        """Drop what has not begun; ``hard``: what is in flight as well."""
        kept: deque[Item] = deque()
        for item in self._pending:
            if item.context.id == context_id:
                self._core.cancelled(item, now)
            else:
                kept.append(item)
        self._pending = kept
        delayed = self._delayed
        self._delayed = [entry for entry in delayed if entry[2].context.id != context_id]
        heapq.heapify(self._delayed)
        for entry in delayed:
            if entry[2].context.id == context_id:
                self._core.cancelled(entry[2], now)
        waiting = self._for_credentials
        self._for_credentials = [entry for entry in waiting if entry[1].context.id != context_id]
        for entry_ in waiting:
            if entry_[1].context.id == context_id:
                self._core.cancelled(entry_[1], now)
        in_line = self._for_room
        self._for_room = deque(entry for entry in in_line if entry[1].context.id != context_id)
        for _, item in in_line:
            if item.context.id == context_id:
                self._core.cancelled(item, now)
        if not hard:
            return
        self._local.cancel(context_id)
        for wire in list(self._wires.values()):
            busy: Item | None = wire.item
            if busy is not None and busy.context.id == context_id:
                self._in_flight -= 1
                self._forget(wire)
                wire.close()
                self._core.cancelled(busy, now)

    def close(self) -> None:
        """Close every connection."""
        for wire in list(self._wires.values()):
            self._forget(wire)
            wire.close()
        self._idle.clear()
        self._local.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _as_ours(item: Item, error: Exception) -> S3EngineError:
    """``error``, or for one that is not ours a final TransferError that names the object."""
    if isinstance(error, S3EngineError):
        return error
    return TransferError(f"{item.key!r}: {type(error).__name__}: {error}", key=item.key)
