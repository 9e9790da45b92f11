"""10 000 files of 1 KiB uploaded by whole, fresh processes: s3engine by library and by command line, and its peers.

Run it from the checkout: ``python -m bench.upload_small [--keep bench/runs]``. What is fair and what is not:
bench/README.md. Rounds are interleaved (each round runs every contender once, in another order), against a sink that
answers at once and one that answers late. Every run is checked: the sink must have seen each key once, with its size.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.harness import (
    RunFailed,
    client_environment,
    command_line,
    find_s5cmd,
    folder_to_write,
    keep_run,
    make_files,
    median_and_range,
    run_process,
    run_program,
    table,
)
from bench.sink import Request, Sink, SinkUnavailable

BUCKET = "bench"
PREFIX = "p/"
IN_FLIGHT = 256
"""Of every contender unless its name says otherwise: the default of s3engine and of s5cmd."""
REFERENCE = "s3engine"

_SCRIPTS = {
    "s3engine": "with_s3engine", "obstore": "with_obstore", "obstore-path": "with_obstore", "boto3": "put_boto3",
    "minio": "put_minio",
}  # fmt: skip
_THREADS = {"boto3": 32, "minio": 16}  # where more make them slower
_DEFAULT = "s3engine,s3engine-cli,obstore,obstore-path,s5cmd,s5cmd@64"


def command_of(contender: str, url: str, folder: str) -> list[str]:
    """The command line of ``NAME`` or ``NAME@IN_FLIGHT``. Raises ValueError for an unknown one."""
    name, _, number = contender.partition("@")
    in_flight = number or str(_THREADS.get(name, IN_FLIGHT))
    if not in_flight.isdigit() or not int(in_flight):
        raise ValueError(f"{contender!r}: what follows the @ must be a number of requests in flight")
    target = f"s3://{BUCKET}/{PREFIX}"
    if name == "s3engine-cli":
        command = [sys.executable, "-m", "s3engine", "cp", "-r", folder, target, "--endpoint-url", url, "--quiet"]
        return [*command, "-n", number] if number else command
    if name == "s5cmd":
        command = [find_s5cmd(), "--endpoint-url", url, "--log", "error"]
        return [*command, *(["--numworkers", number] if number else []), "cp", f"{folder}/", target]
    if name not in _SCRIPTS:
        raise ValueError(f"unknown contender {name!r}; there are s3engine-cli, s5cmd, {', '.join(_SCRIPTS)}")
    script = Path(__file__).parent / "peers" / "programs" / f"{_SCRIPTS[name]}.py"
    job = ["upload"] if _SCRIPTS[name].startswith("with_") else []
    more = ["path"] if name == "obstore-path" else []
    number = f"concurrency={in_flight}" if name == REFERENCE else in_flight
    return [sys.executable, str(script), *job, url, BUCKET, PREFIX, folder, number, *more]


def check(requests: Sequence[Request], sums: Mapping[str, str], size_bytes: int) -> dict[str, Any]:
    """What the sink saw of a run; ``whole`` when every key came exactly once, with its size, and was answered 200."""
    # Parts are of the question what the store compares, which is asked once and ended with an abort.
    puts = [one for one in requests if one.method == "PUT" and "partNumber=" not in one.path]
    start = f"/{BUCKET}/{PREFIX}"
    wanted = {start + name: digest for name, digest in sums.items()}
    right = {one.path.partition("?")[0] for one in puts if one.status == 200 and one.size_bytes == size_bytes}
    return {
        "puts": len(puts),
        "other_requests": len(requests) - len(puts),
        "bodies_signed": sum(wanted.get(one.path.partition("?")[0]) == one.sha256 for one in puts),
        "whole": right == wanted.keys() and len(puts) == len(wanted),
    }


def measure(
    sink: Sink, contender: str, delay_ms: int, folder: str, sums: Mapping[str, str], size_bytes: int
) -> dict[str, Any]:
    """One run. Raises RunFailed."""
    url = sink.late_endpoint_url if delay_ms else sink.endpoint_url
    sink.requests()
    sink_cpu_s = sink.cpu_s()
    usage = run_process(command_of(contender, url, folder), client_environment())
    sink_cpu_s = sink.cpu_s() - sink_cpu_s
    row = {
        "contender": contender, "delay_ms": delay_ms, "files": len(sums), "wall_s": round(usage.wall_s, 4),
        "cpu_s": round(usage.cpu_s, 4), "cpu_us_per_put": round(usage.cpu_s / len(sums) * 1e6, 2),
        "sink_cpu_s": round(sink_cpu_s, 4), **check(sink.requests(), sums, size_bytes),
    }  # fmt: skip
    if contender.partition("@")[0] == REFERENCE:
        batch = json.loads(usage.stdout)
        row["batch_wall_s"] = round(batch["inside_wall_s"], 4)
        batch_cpu_s = batch["parent_cpu_s"] + batch["workers_cpu_s"]
        row["batch_cpu_us_per_put"] = round(batch_cpu_s / len(sums) * 1e6, 2)
        row["retries"] = batch["retries"]
    return row


def summarise(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tables of medians, ranges and ratios, one for each delay."""
    parts = []
    for delay_ms in dict.fromkeys(row["delay_ms"] for row in rows):
        mine = [row for row in rows if row["delay_ms"] == delay_ms]
        names = list(dict.fromkeys(row["contender"] for row in mine))
        runs = {name: [row for row in mine if row["contender"] == name] for name in names}
        reference = REFERENCE if REFERENCE in runs else names[0]
        base = runs[reference]
        wall_s, cpu_s = (statistics.median(row[key] for row in base) for key in ("wall_s", "cpu_s"))
        lines = []
        for name in sorted(names, key=lambda name: statistics.median(row["wall_s"] for row in runs[name])):
            own = runs[name]
            whole = sum(row["whole"] for row in own)
            lines.append([
                name,
                median_and_range([row["wall_s"] for row in own], 2),
                f"{statistics.median(row['wall_s'] for row in own) / wall_s:.2f}",
                median_and_range([row["cpu_s"] for row in own], 2),
                f"{statistics.median(row['cpu_s'] for row in own) / cpu_s:.2f}",
                f"{statistics.median(row['cpu_us_per_put'] for row in own):.0f}",
                f"{statistics.median(row['sink_cpu_s'] for row in own):.2f}",
                _spread([row["puts"] for row in own]),
                _spread([row["other_requests"] for row in own]),
                _spread([row["bodies_signed"] for row in own]),
                f"{whole} of {len(own)}" + ("" if whole == len(own) else " WRONG"),
            ])  # fmt: skip
        head = [
            "contender", "wall s: median (range)", f"x {reference}", "CPU s: median (range)", f"x {reference}",
            "CPU us/PUT", "sink CPU s", "PUTs seen", "others", "bodies signed", "runs whole",
        ]  # fmt: skip
        answers = f"Answers {delay_ms} ms late" if delay_ms else "Answers at once"
        parts.append(f"{answers}, {base[0]['files']} files, {len(base)} rounds\n\n{table(head, lines)}")
        batches = [row for row in base if "batch_wall_s" in row]
        if batches:
            parts.append(
                f"{reference} without interpreter start and imports, all processes: "
                f"{median_and_range([row['batch_wall_s'] for row in batches], 2)} s, "
                f"{median_and_range([row['batch_cpu_us_per_put'] for row in batches], 1)} us of CPU per PUT, "
                f"{sum(row['retries'] for row in batches)} retries."
            )
    return "\n\n".join(parts)


def _spread(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 when a run was not whole, 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.upload_small", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender at each delay (5)")
    parser.add_argument("--files", type=int, default=10_000, help="number of files (10000)")
    parser.add_argument("--folders", type=int, default=100, help="number of folders they are in (100)")
    parser.add_argument("--size-bytes", type=int, default=1024, help="size of a file (1024)")
    parser.add_argument("--delays-ms", default="0,20", help="how late answers are; one may be other than 0 (0,20)")
    parser.add_argument("--contenders", default=_DEFAULT, help=f"NAME or NAME@IN_FLIGHT, with commas ({_DEFAULT})")
    parser.add_argument("--slow-too", action="store_true", help="boto3 (32 threads) and minio (16 threads) as well")
    parser.add_argument("--keep", metavar="DIR", type=folder_to_write, help="write the run below DIR, e.g. bench/runs")
    options = parser.parse_args(arguments)
    contenders = [*options.contenders.split(","), *(["boto3", "minio"] if options.slow_too else [])]
    try:
        delays_ms = [int(text) for text in options.delays_ms.split(",")]
    except ValueError:
        parser.error(f"--delays-ms takes whole numbers, with commas, not {options.delays_ms!r}")
    late_ms = [delay for delay in delays_ms if delay]
    if min(options.rounds, options.files, options.folders) < 1 or options.folders > options.files or len(late_ms) > 1:
        parser.error("--rounds, --files and --folders must be 1 or more, folders no more than files, one delay not 0")
    rows: list[dict[str, Any]] = []
    try:
        for contender in contenders:
            command_of(contender, "", "")
        with (
            Sink(delay_ms=late_ms[0] if late_ms else 20) as sink,
            make_files(options.files, options.folders, options.size_bytes) as (folder, sums),
        ):
            for round_number in range(options.rounds + 1):
                for delay_ms in delays_ms if round_number else delays_ms[:1]:
                    order = random.Random(round_number).sample(contenders, len(contenders))
                    for contender in order:
                        row = measure(sink, contender, delay_ms, folder, sums, options.size_bytes)
                        print(
                            f"round {round_number or 'warm-up'}, {delay_ms} ms: {contender} {row['wall_s']:.2f} s, "
                            f"CPU {row['cpu_s']:.2f} s, {row['puts']} PUTs{'' if row['whole'] else ', NOT WHOLE'}",
                            file=sys.stderr, flush=True,
                        )  # fmt: skip
                        if round_number:  # the first fills byte code and page caches
                            rows.append({"round": round_number, **row})
    except (RunFailed, SinkUnavailable, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    summary = summarise(rows)
    print(summary)
    if options.keep:
        given = command_line("bench.upload_small", sys.argv[1:] if arguments is None else arguments)
        folder_kept = keep_run(options.keep, "upload_small", given, summary, rows)
        print(f"\nkept in {folder_kept}")
    return 0 if all(row["whole"] for row in rows) else 1


if __name__ == "__main__":
    run_program(main)
