"""``python -m bench.guard``: instructions of the hot paths beside their bounds.

Ends with 1 when one is above, with 2 when they could not be counted. ``--write`` makes what is counted now the bounds
of this Python.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.guard.counting import Uncounted, count, version
from bench.guard.paths import PATHS
from bench.harness import run_program, table

__all__ = ["judge", "main"]

BOUNDS = Path(__file__).with_name("bounds.json")
MARGIN = 0.05
"""Above the bound by more than this share, a path fails; below it by twice as much, the bound wants to be lowered."""
_YARD = "yardstick"


def judge(counted: Mapping[str, float], bounds: Mapping[str, float]) -> tuple[list[list[str]], list[str]]:
    """Rows of a table, and what is wrong. ``counted`` are instructions, bounds are in yardsticks."""
    rows, wrong = [], []
    yard = counted[_YARD]
    for name in PATHS:
        if name == _YARD:
            continue
        now = counted[name] / yard
        bound = bounds.get(name)
        verdict = "ok"
        if bound is None:
            verdict = "no bound"
            wrong.append(f"{name}: there is no bound; write them with: python -m bench.guard --write")
        elif now > bound * (1 + MARGIN):
            verdict = "ABOVE"
            wrong.append(f"{name}: {now / bound - 1:.1%} above its bound ({PATHS[name].what})")
        elif now < bound * (1 - 2 * MARGIN):
            verdict = "far below: lower the bound with --write"
        rows.append([
            name, f"{counted[name]:.0f}", f"{now:.2f}", f"{bound:.2f}" if bound is not None else "-",
            f"{now / bound:.3f}" if bound is not None else "-", verdict,
        ])  # fmt: skip
    return rows, wrong


def _read() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, compare, tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="make what is counted now the bounds of this Python")
    parser.add_argument("--jobs", type=int, default=2, help="paths counted at a time (2); the counts do not mind")
    options = parser.parse_args(arguments)
    try:
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            counted = dict(zip(PATHS, pool.map(count, PATHS), strict=True))
    except Uncounted as error:
        print(f"guard: {error}", file=sys.stderr)
        return 2
    bounds = _read()
    if options.write:
        bounds[version()] = {name: round(counted[name] / counted[_YARD], 2) for name in PATHS if name != _YARD}
        BOUNDS.write_text(json.dumps(dict(sorted(bounds.items())), indent=1) + "\n")
    if version() not in bounds:
        print(f"guard: there are no bounds for {version()}; write them with: python -m bench.guard --write")
        return 2
    rows, wrong = judge(counted, bounds[version()])
    print(f"{version()}, one yardstick is {counted[_YARD]:.0f} instructions\n")
    print(table(["path", "instructions", "yardsticks", "bound", "of the bound", ""], rows))
    for line in wrong:
        print(f"guard: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    run_program(main)
