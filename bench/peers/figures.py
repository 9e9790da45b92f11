"""Figures that are no ratio of times: memory of a million uploads, CPU per PUT inside a worker, a second worker."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from bench.harness import client_environment, find_s5cmd, median_and_range, run_process, table
from bench.inputs_memory import measure
from bench.peers.contenders import Job, ours
from bench.peers.place import Place
from bench.sink import SinkUnavailable

__all__ = ["memory", "memory_table", "per_put", "per_put_table", "workers", "workers_table"]

MEMORY_COUNTS = {"s3engine": (100_000, 1_000_000), "s5cmd": (100_000,)}
"""s5cmd has no million, for time's sake: it takes a quarter of a minute for 100 000."""
_MEMORY_LIMIT_MIB = 250
_GROWTH_LIMIT = 0.10
_WORKER_LIMIT_US = 30
_ENGINE_LIMIT_US = 45
_WORKERS_LIMIT = 1.8


def memory(place: Place) -> list[dict[str, Any]]:
    """Peak memory of all processes while a folder of very many small files is uploaded; once each.

    The files are names of one file (hard links), so that the folder costs memory for names alone. Raises
    SinkUnavailable when one did not upload all.
    """
    rows = []
    folder = place.scratch / "names"
    url, environment = place.sink.endpoint_url, ["s3://bench/p/"]
    one = place.scratch / "one"
    one.write_bytes(bytes(1024))
    made = 0
    for count in sorted({count for counts in MEMORY_COUNTS.values() for count in counts}):
        for number in range(made, count):
            if number % 1000 == 0:
                (folder / f"f{number // 1000:04}").mkdir(parents=True, exist_ok=True)
            os.link(one, folder / f"f{number // 1000:04}" / f"{number:07}.bin")
        made = count
        for name, counts in MEMORY_COUNTS.items():
            if count not in counts:
                continue
            command = {
                "s3engine": [sys.executable, "-m", "s3engine", "cp", "-r", str(folder), *environment, "--quiet",
                             "--endpoint-url", url],
                "s5cmd": [find_s5cmd(), "--endpoint-url", url, "--log", "error", "cp", f"{folder}/", *environment],
            }[name]  # fmt: skip
            place.sink.requests()
            row = measure(command, place.scratch)
            row.pop("said")
            keys = {one.path for one in place.sink.requests() if one.method == "PUT" and one.size_bytes == 1024}
            if len(keys) != count:
                raise SinkUnavailable(f"{name}: the sink saw {len(keys)} keys of {count}")
            rows.append({"work": "memory", "contender": name, "objects": count, **row})
            print(f"memory: {name} {count}: {row['pss_bytes'] >> 20} MiB, {row['wall_s']:.1f} s", file=sys.stderr)
    shutil.rmtree(folder)
    return rows


def memory_table(rows: Sequence[dict[str, Any]]) -> str:
    """Peaks, and growth from the smallest number of the same contender."""
    mine = [row for row in rows if row["work"] == "memory"]
    lines = []
    for row in mine:
        first = min((one for one in mine if one["contender"] == row["contender"]), key=lambda one: int(one["objects"]))
        growth = row["pss_bytes"] / first["pss_bytes"] - 1
        good = row["pss_bytes"] < _MEMORY_LIMIT_MIB << 20 and growth < _GROWTH_LIMIT
        lines.append([
            row["contender"], f"{row['objects']}", f"{row['pss_bytes'] / 2**20:.0f}", f"{row['rss_bytes'] / 2**20:.0f}",
            f"{growth:+.0%}" if row is not first else "", f"{row['wall_s']:.1f}",
            ("yes" if good else "NO") if row["contender"] == "s3engine" else "",
        ])  # fmt: skip
    head = ["contender", "uploads", "peak PSS MiB", "peak RSS MiB", "growth", "wall s", "below 250 MiB and flat"]
    return f"### memory: upload of very many files of 1 KiB\n\n{table(head, lines)}"


def _library(place: Place, times: int, *settings: str) -> dict[str, Any]:
    """The small files uploaded so many times, under as many prefixes, by a program with the library."""
    job = Job("upload", place.sink.endpoint_url, "bench", "p/", str(place.small))
    command = [*next(one.command for one in ours(job) if one.name.endswith("library")), f"times={times}", *settings]
    place.sink.requests()
    server_cpu_s = place.sink.cpu_s()
    said: dict[str, Any] = json.loads(run_process(command, client_environment()).stdout)
    said["server_cpu_s"] = place.sink.cpu_s() - server_cpu_s
    keys = {one.path for one in place.sink.requests() if one.method == "PUT" and one.size_bytes == 1024}
    wanted = times * len(place.small_sums)
    if len(keys) != wanted or said["objects"] != wanted:
        raise SinkUnavailable(f"the sink saw {len(keys)} keys of {wanted}")
    return said


def _slope(place: Place, *settings: str) -> dict[str, Any]:
    """Per object, in microseconds, without what is paid once: from one and from six times the small files."""
    few, many = _library(place, 1, *settings), _library(place, 6, *settings)
    more = many["objects"] - few["objects"]
    return {
        "worker_us": (many["workers_cpu_s"] - few["workers_cpu_s"]) / more * 1e6,
        "parent_us": (many["parent_cpu_s"] - few["parent_cpu_s"]) / more * 1e6,
        "wall_us": (many["inside_wall_s"] - few["inside_wall_s"]) / more * 1e6,
        "worker_user_us": (many["workers_user_s"] - few["workers_user_s"]) / more * 1e6,
        "first_worker_user_us": few["workers_user_s"] / few["objects"] * 1e6,
        "first_worker_us": few["workers_cpu_s"] / few["objects"] * 1e6,
        "first_parent_us": few["parent_cpu_s"] / few["objects"] * 1e6,
    }  # fmt: skip


def per_put(place: Place, rounds: int) -> list[dict[str, Any]]:
    """CPU per 1 KiB PUT of the workers and of the whole engine. Raises SinkUnavailable, RunFailed."""
    _library(place, 1)
    return [{"work": "per-put", "round": number + 1, **_slope(place)} for number in range(rounds)]


def per_put_table(rows: Sequence[dict[str, Any]]) -> str:
    """Beside the goals: once without, once with what is paid once (10 000 objects)."""
    mine = [row for row in rows if row["work"] == "per-put"]
    lines = []
    for name, first in (("each object more", ""), ("10 000 objects, all that is paid once included", "first_")):
        worker, user, parent = (f"{first}{of}_us" for of in ("worker", "worker_user", "parent"))
        inside, whole = [row[worker] for row in mine], [row[worker] + row[parent] for row in mine]
        lines += [
            [name, "workers", median_and_range(inside, 1), f"{_WORKER_LIMIT_US}", _met(inside, _WORKER_LIMIT_US)],
            ["of these, user time", "workers", median_and_range([row[user] for row in mine], 1), "", ""],
            [name, "workers and parent", median_and_range(whole, 1), f"{_ENGINE_LIMIT_US}",
             _met(whole, _ENGINE_LIMIT_US)],
        ]  # fmt: skip
    head = ["what", "of", "CPU us per PUT: median (range)", "at most", "met"]
    return f"### per-put: CPU per 1 KiB PUT, signature and checksum included\n\n{table(head, lines)}"


def _met(values: Sequence[float], limit: float) -> str:
    return "yes" if statistics.median(values) <= limit else "NO"


def workers(place: Place, rounds: int) -> list[dict[str, Any]]:
    """One worker and two, interleaved. Raises SinkUnavailable, RunFailed."""
    _library(place, 1)
    return [
        {"work": "workers", "round": number + 1, "workers": count, **_slope(place, f"workers={count}")}
        for number in range(rounds) for count in ((1, 2) if number % 2 else (2, 1))
    ]  # fmt: skip


def workers_table(rows: Sequence[dict[str, Any]]) -> str:
    """How much more two workers do, where the client is what is short of CPU and the server has its own.

    Two cores hold two workers, the parent and the server, so this is not a quotient of times. A worker does one object
    in the CPU time it takes for it; two of them do twice as many, if it takes them no longer, until the parent is
    busy: min(2 x one worker's time / that with two, one worker's time / the parent's).
    """
    mine = [row for row in rows if row["work"] == "workers"]
    by_round: dict[int, dict[int, dict[str, Any]]] = {}
    for row in mine:
        by_round.setdefault(row["round"], {})[row["workers"]] = row
    pairs = [(one[1], one[2]) for one in by_round.values()]
    shares = [2 * one["worker_us"] / two["worker_us"] for one, two in pairs]
    bounds = [one["worker_us"] / two["parent_us"] for one, two in pairs]
    both = [min(share, bound) for share, bound in zip(shares, bounds, strict=True)]
    walls = [one["wall_us"] / two["wall_us"] for one, two in pairs]
    alone, beside = ([pair[number]["worker_us"] for pair in pairs] for number in (0, 1))
    parent = [two["parent_us"] for _, two in pairs]
    lines = [
        ["worker's CPU us per object, one worker", median_and_range(alone, 1), "", ""],
        ["the same, two workers", median_and_range(beside, 1), "", ""],
        ["parent's CPU us per object, two workers", median_and_range(parent, 1), "", ""],
        ["two workers do x one, as far as workers go", median_and_range(shares, 2), "", ""],
        ["the parent is busy at x one", median_and_range(bounds, 2), "", ""],
        ["the lesser of both", median_and_range(both, 2), f"{_WORKERS_LIMIT}",
         "yes" if statistics.median(both) >= _WORKERS_LIMIT else "NO"],
        ["wall time here, server on the same two cores", median_and_range(walls, 2), "", ""],
    ]  # fmt: skip
    head = ["figure", "median (range)", "at least", "met"]
    return f"### workers: from one worker to two\n\n{table(head, lines)}"


