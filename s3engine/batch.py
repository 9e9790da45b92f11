"""A batch as its caller sees it: iterate its reports, wait for it, cancel it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from s3engine.report import AlikeReports, BatchSummary, RequestReport, SummaryBuilder

__all__ = ["Batch", "Progress"]

Progress = Callable[[RequestReport], object]
_AT_ONCE = 256  # items between two looks at the event loop
_WAIT_S = 0.5  # so that Ctrl-C is noticed where a wait cannot be interrupted


class Batch:
    """Work under way. It runs in the background from the moment it is made.

    Iterating gives one :class:`RequestReport` per object as each finishes, in no order. ``wait()`` lets it run to its
    end and returns the summary; failed objects are in their reports, they raise nothing. Reports that nobody iterates
    are kept up to ``Config.max_buffered_reports``, then the batch waits for its reader; ``wait()`` drops them.

    ``progress(report)`` is called for each report in a thread of the engine; what it raises cancels the batch and is
    raised by ``wait()`` and iteration, as is what the input iterator raises.
    """

    def __init__(self, cancel: Callable[[], None], progress: Progress | None, max_buffered: int) -> None:
        self._cancel = cancel
        self._progress = progress
        self._max_buffered = max_buffered
        self._reports: deque[RequestReport] = deque()
        self._fresh: list[RequestReport] = []  # not counted yet, nor shown to anybody: the engine's side alone
        self._emit = self._fresh.append
        """Takes a report, in the supervisor's thread; ``_turned`` does the rest for many at a time."""
        self._changed = threading.Condition()
        self._discard = False
        self._failures_only = False
        self._over = False
        self._failure: BaseException | None = None
        self._builder = SummaryBuilder(time.monotonic)
        self._wake: Callable[[], None] = lambda: None
        self._awaited = False

    # ---- the engine's side, in the supervisor's thread

    def _turned(self) -> None:
        # Once per turn of the supervisor, not per report: each notification may cost a change of threads.
        if self._fresh:
            self._take_fresh()
        if self._awaited and self._reports:
            with self._changed:
                self._changed.notify_all()

    def _emit_alike(self, alike: AlikeReports) -> None:
        if self._progress is None and (self._discard or self._failures_only):
            self._builder.add_alike(alike)
        else:
            self._fresh.extend(alike.reports())

    def _take_fresh(self) -> None:
        fresh = self._fresh[:]
        del self._fresh[: len(fresh)]
        self._builder.add_all(fresh)
        if self._failures_only:
            self._reports.extend([report for report in fresh if report.error is not None])
        elif not self._discard:
            self._reports.extend(fresh)
        if self._progress is not None:
            for report in fresh:
                try:
                    self._progress(report)
                except BaseException as error:  # noqa: BLE001  (the caller's own code: handed to the caller)
                    self._progress = None
                    self._fail(error)
                    break

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._cancel()

    @property
    def _full(self) -> bool:
        return len(self._reports) + len(self._fresh) >= self._max_buffered and not self._discard

    def _end(self, failure: BaseException | None) -> None:
        if self._fresh:
            self._take_fresh()
        with self._changed:
            self._builder.stop()
            self._failure = self._failure or failure
            self._over = True
            self._changed.notify_all()

    # ---- the caller's side

    def __iter__(self) -> Iterator[RequestReport]:
        """Reports as they come, until the batch is over."""
        while self._reports or self._wait_for_reports(None):
            yield from self._there(1)
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[RequestReport]:
        """The same for a coroutine: the event loop goes on while a thread of its executor waits for reports."""
        import asyncio

        loop = asyncio.get_running_loop()
        while self._reports or not self._over:
            if not self._reports:
                # For half a second at most: whoever cancels the coroutine must not wait for the thread.
                await loop.run_in_executor(None, self._wait_for_reports, _WAIT_S)
            for item in self._there(_AT_ONCE):
                yield item
        if self._failure is not None:
            raise self._failure

    def _wait_for_reports(self, most_s: float | None) -> bool:
        """Until there are some (True), or the batch is over, or so long."""
        reports = self._reports
        with self._changed:
            self._awaited = True
            while not reports and not self._over:
                self._changed.wait(_WAIT_S)
                if most_s is not None:
                    break
            self._awaited = False
        return bool(reports)

    def _there(self, most: int) -> Iterator[Any]:
        """What iteration gives for the next reports, up to ``most``, of those that are there."""
        reports = self._reports
        for _ in range(min(most, len(reports))):
            was_full = self._full
            try:
                report = reports.popleft()
            except IndexError:  # another reader was quicker
                return
            yield from self._given(report)
            if was_full:
                self._wake()

    def _given(self, report: RequestReport) -> Iterable[Any]:
        """What iteration gives for a report."""
        return (report,)

    def _take(self, most: int) -> list[RequestReport]:
        """Up to ``most`` of the reports that are there: for a reader that comes by now and then, as iteration is."""
        reports = self._reports
        was_full = self._full
        taken = [reports.popleft() for _ in range(min(most, len(reports)))]
        if was_full:
            self._wake()
        return taken

    def _keep_failures_only(self) -> None:
        """From now on nobody wants to see what went well."""
        self._failures_only = True

    def _rest(self, most_s: float) -> None:
        """Sleep so long, or until the batch is over."""
        with self._changed:
            if not self._over:
                self._changed.wait(most_s)

    def wait(self, timeout_s: float | None = None) -> BatchSummary:
        """Let the batch run to its end; reports that are not read yet are dropped.

        Raises TimeoutError after ``timeout_s`` (the batch goes on), and what the input or ``progress`` raised.
        Interrupted by Ctrl-C it cancels the batch, waits for that to end, and raises KeyboardInterrupt.
        """
        self._discard = True
        self._reports.clear()
        self._wake()
        try:
            self._wait_over(timeout_s)
        except KeyboardInterrupt:
            self.cancel()
            self._wait_over(None)
            raise
        if self._failure is not None:
            raise self._failure
        return self.summary()

    def _wait_over(self, timeout_s: float | None) -> None:
        limit = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._over:
                if limit is not None and time.monotonic() >= limit:
                    raise TimeoutError(f"the batch is not over after {timeout_s:g} s; it goes on")
                self._changed.wait(_WAIT_S if limit is None else min(_WAIT_S, max(0.0, limit - time.monotonic())))

    def cancel(self) -> None:
        """Begin nothing more; what is in flight has ``Config.shutdown_grace_s`` to end. Returns at once.

        Deletes have 6 s more, since it should be known what is gone.
        Everything taken from the input so far gets its report, undone objects with the error ``Cancelled``.
        """
        self._cancel()

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self._over

    def summary(self) -> BatchSummary:
        """Totals so far."""
        return self._builder.summary()

    def _attach(self, wake: Callable[[], None]) -> Any:
        self._wake = wake
        return self
