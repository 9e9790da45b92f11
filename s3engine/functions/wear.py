"""What functions leave behind in their process, object after object, until the next ones have not enough to run with.

Memory, descriptors and threads that leak belong to no object: the one that gets no more of them is not the one to
blame. So a process that has grown is replaced between two objects, and an object that wanted something which the
process had used up is tried again in a new one.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from collections.abc import Callable

__all__ = ["Wear", "is_want"]

_EVERY_S = 0.1  # a look costs some 20 us
_MOST_THREADS = 200  # more than at first
_WANTS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


def is_want(error: BaseException) -> bool:
    """Whether it says that memory, descriptors or threads have run out."""
    if isinstance(error, OSError):
        return error.errno in _WANTS
    return isinstance(error, MemoryError) or (type(error) is RuntimeError and "can't start new thread" in str(error))


class Wear:
    """Of this process, from its first object on. ``processes`` share the machine's memory."""

    def __init__(self, processes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._bytes = _own_bytes()
        self._fds = _fds()
        self._threads = threading.active_count()
        memory_bytes, _ = resource.getrlimit(resource.RLIMIT_DATA)
        most_fds, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if memory_bytes == resource.RLIM_INFINITY:
            memory_bytes = 1 << 62
        self._most_bytes = self._bytes + memory_bytes // (2 * processes)
        self._most_fds = self._fds + (most_fds - self._fds) // 2

    def worn(self) -> bool:
        """Whether a new process had better go on. Looks ten times a second at most."""
        now = self._clock()
        if now - self._looked_at < _EVERY_S:
            return False
        self._looked_at = now
        return (
            _own_bytes() > self._most_bytes or _fds() > self._most_fds
            or threading.active_count() > self._threads + _MOST_THREADS
        )  # fmt: skip


def _own_bytes() -> int:
    """Memory that is this process's alone; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except OSError as error:
        if is_want(error):
            return 1 << 62  # not even this file could be opened
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _fds() -> int:
    """The lowest descriptor that is free: about as many are open."""
    try:
        fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if is_want(error):
            return 1 << 30
        raise
    os.close(fd)
    return fd
