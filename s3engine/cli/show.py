"""What is seen of a batch: a line per object, errors, the progress bar, the summary.

Everything is written by the main thread in blocks, some twenty times a second, so that ten thousand objects a second
cost a few write calls. The batch buffers what is not written yet and pauses when a slow reader lets that grow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from s3engine.cli.bar import Bar, Totals
from s3engine.cli.interrupts import interrupts
from s3engine.cli.options import Output
from s3engine.cli.text import complain, explain, json_line, one_line, write
from s3engine.errors import Cancelled, ConfigError, JournalError, S3EngineError
from s3engine.plain import number_of

if TYPE_CHECKING:
    from s3engine.batch import Batch
    from s3engine.report import BatchSummary, RequestReport

__all__ = ["Failures", "Show"]

_ALIKE = 20  # failures of one kind that get a line each
_KINDS = 1000  # kinds of failures told apart
_PAUSE_S = 0.05
_AT_ONCE = 10_000  # reports
_MARGIN_S = 0.5  # beyond the grace after Ctrl-C: then somebody may wonder

Describe = Callable[["RequestReport"], str]


class Failures:
    """A line on stderr per failure; of those that are alike the first 20, then their number at the end."""

    def __init__(self, *, single: bool = False) -> None:
        self._single = single
        self._counts: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self.cancelled = 0

    def add(self, report: RequestReport, name: str) -> None:
        """Tell about a failed object, called ``name``."""
        error = report.error
        if error is None or isinstance(error, Cancelled):
            self.cancelled += error is not None
            return
        message = explain(error, single=self._single)
        kind = _kind(report, message)
        if kind not in self._counts and len(self._counts) >= _KINDS:
            kind = ""
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count <= _ALIKE:
            complain(f"{name}: {message}")
        else:
            self._last[kind] = f"{name}: {message}"

    def close(self) -> None:
        """Tell how many were not told one by one."""
        for kind, last in self._last.items():
            complain(f"and {self._counts[kind] - _ALIKE} more like these, the last one: {last}")
        self._last.clear()


def _kind(report: RequestReport, message: str) -> str:
    """What failures that are alike have in common: the message without the object's own names and numbers."""
    for own in (report.target, report.key):
        if own:
            message = message.replace(own, "").replace(repr(own)[1:-1], "")
    return f"{type(report.error).__name__} {re.sub('[0-9]+', '', message)}"


def _line(report: RequestReport, describe: Describe) -> str:
    return f"skipped ({report.skipped}): {describe(report)}" if report.skipped else describe(report)


class Show:
    """Shows one batch, by ``follow``.

    ``describe`` gives the line of a finished object, ``name`` what a failed one is called. ``table`` lines are the
    verb's result, so they and the summary below them stand on stdout. ``nothing`` is told when there was no object at
    all; ``single``: the command line names one object. Without ``lines`` somebody else tells of what is done.
    """

    def __init__(
        self, output: Output, label: str, describe: Describe, name: Describe, *, table: bool = False,
        nothing: str = "", single: bool = False, lines: bool = True,
    ) -> None:  # fmt: skip
        self._output = output
        self._lines = lines
        self._label = label
        self._describe = describe
        self._name = name
        self._table = table
        self._nothing = nothing
        """Told when there was no object at all; "" for a job that goes on, which may have done all before."""
        self._standing = ""
        self._taken = 0
        self._failures = Failures(single=single)

    def tell_standing(self, text: str, *, at_once: bool) -> None:
        """Where a job stands that goes on. Not ``at_once``: its input has to be compared first, and may be refused.

        Then the first report says that it was the right one, or an end without an error.
        """
        self._standing = text
        if at_once:
            self._tell_standing(None)

    def _tell_standing(self, bar: Bar | None) -> None:
        if self._standing:
            if bar is not None:
                bar.clear()
            complain(self._standing)
            self._standing = ""

    @property
    def wants_bar(self) -> bool:
        """Whether somebody is there to look at a progress bar."""
        return sys.stderr.isatty() and not self._output.quiet and not self._output.as_json

    def follow(self, batch: Batch, sizes: Iterable[int] | None = None) -> int:
        """Show the batch until it is over, and return the exit code.

        ``sizes`` of all objects, read a second time where a progress bar is shown. Ctrl-C cancels the batch; the rest
        is shown all the same.
        """
        failure: S3EngineError | None = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(interrupts.cancelling(batch.cancel))
            if interrupts.number:
                batch.cancel()
            bar = None
            if self.wants_bar:
                totals = Totals(sizes) if sizes is not None else None
                bar = stack.enter_context(Bar(self._label, totals))
            try:
                self._watch(batch, bar)
            except S3EngineError as error:  # the input itself, a listing for example
                failure = error
        self._failures.close()
        summary = batch.summary()
        summary = dataclasses.replace(summary, failed=summary.failed - self._failures.cancelled)
        self._sum_up(summary)
        any_done = bool(self._taken or summary.objects or summary.skipped)
        if failure is not None:
            complain(explain(failure))
            unusable = isinstance(failure, (ConfigError, JournalError))
            return 2 if unusable and not any_done else 1  # 2 says that nothing was done
        if not any_done and self._nothing and not self._output.quiet and not interrupts.number:
            complain(self._nothing)
        return 0 if summary.ok else 1

    def _watch(self, batch: Batch, bar: Bar | None) -> None:
        output = self._output
        if output.quiet and not output.as_json and not self._table:
            batch._keep_failures_only()
        pause_s = 0.001  # a small batch is over soon
        done = size_bytes = 0
        patient_until_s = 0.0
        while True:
            over = batch.over  # asked first: whatever it emitted before is then counted
            block = batch._take(_AT_ONCE)
            if block:
                self._tell_standing(bar)
                self._taken += len(block)
                done += len(block)
                size_bytes += sum(report.size_bytes for report in block if report.error is None)
                self._print(block, bar)
            elif over:
                break
            if bar is not None:
                bar.update(done, size_bytes)
            if interrupts.number and not over and not self._output.quiet:
                patient_until_s = patient_until_s or time.monotonic() + interrupts.grace_s + _MARGIN_S
                if time.monotonic() > patient_until_s:
                    patient_until_s = math.inf
                    complain("interrupted; waiting some seconds for what is under way (Ctrl-C again: leave at once)")
            if not over and len(block) < _AT_ONCE:
                batch._rest(pause_s)  # not time.sleep: the end of the batch ends it
                pause_s = min(pause_s * 1.5, _PAUSE_S)
        for _ in batch:  # none is left: raises what ended the batch before its time
            continue
        if not interrupts.number:
            self._tell_standing(bar)

    def _print(self, block: list[RequestReport], bar: Bar | None) -> None:
        failed = [report for report in block if report.error is not None]
        lines: list[str] = []
        if self._output.as_json:
            lines = [json_line(**report.as_dict()) for report in block]
        elif self._lines and (not self._output.quiet or self._table):
            describe = self._describe
            lines = [one_line(_line(report, describe)) for report in block if report.error is None]
        if bar is not None and (lines or failed):
            bar.clear()
        if lines:
            lines.append("")
            write("\n".join(lines))
        for report in failed:
            self._failures.add(report, self._name(report))

    def _sum_up(self, summary: BatchSummary) -> None:
        if self._output.quiet and not self._table:
            return
        text = str(summary)
        if interrupts.number:
            text = f"interrupted, {number_of(self._failures.cancelled)} given up: {text}"
        if self._table and not self._output.as_json:
            write(text + "\n")
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

