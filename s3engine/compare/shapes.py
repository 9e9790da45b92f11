"""The marks of the picture as SVG: scales, axes, density strips, dots. Text in, text out; colours come by CSS class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Axis", "density", "dots", "linear_axis", "log_axis", "strip", "tag", "text"]

_BINS = 160
_FEW = 40  # values that are shown one by one rather than as a shape
_DOT = 4.5
_AIR = 1.1  # beyond the greatest value of a linear axis


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element. ``cls`` is its class, ``_`` in names is ``-``; numbers get two digits."""
    parts = []
    for key, value in attributes.items():
        shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        parts.append(f' {"class" if key == "cls" else key.replace("_", "-")}="{escape(shown)}"')
    opened = f"<{name}{''.join(parts)}"
    return f"{opened}>{content}</{name}>" if content else f"{opened}/>"


def text(x: float, y: float, content: str, *, cls: str = "", anchor: str = "start") -> str:
    """A line of text; ``content`` is escaped here."""
    return tag("text", escape(content), x=float(x), y=float(y), cls=cls or "t", text_anchor=anchor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A horizontal scale from ``low`` to ``high`` between ``left`` and ``left + width`` pixels."""

    left: float
    width: float
    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The x of a value, kept inside."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.left + self.width * min(1.0, max(0.0, share))

    def drawn(self, top: float, bottom: float) -> str:
        """Grid lines from ``top`` to ``bottom`` with numbers below."""
        lines = [tag("line", x1=self.at(tick), x2=self.at(tick), y1=top, y2=bottom, cls="grid") for tick in self.ticks]
        labels = [text(self.at(tick), bottom + 16, f"{tick:g}", cls="t tick", anchor="middle") for tick in self.ticks]
        return "".join([*lines, *labels])


def log_axis(left: float, width: float, values: Iterable[float]) -> Axis:
    """A logarithmic axis that holds all values, which must be positive; its ends are round numbers."""
    known = list(values)
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    steps = (1, 2, 5)
    marks = [
        step * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        for step in steps
    ]
    begin = max(mark for mark in marks if mark <= low * 1.001)
    end = min(mark for mark in marks if mark >= high * 0.999 and mark > begin)
    inside = [mark for mark in marks if begin <= mark <= end]
    if len(inside) > 12:  # then decades alone
        inside = [mark for mark in inside if math.isclose(math.log10(mark), round(math.log10(mark)), abs_tol=1e-9)]
    return Axis(left=left, width=width, low=begin, high=end, logarithmic=True, ticks=tuple(inside))


def linear_axis(left: float, width: float, values: Iterable[float], *, ticks: int = 4) -> Axis:
    """An axis from 0 to beyond the greatest value, with round ticks."""
    high = max(values, default=0.0) * _AIR
    if high < 1e-9:  # nothing there
        high = 1.0
    rough = high / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    marks = tuple(step * index for index in range(int(high / step) + 1))
    return Axis(left=left, width=width, low=0.0, high=high, logarithmic=False, ticks=marks)


def density(values: Sequence[float], axis: Axis) -> list[tuple[float, float]]:
    """How densely values lie along a logarithmic axis: (x, height from 0 to 1), smoothed by a Gaussian kernel."""
    span = math.log(axis.high / axis.low)
    logs = [min(1.0, max(0.0, math.log(max(value, axis.low) / axis.low) / span)) for value in values]
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in logs) / len(logs))
    # Silverman's rule, but no finer than a bin and no coarser than what keeps two humps apart.
    width = min(max(0.9 * deviation * len(logs) ** -0.2, 1 / _BINS), 0.03)
    counts = [0] * (_BINS + 1)
    for one in logs:
        counts[round(one * _BINS)] += 1
    reach = math.ceil(3 * width * _BINS)
    kernel = [math.exp(-((offset / _BINS / width) ** 2) / 2) for offset in range(-reach, reach + 1)]
    heights = [
        sum(
            counts[index + offset] * kernel[offset + reach]
            for offset in range(-reach, reach + 1)
            if 0 <= index + offset <= _BINS
        )
        for index in range(_BINS + 1)
    ]
    top = max(heights)
    return [(axis.left + axis.width * index / _BINS, height / top) for index, height in enumerate(heights)]


def strip(values: Sequence[float], axis: Axis, base: float, height: float, marks: Sequence[float], cls: str) -> str:
    """How a client's values (in rising order) are spread: a shape above ``base``, and ``marks`` for p50, p95, p99.

    Few values are dots, also if each comes a thousand times (objects of one request). A thin line goes from the least
    to the greatest.
    """
    distinct = sorted(set(values))
    if len(distinct) < _FEW:
        shape = "".join(
            tag("circle", cx=axis.at(value), cy=base - height * 0.4, r=3.5, cls=f"dot {cls}") for value in distinct
        )
    else:
        points = [(x, base - height * share) for x, share in density(values, axis) if share > 0.004]
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(points[0][0], base), *points, (points[-1][0], base)])
        shape = tag("polygon", points=outline, cls=f"shape {cls}")
    p50, p95, p99 = (axis.at(mark) for mark in marks)
    return "".join([
        tag("line", x1=axis.at(values[0]), x2=axis.at(values[-1]), y1=base, y2=base, cls=f"range {cls}"),
        shape,
        tag("line", x1=p50, x2=p50, y1=base - height, y2=base + 3, cls=f"p50 {cls}"),
        tag("line", x1=p95, x2=p95, y1=base - height * 0.6, y2=base + 3, cls=f"p95 {cls}"),
        tag("path", d=f"M{p99:.1f},{base + 1:.1f}l-4.5,7h9z", cls=f"p99 {cls}"),
    ])  # fmt: skip


def dots(by_round: Sequence[tuple[str, float]], median: float, axis: Axis, middle: float, cls: str) -> str:
    """A bar from 0 to the median, and a dot for each round, named when pointed at."""
    left, right = axis.at(0.0), axis.at(median)
    bar = tag("rect", x=left, y=middle - 9, width=max(right - left, 0.5), height=18, cls=f"bar {cls}")
    end = tag("line", x1=right, x2=right, y1=middle - 12, y2=middle + 12, cls=f"p50 {cls}")
    rounds = [
        tag("circle", tag("title", escape(name)), cx=axis.at(value), cy=middle, r=_DOT, cls=f"dot {cls}")
        for name, value in by_round
    ]
    return "".join([bar, *rounds, end])
