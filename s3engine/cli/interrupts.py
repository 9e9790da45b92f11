"""Ctrl-C, SIGTERM and SIGHUP, which says that the terminal is gone.

The first one cancels the batch under way: what is done gets reported, the summary is printed, workers end. Where no
batch is under way it raises KeyboardInterrupt. A second one, or an end that takes too long (a listing that waits for a
dead server), leaves at once; workers notice that and end by themselves. SIGHUP comes more than once as a rule (from the
shell and from the system), so another one changes nothing; where it is ignored (nohup) it stays so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts", "interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LATER_S = 0.01  # when a finalizer is over
_MARGIN_S = 10.0  # for workers to end and the summary to be printed


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. Not KeyboardInterrupt itself: when that ends the making of a dataclass or named tuple in an import,
    CPython takes it for one that nobody caught, and ends the process by SIGINT, whatever exit code was asked for.
    """


class Interrupts:
    """Context manager around a whole run; does nothing outside the main thread."""

    def __init__(self) -> None:
        self.number = 0
        """The signal that came, 0 for none."""
        self.grace_s = 2.0
        """How long the batch under way may take to end."""
        self._cancel: Callable[[], None] | None = None
        self._saved: dict[int, Any] = {}
        self._terminals: list[int] = []
        self._late = False

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, else 0."""
        return 128 + self.number if self.number else 0

    @contextlib.contextmanager
    def cancelling(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While this is open a signal calls ``cancel`` (which must not block) and raises nothing."""
        self._cancel = cancel
        try:
            yield
        finally:
            self._cancel = None

    def __enter__(self) -> Interrupts:
        self.number = 0
        self._late = False
        if threading.current_thread() is threading.main_thread():
            self._terminals = [fd for fd in (1, 2) if os.isatty(fd)]
            wanted = [number for number in _SIGNALS if number != signal.SIGHUP or not _ignored(number)]
            self._saved = {number: signal.signal(number, self._came) for number in wanted}
            self._saved[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._too_long)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in self._saved.items():
                signal.signal(number, handler)
            self._saved = {}

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._forget_terminals()
        if self.number:
            if number == signal.SIGHUP:
                return
            self._leave()
        self.number = number
        self._interrupt(frame)

    def _interrupt(self, frame: FrameType | None) -> None:
        self._late = self._cancel is None and _would_be_lost(frame)
        signal.setitimer(signal.ITIMER_REAL, _LATER_S if self._late else self.grace_s + _MARGIN_S)
        if self._cancel is not None:
            self._cancel()
        elif not self._late:
            raise Interrupted

    def _forget_terminals(self) -> None:
        """What is written to a terminal that is gone would be an error, in the middle of cleaning up."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in self._terminals:
            os.dup2(nowhere, fd)
        os.close(nowhere)

    def _too_long(self, number: int, frame: FrameType | None) -> None:
        if self._late:
            self._interrupt(frame)
        else:
            self._leave()

    def _leave(self) -> None:
        # os.write: a signal handler must not enter a buffered stream that may be in the middle of a write.
        with contextlib.suppress(OSError):
            cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""  # a progress bar may have hidden it
            os.write(2, cursor + b"s3engine: interrupted; left without waiting for what was under way\n")
        os._exit(self.exit_code)


def _would_be_lost(frame: FrameType | None) -> bool:
    """Whether a finalizer runs: what is raised there is printed and forgotten."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or (code.co_name == "__call__" and code.co_filename == weakref.__file__):
            return True
        frame = frame.f_back
    return False


def _ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


interrupts = Interrupts()
