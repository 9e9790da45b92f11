"""One connection through the proxy: carries requests and answers, and breaks what the plan says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from tests.faults import kinds
from tests.faults.answers import failed_deletes
from tests.faults.heads import changed_head
from tests.faults.plans import Plan
from tests.faults.wire import flipped, for_ever, framing_of, header_of, hold, only, pieces_of, write_slowly


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


class Proxy(Protocol):
    """What a connection needs of its proxy."""

    upstream: tuple[str, int]
    plan: Plan
    log: Log

    def refuse(self, seconds: float) -> None:
        """Close the listener for so long, and all connections."""


class Connection:
    """One connection of a client, and the one to the server that goes with it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    def _fault(self, request_no: int, head: bytes) -> kinds.Fault | None:
        fault = self.proxy.plan(self.number, request_no, head)
        if fault is not None:
            self.log.faults[type(fault).__name__] += 1
        return fault

    async def _on_accept(self) -> bool:
        match self._fault(0, b""):
            case None:
                pass
            case kinds.Latency(seconds):
                await asyncio.sleep(seconds)
            case kinds.Reset() | kinds.ResetAt(stage="accept"):
                return self._reset()
            case kinds.ResetAt(stage="request head", after_bytes=after_bytes):
                await self.reader.read(after_bytes or 1)
                return self._reset()
            case kinds.Stall():
                await for_ever()
            case kinds.StallHead(after_bytes, direction="up"):
                await self.reader.read(after_bytes)
                await for_ever()
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
            case kinds.Reset(forward=False):
                return self._reset()
            case kinds.Respond():
                return await self._respond(fault, head)
            case kinds.FailedDeletes(code):
                return await self._fail_deletes(head, code)
            case kinds.Garbage(answer):
                await self._carry_body(self.reader, None, framing_of(head), None)
                self.writer.write(answer)
                return False
            case kinds.Refuse(seconds):
                self.proxy.refuse(seconds)
                return self._reset()
            case kinds.StallAnswer(forward=False):
                await self._carry_body(self.reader, None, framing_of(head), None)
                await for_ever()
        if self.up is None:
            self.up = await asyncio.open_connection(*self.proxy.upstream)
        if isinstance(fault, kinds.FlipHeadBit) and fault.direction == "up":
            self.up[1].write(flipped(head, fault.at % len(head)))
        else:
            self.up[1].write(head)
        sending = asyncio.create_task(self._send_body(head, fault, self.up[1]))
        try:
            return await self._answer(head, fault, self.up[0], sending)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send_body(self, head: bytes, fault: kinds.Fault | None, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.drain()
            if not await self._carry_body(self.reader, writer, framing_of(head), only(fault, "up")):
                self._reset()
                writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # the client went away; the server shall notice and its answer is not awaited

    async def _answer(
        self, head: bytes, fault: kinds.Fault | None, reader: asyncio.StreamReader, sending: asyncio.Task[None]
    ) -> bool:
        while True:
            answer = await reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            if status >= 200:
                break
            self.writer.write(answer)  # 100 Continue: the answer proper comes later
        match fault:
            case kinds.StallAnswer():
                await for_ever()
            case kinds.Reset() | kinds.ResetAt(stage="request end"):
                return self._reset()
            case kinds.CutAnswer(head=False):
                return False
            case (
                kinds.StallHead(after_bytes)
                | kinds.CutHead(after_bytes)
                | kinds.ResetAt(stage="answer head", after_bytes=after_bytes)
            ):
                self.writer.write(answer[:after_bytes])
                await self.writer.drain()
                return await self._break_off(fault)
            case kinds.Latency(seconds):
                await asyncio.sleep(seconds)
            case kinds.Until():
                await hold(fault)
        shown = changed_head(answer, fault)
        await write_slowly(self.writer, shown, fault.bytes_per_s if isinstance(fault, kinds.DripHead) else 0.0)
        no_body = head.startswith(b"HEAD ") or status in (204, 304)
        framing = 0 if no_body else framing_of(answer, to_end=True)
        if not await self._carry_body(reader, self.writer, framing, only(fault, "down")):
            return False
        self.log.answers += 1
        match fault:
            case kinds.CloseIdle(after_s):
                await asyncio.sleep(after_s)
                return False
            case kinds.HalfOpen():
                while await self.reader.read(64 * 1024):
                    pass
                await for_ever()
            case kinds.WrongLength():
                return False
        if framing == "end" or header_of(answer, b"connection").lower() == b"close":
            return False
        await sending  # an answer that came early: the rest of the body is still to be taken in
        return True

    async def _respond(self, fault: kinds.Respond, head: bytes) -> bool:
        if not fault.early:
            if header_of(head, b"expect"):
                self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self._carry_body(self.reader, None, framing_of(head), None)
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
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, framing: int | str,
        fault: kinds.Fault | None,
    ) -> bool:  # fmt: skip
        """Pass a body on, or drop it when ``writer`` is None. False when the fault cut it off."""
        done = 0
        async with aclosing(pieces_of(reader, framing)) as pieces:
            async for piece, counted in pieces:
                match fault:
                    case (
                        kinds.CutAnswer(after_bytes=limit)
                        | kinds.Stall(after_bytes=limit)
                        | kinds.ResetAt(after_bytes=limit)
                    ) if done + counted > limit:
                        assert writer is not None
                        writer.write(piece[: limit - done])
                        await writer.drain()
                        return await self._break_off(fault)
                    case kinds.FlipBit(at=at) if done <= at < done + counted:
                        piece = flipped(piece, at - done)  # noqa: PLW2901
                if writer is not None:
                    rate = fault.bytes_per_s if isinstance(fault, kinds.Drip) and counted else 0.0
                    await write_slowly(writer, piece, rate)
                done += counted
        return True

    async def _fail_deletes(self, head: bytes, code: str) -> bool:
        taken = [piece async for piece, counted in pieces_of(self.reader, framing_of(head)) if counted]
        return await self._respond(kinds.Respond(200, body=failed_deletes(b"".join(taken), code)), b"POST ")

    async def _break_off(self, fault: kinds.Fault | None) -> bool:
        """What comes in the middle of a head or body: silence, RST, or the end."""
        if isinstance(fault, kinds.Stall | kinds.StallHead):
            await for_ever()
        if isinstance(fault, kinds.ResetAt):
            await asyncio.sleep(0.02)  # RST would overtake what was sent
            return self._reset()
        return False

    def _reset(self) -> bool:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False
