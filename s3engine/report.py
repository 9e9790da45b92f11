"""What is told about the work done: one RequestReport per object, a BatchSummary over all, the performance table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

from s3engine.errors import S3EngineError
from s3engine.plain import number_of

__all__ = ["LENGTH_ONLY", "AlikeReports", "BatchSummary", "RequestReport", "SummaryBuilder", "perf_header", "perf_row"]

LENGTH_ONLY = "length only"
"""``RequestReport.verified`` of an object of which nothing but the length could be compared."""


class RequestReport(NamedTuple):
    """What became of one object. ``error`` is None exactly when the store (or the disk) now holds it as asked.

    ``success_s`` is the time of the last attempt, ``total_s`` of all attempts with the waits between them (for an
    object moved in parts: from its first to its last request). ``estimate_bytes_per_s`` and ``timeout_s`` are the
    bandwidth estimate and the whole-attempt deadline that the last attempt was issued with (0.0: none yet).
    ``attempts`` counts requests that moved the object, retries included, without listing.
    """

    seq: int
    """Number of the object in its batch, from 0, in the order the input gave them."""
    operation: str
    """upload, download, copy, move, delete, map or transform."""
    bucket: str
    key: str
    size_bytes: int
    """Bytes of the object; 0 for a delete of unknown size."""
    attempts: int
    success_s: float
    total_s: float
    estimate_bytes_per_s: float
    timeout_s: float
    status: int
    """HTTP status of the last answer; 0 when there was none."""
    request_id: str
    etag: str
    error: S3EngineError | None
    target: str = ""
    """Where a download, copy or move went: a path, or s3://bucket/key."""
    verified: str = ""
    """By what the bytes are known to be right: "crc64nvme", "crc32c", "crc32", "sha256" or "md5" (a checksum that both
    sides computed), "etag" (a copy with the ETag of its source), LENGTH_ONLY; "" for what failed, for deletes, and for
    copies of which nothing could be compared."""
    skipped: str = ""
    """Why nothing was written, as was asked for: "exists", "same size" or "not newer"; "" when it was not skipped."""
    function_s: float = 0.0
    """What a function of the caller's took on this object, without waiting for the network."""
    cpu_s: float = 0.0
    """Processor time of that, of all threads of its process."""

    @property
    def ok(self) -> bool:
        """True when the object is done."""
        return self.error is None

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return max(0, self.attempts - 1)

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON-ready values; ``error`` becomes its class name and ``message``."""
        values: dict[str, Any] = self._asdict()
        error = self.error
        values["error"] = type(error).__name__ if error is not None else None
        values["message"] = str(error) if error is not None else None
        return values


class AlikeReports(NamedTuple):
    """Reports of objects that were done by one request: made when somebody wants to see them, else only counted."""

    common: RequestReport
    """Of an object that was done, with what is the same in all; its ``seq``, ``key`` and ``size_bytes`` say nothing."""
    objects: Sequence[tuple[int, str, int]]
    """``seq``, ``key`` and ``size_bytes`` of each."""

    def reports(self) -> list[RequestReport]:
        """One by one."""
        _, operation, bucket, _, _, *rest = self.common
        seqs, keys, sizes = zip(*self.objects, strict=True)
        rows = zip(seqs, repeat(operation), repeat(bucket), keys, sizes, *map(repeat, rest), strict=False)
        new = tuple.__new__  # the NamedTuple's own is Python, and takes more than twice the time
        return [new(RequestReport, row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """Totals of a batch so far. Percentiles are of ``total_s`` of successful objects, to within 10 %."""

    objects: int
    """Objects done."""
    failed: int
    size_bytes: int
    """Bytes of the objects done."""
    retries: int
    elapsed_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    length_only: int = 0
    """Objects done of which nothing but the length could be compared."""
    skipped: int = 0
    """Objects that were left out because of what is there already; not among ``objects``."""

    @property
    def objects_per_s(self) -> float:
        """Objects done per second of the batch."""
        return self.objects / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes done per second of the batch."""
        return self.size_bytes / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def ok(self) -> bool:
        """True when nothing failed."""
        return self.failed == 0

    def __str__(self) -> str:
        failed = f", {self.failed} FAILED" if self.failed else ""
        unproven = f"; {self.length_only} of {self.objects} by length only" if self.length_only else ""
        failed += f", {self.skipped} skipped" if self.skipped else ""
        return (
            f"{number_of(self.objects)}, {number_of(self.size_bytes, 'byte')} in {self.elapsed_s:.2f} s{failed}: "
            f"{self.objects_per_s:.0f} objects/s, {self.bytes_per_s / 1e6:.2f} MB/s, {self.retries} retries, "
            f"p50 {self.p50_s * 1e3:.0f} ms, p95 {self.p95_s * 1e3:.0f} ms, p99 {self.p99_s * 1e3:.0f} ms{unproven}"
        )


_BUCKETS_PER_OCTAVE = 4
_BUCKETS = 25 * _BUCKETS_PER_OCTAVE  # from 0.1 ms on, 25 doublings: 56 minutes
_FLOOR_S = 1e-4
_PER_FLOOR = 1 / _FLOOR_S


class SummaryBuilder:
    """Adds reports up in constant memory: counters and a logarithmic histogram of ``total_s``."""

    __slots__ = (
        "_clock", "_histogram", "_started", "_stopped", "failed", "length_only", "objects", "retries", "size_bytes",
        "skipped",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._stopped = 0.0
        self._histogram = [0] * _BUCKETS
        self.objects = self.failed = self.size_bytes = self.retries = self.length_only = self.skipped = 0

    def add(self, report: RequestReport) -> None:
        """Count one report."""
        self.add_all((report,))

    def add_all(self, reports: Iterable[RequestReport]) -> None:
        """Count reports."""
        # By position, in one loop: attributes and a call for each would cost as much again as all the rest.
        histogram, log2 = self._histogram, math.log2
        objects = size_bytes = length_only = 0
        for _, _, _, _, size, attempts, _, total_s, _, _, _, _, _, error, _, verified, skipped, _, _ in reports:
            if attempts > 1:
                self.retries += attempts - 1
            if error is not None:
                self.failed += 1
            elif skipped:
                self.skipped += 1
            else:
                objects += 1
                size_bytes += size
                if verified == LENGTH_ONLY:
                    length_only += 1
                index = int(log2(total_s * _PER_FLOOR) * _BUCKETS_PER_OCTAVE) if total_s > _FLOOR_S else 0
                histogram[index if index < _BUCKETS else _BUCKETS - 1] += 1
        self.objects += objects
        self.size_bytes += size_bytes
        self.length_only += length_only

    def add_alike(self, alike: AlikeReports) -> None:
        """Count reports as ``add_all`` would count each of them."""
        counted = SummaryBuilder(self._clock)
        counted.add(alike.common)
        count = len(alike.objects)
        self.objects += count
        self.size_bytes += sum([size for _, _, size in alike.objects])
        self.retries += counted.retries * count
        self.length_only += counted.length_only * count
        self._histogram = [old + new * count for old, new in zip(self._histogram, counted._histogram, strict=True)]

    def stop(self) -> None:
        """Stop the clock of ``elapsed_s``; later calls change nothing."""
        if not self._stopped:
            self._stopped = self._clock()

    def _percentile(self, fraction: float) -> float:
        wanted = fraction * self.objects
        seen = 0
        for index, count in enumerate(self._histogram):
            seen += count
            if count and seen >= wanted:
                return float(_FLOOR_S * 2.0 ** ((index + 0.5) / _BUCKETS_PER_OCTAVE))
        return 0.0

    def summary(self) -> BatchSummary:
        """The totals now."""
        return BatchSummary(
            objects=self.objects, failed=self.failed, size_bytes=self.size_bytes, retries=self.retries,
            elapsed_s=(self._stopped or self._clock()) - self._started,
            p50_s=self._percentile(0.50), p95_s=self._percentile(0.95), p99_s=self._percentile(0.99),
            length_only=self.length_only,
            skipped=self.skipped,
        )  # fmt: skip


_COLUMNS = ("attempts", "bytes", "success_ms", "total_ms", "MBps", "MBps est")
_WIDTH = 18


def perf_header() -> str:
    """The head of the performance table: six right-aligned columns of width 18."""
    return "".join(f"{name:>{_WIDTH}}" for name in _COLUMNS)


def perf_row(report: RequestReport) -> str:
    """One finished object as a row of the performance table; MB are 10^6 bytes, times whole milliseconds."""
    mbps = report.size_bytes / 1e6 / report.success_s if report.success_s > 0 else 0.0
    cells = (
        str(report.attempts), str(report.size_bytes), str(round(report.success_s * 1e3)),
        str(round(report.total_s * 1e3)), f"{mbps:.5f}", f"{report.estimate_bytes_per_s / 1e6:.5f}",
    )  # fmt: skip
    return "".join(f"{cell:>{_WIDTH}}" for cell in cells)


