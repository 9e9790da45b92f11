"""A TCP proxy in front of a real server that breaks chosen requests in chosen ways.

    with FaultProxy("127.0.0.1", port, first(3, Respond(503))) as proxy:
        ... use proxy.endpoint_url ...
    assert proxy.log.requests == 4

Bytes pass through unchanged, so signatures made for the proxy's address hold. The proxy follows HTTP just far enough
to know where each request and answer ends. It runs an asyncio loop in a thread of its own and never outlives the
``with`` block. A plan says what happens to which request; it is asked once when a connection was accepted (request
number 0, empty head) and once for every request whose head has arrived (numbered from 1 over all connections).

All ``after_bytes`` and ``at`` count bytes of a body: heads, and the framing of chunked bodies, are not counted.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

HOST = "127.0.0.1"
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Stall:
    """Goes silent for ever, connection open: reads no more of the request ("up") or sends no more of the answer."""

    after_bytes: int = 0
    direction: Direction = "up"


@dataclass(frozen=True)
class StallAnswer:
    """Reads the request, has the server carry it out (unless ``forward`` is false), and never answers."""

    forward: bool = True


@dataclass(frozen=True)
class Latency:
    """The answer begins ``seconds`` late; on accept: the first byte is read ``seconds`` late."""

    seconds: float


@dataclass(frozen=True)
class Drip:
    """The body of the answer ("down") or of the request passes at ``bytes_per_s``."""

    bytes_per_s: float
    direction: Direction = "down"


@dataclass(frozen=True)
class CutAnswer:
    """The server carries the request out; the connection ends (FIN) inside the answer.

    ``head`` false: before the first byte of the answer.
    """

    after_bytes: int = 0
    head: bool = True


@dataclass(frozen=True)
class Reset:
    """RST. ``forward``: only after the server has carried the request out and the answer's head came back."""

    forward: bool = False


@dataclass(frozen=True)
class Respond:
    """Answers by itself; the server never sees the request.

    ``early`` answers and ends its side of the connection before the body of the request is read. A header
    ``Connection: close`` is kept to.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    early: bool = False


@dataclass(frozen=True)
class FlipBit:
    """Turns over the lowest bit of byte ``at`` of the answer's body ("down") or the request's."""

    at: int = 0
    direction: Direction = "down"


@dataclass(frozen=True)
class CloseIdle:
    """Answers well and closes the connection ``after_s`` later without having announced it."""

    after_s: float = 0.0


Fault = Stall | StallAnswer | Latency | Drip | CutAnswer | Reset | Respond | FlipBit | CloseIdle
Plan = Callable[[int, int, bytes], Fault | None]
"""``plan(connection_no, request_no, request_head)``; called in the proxy's thread."""


def first(count: int, fault: Fault) -> Plan:
    """The first ``count`` requests get the fault, later ones none."""
    return lambda _connection_no, request_no, _head: fault if 1 <= request_no <= count else None


def always(fault: Fault) -> Plan:
    """Every request gets the fault."""
    return lambda _connection_no, request_no, _head: fault if request_no else None


def script(faults: Sequence[Fault | None]) -> Plan:
    """The n-th request gets the n-th fault; later ones none."""
    return lambda _connection_no, request_no, _head: faults[request_no - 1] if 1 <= request_no <= len(faults) else None


def on_accept(count: int, fault: Stall | Latency | Reset) -> Plan:
    """The first ``count`` connections get the fault before a byte of them is read."""
    return lambda connection_no, request_no, _head: fault if not request_no and connection_no <= count else None


def matching(text: bytes, plan: Plan) -> Plan:
    """``plan`` for the requests whose head holds ``text``, numbered among themselves; others pass."""
    seen = 0

    def wrapped(connection_no: int, request_no: int, head: bytes) -> Fault | None:
        nonlocal seen
        if text not in head:
            return None
        seen += 1
        return plan(connection_no, seen, head)

    return wrapped


@dataclass
class Log:
    """What happened so far. Written by the proxy's thread alone; ``errors`` should stay empty."""

    connections: int = 0
    requests: int = 0
    answers: int = 0
    """Answers that went to the client whole, those of the proxy's own included."""
    request_lines: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault was used, by class name."""
    errors: list[BaseException] = field(default_factory=list)


class FaultProxy:
    """The proxy as a context manager; ``plan`` None lets everything pass.

    Leaving the block closes all connections and raises what the plan raised.
    """

    def __init__(self, upstream_host: str, upstream_port: int, plan: Plan | None = None) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.plan: Plan = plan or (lambda _connection_no, _request_no, _head: None)
        self.log = Log()
        self.port = 0
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

    async def _serve(self) -> None:
        self._loop, self._quit = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await _Connection(self, reader, writer).run()
            finally:
                tasks.discard(task)

        listener = socket.create_server((HOST, 0))
        # Inherited by accepted sockets. Small, so that a sender notices soon that nobody reads any more.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        server = await asyncio.start_server(accepted, sock=listener)
        self.port = listener.getsockname()[1]
        self._ready.set()
        await self._quit.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Aborted transports close their sockets in the loop's next turn.
        await asyncio.sleep(0)


class _Connection:
    """One connection of a client, and the one to the server that goes with it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.log = proxy, proxy.log
        self.reader, self.writer = reader, writer
        self.up: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.log.connections += 1
        self.number = self.log.connections

    async def run(self) -> None:
        try:
            if await self._on_accept():
                while await self._one_request():
                    pass
            self.writer.close()
            await self.writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one of the two ends went away and so does the other, or the proxy stops
        except Exception as error:  # noqa: BLE001 - raised again in the test's thread
            self.log.errors.append(error)
        finally:
            self.writer.transport.abort()
            if self.up:
                self.up[1].transport.abort()

    def _fault(self, request_no: int, head: bytes) -> Fault | None:
        fault = self.proxy.plan(self.number, request_no, head)
        if fault is not None:
            self.log.faults[type(fault).__name__] += 1
        return fault

    async def _on_accept(self) -> bool:
        match self._fault(0, b""):
            case None:
                pass
            case Latency(seconds):
                await asyncio.sleep(seconds)
            case Reset():
                return self._reset()
            case Stall():
                await _for_ever()
            case other:
                raise TypeError(f"{other} needs a request; give it when request_no > 0")
        return True

    async def _one_request(self) -> bool:
        """Carry one request and its answer; False when the connection is over."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        self.log.requests += 1
        self.log.request_lines.append(head.split(b"\r\n", 1)[0].decode("latin-1"))
        fault = self._fault(self.log.requests, head)
        match fault:
            case Reset(forward=False):
                return self._reset()
            case Respond():
                return await self._respond(fault, head)
            case StallAnswer(forward=False):
                await self._carry_body(self.reader, None, _framing(head), None)
                await _for_ever()
        if self.up is None:
            self.up = await asyncio.open_connection(*self.proxy.upstream)
        self.up[1].write(head)
        sending = asyncio.create_task(self._send_body(head, fault, self.up[1]))
        try:
            return await self._answer(head, fault, self.up[0], sending)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send_body(self, head: bytes, fault: Fault | None, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.drain()
            await self._carry_body(self.reader, writer, _framing(head), _only(fault, "up"))
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # the client went away; the server shall notice and its answer is not awaited

    async def _answer(
        self, head: bytes, fault: Fault | None, reader: asyncio.StreamReader, sending: asyncio.Task[None]
    ) -> bool:
        while True:
            answer = await reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            if status >= 200:
                break
            self.writer.write(answer)  # 100 Continue: the answer proper comes later
        match fault:
            case StallAnswer():
                await _for_ever()
            case Reset():
                return self._reset()
            case CutAnswer(head=False):
                return False
            case Latency(seconds):
                await asyncio.sleep(seconds)
        self.writer.write(answer)
        no_body = head.startswith(b"HEAD ") or status in (204, 304)
        framing = 0 if no_body else _framing(answer, to_end=True)
        if not await self._carry_body(reader, self.writer, framing, _only(fault, "down")):
            return False
        self.log.answers += 1
        if isinstance(fault, CloseIdle):
            await asyncio.sleep(fault.after_s)
            return False
        if framing == "end" or _header(answer, b"connection").lower() == b"close":
            return False
        await sending  # an answer that came early: the rest of the body is still to be taken in
        return True

    async def _respond(self, fault: Respond, head: bytes) -> bool:
        if not fault.early:
            if _header(head, b"expect"):
                self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self._carry_body(self.reader, None, _framing(head), None)
        lines = [f"HTTP/1.1 {fault.status} Fault", *(f"{name}: {value}" for name, value in fault.headers)]
        lines.append(f"Content-Length: {len(fault.body)}")
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        if not head.startswith(b"HEAD "):
            self.writer.write(fault.body)
        await self.writer.drain()
        self.log.answers += 1
        if fault.early:
            # A plain close with unread bytes would send RST, which can destroy the answer before it is read.
            self.writer.write_eof()
            while await self.reader.read(64 * 1024):
                pass
            return False
        return not any(name.lower() == "connection" and value.lower() == "close" for name, value in fault.headers)

    async def _carry_body(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, framing: int | str, fault: Fault | None
    ) -> bool:
        """Pass a body on, or drop it when ``writer`` is None. False when the fault cut it off."""
        done = 0
        async with aclosing(_pieces(reader, framing)) as pieces:
            async for piece, counted in pieces:
                match fault:
                    case CutAnswer(after_bytes=limit) | Stall(after_bytes=limit) if done + counted > limit:
                        assert writer is not None
                        writer.write(piece[: limit - done])
                        await writer.drain()
                        if isinstance(fault, Stall):
                            await _for_ever()
                        return False
                    case FlipBit(at=at) if done <= at < done + counted:
                        piece = _flipped(piece, at - done)  # noqa: PLW2901
                if writer is not None:
                    await _write(writer, piece, fault.bytes_per_s if isinstance(fault, Drip) and counted else 0.0)
                done += counted
        return True

    def _reset(self) -> bool:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _pieces(reader: asyncio.StreamReader, framing: int | str) -> AsyncGenerator[tuple[bytes, int], None]:
    """The bytes of a body as they stand on the wire, each with how many of them are body and not framing."""
    if isinstance(framing, int):
        left = framing
        while left:
            piece = await _some(reader, left)
            left -= len(piece)
            yield piece, len(piece)
    elif framing == "end":
        while piece := await reader.read(64 * 1024):
            yield piece, len(piece)
    else:
        while True:
            line = await reader.readuntil(b"\r\n")
            yield line, 0
            left = int(line.split(b";")[0], 16)
            if not left:
                break
            while left:
                piece = await _some(reader, left)
                left -= len(piece)
                yield piece, len(piece)
            yield await reader.readexactly(2), 0
        while line != b"\r\n":  # trailers, then an empty line
            line = await reader.readuntil(b"\r\n")
            yield line, 0


async def _some(reader: asyncio.StreamReader, most: int) -> bytes:
    piece = await reader.read(min(most, 64 * 1024))
    if not piece:
        raise asyncio.IncompleteReadError(b"", most)
    return piece


async def _write(writer: asyncio.StreamWriter, data: bytes, bytes_per_s: float) -> None:
    step = max(1, int(bytes_per_s / 20)) if bytes_per_s else len(data)
    for start in range(0, len(data), step or 1):
        part = data[start : start + step]
        if bytes_per_s:
            await asyncio.sleep(len(part) / bytes_per_s)
        writer.write(part)
        await writer.drain()


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _only(fault: Fault | None, direction: Direction) -> Fault | None:
    """The fault, if it concerns the body that goes in this direction."""
    if isinstance(fault, CutAnswer):
        return fault if direction == "down" else None
    if isinstance(fault, Stall | Drip | FlipBit) and fault.direction == direction:
        return fault
    return None


def _header(head: bytes, name: bytes) -> bytes:
    """Value of a header, b"" when there is none."""
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip()
    return b""


def _framing(head: bytes, to_end: bool = False) -> int | str:
    """How a body ends: after so many bytes, "chunked", or (answers) at the "end" of the connection."""
    if b"chunked" in _header(head, b"transfer-encoding").lower():
        return "chunked"
    length = _header(head, b"content-length")
    return int(length) if length else "end" if to_end else 0
