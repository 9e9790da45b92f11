"""CPU and peak memory of this process and of all that it started, while they run. Linux; elsewhere None.

The processes are those of this process's session, which it must lead (``start_new_session``): workers under any start
method are in it, and so are a fork server and a resource tracker.

``/proc/<pid>/schedstat`` will not do: it counts the first thread alone, and most clients work in others. The clock that
POSIX has for each process counts all threads, also those that have ended, in nanoseconds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import NamedTuple

__all__ = ["Peak", "cpu_of", "cpu_since", "cpu_so_far", "peak"]

CpuReading = dict[int, float]
_CPUCLOCK_SCHED = 2  # linux/posix-timers.h


class Peak(NamedTuple):
    """Peak resident memory in bytes."""

    main_bytes: int
    """Of this process."""
    all_bytes: int
    """Of all processes, added up."""


def _clock_id(pid: int) -> int:
    """What clock_getcpuclockid(3) gives for a process; Python has it for threads only."""
    return (~pid << 3) | _CPUCLOCK_SCHED


def _family() -> list[int]:
    """All processes of this session."""
    session = os.getsid(0)
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):  # ended meanwhile
                if os.getsid(int(name)) == session:
                    found.append(int(name))
    return found


def cpu_of(pid: int) -> float:
    """CPU of a process and of the children that it has waited for, so a worker that died stays counted.

    The children's to within 10 ms. Raises OSError when it has ended.
    """
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        user, system, children_user, children_system = map(int, file.read().rpartition(")")[2].split()[11:15])
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    try:
        own_s = time.clock_gettime(_clock_id(pid))
    except OSError:  # a system that shows /proc but lets nobody read others' clocks
        own_s = (user + system) * tick_s
    return own_s + (children_user + children_system) * tick_s


def cpu_so_far() -> CpuReading | None:
    """A reading to compare with later: CPU seconds by process."""
    if sys.platform != "linux":
        return None
    reading: CpuReading = {}
    for pid in _family():
        with contextlib.suppress(OSError):
            reading[pid] = cpu_of(pid)
    return reading


def cpu_since(before: CpuReading | None) -> float | None:
    """CPU seconds that all processes took since ``before``, those that were started meanwhile included.

    ``{}`` for ``before``: since they were started.
    """
    if before is None or sys.platform != "linux":
        return None
    used_s = 0.0
    for pid, then_s in before.items():  # first, since looking for others takes CPU too
        try:
            used_s += cpu_of(pid) - then_s
        except OSError:
            used_s -= then_s  # it died, and all that it ever took is now with the one who waited for it
    for pid in _family():
        if pid not in before:
            with contextlib.suppress(OSError):
                used_s += cpu_of(pid)
    return max(0.0, used_s)


def peak() -> Peak | None:
    """Peak resident memory so far (VmHWM) of this process, and of all together."""
    if sys.platform != "linux":
        return None
    by_pid: dict[int, int] = {}
    for pid in _family():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    by_pid[pid] = int(line.split()[1]) * 1024
    return Peak(by_pid.get(os.getpid(), 0), sum(by_pid.values()))
