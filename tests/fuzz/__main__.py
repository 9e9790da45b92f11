"""``python -m tests.fuzz head|xml|uri|all [--seconds 600] [--engine atheris|mutations] [--seed N]``.

Prints how many cases ran, what crashed (an exception that the parser does not document, or a promise that did not
hold), what hung (a case above a second) and how the memory grew. Ends with 1 when there was any of these. atheris is
used when it is installed (``pip install atheris``); else mutations of the corpus that nothing leads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from random import Random

from tests.fuzz import guided
from tests.fuzz.mutate import cases
from tests.fuzz.run import Result, run, seeds
from tests.fuzz.targets import TARGETS


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads bytes of others.")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target (default: 600)")
    usual = "atheris" if guided.available() else "mutations"
    parser.add_argument("--engine", choices=["atheris", "mutations"], default=usual, help=f"(default: {usual})")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: 1)")
    given = parser.parse_args(argv)
    bad = False
    for name in TARGETS if given.target == "all" else [given.target]:
        result: Result
        if given.engine == "atheris":
            result = guided.run(name, given.seconds)
        else:
            result = run(name, TARGETS[name], cases(seeds(name), Random(given.seed)), seconds=given.seconds)
        print(result, flush=True)
        for problem in result.problems:
            print("  " + problem, flush=True)
        bad = bad or bool(result.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
