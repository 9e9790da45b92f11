"""Memory while very many small files are uploaded: all processes together, sampled from /proc, s5cmd's beside it.

Run it from the checkout: ``python -m bench.upload_memory [--keep bench/runs]``. Uploads 10 000, 100 000 and 1 000 000
objects of 1 KiB to the nginx sink as whole processes: by library from bytes in memory (``s3engine-bytes``), by command
line from a tree of files (``s3engine``), and with s5cmd from the same tree. The files are hard links to one, a thousand
to a folder. Linux; takes about half an hour, most of it s5cmd's: ``--contenders`` and ``--objects`` take less.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import RunFailed, command_line, find_s5cmd, folder_to_write, keep_run, run_program, table
from bench.inputs_memory import measure
from bench.sink import Sink, SinkUnavailable, memory_folder

_LIMIT_BYTES = 250 * 1024 * 1024
_LIMIT_GROWTH = 0.10
_SETTLED = 100_000  # from so many objects on memory is to be flat
_PER_FOLDER = 1000
_BUCKET = "bench"
_BYTES = """
import sys
from s3engine import BytesSource, Engine
body = bytes(range(256)) * 4
with Engine(endpoint_url=sys.argv[1], workers=int(sys.argv[4])) as engine:
    keys = (f"data/{number // 1000:04}/{number:09}.bin" for number in range(int(sys.argv[3])))
    summary = engine.upload(sys.argv[2], (BytesSource(body, key) for key in keys)).wait()
sys.exit(0 if summary.ok else 1)
"""


def _grow(tree: Path, have: int, wanted: int) -> None:
    """Link files ``have`` to ``wanted`` below ``tree``."""
    one = tree.parent / "one"
    one.write_bytes(b"x" * 1024)
    for number in range(have, wanted):
        folder = tree / f"f{number // _PER_FOLDER:05}"
        if number % _PER_FOLDER == 0:
            folder.mkdir(parents=True)
        os.link(one, folder / f"{number:09}.bin")


def _command(contender: str, url: str, tree: Path, count: int, workers: int) -> list[str]:
    if contender == "s3engine-bytes":
        return [sys.executable, "-c", _BYTES, url, _BUCKET, str(count), str(workers)]
    if contender == "s3engine":
        place = ["cp", "-r", f"{tree}/", f"s3://{_BUCKET}/data/", "--endpoint-url", url, "--workers", str(workers)]
        return [sys.executable, "-m", "s3engine", *place, "--quiet"]
    if contender == "s5cmd":
        return [find_s5cmd(), "--endpoint-url", url, "--log", "error", "cp", f"{tree}/", f"s3://{_BUCKET}/data/"]
    raise ValueError(f"unknown contender {contender!r}; there are s3engine, s3engine-bytes, s5cmd")


def run_all(sizes: Sequence[int], contenders: Sequence[str], workers: int) -> list[dict[str, Any]]:
    """A row per run. Raises SinkUnavailable, also when a run failed or the sink did not get every object."""
    rows: list[dict[str, Any]] = []
    folder = Path(tempfile.mkdtemp(prefix="s3engine-bench-", dir=memory_folder(1 << 30)))
    try:
        with Sink() as sink:
            tree = folder / "tree"
            have = 0
            for count in sorted(sizes):
                _grow(tree, have, count)
                have = count
                for contender in contenders:
                    row = measure(_command(contender, sink.endpoint_url, tree, count, workers), folder)
                    row.pop("said")
                    seen = (one.path for one in sink.requests() if one.method == "PUT" and "?" not in one.path)
                    keys = {path for path in seen if "/data/" in path}
                    if len(keys) != count:
                        raise SinkUnavailable(f"{contender}: the sink saw {len(keys)} objects of {count}")
                    rows.append({"contender": contender, "objects": count, **row})
                    shown = f"{row['wall_s']:.1f} s, {row['pss_bytes'] / 1048576:.1f} MiB"
                    print(f"{contender} {count}: {shown}", file=sys.stderr)
    finally:
        shutil.rmtree(folder)
    return rows


def summarise(rows: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    """The table, and whether s3engine stayed below 250 MiB and grew by less than 10 % from 100 000 objects on."""
    settled: dict[str, int] = {}
    good = True
    cells = []
    for row in rows:
        mib = row["pss_bytes"] / 1048576
        shown = ""
        if row["objects"] >= _SETTLED:
            base = settled.setdefault(row["contender"], row["pss_bytes"])
            growth = row["pss_bytes"] / base - 1
            shown = f"{growth:+.1%}" if row["pss_bytes"] is not base else ""
            good &= row["contender"] == "s5cmd" or growth < _LIMIT_GROWTH
        good &= row["contender"] == "s5cmd" or row["pss_bytes"] < _LIMIT_BYTES
        cells.append([
            row["contender"], f"{row['objects']}", f"{row['wall_s']:.1f}", f"{row['objects'] / row['wall_s']:.0f}",
            f"{mib:.1f}", f"{row['rss_bytes'] / 1048576:.1f}", shown,
        ])  # fmt: skip
    head = ["contender", "objects", "wall s", "objects/s", "peak PSS MiB", "peak RSS MiB", "PSS growth"]
    return table(head, cells), good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 when s3engine's memory was over the limits, 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.upload_memory", description=__doc__.split("\n")[0])
    parser.add_argument("--objects", default="10000,100000,1000000", help="numbers of objects, with commas")
    parser.add_argument("--contenders", default="s3engine,s3engine-bytes,s5cmd", help="which, with commas (all)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of s3engine (2)")
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    try:
        sizes = [int(text) for text in options.objects.split(",")]
        rows = run_all(sizes, options.contenders.split(","), options.workers)
    except (SinkUnavailable, RunFailed, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    summary, good = summarise(rows)
    print(summary)
    if options.keep:
        given = command_line("bench.upload_memory", sys.argv[1:] if arguments is None else arguments)
        print(f"\nkept in {keep_run(options.keep, 'upload_memory', given, summary, rows)}")
    return 0 if good else 1


if __name__ == "__main__":
    run_program(main)
