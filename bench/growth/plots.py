"""The curves of a run as SVG files, one per series: objects per second, and CPU per object beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["draw"]

_AXES = {
    "objects": ("objects in the batch", True), "size": ("bytes of an object", True),
    "concurrency": ("requests in flight", True), "workers": ("worker processes", False),
    "latency": ("how late each answer comes, ms", False),
}  # fmt: skip
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b4559a")  # Okabe and Ito: told apart by colour-blind people too


def _curve(rows: Sequence[dict[str, Any]], curve: str, field: str) -> tuple[list[float], list[float]]:
    own = [row for row in rows if row["curve"] == curve]
    xs = sorted({row["x"] for row in own})
    return xs, [median(row[field] for row in own if row["x"] == x) for x in xs]


def draw(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write ``growth-SERIES.svg`` for each series of ``rows`` into ``folder``, which is made if need be."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "s3engine", "svg.fonttype": "none", "font.size": 10})
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for series, (label, logarithmic) in _AXES.items():
        own = [row for row in rows if row["series"] == series]
        if not own:
            continue
        by_size = series == "size"
        fields = (("bytes_per_s", "bytes per second") if by_size else ("objects_per_s", "objects per second"),
                  ("cpu_us_per_object", "CPU per object, \u00b5s"))  # fmt: skip
        figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
        for panel, (field, title) in zip(panels, fields, strict=True):
            for index, curve in enumerate(dict.fromkeys(row["curve"] for row in own)):
                xs, ys = _curve(own, curve, field)
                if by_size:  # 0 bytes has no place on a logarithmic axis
                    xs, ys = xs[xs[0] == 0 :], ys[xs[0] == 0 :]
                panel.plot(xs, ys, marker="o", markersize=4, color=_COLOURS[index % 4], label=curve)
            panel.set_title(title, loc="left")
            panel.set_xlabel(label)
            if logarithmic:
                panel.set_xscale("log")
            if by_size:
                panel.set_yscale("log")
            else:
                panel.set_ylim(bottom=0)
            panel.grid(alpha=0.3)
        panels[0].legend(fontsize=9)
        figure.savefig(folder / f"growth-{series}.svg", metadata={"Date": None})
        plt.close(figure)
