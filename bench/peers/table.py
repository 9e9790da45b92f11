"""The table out of the rows: medians, ranges, ratios to the peers, and whether the goals are met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.harness import median_and_range, table
from bench.peers.contenders import OURS
from bench.peers.works import Goal, Work

__all__ = ["best_of", "details", "goals"]


def _counted(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by contender: the rounds that count, or the first where there was no other."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["contender"], []).append(row)
    return {name: [row for row in mine if row["round"]] or mine for name, mine in found.items()}


def _median(rows: Sequence[dict[str, Any]], figure: str) -> float:
    return float(statistics.median(row[f"{figure}_s"] for row in rows))


def best_of(rows: Sequence[dict[str, Any]], figure: str, against: str = "") -> str:
    """The contender of a peer (or of all) with the least median; "" when none was right."""
    runs = {
        name: mine for name, mine in _counted(rows).items()
        if not mine[0]["peer"].startswith(OURS) and not mine[0]["cost"] and not any(row["wrong"] for row in mine)
        and against in ("", mine[0]["peer"])
    }  # fmt: skip
    return min(runs, key=lambda name: _median(runs[name], figure), default="")


def _judge(rows: Sequence[dict[str, Any]], goal: Goal) -> list[str]:
    runs = _counted(rows)
    peer = best_of(rows, goal.figure, goal.against)
    ratios = {}
    for name, mine in runs.items():
        if mine[0]["peer"].startswith(OURS) and not mine[0]["cost"] and peer:
            right = not any(row["wrong"] for row in mine)
            ratios[name] = _median(mine, goal.figure) / _median(runs[peer], goal.figure) if right else float("inf")
    told = ", ".join(f"{ratio:.2f} ({_way(name)})" for name, ratio in ratios.items())
    met = bool(ratios) and max(ratios.values()) <= goal.limit
    some = bool(ratios) and min(ratios.values()) <= goal.limit
    theirs = median_and_range([row[f"{goal.figure}_s"] for row in runs[peer]], 3) if peer else ""
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
    """Everybody in one work, the fastest first; those that ran once are said to have."""
    runs = _counted([row for row in rows if row["work"] == work.name])
    base = runs[OURS]
    lines = []
    for name in sorted(runs, key=lambda name: (runs[name][0]["cost"], _median(runs[name], "wall"))):
        mine = runs[name]
        wrong = sorted({row["wrong"] for row in mine} - {""})
        label = f"{OURS}, {name}" if mine[0]["cost"] else name
        lines.append([
            label, median_and_range([row["wall_s"] for row in mine], 3),
            f"{_median(mine, 'wall') / _median(base, 'wall'):.2f}",
            median_and_range([row["cpu_s"] for row in mine], 2),
            f"{_median(mine, 'cpu') / _median(base, 'cpu'):.2f}",
            f"{statistics.median(row['server_cpu_s'] for row in mine):.2f}",
            f"{statistics.median(row['requests'] for row in mine):.0f}",
            f"{sum(not row['wrong'] for row in mine)} of {len(mine)}" + (f" WRONG: {wrong[0][:80]}" if wrong else ""),
        ])  # fmt: skip
    head = [
        "contender", "wall s: median (range)", f"x {OURS}", "CPU s: median (range)", f"x {OURS}", "server CPU s",
        "requests", "runs right",
    ]  # fmt: skip
    return f"### {work.name}: {work.title}\n\n{table(head, lines)}"
