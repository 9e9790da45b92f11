"""Memory while a file with very many names is worked on: all processes together, sampled from /proc.

Run it from the checkout: ``python -m bench.inputs_memory [--keep bench/runs]``. It makes the files, starts the nginx
sink, and runs ``s3engine rm --from`` (1000 keys to a request) and ``s3engine cp --from`` (one small file under as many
keys) as whole processes, with 100 000 and with 1 000 000 names; ``rm`` once more with 1 000 000 and 2 000 000 names of
which a tenth came before; then 10 000 000 names are read alone, duplicates looked for. Linux.

Growth is that from the smallest to a larger number of names of the same job. Up to 50 000 duplicates wait in memory
(docs/inputs.md), so with duplicates it counts from where these are full.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness import client_environment, command_line, folder_to_write, keep_run, run_program, table
from bench.sink import Sink, SinkUnavailable
from bench.sink_config import DELETES_BUCKET

_EVERY_S = 0.1
_LIMIT_BYTES = 300 * 1024 * 1024
_LIMIT_GROWTH = 0.10
_TWICE = "s3engine rm --from, a tenth twice"
_FULL_NAMES = 500_000  # of that job: 50 000 duplicates, which is what the engine settles at once
_READ = """
import sys
from s3engine.inputs import objects_from
from s3engine.sources import Rejected
found = bad = 0
for item in objects_from(sys.argv[1], "bucket"):
    if type(item) is Rejected:
        bad += 1
    else:
        found += 1
print(found, bad)
"""


class Memory(NamedTuple):
    """Peaks in bytes, each of the sum over all processes at one moment."""

    pss_bytes: int
    """Proportional set size: pages that several processes share are divided among them."""
    rss_bytes: int
    """Resident set size: shared pages count in each process."""


def _memory_of(session: int) -> Memory:
    pss = rss = 0
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.getsid(int(name)) != session:
                continue
            with open(f"/proc/{name}/smaps_rollup", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("Pss:"):
                        pss += int(line.split()[1]) * 1024
                    elif line.startswith("Rss:"):
                        rss += int(line.split()[1]) * 1024
        except OSError:  # ended meanwhile
            continue
    return Memory(pss, rss)


def measure(command: Sequence[str], folder: Path, code: int = 0) -> dict[str, Any]:
    """Run a process to its end; how long it took, and its peak memory with that of all it started.

    Raises SinkUnavailable when it ends with another code, or before its memory was looked at.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=client_environment(), cwd=folder, start_new_session=True,
    )  # fmt: skip
    peak = Memory(0, 0)
    over = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(_EVERY_S):
            now = _memory_of(process.pid)
            peak = Memory(max(peak.pss_bytes, now.pss_bytes), max(peak.rss_bytes, now.rss_bytes))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    out, err = process.communicate()
    wall_s = time.perf_counter() - started
    over.set()
    sampler.join()
    if process.returncode != code:
        raise SinkUnavailable(f"{' '.join(command[:5])} ended with {process.returncode}: {err[-1000:]}")
    if not peak.pss_bytes:
        raise SinkUnavailable(f"{' '.join(command[:5])} ended within {wall_s:.2f} s, too soon to be measured")
    return {"wall_s": wall_s, **peak._asdict(), "said": out}


def _names(path: Path, count: int, line: Callable[[int], str], head: str = "") -> Path:
    with open(path, "w", encoding="ascii") as file:
        file.write(head)
        for start in range(0, count, 10_000):
            file.write("".join(map(line, range(start, min(start + 10_000, count)))))
    return path


def _deletes(folder: Path, count: int) -> list[str]:
    path = _names(folder / "names", count, lambda number: f"data/{number % 1000:03}/{number:09}.bin\n")
    return ["rm", f"s3://{DELETES_BUCKET}/", "--from", str(path)]


def _twice(folder: Path, count: int) -> list[str]:
    """Every tenth name is one that came long before, each of those but once."""

    def name_of(number: int) -> str:
        tenth, last = divmod(number, 10)
        if last == 9:
            number = tenth // 9 * 10 + tenth % 9
        return f"data/{number % 1000:03}/{number:09}.bin\n"

    return ["rm", f"s3://{DELETES_BUCKET}/", "--from", str(_names(folder / "names", count, name_of))]


def _uploads(folder: Path, count: int) -> list[str]:
    (folder / "one").write_bytes(b"x" * 1024)
    line = "one,data/{:03}/{:09}.bin\n"
    path = _names(folder / "names.csv", count, lambda number: line.format(number % 1000, number), "path,key\n")
    return ["cp", str(folder), "s3://bench/", "--from", str(path)]


def run_all(sizes: Sequence[int], read: int, jobs: Sequence[str], workers: int) -> list[dict[str, Any]]:
    """A row per run. Raises SinkUnavailable, also when a run failed or the sink did not get all of it."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="s3engine-bench-") as name, Sink() as sink:
        folder = Path(name)
        twice = (max(sizes, default=0), 2 * max(sizes, default=0))
        for job, verb, make, counts in (
            ("rm", "POST", _deletes, sizes), ("twice", "POST", _twice, twice), ("cp", "PUT", _uploads, sizes),
        ):  # fmt: skip
            title = _TWICE if job == "twice" else f"s3engine {job} --from"
            for count in counts if job in jobs else ():
                arguments = [*make(folder, count), "--endpoint-url", sink.endpoint_url, "--workers", str(workers)]
                command = [sys.executable, "-m", "s3engine", *arguments, "--quiet"]
                row = measure(command, folder, code=int(job == "twice"))
                left = count - count // 10 if job == "twice" else count
                wanted = left if verb == "PUT" else -(-left // 1000)
                came = [request.method for request in sink.requests()].count(verb)
                if came < wanted:
                    raise SinkUnavailable(f"{job}: the sink saw {came} {verb} of {wanted}")
                rows.append({"job": title, "names": count, **row})
                _tell(rows[-1])
        if read:
            path = _names(folder / "names", read, lambda number: f"data/{number % 1000:03}/{number:09}.bin\n")
            row = measure([sys.executable, "-c", _READ, str(path)], folder)
            if row["said"].split() != [str(read), "0"]:
                raise SinkUnavailable(f"read {row['said']!r} names of {read}")
            rows.append({"job": "reading alone", "names": read, **row})
            _tell(rows[-1])
    return rows


def _tell(row: dict[str, Any]) -> None:
    row.pop("said")
    print(f"{row['job']} {row['names']}: {row['wall_s']:.1f} s, {row['pss_bytes'] / 1048576:.1f} MiB", file=sys.stderr)


def summarise(rows: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    """The table, and whether every run stayed below 300 MiB and grew by less than 10 %."""
    first: dict[str, dict[str, Any]] = {}
    good = True
    cells = []
    for row in sorted(rows, key=lambda row: int(row["names"])):
        if row["job"] != _TWICE or row["names"] >= _FULL_NAMES:
            first.setdefault(row["job"], row)
    for row in rows:
        base = first.get(row["job"], row)
        growth = row["pss_bytes"] / base["pss_bytes"] - 1
        good &= row["pss_bytes"] < _LIMIT_BYTES and growth < _LIMIT_GROWTH
        larger = any(other["job"] == row["job"] and other["names"] > base["names"] for other in rows)
        measured = row["job"] in first and larger
        shown = "not measured" if not measured else "" if row is base else f"{growth:+.1%}"
        cells.append([
            row["job"], f"{row['names']}", f"{row['wall_s']:.1f}", f"{row['names'] / row['wall_s']:.0f}",
            f"{row['pss_bytes'] / 1048576:.1f}", f"{row['rss_bytes'] / 1048576:.1f}", shown,
        ])  # fmt: skip
    head = ["job", "names", "wall s", "names/s", "peak PSS MiB", "peak RSS MiB", "PSS growth"]
    return table(head, cells), good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 when memory was over the limits, 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.inputs_memory", description=__doc__.split("\n")[0])
    parser.add_argument("--names", default="100000,1000000", help="numbers of names, with commas (100000,1000000)")
    parser.add_argument("--read", type=int, default=10_000_000, help="names that are read alone; 0: none (10000000)")
    parser.add_argument("--jobs", default="rm,twice,cp", help="of rm, twice, cp (all)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    try:
        sizes = [int(text) for text in options.names.split(",") if text]
        rows = run_all(sizes, options.read, options.jobs.split(","), options.workers)
    except (SinkUnavailable, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    summary, good = summarise(rows)
    print(summary)
    if len(set(sizes)) < 2:
        print("growth was not measured: give --names two different numbers")
    if options.keep:
        given = command_line("bench.inputs_memory", sys.argv[1:] if arguments is None else arguments)
        print(f"\nkept in {keep_run(options.keep, 'inputs_memory', given, summary, rows)}")
    return 0 if good else 1


if __name__ == "__main__":
    run_program(main)
