"""A forked worker process: of multiprocessing's Process what the pool uses, without that import (16 ms of a start)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["ForkedProcess", "wait_for_ends"]


class ForkedProcess:
    """A child that runs ``target(*args)`` and then ends, whatever that did. Forked by the constructor.

    For a process with one thread. The child ends by ``os._exit``: it runs nothing that waits for the parent's end.
    """

    def __init__(self, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
        for stream in (sys.stdout, sys.stderr):  # what waits in them would be written by the child too
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        self.exitcode: int | None = None
        """As subprocess has it: below 0 it is a signal. None while it lives, or where somebody else asked for it."""
        self._over = False
        self.sentinel, theirs = os.pipe()
        """A descriptor that is readable from the child's end on, however it ends."""
        try:
            self.pid = os.fork()
        except BaseException:
            os.close(self.sentinel)
            os.close(theirs)
            raise
        if self.pid == 0:
            _live(self.sentinel, target, args)
        os.close(theirs)

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self._look(os.WNOHANG)

    def join(self) -> None:
        """Wait for its end."""
        self._look(0)

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if not self._look(os.WNOHANG):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the sentinel. Call it once, after ``join``."""
        os.close(self.sentinel)

    def _look(self, flags: int) -> bool:
        if not self._over:
            try:
                pid, status = os.waitpid(self.pid, flags)
            except ChildProcessError:  # the application waits for all children, or has the system do it
                self._over = bool(wait_for_ends([self.sentinel], 0.0 if flags else None))
            else:
                if pid:
                    self._over = True
                    self.exitcode = os.waitstatus_to_exitcode(status)
        return self._over


def _live(sentinel: int, target: Callable[..., Any], args: tuple[Any, ...]) -> NoReturn:
    try:
        os.close(sentinel)
        if sys.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stdin.close()  # the terminal is the parent's
                sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
        target(*args)
    finally:
        os._exit(1)


def wait_for_ends(sentinels: list[int], timeout_s: float | None) -> list[int]:
    """Those whose processes have ended, as soon as there is one; none after ``timeout_s`` (None: no limit)."""
    poller = select.poll()
    for sentinel in sentinels:
        poller.register(sentinel, select.POLLIN)
    return [fd for fd, _ in poller.poll(None if timeout_s is None else max(0.0, timeout_s * 1000))]
