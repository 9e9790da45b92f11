"""The memory that the parent and its workers share: one control block, then one slot per worker.

An anonymous file of 8-byte doubles, mapped by every process. Each double has one writer: the parent writes the control
block, worker *w* writes slot *w*, everybody reads everything. So no lock crosses a process, and a worker that is killed
at any instant blocks nobody: a lock held by a killed process would stay taken for ever. An aligned 8-byte store is
whole on the machines Python runs on, and each field means something by itself, so reading while others write needs no
more care than that. A respawned worker goes on with the slot of its predecessor, values included: counters only ever
grow, and what was learnt stays.

Layout, in doubles (x 8 for bytes); times ``_s`` are ``time.monotonic()``, one clock for all processes of a machine::

    0..15                  control block, written by the parent
        0  heartbeat_s          last tick of the parent
        1  budget_correction    tokens to add to the retry budget's level; never above 0, never grows (retry.py)
        2..15                   spare, 0
    16 + 64*w ...          slot of worker w, written by that worker
        0  heartbeat_s          last sync of the worker
        1  budget_spent         retry tokens taken since the start; only grows
        2  budget_earned        retry tokens given back or earned; only grows
        3  clock_offset_s       seconds to add to the wall clock when signing
        4  clock_offset_stamp   when that was found out; 0: never
        5  requests             requests sent, retries included; only grows
        6  retries              requests sent again; only grows
        7  throttles            answers that asked for fewer requests; only grows
        8  probe_s              last request that went without retry tokens
        9  last_success_s       last request that succeeded; 0: none ever
        10 pause_bucket         mark of the bucket that gets no new requests (pauses.py); 0: none
        11 pause_until_s        until when
        12..15                  spare, 0
        16 + 6*c ...            class of operation c (estimator.OpClass), c = 0..7
            0  latency_n                samples
            1  latency_mean_s           seconds
            2  latency_dev_s            mean deviation, seconds
            3  transfer_n               samples
            4  s_per_byte_mean          seconds per byte
            5  s_per_byte_dev           mean deviation, seconds per byte

A slot is 512 bytes, so no two workers write to one cache line.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

__all__ = [
    "BUDGET_CORRECTION",
    "BUDGET_EARNED",
    "BUDGET_SPENT",
    "CLASS_FIELDS",
    "CLOCK_OFFSET_S",
    "CLOCK_OFFSET_STAMP",
    "CONTROL_FIELDS",
    "CONTROL_HEARTBEAT_S",
    "FIRST_CLASS",
    "HEARTBEAT_S",
    "LAST_SUCCESS_S",
    "MAX_CLASSES",
    "PAUSE_BUCKET",
    "PAUSE_UNTIL_S",
    "PROBE_S",
    "REQUESTS",
    "RETRIES",
    "SLOT_FIELDS",
    "THROTTLES",
    "SharedBlock",
    "anonymous_file",
]  # fmt: skip

# Fields of SharedBlock.control.
CONTROL_HEARTBEAT_S: Final = 0
BUDGET_CORRECTION: Final = 1
CONTROL_FIELDS: Final = 16

# Fields of each of SharedBlock.slots.
HEARTBEAT_S: Final = 0
BUDGET_SPENT: Final = 1
BUDGET_EARNED: Final = 2
CLOCK_OFFSET_S: Final = 3
CLOCK_OFFSET_STAMP: Final = 4
REQUESTS: Final = 5
RETRIES: Final = 6
THROTTLES: Final = 7
PROBE_S: Final = 8
LAST_SUCCESS_S: Final = 9
PAUSE_BUCKET: Final = 10
PAUSE_UNTIL_S: Final = 11
FIRST_CLASS: Final = 16
CLASS_FIELDS: Final = 6
MAX_CLASSES: Final = 8
SLOT_FIELDS: Final = FIRST_CLASS + MAX_CLASSES * CLASS_FIELDS

_DOUBLE: Final = 8


def _size_bytes(n_workers: int) -> int:
    if n_workers < 1:
        raise ValueError(f"n_workers is {n_workers}; it must be at least 1")
    return (CONTROL_FIELDS + n_workers * SLOT_FIELDS) * _DOUBLE


def anonymous_file() -> int:
    """A descriptor of a new, empty file that has no name, in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("s3engine", os.MFD_CLOEXEC)
    import tempfile  # lazy: 6 ms that only systems without memfd pay

    # No memfd (macOS): a file without a name does the same, it only may reach a disk.
    with tempfile.TemporaryFile(prefix="s3engine-") as file:
        return os.dup(file.fileno())


class SharedBlock:
    """The mapped block. ``control`` and ``slots[w]`` are views of doubles; index them with this module's constants.

    The parent makes the block, hands ``fd`` to its workers (inherited, with ``pass_fds`` or over a Unix socket: the
    number may differ there) and keeps it open for workers still to come. After :meth:`close` every access raises
    ValueError.
    """

    __slots__ = ("_map", "_owns_fd", "_whole", "control", "fd", "slots")

    control: memoryview[float]
    slots: list[memoryview[float]]

    def __init__(self, fd: int, n_workers: int, *, owns_fd: bool) -> None:
        self.fd = fd
        self._owns_fd = owns_fd
        self._map = mmap.mmap(fd, _size_bytes(n_workers))
        self._whole = memoryview(self._map).cast("d")
        self.control = self._whole[:CONTROL_FIELDS]
        starts = [CONTROL_FIELDS + worker * SLOT_FIELDS for worker in range(n_workers)]
        self.slots = [self._whole[start : start + SLOT_FIELDS] for start in starts]

    @classmethod
    def create(cls, n_workers: int) -> SharedBlock:
        """A new block, all zero. Its descriptor is not inherited unless it is passed on, and closed by ``close``."""
        size_bytes = _size_bytes(n_workers)
        fd = anonymous_file()
        try:
            os.ftruncate(fd, size_bytes)
            return cls(fd, n_workers, owns_fd=True)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int, n_workers: int) -> SharedBlock:
        """Map an existing block. ``fd`` stays the caller's, who may close it at once.

        Raises ValueError when the file is smaller than ``n_workers`` slots need.
        """
        return cls(fd, n_workers, owns_fd=False)

    @property
    def n_workers(self) -> int:
        """Number of slots."""
        return len(self.slots)

    def total(self, field: int) -> float:
        """Sum of one field over all slots, dead workers' included."""
        return sum(slot[field] for slot in self.slots)

    def publish_clock_offset(self, worker_index: int, offset_s: float, now: float) -> None:
        """Tell the other workers what worker ``worker_index`` found out about our wall clock."""
        slot = self.slots[worker_index]
        # The stamp goes last: whoever sees it finds the offset that belongs to it.
        slot[CLOCK_OFFSET_S] = offset_s
        slot[CLOCK_OFFSET_STAMP] = now

    def newest_clock_offset(self) -> float:
        """The offset found out last by any worker, in seconds; 0.0 when there is none."""
        newest = max(self.slots, key=lambda slot: slot[CLOCK_OFFSET_STAMP])
        return newest[CLOCK_OFFSET_S]

    def close(self) -> None:
        """Unmap, and close the descriptor if this object made it. A second call does nothing."""
        if self._map.closed:
            return
        for view in (*self.slots, self.control, self._whole):
            view.release()
        self._map.close()
        if self._owns_fd:
            os.close(self.fd)
