"""Bytes on the wire: framing, headers, and how a body is passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from tests.faults.kinds import CutAnswer, Direction, Drip, Fault, FlipBit, ResetAt, Stall, Until


async def for_ever() -> None:
    await asyncio.Event().wait()


async def hold(fault: Until) -> None:
    """Wait as long as the fault says; its event belongs to another thread, so it is looked at now and then."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + fault.at_most_s
    while not fault.over.is_set():
        if loop.time() >= end_s:
            return
        await asyncio.sleep(0.01)
    await asyncio.sleep(fault.after_s)


async def pieces_of(reader: asyncio.StreamReader, framing: int | str) -> AsyncGenerator[tuple[bytes, int], None]:
    """The bytes of a body as they stand on the wire, each with how many of them are body and not framing."""
    if isinstance(framing, int):
        left = framing
        while left:
            piece = await some(reader, left)
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
                piece = await some(reader, left)
                left -= len(piece)
                yield piece, len(piece)
            yield await reader.readexactly(2), 0
        while line != b"\r\n":  # trailers, then an empty line
            line = await reader.readuntil(b"\r\n")
            yield line, 0


async def some(reader: asyncio.StreamReader, most: int) -> bytes:
    piece = await reader.read(min(most, 64 * 1024))
    if not piece:
        raise asyncio.IncompleteReadError(b"", most)
    return piece


async def write_slowly(writer: asyncio.StreamWriter, data: bytes, bytes_per_s: float) -> None:
    step = max(1, int(bytes_per_s / 20)) if bytes_per_s else len(data)
    for start in range(0, len(data), step or 1):
        part = data[start : start + step]
        if bytes_per_s:
            await asyncio.sleep(len(part) / bytes_per_s)
        writer.write(part)
        await writer.drain()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def only(fault: Fault | None, direction: Direction) -> Fault | None:
    """The fault, if it concerns the body that goes in this direction."""
    if isinstance(fault, CutAnswer):
        return fault if direction == "down" else None
    if isinstance(fault, ResetAt):
        return fault if fault.stage == ("request body" if direction == "up" else "answer body") else None
    if isinstance(fault, Stall | Drip | FlipBit) and fault.direction == direction:
        return fault
    return None


def header_of(head: bytes, name: bytes) -> bytes:
    """Value of a header, b"" when there is none."""
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip()
    return b""


def framing_of(head: bytes, to_end: bool = False) -> int | str:
    """How a body ends: after so many bytes, "chunked", or (answers) at the "end" of the connection."""
    if b"chunked" in header_of(head, b"transfer-encoding").lower():
        return "chunked"
    length = header_of(head, b"content-length")
    return int(length) if length else "end" if to_end else 0
