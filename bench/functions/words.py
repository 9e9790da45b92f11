"""Words counted in objects on SeaweedFS: by s3engine, and by the same job written with other libraries."""

from __future__ import annotations

import functools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.functions.place import BUCKET, DISTINCT, Objects, bodies
from bench.functions.programs.counting import FUNCTIONS
from bench.harness import RunFailed, client_environment, median_and_range, run_process, table

__all__ = ["CONTENDERS", "FEW", "OURS", "words", "words_table", "workers", "workers_table"]

_PROGRAMS = Path(__file__).resolve().parent / "programs"
OURS = "s3engine"
FEW = 3000
"""Objects of the round in which each peer's ways are chosen."""
_WALL_LIMIT = 0.6
_WORKERS_LIMIT = 1.8
_NEAR = 1.1
"""A peer's variants within so much of its best in the first round run in those that count."""
_TIMEOUT_S = 600


class Contender(NamedTuple):
    """One way to have it done."""

    name: str
    peer: str
    arguments: tuple[str, ...]


CONTENDERS = (
    Contender("s3engine, 2 workers", OURS, ("s3engine", "2")),
    Contender("boto3, 2 processes", "boto3 + ProcessPoolExecutor", ("boto3", "2")),
    Contender("boto3, 4 processes", "boto3 + ProcessPoolExecutor", ("boto3", "4")),
    Contender("boto3, 8 processes", "boto3 + ProcessPoolExecutor", ("boto3", "8")),
    Contender("fast-s3 in the parent, 2 processes", "fast-s3 + ProcessPoolExecutor", ("fast_s3", "2", "here")),
    Contender("fast-s3 in 2 processes", "fast-s3 + ProcessPoolExecutor", ("fast_s3", "2", "there")),
    Contender("obstore, 2 processes", "obstore + multiprocessing", ("obstore", "2", "1")),
    Contender("obstore, 4 processes", "obstore + multiprocessing", ("obstore", "4", "1")),
    Contender("obstore, 2 processes, 8 tasks each", "obstore + multiprocessing", ("obstore", "2", "8")),
    Contender("Dask bag, 2 processes", "Dask bag over s3fs", ("dask", "2")),
)


@functools.cache
def _total(function: str, count: int) -> int:
    numbers = [FUNCTIONS[function](body) for body in bodies(min(count, DISTINCT))]
    return sum(numbers[at % len(numbers)] for at in range(count))


def _run(objects: Objects, contender: Contender, function: str, count: int) -> dict[str, Any]:
    program, *rest = contender.arguments
    command = [
        sys.executable, str(_PROGRAMS / f"count_{program}.py"), objects.endpoint_url, BUCKET, objects.prefixes[count],
        function, *rest,
    ]  # fmt: skip
    server_cpu_s = objects.server_cpu_s()
    usage = run_process(command, client_environment(), _TIMEOUT_S)
    said = json.loads(usage.stdout.splitlines()[-1])
    wanted = {"total": _total(function, count), "objects": count}
    wrong = "" if {name: said[name] for name in wanted} == wanted else f"{said} for {wanted}"
    row = {
        "contender": contender.name, "peer": contender.peer, "function": function, "objects": count,
        "wall_s": round(usage.wall_s, 3), "cpu_s": round(usage.cpu_s, 3),
        "server_cpu_s": round(objects.server_cpu_s() - server_cpu_s, 3),
        "function_cpu_s": round(said.get("function_cpu_s", 0.0), 3), "wrong": wrong,
    }  # fmt: skip
    print(f"{function} {count}: {contender.name}: {usage.wall_s:.2f} s {wrong}", file=sys.stderr)
    return row


def words(objects: Objects, function: str, few: int, count: int, rounds: int) -> list[dict[str, Any]]:
    """All contenders over ``few`` objects, then each peer's best ways over all of them. Raises RunFailed."""
    chosen, rows = [], []
    first = {one: _run(objects, one, function, few) for one in CONTENDERS}
    for one, row in first.items():
        rows.append({"work": "words", "round": 0, **row})
        best = min(row["wall_s"] for row in first.values() if row["peer"] == one.peer)
        if row["wall_s"] <= _NEAR * best:
            chosen.append(one)
    for number in range(rounds):
        for one in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
            rows.append({"work": "words", "round": number + 1, **_run(objects, one, function, count)})
    wrong = [row for row in rows if row["wrong"]]
    if wrong:
        raise RunFailed(f"{wrong[0]['contender']} counted wrong: {wrong[0]['wrong']}")
    return rows


def words_table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians of the rounds that count; the goal is for the best of the peers."""
    texts = []
    for function in dict.fromkeys(row["function"] for row in rows if row["work"] == "words"):
        mine = [row for row in rows if row["work"] == "words" and row["function"] == function and row["round"]]
        names = dict.fromkeys(row["contender"] for row in mine)
        walls = {name: [row["wall_s"] for row in mine if row["contender"] == name] for name in names}
        peers = {row["contender"]: row["peer"] for row in mine}
        ours = next(name for name in names if peers[name] == OURS)
        best = min((name for name in names if name != ours), key=lambda name: statistics.median(walls[name]))
        least_s = statistics.median(
            (row["function_cpu_s"] + row["server_cpu_s"]) / 2 for row in mine if row["contender"] == ours
        )
        lines = []
        for name in sorted(names, key=lambda name: statistics.median(walls[name])):
            cpu = [row["cpu_s"] for row in mine if row["contender"] == name]
            server = [row["server_cpu_s"] for row in mine if row["contender"] == name]
            ratio = statistics.median(walls[ours]) / statistics.median(walls[name])
            met = ("yes" if ratio <= _WALL_LIMIT else "NO") if name == best else ""
            lines.append([
                name, median_and_range(walls[name], 2), median_and_range(cpu, 1), median_and_range(server, 1),
                "" if name == ours else f"{ratio:.2f}", met,
            ])  # fmt: skip
        head = ["contender", "wall s", "CPU s", "server's CPU s", "s3engine is x", f"at most {_WALL_LIMIT} of the best"]
        count = mine[0]["objects"]
        texts.append(
            f"### words: {function}, {count} objects of 100 KiB on SeaweedFS\n\n{table(head, lines)}\n\n"
            f"The function and the server alone, on two cores: {least_s:.2f} s."
        )
    return "\n\n".join(texts)


def workers(objects: Objects, function: str, count: int, rounds: int) -> list[dict[str, Any]]:
    """One worker and two, interleaved. Raises RunFailed."""
    both = [Contender(f"s3engine, {number}", OURS, ("s3engine", str(number))) for number in (1, 2)]
    return [
        {
            "work": "workers", "round": number + 1, "workers": int(one.arguments[1]),
            **_run(objects, one, function, count),
        }
        for number in range(rounds) for one in (both if number % 2 else both[::-1])
    ]  # fmt: skip


def workers_table(rows: Sequence[dict[str, Any]]) -> str:
    """Objects per second with two workers, of those with one."""
    mine = [row for row in rows if row["work"] == "workers"]
    walls = {number: [row["wall_s"] for row in mine if row["workers"] == number] for number in (1, 2)}
    ratios = [one / two for one, two in zip(walls[1], walls[2], strict=True)]
    function_ms = statistics.median(row["function_cpu_s"] / row["objects"] * 1e3 for row in mine)
    lines = [
        [str(number), median_and_range(found, 2), f"{mine[0]['objects'] / statistics.median(found):.0f}"]
        for number, found in walls.items()
    ]
    good = "yes" if statistics.median(ratios) >= _WORKERS_LIMIT else "NO"
    return (
        f"### workers: {mine[0]['function']} ({function_ms:.1f} ms each), {mine[0]['objects']} objects of 100 KiB on "
        f"SeaweedFS\n\n{table(['workers', 'wall s', 'objects/s'], lines)}\n\n"
        f"Two do {median_and_range(ratios, 2)} x what one does; at least {_WORKERS_LIMIT}: {good}"
    )
