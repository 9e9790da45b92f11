"""Each work against the peers that are best at it, interleaved, and the table of it: ``python -m bench.peers``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.harness import RunFailed, command_line, keep_run
from bench.peers.contenders import OURS
from bench.peers.figures import memory, memory_table, per_put, per_put_table, workers, workers_table
from bench.peers.place import Place, Sizes, nginx_place
from bench.peers.run import best_variants, run_work
from bench.peers.table import details, goals
from bench.peers.weed import SIZES as WEED_SIZES
from bench.peers.weed import WITHOUT, weed_place
from bench.peers.works import WORKS
from bench.sink import SinkUnavailable
from bench.sink_data import SinkDataError
from s3engine.errors import ConfigError

# Name -> what runs it, and what makes its table.
FIGURES: Mapping[str, tuple[Callable[[Place, int], list[dict[str, Any]]], Callable[[list[dict[str, Any]]], str]]] = {
    "memory": (lambda place, rounds: memory(place), memory_table),
    "per-put": (per_put, per_put_table),
    "workers": (workers, workers_table),
}


def run_server(
    server: str, wanted: Sequence[str], rounds: int, before: Sequence[dict[str, Any]] = ()
) -> tuple[str, list[dict[str, Any]]]:
    """The tables and the rows of one server. Raises RunFailed, SinkUnavailable, SinkDataError, ConfigError.

    ``before``: the rows of another one, whose choice of variants holds here too.
    """
    weed = server == "seaweedfs"
    sizes = WEED_SIZES if weed else Sizes()
    works = [
        work._replace(title=work.title.format(**sizes._asdict()))
        for work in WORKS if work.name in wanted and not (weed and work.name in WITHOUT)
    ]  # fmt: skip
    figures = [name for name in FIGURES if name in wanted and not weed]
    rows: list[dict[str, Any]] = []
    started = time.monotonic()
    for large in (False,) if weed else (False, True):
        some = [work for work in works if weed or work.large is large]
        if some or (figures and not large):
            with weed_place() if weed else nginx_place(sizes, large=large, tls=large) as place:
                for work in some:
                    known = best_variants([row for row in before if row["work"] == work.name and not row.get("cost")])
                    rows += run_work(work, place, rounds, known)
                for name in figures if not large else ():
                    rows += FIGURES[name][0](place, rounds)
    parts = [f"## Against {'SeaweedFS' if weed else 'the nginx that answers at once'}"]
    parts += [goals(works, rows)] if works else []
    parts += [FIGURES[name][1](rows) for name in figures]
    parts += [details(work, rows) for work in works]
    parts.append(f"{rounds} rounds, {time.monotonic() - started:.0f} s in all.")
    return "\n\n".join(parts), [{"server": server, **row} for row in rows]


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
    parser.add_argument("--keep", metavar="DIR", help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    if options.rounds < 1 or not set(wanted) <= set(names):
        parser.error("--rounds must be 1 or more, --only names of works")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # takes what it started along
    rows: list[dict[str, Any]] = []
    texts = []
    try:
        for server in ("nginx", "seaweedfs") if options.server == "both" else (options.server,):
            rounds = min(options.rounds, 3) if options.server == "both" and server == "seaweedfs" else options.rounds
            text, more = run_server(server, wanted, rounds, rows)
            rows += more
            texts.append(text)
            print(text, "", sep="\n", flush=True)
    except (RunFailed, SinkUnavailable, SinkDataError, ConfigError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if options.keep:
        given = command_line("bench.peers", sys.argv[1:] if arguments is None else arguments)
        print(f"kept in {keep_run(options.keep, 'peers', given, chr(10).join(texts), rows)}")
    return int(any(row.get("wrong") and row["peer"].startswith(OURS) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
