"""The progress bar: one line at the foot of the terminal, on standard error.

It is drawn by the main thread alone, between blocks of output: no thread of rich's exists, and what is printed above
never mixes with it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from s3engine.cli.text import human_bytes
from s3engine.plain import number_of

__all__ = ["Bar", "Totals"]

_EVERY_S = 0.1
_WINDOW_S = 5.0  # the rate shown is that of the last seconds
_OBJECT_BYTES = 64 * 1024  # what an object costs besides its bytes, in bytes: so that the time left is about right


class Totals:
    """Counts how much there is to do, in a thread of its own, while it is being done."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.objects = 0
        self.size_bytes = 0
        self.known = False
        self._stopped = False
        self._sizes = sizes
        threading.Thread(target=self._count, name="s3engine-totals", daemon=True).start()

    def stop(self) -> None:
        """Count no further."""
        self._stopped = True

    def _count(self) -> None:
        # Whatever is wrong with the input the batch will meet too, and report: here it only means "not known".
        with contextlib.suppress(Exception):
            for size in self._sizes:
                if self._stopped:
                    return
                self.objects += 1
                self.size_bytes += max(size, 0)
            self.known = True


class Bar:
    """Shows how far a batch is. A context manager; gone without a trace when it is left."""

    def __init__(self, label: str, totals: Totals | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._totals = totals
        self._past = deque([(time.monotonic(), 0, 0)])
        self._due = 0.0
        self._on_same_terminal = sys.stdout.isatty()
        self._progress: Any = Progress(
            TextColumn(label, markup=False), BarColumn(bar_width=24), TaskProgressColumn(),
            TextColumn("{task.fields[counts]}", markup=False), TimeRemainingColumn(compact=True),
            console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False,
            redirect_stderr=False,
        )  # fmt: skip
        self._task = self._progress.add_task(label, total=None, counts="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self._totals is not None:
            self._totals.stop()
        self._progress.stop()

    def clear(self) -> None:
        """Make room for lines on standard output; ``update`` draws the bar again."""
        if self._on_same_terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
        self._due = 0.0

    def update(self, objects: int, size_bytes: int) -> None:
        """Draw, if it is time: so much is done."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _EVERY_S
        past = self._past
        past.append((now, objects, size_bytes))
        while now - past[0][0] > _WINDOW_S and len(past) > 2:
            past.popleft()
        then, objects_then, bytes_then = past[0]
        span_s = max(now - then, 1e-3)
        counts = (
            f"{number_of(objects)}, {human_bytes(size_bytes)}, {(objects - objects_then) / span_s:.0f}/s, "
            f"{human_bytes((size_bytes - bytes_then) / span_s)}/s"
        )
        totals = self._totals
        known = totals is not None and totals.known
        total = totals.size_bytes + totals.objects * _OBJECT_BYTES if totals is not None and known else None
        self._progress.update(
            self._task, completed=size_bytes + objects * _OBJECT_BYTES, total=total, counts=counts, refresh=True
        )
