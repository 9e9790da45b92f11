"""What is measured: series of points along one axis, everything else as the defaults have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BLOB_BYTES", "Point", "points"]

_MIB = 1024 * 1024
BLOB_BYTES = (0, 1024, 16 * 1024, 256 * 1024, 4 * _MIB, 64 * _MIB, 1024 * _MIB)
_AMOUNT_BYTES = 1024 * _MIB  # of a point of a size, at most
_CONCURRENCIES = (1, 4, 16, 64, 256, 512)
_LATENCIES_MS = (0, 1, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One job. ``x`` is its place on the axis of its ``series``; ``work`` names the curve it belongs to."""

    series: str
    work: str
    x: float
    count: int
    size_bytes: int = 1024
    delay_ms: int = 0
    rounds: int = 3
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def curve(self) -> str:
        """What the legend calls it."""
        late = f", answers {self.delay_ms} ms late" if self.delay_ms and self.series != "latency" else ""
        return f"{self.work}{late}"


def points(*, quick: bool) -> list[Point]:
    """All of them; ``quick`` leaves out those that take long."""
    found: list[Point] = []
    for count in (1000, 10_000, 100_000, 1_000_000):
        if quick and count > 10_000:
            continue
        rounds = 1 if count == 1_000_000 else 3
        found += [
            Point(series="objects", work=work, x=count, count=count, rounds=rounds)
            for work in ("upload", "list", "delete")
        ]
    for size_bytes in BLOB_BYTES:
        if quick and size_bytes > 4 * _MIB:
            continue
        count = max(1, min(2000, _AMOUNT_BYTES // max(size_bytes, 1)))
        found += [
            Point(series="size", work=work, x=size_bytes, count=count, size_bytes=size_bytes)
            for work in ("upload", "download")
        ]
    for concurrency in _CONCURRENCIES:
        for delay_ms in (0, 20):
            count = min(5000, 400 * concurrency) if delay_ms else 5000
            found.append(Point(
                series="concurrency", work="upload", x=concurrency, count=count, delay_ms=delay_ms,
                config={"concurrency": concurrency},
            ))  # fmt: skip
    for workers in (1, 2, 3, 4):
        found += [
            Point(
                series="workers", work="upload", x=workers, count=10_000, delay_ms=delay_ms, config={"workers": workers}
            )
            for delay_ms in (0, 20)
        ]
    for delay_ms in _LATENCIES_MS:
        found.append(Point(series="latency", work="upload", x=delay_ms, count=10_000, delay_ms=delay_ms))
        found.append(Point(series="latency", work="list", x=delay_ms, count=10_000, delay_ms=delay_ms))
    return found
