"""What it costs to start: ``s3engine --version`` and ``s3engine ls`` beside s5cmd, the AWS CLI and bare Pythons.

Run it from the checkout: ``python -m bench.startup [--aws PATH] [--keep bench/runs]``. Fresh processes, rounds
interleaved. The AWS CLI goes into an environment of its own (``pip install awscli``), PATH is its ``aws``.
``the same imports`` is a Python that imports the modules of the standard library that a listing cannot do without.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from bench.harness import (
    RunFailed,
    client_environment,
    command_line,
    find_s5cmd,
    folder_to_write,
    keep_run,
    median_and_range,
    run_process,
    run_program,
    table,
)
from bench.sink import Sink, SinkUnavailable
from bench.sink_config import LISTING_BUCKET

# what -> the text its output must hold
_EXPECTED = {"version": "", "ls": "one"}


# What the command `s3engine` does, also from a checkout.
_PROGRAM = "from s3engine.cli import program; program()"
_NEEDED = "import hashlib, hmac, re, select, signal, socket, typing, urllib.parse"


def commands(url: str, aws: str | None = None) -> dict[str, list[str]]:
    """Name -> command line; the first word of the name says what its output must hold."""
    python, s5cmd, target = sys.executable, find_s5cmd(), f"s3://{LISTING_BUCKET}/p/"
    ours = [python, "-c", _PROGRAM]
    found = {
        "nothing: python -c pass": [python, "-c", "pass"],
        "nothing: the same imports": [python, "-c", _NEEDED],
        "version: s3engine --version": [*ours, "--version"],
        "version: s5cmd version": [s5cmd, "version"],
        "ls: s3engine ls": [*ours, "ls", target, "--endpoint-url", url],
        "ls: python -m s3engine ls": [python, "-m", "s3engine", "ls", target, "--endpoint-url", url],
        "ls: s5cmd ls": [s5cmd, "--endpoint-url", url, "ls", target],
    }
    if aws:
        found["ls: aws s3 ls"] = [aws, "--endpoint-url", url, "s3", "ls", target]
    return found


def _ratio(rows: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> str:
    """Median wall time of ``own`` over that of ``s5cmd ls``."""
    peer = statistics.median(row["wall_ms"] for row in rows if row["command"] == "ls: s5cmd ls")
    return f"{statistics.median(row['wall_ms'] for row in own) / peer:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="runs of each command (20)")
    parser.add_argument("--aws", metavar="PATH", help="the AWS CLI's program, to measure it too")
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    rows: list[dict[str, Any]] = []
    try:
        with Sink() as sink:
            todo = commands(sink.endpoint_url, options.aws)
            for round_number in range(options.rounds + 1):
                for name in random.Random(round_number).sample(list(todo), len(todo)):
                    sink.requests()
                    usage = run_process(todo[name], client_environment())
                    n_requests = len(sink.requests())
                    if _EXPECTED.get(name.partition(":")[0], "") not in usage.stdout:
                        raise RunFailed(f"{name} printed {usage.stdout!r}")
                    if round_number:  # the first fills byte code and page caches
                        rows.append({
                            "round": round_number, "command": name, "wall_ms": round(usage.wall_s * 1e3, 2),
                            "cpu_ms": round(usage.cpu_s * 1e3, 2), "requests": n_requests,
                        })  # fmt: skip
    except (RunFailed, SinkUnavailable) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    lines = []
    for name in todo:
        own = [row for row in rows if row["command"] == name]
        lines.append([
            name, median_and_range([row["wall_ms"] for row in own], 0),
            median_and_range([row["cpu_ms"] for row in own], 0),
            f"{statistics.median(row['requests'] for row in own):.0f}", _ratio(rows, own),
        ])  # fmt: skip
    summary = table(["command", "wall ms: median (range)", "CPU ms: median (range)", "requests", "x s5cmd ls"], lines)
    print(summary)
    if options.keep:
        given = command_line("bench.startup", sys.argv[1:] if arguments is None else arguments)
        print(f"\nkept in {keep_run(options.keep, 'startup', given, summary, rows)}")
    return 0


if __name__ == "__main__":
    run_program(main)
