"""The shared block: what one process writes, another reads; nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from s3engine.control import shared
from s3engine.control.estimator import OpClass
from s3engine.control.shared import SharedBlock


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    made = SharedBlock.create(3)
    yield made
    made.close()


def test_new_block_is_zero(block: SharedBlock) -> None:
    """A new block holds zeros everywhere, so that 0 can mean "never"."""
    values = [*block.control, *(value for slot in block.slots for value in slot)]

    assert set(values) == {0.0}
    assert len(values) == shared.CONTROL_FIELDS + 3 * shared.SLOT_FIELDS


def test_attached_block_is_the_same_memory(block: SharedBlock) -> None:
    """What is written through one mapping is read through another, at the same place."""
    other = SharedBlock.attach(block.fd, 3)
    block.control[shared.CONTROL_HEARTBEAT_S] = 12.5
    other.slots[2][shared.REQUESTS] = 7.0

    assert other.control[shared.CONTROL_HEARTBEAT_S] == 12.5
    assert block.slots[2][shared.REQUESTS] == 7.0
    assert block.total(shared.REQUESTS) == 7.0
    other.close()


_CHILD = """
import sys
from s3engine.control import shared
block = shared.SharedBlock.attach(int(sys.argv[1]), 3)
block.slots[1][shared.RETRIES] = 42.0
"""


def test_another_process_writes_its_slot(block: SharedBlock) -> None:
    """A process that was given the descriptor writes where the parent reads."""
    subprocess.run([sys.executable, "-c", _CHILD, str(block.fd)], pass_fds=[block.fd], timeout=60, check=True)

    assert block.slots[1][shared.RETRIES] == 42.0


def test_slots_do_not_overlap(block: SharedBlock) -> None:
    """Filling one slot leaves the control block and the other slots alone."""
    for field in range(shared.SLOT_FIELDS):
        block.slots[1][field] = 1.0

    assert set(block.control) == {0.0}
    assert set(block.slots[0]) == {0.0}
    assert set(block.slots[2]) == {0.0}


def test_every_class_of_operation_has_a_place() -> None:
    """The layout has room for all classes, and a slot is whole cache lines of 64 bytes."""
    assert len(OpClass) <= shared.MAX_CLASSES
    assert shared.SLOT_FIELDS * 8 % 64 == 0
    assert shared.CONTROL_FIELDS * 8 % 64 == 0
    assert shared.PROBE_S < shared.FIRST_CLASS


def test_newest_clock_offset_wins(block: SharedBlock) -> None:
    """Of several offsets the one found out last counts; without any it is 0."""
    assert block.newest_clock_offset() == 0.0
    block.publish_clock_offset(2, 300.0, now=50.0)
    block.publish_clock_offset(0, -20.0, now=51.0)

    assert block.newest_clock_offset() == -20.0


def test_close_closes_the_descriptor_once() -> None:
    """After close the descriptor is gone, every access fails, and a second close does nothing."""
    block = SharedBlock.create(1)
    fd = block.fd
    block.close()
    block.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(ValueError, match="released"):
        block.control[0]


def test_attach_leaves_the_descriptor_to_the_caller(block: SharedBlock) -> None:
    """Closing an attached block closes no descriptor, and an attached block outlives its descriptor."""
    fd = os.dup(block.fd)
    other = SharedBlock.attach(fd, 3)
    os.close(fd)
    other.slots[0][0] = 5.0
    other.close()

    assert block.slots[0][0] == 5.0
    os.fstat(block.fd)


def test_works_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no memfd a nameless temporary file serves."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    block = SharedBlock.create(2)
    other = SharedBlock.attach(block.fd, 2)
    block.slots[1][3] = 9.0

    assert other.slots[1][3] == 9.0
    other.close()
    block.close()


@pytest.mark.parametrize("n_workers", [0, -1])
def test_refuses_no_workers(n_workers: int) -> None:
    """A block without slots is refused by name and number."""
    with pytest.raises(ValueError, match=f"n_workers is {n_workers}"):
        SharedBlock.create(n_workers)


def test_refuses_a_file_that_is_too_small(block: SharedBlock) -> None:
    """Attaching for more workers than the block has is an error, not a crash at the first access."""
    with pytest.raises(ValueError, match="length"):
        SharedBlock.attach(block.fd, 300)
