"""What a function returned, on its way back to the caller: small results in the message, large ones in memory.

A result is pickled with its buffers beside the pickle (protocol 5, PEP 574). From ``LARGE_BYTES`` on, pickle and
buffers go into a file without a name whose descriptor travels instead: the bytes are written once, and arrays made of
them at the other end lie in that file's own pages. Below that a message through two sockets costs less than a file, its
descriptor and its mapping.
"""

from __future__ import annotations

import mmap
import os
import pickle
from typing import Any, NamedTuple

from s3engine.control.shared import anonymous_file

__all__ = ["LARGE_BYTES", "Packed", "pack", "unpack"]

LARGE_BYTES = 256 * 1024
"""Measured: up to half of that the message is quicker, from there on memory (docs/performance/functions.md)."""
_ALIGNED = 64  # of buffers: what vector instructions want


class Packed(NamedTuple):
    """A result as it crosses. With ``sizes`` a descriptor goes with it: the pickle and then the buffers are there."""

    data: bytes
    """The pickle; empty when there is a descriptor."""
    sizes: tuple[int, ...] = ()
    is_bytes: bool = False
    """The only buffer is the result itself, a ``bytes``."""

    @property
    def size_bytes(self) -> int:
        """How much it is."""
        return len(self.data) + sum(self.sizes)


def _places(sizes: tuple[int, ...]) -> list[int]:
    places, at = [], 0
    for size in sizes:
        places.append(at)
        at += -(-size // _ALIGNED) * _ALIGNED
    return [*places, at]


def _dumps(value: Any, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    callback = None if buffers is None else buffers.append
    try:
        return pickle.dumps(value, 5, buffer_callback=callback)
    except Exception:  # noqa: BLE001  (whatever plain pickle has against it: the other one takes more)
        import cloudpickle  # lazy: most results do without

        # A class of the caller's script or notebook, which this process has from cloudpickle: back there it is found
        # to be the caller's own.
        if buffers is not None:
            buffers.clear()
        found: bytes = cloudpickle.dumps(value, 5, buffer_callback=callback)
        return found


def pack(value: Any) -> tuple[Packed, int | None]:
    """``value`` pickled, and the descriptor if there is one. Raises what pickling raises, OSError."""
    buffers: list[pickle.PickleBuffer] = []
    is_bytes = type(value) is bytes and len(value) >= LARGE_BYTES  # pickle would copy them into its stream
    data = _dumps(pickle.PickleBuffer(value) if is_bytes else value, buffers)
    raw = [buffer.raw() for buffer in buffers]
    sizes = (len(data), *(len(piece) for piece in raw))
    if sum(sizes) < LARGE_BYTES:
        # Once more, since what is beside the pickle would need a place.
        return Packed(_dumps(value, None) if raw else data), None
    fd = anonymous_file()
    try:
        for place, piece in zip(_places(sizes), (memoryview(data), *raw), strict=False):
            written = 0
            while written < len(piece):
                written += os.pwrite(fd, piece[written:], place + written)
        os.ftruncate(fd, max(_places(sizes)[-1], 1))
    except BaseException:
        os.close(fd)
        raise
    return Packed(b"", sizes, is_bytes), fd


def unpack(packed: Packed, memory: mmap.mmap | None) -> Any:
    """The result. ``memory`` maps the file that came with it; what lies in it keeps it. Raises what unpickling does."""
    if not packed.sizes:
        return pickle.loads(packed.data)
    assert memory is not None
    whole = memoryview(memory)
    pieces = [whole[at : at + size] for at, size in zip(_places(packed.sizes), packed.sizes, strict=False)]
    value = pickle.loads(pieces[0], buffers=pieces[1:])
    return bytes(value) if packed.is_bytes else value
