"""Functions on the bodies, measured: ``python -m bench.functions``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from bench.functions.figures import (
    beside,
    beside_table,
    busy,
    busy_table,
    pack,
    pack_table,
    results,
    results_table,
)
from bench.functions.place import seaweed
from bench.functions.programs.counting import FUNCTIONS
from bench.functions.words import FEW, words, words_table, workers, workers_table
from bench.harness import RunFailed, command_line, folder_to_write, keep_run, run_program
from bench.sink import SinkUnavailable
from s3engine.errors import ConfigError

_TABLES: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "words": words_table, "workers": workers_table, "busy": busy_table, "pack": pack_table, "results": results_table,
    "beside": beside_table,
}  # fmt: skip


def _measure(options: argparse.Namespace, wanted: Sequence[str], rows: list[dict[str, Any]]) -> None:
    count, rounds = options.objects, options.rounds
    if "words" in wanted:
        with seaweed(count, min(count, FEW)) as objects:
            for function in options.functions:
                rows += words(objects, function, min(count, FEW), count, rounds)
    if "workers" in wanted:
        with seaweed(options.worker_objects) as objects:
            rows += workers(objects, "stem", options.worker_objects, rounds)
    if "busy" in wanted:
        rows += busy(rounds)
    if "pack" in wanted:
        rows += pack()
    if "results" in wanted:
        rows += results(rounds)
    if "beside" in wanted:
        rows += beside(rounds, options.pythons)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.functions", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", type=_some_of(_TABLES), default=list(_TABLES), metavar="WORKS", help=f"of {','.join(_TABLES)}"
    )
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds that count (3)")
    parser.add_argument("--objects", type=_positive, default=10_000, help="of 100 KiB, for words (10000)")
    parser.add_argument("--worker-objects", type=_positive, default=2000, help="of 100 KiB, for workers (2000)")
    parser.add_argument(
        "--functions", type=_some_of(FUNCTIONS), default=["split", "parse"], metavar="NAMES",
        help=f"by which words are counted, of {','.join(FUNCTIONS)} (split,parse)",
    )  # fmt: skip
    parser.add_argument(
        "--pythons", type=lambda text: text.split(","), default=[sys.executable], metavar="PATHS",
        help="interpreters for beside, each with what s3engine depends on (this one)",
    )  # fmt: skip
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    code = 0
    try:
        _measure(options, options.only, rows)
    except (RunFailed, SinkUnavailable, ConfigError) as error:  # what was measured before it is kept all the same
        print(f"bench: {error}", file=sys.stderr)
        code = 2
    done = {row["work"] for row in rows}
    text = "\n\n".join(make(rows) for name, make in _TABLES.items() if name in done)
    print(text)
    if options.keep and rows:
        given = command_line("bench.functions", sys.argv[1:] if arguments is None else arguments)
        print(f"kept in {keep_run(options.keep, 'functions', given, text, rows)}")
    return code


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text!r}")
    return int(text)


def _some_of(names: Sequence[str] | dict[str, Any]) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        for name in text.split(","):
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return text.split(",")

    return split


if __name__ == "__main__":
    run_program(main)
