"""What a function returns, on its way back."""

from __future__ import annotations

import array
import mmap
import os
import pickle
import threading
from typing import Any

import pytest

from s3engine.functions.results import LARGE_BYTES, pack, unpack


def back(value: Any) -> tuple[Any, bool]:
    """The value as it comes back, and whether it went through memory."""
    packed, fd = pack(value)
    packed = pickle.loads(pickle.dumps(packed))
    if fd is None:
        return unpack(packed, None), False
    memory = mmap.mmap(fd, 0)
    os.close(fd)
    return unpack(packed, memory), True


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", b"", b"few", [1, {"a": (2.5, None)}], bytearray(b"some"), bytes(LARGE_BYTES - 100)],
    ids=lambda value: f"{type(value).__name__}-{len(repr(value))}",
)
def test_small_ones_go_with_the_message(value: Any) -> None:
    """Below the border a result needs no descriptor, and is equal when it is back."""
    assert back(value) == (value, False)


@pytest.mark.parametrize(
    "value",
    [
        os.urandom(LARGE_BYTES), bytearray(os.urandom(3 * LARGE_BYTES + 5)), "x" * LARGE_BYTES,
        {"a": os.urandom(LARGE_BYTES), "b": [bytearray(70_000), bytearray(70_001)]},
        array.array("d", range(100_000)),
    ],
    ids=["bytes", "bytearray", "text", "mixed", "array"],
)  # fmt: skip
def test_large_ones_go_through_memory(value: Any) -> None:
    """From the border on a result goes through memory, and is equal and of its class when it is back."""
    found, through_memory = back(value)
    assert (found, through_memory) == (value, True)
    assert type(found) is type(value)


def test_buffers_are_not_copied_at_the_other_end() -> None:
    """What supports it lies in the memory that came: a view of a large buffer is one of that memory."""
    packed, fd = pack(pickle.PickleBuffer(bytearray(b"z" * LARGE_BYTES)))
    assert fd is not None
    memory = mmap.mmap(fd, 0)
    os.close(fd)
    found = memoryview(unpack(packed, memory))
    memory[len(memory) - 64 - LARGE_BYTES % 64 : len(memory)] = b"y" * (64 + LARGE_BYTES % 64)
    assert bytes(found[-1:]) == b"y"


def test_what_cannot_be_pickled_leaves_no_descriptor() -> None:
    """A result that cannot travel raises, with nothing left open."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pack([bytes(LARGE_BYTES), threading.Lock()])
    assert os.listdir("/proc/self/fd") == before
