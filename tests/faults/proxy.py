"""The proxy itself: a listener in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType

from tests.faults.connection import Connection, Log
from tests.faults.plans import Plan

HOST = "127.0.0.1"


class FaultProxy:
    """The proxy as a context manager; ``plan`` None lets everything pass.

    Leaving the block closes all connections and raises what the plan raised.
    """

    def __init__(self, upstream_host: str, upstream_port: int, plan: Plan | None = None) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.plan: Plan = plan or (lambda _connection_no, _request_no, _head: None)
        self.log = Log()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quit: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fault-proxy", daemon=True)

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(10), "the fault proxy did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._quit is not None
        self._loop.call_soon_threadsafe(self._quit.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the fault proxy did not stop"
        if self.log.errors and error is None:
            raise self.log.errors[0]

    def refuse(self, seconds: float) -> None:
        """Close the listener for so long, and all connections; from any thread, at once. Again: begins anew."""
        assert self._loop is not None
        if threading.current_thread() is self._thread:
            self._refuse(seconds)
        else:
            self._loop.call_soon_threadsafe(self._refuse, seconds)

    def _refuse(self, seconds: float) -> None:
        # The listener at once: who is told of it by a reset may come back before this loop turns.
        if self._server is not None:
            self._server.close()
        self._refused_until_s = asyncio.get_running_loop().time() + seconds
        self._closed.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._quit, self._closed = asyncio.Event(), asyncio.Event()
        self._refused_until_s = 0.0
        quitting = asyncio.create_task(self._quit.wait())
        self._loop = loop
        while not self._quit.is_set():
            self._closed.clear()
            server = self._server = await self._listen()
            self._ready.set()
            closed = asyncio.create_task(self._closed.wait())
            await asyncio.wait({quitting, closed}, return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # Aborted transports close their sockets in the loop's next turn.
            await asyncio.sleep(0)
            while (left_s := self._refused_until_s - loop.time()) > 0 and not self._quit.is_set():
                await asyncio.wait({quitting}, timeout=left_s)

    async def _listen(self) -> asyncio.Server:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await Connection(self, reader, writer).run()
            finally:
                self._tasks.discard(task)

        listener = socket.create_server((HOST, self.port))
        # Inherited by accepted sockets. Small, so that a sender notices soon that nobody reads any more.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.port = listener.getsockname()[1]
        return await asyncio.start_server(accepted, sock=listener)
