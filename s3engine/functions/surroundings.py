"""What a function process settles with the system before it runs code of the caller's: its end, memory, children."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import sys
from typing import Any

__all__ = ["allow_children", "end_with", "leave_room", "limit", "own_group"]


def allow_children() -> None:
    """A process that multiprocessing started as a daemon may have none of its own; a function may want some."""
    multiprocessing: Any = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        multiprocessing.current_process()._config["daemon"] = False


def own_group() -> None:
    """Lead a process group: whoever ends this process ends the programs that a function started, too."""
    with contextlib.suppress(OSError):  # it leads a session already
        os.setpgid(0, 0)


def end_with(life_fd: int) -> None:
    """Have the system end this process when the other end of the pipe is closed, whatever runs here then.

    The signal of asynchronous I/O ends a process that does not handle it. A thread that watched would have to get the
    interpreter's lock from C code that may never give it.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    leads = os.getpgrp() == os.getpid()
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, -os.getpid() if leads else os.getpid())  # the group: children of functions too
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life_fd], [], [], 0)[0]:  # it was closed before
        os._exit(0)


_SHARE = 0.75
"""Of the machine's memory: what one process may have if nothing else is said. Two of them may still be too much."""


def memory_of_machine() -> int:
    """Bytes, or what the control group of this process has of them."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
        found = min(found, int(file.read()))  # "max": there is no bound
    return found


_ROOM_BYTES = 64 * 1024 * 1024


def leave_room() -> None:
    """Have a little more memory than :func:`limit` says, to end with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        more = soft + _ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (more if hard == resource.RLIM_INFINITY else min(more, hard), hard))


def limit(memory_bytes: int) -> None:
    """Have allocations fail beyond so many bytes of its own (0: a share of the machine's), as MemoryError in Python."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes or int(memory_of_machine() * _SHARE)
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    # Where the machine's memory runs out all the same, this process goes, not the engine's.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        own = int(file.read())
        file.seek(0)
        file.write(str(min(1000, own + 300)))
