"""A batch of a function over objects, as its caller sees it: reports with what the function returned."""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.batch import Batch, Progress
from s3engine.errors import FunctionRaised, S3EngineError
from s3engine.functions.results import Packed, unpack

if TYPE_CHECKING:
    from s3engine.report import BatchSummary, RequestReport

__all__ = ["MappedBatch"]

_ORDERED_AHEAD = 1000
"""Objects begun beyond the first whose result is not taken, in an ordered batch."""
_KEPT_BYTES = 256 * 1024 * 1024
"""Of results that nobody has taken; then the batch waits."""


class MappedBatch(Batch):
    """What ``Engine.map`` gives: a :class:`Batch` that iterates over pairs of a report and a result.

    The second of a pair is what the function returned, or the error that is in the report as well (``report.ok`` tells
    which). Results that are not taken are kept up to 256 MiB of them in all; then the batch waits for its reader. Those
    of 256 KiB or more lie in shared memory, which goes with the last reference to them. ``wait()`` drops results.
    """

    def __init__(
        self, cancel: Callable[[], None], progress: Progress | None, max_buffered: int, *, ordered: bool
    ) -> None:
        super().__init__(cancel, progress, max_buffered)
        self._ordered = ordered
        self._results: dict[int, tuple[Packed, mmap.mmap | None]] = {}
        self._kept_bytes = 0
        self._next = 0
        self._early: dict[int, RequestReport] = {}

    # ---- the engine's side, in the supervisor's thread

    def _keep(self, seq: int, packed: Packed, memory: mmap.mmap | None) -> None:
        if not self._discard:
            self._results[seq] = packed, memory
            self._kept_bytes += packed.size_bytes

    def _may_begin(self, seq: int) -> bool:
        return self._discard or seq < self._next + min(_ORDERED_AHEAD, self._max_buffered)

    @property
    def _full(self) -> bool:
        return super()._full or (self._kept_bytes >= _KEPT_BYTES and not self._discard)

    # ---- the caller's side

    def __iter__(self) -> Iterator[tuple[RequestReport, Any]]:  # type: ignore[override]
        """Pairs of report and result, as they come or in the order of the input, until the batch is over."""
        return super().__iter__()  # type: ignore[return-value]  # what _given makes of the reports

    def __aiter__(self) -> AsyncIterator[tuple[RequestReport, Any]]:  # type: ignore[override]
        """The same for a coroutine."""
        return super().__aiter__()  # type: ignore[return-value]

    def _given(self, report: RequestReport) -> Iterable[tuple[RequestReport, Any]]:
        if not self._ordered:
            yield self._pair(report)
            return
        early = self._early
        early[report.seq] = report
        while self._next in early:
            report = early.pop(self._next)
            self._next += 1  # before it is given: who takes no more now may go on later
            self._wake()
            yield self._pair(report)

    def _pair(self, report: RequestReport) -> tuple[RequestReport, Any]:
        was_full = self._full
        kept = self._results.pop(report.seq, None)
        if kept is None:
            return report, report.error
        packed, memory = kept
        self._kept_bytes -= packed.size_bytes
        if was_full:
            self._wake()
        try:
            return report, unpack(packed, memory)
        except Exception as error:  # noqa: BLE001  (classes of the caller's: whatever their loading raises)
            failure: S3EngineError = FunctionRaised(
                f"what the function returned for {report.key!r} cannot be had in this process: "
                f"{type(error).__name__}: {error}",
                key=report.key, exception=f"{type(error).__module__}.{type(error).__qualname__}",
            )  # fmt: skip
            return report._replace(error=failure), failure

    def wait(self, timeout_s: float | None = None) -> BatchSummary:
        """As of any batch. Results that are not taken yet are dropped."""
        self._discard = True
        self._results.clear()
        return super().wait(timeout_s)
