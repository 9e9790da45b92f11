"""The table out of the rows: medians, ranges, ratios to the peers, and whether the goals are met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.harness import median_and_range, table
from bench.peers.contenders import OURS
from bench.peers.works import Goal, Work

__all__ = ["best_of", "details", "goals"]


ENOUGH = 0.8
"""A peer's variant is told by its right runs when so many of those that count were right: 4 of 5."""


class _Runs(NamedTuple):
    """What one contender did in a work."""

    every: list[dict[str, Any]]
    """Each row of it."""
    counted: list[dict[str, Any]]
    """Of the rounds that count, or of the first where there was no other."""
    right: list[dict[str, Any]]
    """Those of the counted ones that were right."""

    @property
    def is_ours(self) -> bool:
        return self.every[0]["peer"].startswith(OURS) and not self.every[0]["cost"]

    @property
    def is_peer(self) -> bool:
        return not self.every[0]["peer"].startswith(OURS) and not self.every[0]["cost"]

    @property
    def is_right(self) -> bool:
        """Of ours all runs. Of a peer's enough of those that count, and none of the first came to a wrong end.

        What a listing prints is looked at in the first rounds alone, so that what is wrong there is wrong everywhere.
        """
        if not self.is_peer:
            return not any(row["wrong"] for row in self.every)
        first_wrong = any(row["wrong"] and not _has_failed(row) for row in self.every if not row["round"])
        return not first_wrong and len(self.right) >= ENOUGH * len(self.counted)

    def median(self, figure: str) -> float:
        """Of the right runs, where there is one."""
        return float(statistics.median(row[f"{figure}_s"] for row in self.right or self.counted))

    def told(self, figure: str, digits: int) -> str:
        """Median and range of the same."""
        return median_and_range([row[f"{figure}_s"] for row in self.right or self.counted], digits)


def _has_failed(row: dict[str, Any]) -> bool:
    """It did not come to its end: it crashed, or took too long."""
    return math.isinf(row["wall_s"])


def _by_contender(rows: Sequence[dict[str, Any]]) -> dict[str, _Runs]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["contender"], []).append(row)
    runs = {}
    for name, mine in found.items():
        counted = [row for row in mine if row["round"]] or mine
        runs[name] = _Runs(mine, counted, [row for row in counted if not row["wrong"]])
    return runs


def best_of(rows: Sequence[dict[str, Any]], figure: str, against: str = "") -> str:
    """The contender of a peer (or of all) with the least median; "" when none was right."""
    runs = {
        name: mine for name, mine in _by_contender(rows).items()
        if mine.is_peer and mine.is_right and against in ("", mine.every[0]["peer"])
    }  # fmt: skip
    return min(runs, key=lambda name: runs[name].median(figure), default="")


def _judge(rows: Sequence[dict[str, Any]], goal: Goal) -> list[str]:
    runs = _by_contender(rows)
    peer = best_of(rows, goal.figure, goal.against)
    ratios = {}
    for name, mine in runs.items():
        if mine.is_ours and peer:
            ratio = mine.median(goal.figure) / runs[peer].median(goal.figure)
            ratios[name] = ratio if mine.is_right else float("inf")
    told = ", ".join(f"{ratio:.2f} ({_way(name)})" for name, ratio in ratios.items())
    met = bool(ratios) and max(ratios.values()) <= goal.limit
    some = bool(ratios) and min(ratios.values()) <= goal.limit
    theirs = runs[peer].told(goal.figure, 3) if peer else ""
    verdict = "yes" if met else "in part" if some else "NO"
    limit = f"{goal.limit:.2f}" if goal.limit else "-"
    return [
        "CPU" if goal.figure == "cpu" else "wall", f"{peer or goal.against}: {theirs} s", limit, told,
        verdict if goal.limit else "-",
    ]  # fmt: skip


def _way(name: str) -> str:
    return {f"{OURS} library": "library", f"{OURS} script": "script"}.get(name, "command line")


def goals(works: Sequence[Work], rows: Sequence[dict[str, Any]]) -> str:
    """A line for every goal: the best right variant of the peers, our ratio to it, and whether that is enough."""
    lines = []
    for work in works:
        mine = [row for row in rows if row["work"] == work.name]
        if mine:
            lines += [[work.title, *_judge(mine, goal)] for goal in work.goals]
    head = ["work", "of", "best peer: median (range)", "at most x", "measured x", "met"]
    return table(head, lines)


def details(work: Work, rows: Sequence[dict[str, Any]]) -> str:
    """Everybody in one work, the fastest first: times of the right runs that count, and how many of all were right."""
    runs = _by_contender([row for row in rows if row["work"] == work.name])
    base = runs[OURS]
    lines = []
    for name in sorted(runs, key=lambda name: (runs[name].every[0]["cost"], runs[name].median("wall"))):
        mine = runs[name]
        wrong = sorted({row["wrong"] for row in mine.every} - {""})
        n_right = sum(not row["wrong"] for row in mine.every)
        label = f"{OURS}, {name}" if mine.every[0]["cost"] else name
        lines.append([
            label, mine.told("wall", 3), f"{mine.median('wall') / base.median('wall'):.2f}",
            mine.told("cpu", 2), f"{mine.median('cpu') / base.median('cpu'):.2f}", f"{mine.median('server_cpu'):.2f}",
            f"{statistics.median(row['requests'] for row in mine.right or mine.counted):.0f}",
            f"{n_right} of {len(mine.every)}" + (f" WRONG: {wrong[0][:80]}" if wrong else ""),
        ])  # fmt: skip
    head = [
        "contender", "wall s: median (range)", f"x {OURS}", "CPU s: median (range)", f"x {OURS}", "server CPU s",
        "requests", "runs right",
    ]  # fmt: skip
    return f"### {work.name}: {work.title}\n\n{table(head, lines)}"
