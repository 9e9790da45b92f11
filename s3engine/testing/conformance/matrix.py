"""Findings of several transports on several servers, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from s3engine.testing.conformance.core import CHECKS, Finding

__all__ = ["MARKS", "matrix"]

MARKS = {"yes": "yes", "declared": "says so", "store": "store", "skipped": "skipped", "no": "NO"}
"""``says so``: the transport says of itself that it cannot, and the engine goes around or refuses. ``store``: the store
cannot, as an independent client saw. ``skipped``: what it needs was not given. ``NO``: a guarantee is broken."""


def matrix(results: Mapping[tuple[str, str], Sequence[Finding]]) -> str:
    """A row per check, a column per (transport, server), then every reason that is not a plain yes.

    Args:
        results: Findings by (transport, server).
    """
    columns = list(results)
    by_check = {column: {finding.check: finding for finding in found} for column, found in results.items()}
    found_names = {name: None for found in by_check.values() for name in found}
    rows = [name for name in CHECKS if name in found_names] + [name for name in found_names if name not in CHECKS]
    first = max(len(name) for name in [*rows, "server"])
    widths = [max(len(transport), len(server), 8) for transport, server in columns]

    def line(head: str, cells: Sequence[str]) -> str:
        return "  ".join([head.ljust(first), *(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))])

    lines = [line("transport", [one[0] for one in columns]), line("server", [one[1] for one in columns])]
    reasons: dict[tuple[str, str], list[str]] = {}
    for name in rows:
        cells = []
        for column in columns:
            finding = by_check[column].get(name)
            cells.append(MARKS[finding.outcome] if finding else "")
            if finding and finding.outcome != "yes":
                place = f"{column[0]} on {column[1]}"
                reasons.setdefault((name, f"{MARKS[finding.outcome]}: {finding.reason}"), []).append(place)
        lines.append(line(name, cells).rstrip())
    lines.append("")
    for (name, reason), places in reasons.items():
        lines.append(f"{name}, {reason}")
        lines.append(f"    {'; '.join(places)}")
    every = [finding.outcome for found in results.values() for finding in found]
    counts = {mark: every.count(outcome) for outcome, mark in MARKS.items()}
    lines.append("")
    lines.append(", ".join(f"{count} {mark}" for mark, count in counts.items()))
    return "\n".join(lines)
