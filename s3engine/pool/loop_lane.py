"""The loop lane: one thread of a worker drives all its connections through one poller.

Nothing in here blocks on the network: connecting, which does, is left to threads (connections.py). Items that are not
in flight are in waiting.py, what is known of deadlines in lateness.py.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Any

from s3engine.control.breadth import Breadth, by_descriptors
from s3engine.control.retry import Verdict
from s3engine.errors import ConnectionLost, S3EngineError, TransferError
from s3engine.pool.actions import ACTIONS
from s3engine.pool.announce import Announcing
from s3engine.pool.connections import BEGUN, CONNECTORS, IN, OUT, Connections
from s3engine.pool.core import Core
from s3engine.pool.item import Item
from s3engine.pool.lateness import Lateness
from s3engine.pool.local_work import LocalWork
from s3engine.pool.messages import LOCAL_KINDS, Task, is_given_up
from s3engine.pool.room import NoRoom
from s3engine.pool.waiting import Waiting
from s3engine.wire import RECEIVE_BYTES, Wire

__all__ = ["LoopLane"]

_ENOUGH_WHEN_FAST = 32
_FAST_S = 0.005
_LOOK_S = 0.025  # at least, between looks at whether more may be in flight
_TRANSFER_BYTES = 64 * 1024  # smaller bodies say nothing about bandwidth; the estimator has its own, larger minimum


class LoopLane:
    """See the module. ``limit`` is how many requests may be in flight, if :class:`Breadth` has them."""

    def __init__(self, core: Core, limit: int, poller: Any) -> None:
        self._core = core
        self._transport = core.transport
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._breadth = Breadth(limit if soft == resource.RLIM_INFINITY else min(limit, by_descriptors(soft)))
        self._look_at = 0.0
        self._poller = poller
        self._timeouts_of = core.deadlines.timeouts
        self._bytes_per_s = core.deadlines.bytes_per_s
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._in_flight = 0
        self._more_at = 0.0  # when as many connections as are enough were too slow to be so
        self._waiting = Waiting()
        self._announcing = Announcing()
        self._connections = Connections(core.transport, poller, self._wake)
        self._wires = self._connections.wires  # looked into at every event, as the next is
        self._idle = self._connections.idle
        self._lateness = Lateness(self._wires, self._announcing, poller, core.clock())
        self._local = LocalWork(core, self._wake)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        poller.register(self._wake_read, IN)

    @property
    def idle(self) -> bool:
        """Nothing to do and nothing under way."""
        return not (self._in_flight or self._waiting.any or self._local.under_way)

    def submit(self, tasks: list[Task]) -> None:
        """Take tasks."""
        for item in map(self._core.item, tasks):
            if item.kind in LOCAL_KINDS:
                self._local.start(item)
            else:
                self._waiting.line.append(item)

    def take_outcomes(self) -> list[tuple[Any, ...]]:
        """The outcomes since the last call."""
        return self._core.take_outcomes()

    def wait_s(self, now: float) -> float:
        """How long the poller may sleep."""
        delayed = self._waiting.delayed
        if delayed:
            return min(0.1, max(0.0, delayed[0][0] - now))
        if now < self._more_at:
            return self._more_at - now
        return 0.1 if self._in_flight or self._connections.opening or self._waiting.soon else 1.0

    # ---- events

    def on_event(self, fd: int, mask: int, now: float) -> None:
        """Something happened on one of the lane's descriptors."""
        wire = self._wires.get(fd)
        if wire is None:
            if fd == self._wake_read:
                self._take_connected(now)
            else:
                self._connections.on_begun(fd, now)
            return
        item: Item | None = wire.item
        if item is None:
            # An idle connection has nothing to say: it was closed, or is out of step.
            self._connections.drop_idle(wire)
            return
        try:
            if mask & ~OUT:
                held = wire.held_until
                if wire.on_readable(self._buffer, now):
                    self._answered(wire, item, now)
                    return
                if held and wire.wants_write:
                    self._poller.modify(fd, IN | OUT)
            if mask & OUT and wire.wants_write:
                wire.on_writable(now)
                if not wire.wants_write:
                    self._poller.modify(fd, IN)
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
            if self._announcing.was_refused(exchange):
                # A proxy of HTTP/1.0, say. The body was not sent, and will be, unannounced and at nobody's expense.
                error = ConnectionLost(str(error), stale=True)
            # Some stores misread what follows a refused body: such a connection is not used again.
            if reusable and exchange.body:
                reusable = False
            self._connections.release(wire, exchange.endpoint, reusable, now)
            self._retry(item, error, now)
            return
        if self._announcing.unanswered:
            self._announcing.was_answered(exchange)
        self._core.succeeded(item, ended, now)
        self._connections.release(wire, exchange.endpoint, reusable, now)

    def _broke(self, wire: Wire, item: Item, error: S3EngineError, now: float) -> None:
        self._in_flight -= 1
        self._connections.drop(wire)
        self._retry(item, error, now)

    def _retry(self, item: Item, error: S3EngineError, now: float) -> None:
        decision = self._core.failed(item, error, now)
        if decision is None:
            return
        if decision.verdict == Verdict.RECONNECT:
            # Those that stood idle beside it were closed as well, mostly; the free retry must not go over one of them.
            self._connections.drop_all_idle(item.context.endpoint)
        if decision.verdict == Verdict.CREDENTIALS:
            self._waiting.wait_for_credentials(item, now)
        elif decision.delay_s <= 0:
            self._waiting.line.appendleft(item)
        else:
            self._waiting.delay(now + decision.delay_s, item, decision.waiting)

    # ---- starting requests

    def pump(self, now: float) -> None:
        """Start what may be started."""
        waiting = self._waiting
        if waiting.for_room:
            waiting.let_in(self._core.room.free_bytes)
        line = waiting.line
        idle = self._idle
        pauses = self._core.pauses
        allowed = self._breadth.allowed
        while line and self._in_flight < allowed:
            item = line[0]
            if pauses.active:
                wait_s = pauses.wait_s(item.context.bucket, now)
                if wait_s > 0:
                    line.popleft()
                    waiting.delay(now + wait_s, item, False)
                    continue
            endpoint = item.context.endpoint
            if endpoint is not None and not idle.get(endpoint):
                self._connect(endpoint, now)
                if not idle.get(endpoint):
                    return
            line.popleft()
            if not self._launch(item, now):
                return
        if line and now >= self._look_at:
            op = ACTIONS[line[0].kind].op
            known = self._core.estimator.estimate(op)
            self._breadth.look(op, known)
            self._look_at = now + max(_LOOK_S, known.latency_mean_s)  # what it did must be seen before

    def _launch(self, item: Item, now: float) -> bool:
        """Start one item; False when it has to wait for a connection."""
        action = ACTIONS[item.kind]
        try:
            exchange = item.exchange
            if exchange is None:
                if action.prepare is not None:
                    action.prepare(item)
                item.timeouts = timeouts = self._timeouts_of(action.op, item.size_bytes, item.failed)
                exchange = action.begin(item, self._transport.exchanges, timeouts)
        except NoRoom as full:
            self._waiting.wait_for_room(item, full.size_bytes)
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
            self._waiting.line.appendleft(item)
            self._connect(endpoint, now)
            return bool(self._idle.get(endpoint))
        wire = wires.pop()
        now = self._core.clock()  # preparing may have read a file
        item.started_at = now
        if not item.first_at:
            item.first_at = now
        item.bytes_per_s = self._bytes_per_s[action.op]
        item.attempts += 1
        item.context.endpoint = endpoint
        self._in_flight += 1
        wire.item = item
        assert item.timeouts is not None
        expect_s = 0.0
        if (
            now < self._core.throttled_until and exchange.body
            and self._announcing.is_worth_it(endpoint, item.size_bytes)
        ):  # fmt: skip
            expect_s = self._core.deadlines.expect_s(action.op)
        try:
            wire.start(exchange, item.timeouts, now, expect_s=expect_s)
            if wire.wants_write:
                self._poller.modify(wire.fileno(), IN | OUT)
        except ConnectionLost as lost:
            self._cut_off(wire, item, lost, now)
        except S3EngineError as error:
            self._broke(wire, item, error, now)
        return True

    # ---- connections

    def _connect(self, endpoint: Any, now: float) -> None:
        """Open what is missing: connections that are there at once are idle then, others come as events."""
        line = self._waiting.line
        connections = self._connections
        wanted = min(len(line), self._breadth.allowed - self._in_flight)
        missing = wanted - connections.opening
        if self._in_flight + connections.opening >= _ENOUGH_WHEN_FAST:
            # Where answers come at once more connections only cost: each about as much as eight small requests.
            known = self._core.estimator.estimate(ACTIONS[line[0].kind].op)
            if known.latency_n >= _ENOUGH_WHEN_FAST:
                if known.latency_mean_s < _FAST_S:
                    return
            elif not self._more_at:
                self._more_at = now + _FAST_S
            if now < self._more_at:
                return  # the first answers will tell
        else:
            missing = min(missing, _ENOUGH_WHEN_FAST - self._in_flight - connections.opening)
        first = line[0]
        timeout_s = self._timeouts_of(ACTIONS[first.kind].op, max(first.size_bytes, 0), first.failed).connect_s
        for _ in range(min(missing, BEGUN - connections.opening)):
            if not connections.begin(endpoint, timeout_s, now):
                break
        else:
            return
        if connections.opening < min(CONNECTORS, wanted):
            connections.open(endpoint, timeout_s)

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
        for endpoint, error in self._connections.take_opened(now):
            # A failed connect is an attempt of the item that has waited longest for that endpoint.
            item = self._waiting.take_longest(endpoint)
            if item is not None:
                item.attempts += 1
                item.started_at = now
                item.first_at = item.first_at or now
                self._retry(item, error, now)

    # ---- time

    def tick(self, now: float) -> None:
        """Ten times a second, after the events: what is late, what may go on."""
        for wire, item, error in self._lateness.look(now):
            self._broke(wire, item, error, now)
        self._connections.drop_stale(now)
        self._connections.drop_late(now)
        self._waiting.look_for_credentials(now)
        self._core.tick(now)

    def wake_delayed(self, now: float) -> None:
        """Put items whose wait is over back in line."""
        waiting = self._waiting
        if not waiting.delayed:
            return
        for item, asks in waiting.due(now):
            if asks:
                decision = self._core.admit(item, now)
                if decision is None:
                    continue
                if decision.waiting:
                    waiting.delay(now + decision.delay_s, item, True)
                    continue
            waiting.line.append(item)

    def renewed_credentials(self) -> None:
        """Fresh credentials have come (or were waited for long enough)."""
        self._waiting.renewed_credentials()

    # ---- ends

    def cancel(self, context_id: int, hard: int, now: float) -> None:
        """Drop what has not begun; ``hard``: what is in flight as well (see CANCEL in messages)."""
        for item in self._waiting.take_all(context_id):
            self._core.cancelled(item, now)
        if not hard:
            return
        self._local.cancel(context_id)
        for wire in list(self._wires.values()):
            busy: Item | None = wire.item
            if busy is not None and busy.context.id == context_id and is_given_up(busy.kind, hard):
                self._in_flight -= 1
                self._connections.drop(wire)
                self._core.cancelled(busy, now)

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()
        self._local.close()


def _as_ours(item: Item, error: Exception) -> S3EngineError:
    """``error``, or for one that is not ours a final TransferError that names the object."""
    if isinstance(error, S3EngineError):
        return error
    return TransferError(f"{item.key!r}: {type(error).__name__}: {error}", key=item.key)
