"""A worker's loop lane on a stage: real sockets, canned answers, a clock that stands still. One thread, no network.

So the same code runs in every run, to the instruction: what is counted is the lane, the exchanges and the task's
action, and a little of this driver.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Any

from s3engine.config import TransportSettings
from s3engine.control.retry import RetryPolicy
from s3engine.control.shared import SharedBlock
from s3engine.control.timeouts import AdaptiveTimeouts
from s3engine.credentials import Credentials
from s3engine.pool.core import Core
from s3engine.pool.loop_lane import LoopLane
from s3engine.pool.messages import Context, Task
from s3engine_transports.raw.transport import RawTransport

__all__ = ["ETAG", "Stage", "answer"]

ETAG = "9e107d9d372bb6826bd81d3542a419d6"
_WALL_S = 1_800_000_000.0
_CONNECTIONS = 8
_WARM_TURNS = 100


def answer(body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    """A 200 as nginx and the stores send it."""
    lines = [
        "HTTP/1.1 200 OK", "Server: nginx", "Date: Fri, 15 Jan 2027 08:00:00 GMT",
        "Content-Type: application/octet-stream", f"Content-Length: {len(body)}", "Connection: keep-alive",
        f'ETag: "{ETAG}"', "x-amz-request-id: 18EA6C7D468B86E1", *(f"{name}: {value}" for name, value in headers),
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Link:
    """One end of a socket pair, as connections out of urllib3 look to a lane."""

    used = 0

    def __init__(self, sock: socket.socket) -> None:
        self.sock: Any = sock

    def park(self) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()


class _AtOnce:
    """An executor without threads."""

    def submit(self, function: Callable[..., object], *given: Any) -> None:
        function(*given)

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Nothing is under way."""


class _Transport(RawTransport):
    """The raw transport, but for where it connects to."""

    def __init__(self, opened: Callable[[socket.socket], None]) -> None:
        settings = TransportSettings(
            endpoint_url="http://store.example:9000", credentials=Credentials("AKIDEXAMPLE", "no-secret-at-all")
        )
        super().__init__(settings, wall_clock=lambda: _WALL_S)
        self._opened = opened

    def open_link(self, endpoint: Any, timeout_s: float) -> Any:
        del endpoint, timeout_s
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self._opened(far)
        return _Link(near)


class Stage:
    """``said`` is the answer to every request; the request's size is not looked at: one read takes it whole.

    ``stack`` closes it.
    """

    def __init__(self, stack: contextlib.ExitStack, context: Context, said: bytes) -> None:
        stack.callback(self._close)
        self._said = said
        self._far: list[socket.socket] = []
        self._poller = select.epoll()
        self._now = 1000.0
        self.transport = _Transport(self._far.append)
        self._block = SharedBlock.create(1)
        self._core = Core(
            self.transport, self._block, 0, AdaptiveTimeouts(), RetryPolicy(), need_credentials=lambda: None,
            clock=lambda: self._now, rng=lambda: 0.5,
        )  # fmt: skip
        self._core.add_context(context)
        self.lane = LoopLane(self._core, _CONNECTIONS, self._poller)
        # How long threads take to connect differs from run to run, and so would the turns that wait for them.
        self.lane._connections._executor = _AtOnce()  # type: ignore[assignment]  # has all that is called of an executor

    def warm(self, tasks: list[Task]) -> None:
        """Do some tasks, answered only when each connection has one: what follows opens none. Raises RuntimeError."""
        lane, now = self.lane, self._now
        lane.submit(tasks)
        for _ in range(_WARM_TURNS):
            lane.pump(now)
            for fd, mask in self._poller.poll(0):
                lane.on_event(fd, mask, now)
            if len(self._far) == _CONNECTIONS and len(select.select(self._far, [], [], 0)[0]) == _CONNECTIONS:
                self.run([])
                return
        raise RuntimeError("the lane does not open its connections")

    def run(self, tasks: list[Task]) -> None:
        """Do all tasks. Raises RuntimeError when one fails."""
        todo = list(tasks)
        while todo or not self.lane.idle:
            self._turn(todo)

    def _turn(self, todo: list[Task]) -> None:
        lane = self.lane
        if todo:
            lane.submit(todo[:64])
            del todo[:64]
        now = self._now
        lane.pump(now)
        for far in list(self._far):
            try:
                if not far.recv(1 << 20):
                    continue
            except BlockingIOError:
                continue
            far.send(self._said)
        for fd, mask in self._poller.poll(0):
            lane.on_event(fd, mask, now)
        for outcome in lane.take_outcomes():
            if outcome[11] is not None:
                raise RuntimeError(f"a task failed: {outcome[11]}")
            if type(outcome[10]) is list and outcome[10]:  # of a DELETE alone: keys and their errors
                raise RuntimeError(f"{len(outcome[10])} deletes failed: {outcome[10][0]}")

    def _close(self) -> None:
        self.lane.close()
        for far in self._far:
            far.close()
        self._poller.close()
        self._block.close()
