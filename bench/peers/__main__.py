"""Each work against the peers that are best at it, interleaved, and the table of it: ``python -m bench.peers``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.harness import RunFailed, command_line, folder_to_write, keep_run, run_program
from bench.peers.contenders import OURS
from bench.peers.figures import memory, memory_table, per_put, per_put_table, workers, workers_table
from bench.peers.place import Place, Sizes, nginx_place
from bench.peers.run import best_variants, run_work
from bench.peers.table import details, goals
from bench.peers.weed import SIZES as WEED_SIZES
from bench.peers.weed import WITHOUT, weed_place
from bench.peers.works import WORKS, Work
from bench.sink import SinkUnavailable
from bench.sink_data import SinkDataError
from s3engine.errors import ConfigError

# Name -> what runs it, and what makes its table.
FIGURES: Mapping[str, tuple[Callable[[Place, int], list[dict[str, Any]]], Callable[[list[dict[str, Any]]], str]]] = {
    "memory": (lambda place, rounds: memory(place), memory_table),
    "per-put": (per_put, per_put_table),
    "workers": (workers, workers_table),
}

_FAILURES = (RunFailed, SinkUnavailable, SinkDataError, ConfigError)


def run_server(
    server: str, wanted: Sequence[str], rounds: int, kept: list[dict[str, Any]]
) -> tuple[str, Exception | None]:
    """The tables of one server, and what ended it before its time, if anything did. Its rows are added to ``kept``.

    If that has the rows of another one, their choice of variants holds here too.
    """
    before = list(kept)
    weed = server == "seaweedfs"
    sizes = WEED_SIZES if weed else Sizes()
    works = [
        work._replace(title=work.title.format(**sizes._asdict()))
        for work in WORKS if work.name in wanted and not (weed and work.name in WITHOUT)
    ]  # fmt: skip
    figures = [name for name in FIGURES if name in wanted and not weed]
    rows: list[dict[str, Any]] = []
    started = time.monotonic()
    failure: Exception | None = None
    try:
        _measure(weed, sizes, works, figures, rounds, before, rows)
    except _FAILURES as error:
        failure = error
    kept += [{"server": server, **row} for row in rows]
    done = {row["work"] for row in rows}
    works = [work for work in works if work.name in done]
    figures = [name for name in figures if name in done]
    parts = [f"## Against {'SeaweedFS' if weed else 'the nginx that answers at once'}"]
    parts += [goals(works, rows)] if works else []
    parts += [FIGURES[name][1](rows) for name in figures]
    parts += [details(work, rows) for work in works]
    parts.append(f"{rounds} rounds, {time.monotonic() - started:.0f} s in all.")
    return "\n\n".join(parts), failure


def _measure(
    weed: bool, sizes: Sizes, works: Sequence[Work], figures: Sequence[str], rounds: int,
    before: Sequence[dict[str, Any]], rows: list[dict[str, Any]],
) -> None:  # fmt: skip
    for large in (False,) if weed else (False, True):
        some = [work for work in works if weed or work.large is large]
        if some or (figures and not large):
            with weed_place() if weed else nginx_place(sizes, large=large, tls=large) as place:
                for work in some:
                    known = best_variants([row for row in before if row["work"] == work.name and not row.get("cost")])
                    rows += run_work(work, place, rounds, known)
                for name in figures if not large else ():
                    rows += FIGURES[name][0](place, rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 when a run of s3engine was wrong, 2 when it could not be measured."""
    names = [*(work.name for work in WORKS), *FIGURES]
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(names), help=f"works, with commas, of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5); two go before them")
    parser.add_argument(
        "--server", choices=("nginx", "seaweedfs", "both"), default="nginx",
        help="against which (nginx); of both, SeaweedFS gets three rounds at most",
    )  # fmt: skip
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    if options.rounds < 1:
        parser.error(f"--rounds must be 1 or more, not {options.rounds}")
    for name in wanted:
        if name not in names:
            parser.error(f"--only takes works, with commas, of {', '.join(names)}; not {name!r}")
    rows: list[dict[str, Any]] = []
    texts = []
    code = 0
    try:
        for server in ("nginx", "seaweedfs") if options.server == "both" else (options.server,):
            rounds = min(options.rounds, 3) if options.server == "both" and server == "seaweedfs" else options.rounds
            text, failure = run_server(server, wanted, rounds, rows)
            texts.append(text)
            print(text, "", sep="\n", flush=True)
            if failure is not None:
                raise failure
    except _FAILURES as error:  # what was measured before it is kept all the same
        print(f"bench: {error}", file=sys.stderr)
        code = 2
    if options.keep and rows:
        given = command_line("bench.peers", sys.argv[1:] if arguments is None else arguments)
        print(f"kept in {keep_run(options.keep, 'peers', given, chr(10).join(texts), rows)}")
    return code or int(any(row.get("wrong") and row["peer"].startswith(OURS) for row in rows))


if __name__ == "__main__":
    run_program(main)
