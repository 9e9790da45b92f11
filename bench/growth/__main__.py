"""How cost grows: fresh processes against nginx, each point a median of three rounds; a CSV and plots come out.

``python -m bench.growth [--quick] [--only SERIES,...] [--keep bench/runs] [--plots docs/performance]``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.growth.points import BLOB_BYTES, Point, points
from bench.harness import (
    RunFailed,
    body,
    client_environment,
    command_line,
    folder_to_write,
    keep_run,
    run_process,
    run_program,
    table,
)
from bench.sink import Listed, Sink, SinkUnavailable, memory_folder

__all__ = ["main", "summarise"]

_JOB = Path(__file__).with_name("job.py")
_FILES = 1000  # that uploads of 1 KiB take in turn
_SERIES = ("objects", "size", "concurrency", "workers", "latency")


class Place:
    """The files and the sinks of a run, one sink for each delay."""

    def __init__(self, stack: contextlib.ExitStack, wanted: Sequence[Point]) -> None:
        self.folder = Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="s3engine-growth-", dir=memory_folder(4 * max(BLOB_BYTES)))
        ))  # fmt: skip
        self._stack = stack
        self._sinks: dict[int, Sink] = {}
        self._files: dict[int, list[str]] = {}
        self._listed = {
            f"listed{count}": [Listed(f"p/f{n % 1000:03}/{n:07}.bin") for n in range(count)]
            for count in {one.count for one in wanted if one.work in ("list", "delete")}
        }
        sizes = {one.size_bytes: one.count for one in wanted if one.work == "download"}
        self.keys = {size: [f"{size}/{n:04}.bin" for n in range(count)] for size, count in sizes.items()}
        for size in {one.size_bytes for one in wanted if one.work != "list"}:
            self._files[size] = self._write(size)

    def _write(self, size_bytes: int) -> list[str]:
        folder = self.folder / f"files{size_bytes}"
        folder.mkdir()
        paths = []
        for number in range(max(1, min(_FILES, 4 * 1024 * 1024 // max(size_bytes, 1)))):
            path = folder / f"{number:04}.bin"
            with open(path, "wb") as file:
                piece = body(str(number), min(size_bytes, 1024 * 1024))
                for _ in range(max(1, size_bytes // 1024 // 1024)):
                    file.write(piece)
            paths.append(str(path))
        return paths

    def sink(self, delay_ms: int) -> Sink:
        """The one that is so late; started when it is first asked for."""
        if delay_ms not in self._sinks:
            blobs = {
                key: Path(self._files[size][0]) for size, keys in self.keys.items() for key in keys
            } if not delay_ms else {}  # fmt: skip
            self._sinks[delay_ms] = self._stack.enter_context(
                Sink(delay_ms=delay_ms, listed=self._listed, blobs=blobs)
            )
        return self._sinks[delay_ms]

    def touch(self, size_bytes: int) -> None:
        """Have the machine give out the memory for what is downloaded next: a virtual one may take seconds for it."""
        path = self.folder / "touched"
        piece = bytes(1024 * 1024)
        with open(path, "wb") as file:
            for _ in range(size_bytes // len(piece)):
                file.write(piece)
        path.unlink()

    def job(self, point: Point) -> dict[str, Any]:
        """What ``job.py`` is told."""
        sink = self.sink(point.delay_ms)
        bucket = {"upload": "large", "download": "blobs"}.get(point.work, f"listed{point.count}")
        if point.work == "upload" and point.size_bytes <= 64 * 1024:
            bucket = "sink"
        return {
            "work": point.work, "bucket": bucket, "count": point.count, "config": point.config,
            "endpoint_url": sink.late_endpoint_url if point.delay_ms else sink.endpoint_url,
            "files": self._files.get(point.size_bytes, []) if point.work == "upload" else [],
            "keys": self.keys.get(point.size_bytes, []) if point.work == "download" else [],
            "folder": str(self.folder / "down"),
        }  # fmt: skip


def measure(place: Place, point: Point, round_number: int) -> dict[str, Any]:
    """One run of one point, as a row. Raises RunFailed."""
    job = place.job(point)
    given = place.folder / "job.json"
    given.write_text(json.dumps(job))
    if point.work == "download":
        place.touch(point.count * point.size_bytes)
    usage = run_process([sys.executable, str(_JOB), str(given)], client_environment())
    shutil.rmtree(place.folder / "down", ignore_errors=True)
    place.sink(point.delay_ms).requests()  # so that the log does not grow over the whole run
    told = json.loads(usage.stdout)
    if told["objects"] != point.count:
        raise RunFailed(f"{point.series} {point.curve} {point.x:g}: {told['objects']} of {point.count} objects")
    return {
        "series": point.series, "curve": point.curve, "x": point.x, "round": round_number, "objects": point.count,
        "size_bytes": point.size_bytes, "delay_ms": point.delay_ms, "wall_s": round(told["wall_s"], 4),
        "cpu_s": round(told["cpu_s"], 4), "objects_per_s": round(point.count / told["wall_s"], 2),
        "cpu_us_per_object": round(told["cpu_s"] / point.count * 1e6, 2),
        "bytes_per_s": round(point.count * point.size_bytes / told["wall_s"]),
    }  # fmt: skip


def summarise(rows: Sequence[dict[str, Any]]) -> str:
    """A table per series, medians."""
    parts = []
    for series in dict.fromkeys(row["series"] for row in rows):
        lines = []
        own = [row for row in rows if row["series"] == series]
        for curve, x in dict.fromkeys((row["curve"], row["x"]) for row in own):
            same = [row for row in own if (row["curve"], row["x"]) == (curve, x)]
            rate = median(row["bytes_per_s"] for row in same) / 1e6
            lines.append([
                curve, f"{x:g}", str(same[0]["objects"]), str(len(same)),
                f"{median(row['wall_s'] for row in same):.3f}", f"{median(row['objects_per_s'] for row in same):.0f}",
                f"{median(row['cpu_us_per_object'] for row in same):.1f}", f"{rate:.0f}",
            ])  # fmt: skip
        head = ["job", series, "objects", "runs", "wall s", "objects/s", "CPU us/object", "MB/s"]
        parts.append(f"{series}\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long, one round")
    parser.add_argument("--only", default=",".join(_SERIES), help=f"of {', '.join(_SERIES)} (all)")
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    parser.add_argument(
        "--plots", metavar="DIR", type=folder_to_write, help="draw an SVG per series into DIR; needs matplotlib"
    )
    options = parser.parse_args(arguments)
    if options.plots and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plots needs matplotlib; install it with: pip install '.[bench]'")
    only = options.only.split(",")
    if unknown := [name for name in only if name not in _SERIES]:
        parser.error(f"--only: there is no series {unknown[0]!r}")
    wanted = [one for one in points(quick=options.quick) if one.series in only]
    rows: list[dict[str, Any]] = []
    try:
        with contextlib.ExitStack() as stack:
            place = Place(stack, wanted)
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            for round_number in range(1, 2 if options.quick else 4):
                turn = [one for one in wanted if one.rounds >= round_number]
                for point in random.Random(round_number).sample(turn, len(turn)):
                    rows.append(measure(place, point, round_number))
                    print(".", end="", file=sys.stderr, flush=True)
    except (RunFailed, SinkUnavailable) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    rows.sort(key=lambda row: (_SERIES.index(row["series"]), row["curve"], row["x"], row["round"]))
    summary = summarise(rows)
    print(summary)
    if options.keep:
        given_line = command_line("bench.growth", sys.argv[1:] if arguments is None else arguments)
        print(f"\nkept in {keep_run(options.keep, 'growth', given_line, summary, rows)}")
    if options.plots:
        from bench.growth.plots import draw

        draw(rows, Path(options.plots))
    return 0


if __name__ == "__main__":
    run_program(main)
