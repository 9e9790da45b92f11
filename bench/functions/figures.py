"""How busy functions keep the cores, memory while large objects are packed, borders of results, threads, processes."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.functions.place import bodies
from bench.harness import client_environment, median_and_range, run_process, table
from bench.inputs_memory import measure
from bench.sink import Sink, memory_folder
from bench.sink_config import BLOBS_BUCKET, LARGE_BUCKET, OBJECTS_BUCKET

__all__ = ["beside", "beside_table", "busy", "busy_table", "pack", "pack_table", "results", "results_table"]

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = Path(__file__).resolve().parent / "programs"
_LATE_MS = 10
_BUSY_MS = 50
_BUSY_OBJECTS = 1000
_BUSY_LIMIT = 0.9
_PACKED = 200
_PACKED_MIB = 64
_MEMORY_LIMIT_MIB = 400
_RESULT_KIB = (4, 16, 32, 64, 128, 256, 512, 1024, 4096)
_BESIDE = (("split", 4000), ("parse", 3000), ("5", 1000), ("50", 200))
_MIB = 1 << 20


def _program(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(_PROGRAMS / f"{name}_s3engine.py"), *map(str, arguments)]


def busy(rounds: int) -> list[dict[str, Any]]:
    """Objects of 10 KiB, answers 10 ms late, two workers. Raises RunFailed, SinkUnavailable."""
    rows = []
    with Sink({f"p/{at:06}": bytes(10240) for at in range(_BUSY_OBJECTS)}, delay_ms=_LATE_MS) as sink:
        for number in range(rounds):
            command = _program("busy", sink.late_endpoint_url, OBJECTS_BUCKET, "p/", _BUSY_MS, _BUSY_OBJECTS, 2)
            said = json.loads(run_process(command, client_environment()).stdout)
            rows.append({"work": "busy", "round": number + 1, **said})
            print(f"busy: {said['inside_s']:.2f} s", file=sys.stderr)
    return rows


def busy_table(rows: Sequence[dict[str, Any]]) -> str:
    """The part of two cores' time that the functions had."""
    mine = [row for row in rows if row["work"] == "busy"]
    shares = [row["function_cpu_s"] / row["inside_s"] / 2 for row in mine]
    good = "yes" if statistics.median(shares) >= _BUSY_LIMIT else "NO"
    return (
        f"### busy: {_BUSY_OBJECTS} objects, {_BUSY_MS} ms of pure Python each, answers {_LATE_MS} ms late\n\n"
        f"Two cores are busy with the function for {median_and_range(shares, 3)} of the time, the engine's start and "
        f"end included; at least {_BUSY_LIMIT}: {good}"
    )


def pack() -> list[dict[str, Any]]:
    """Large objects through gzip, once. Raises SinkUnavailable."""
    with tempfile.TemporaryDirectory(prefix="s3engine-functions-", dir=memory_folder(_PACKED_MIB * _MIB)) as folder:
        path = Path(folder) / "large.bin"
        some = bodies(16, _MIB)
        with open(path, "wb") as file:
            for at in range(_PACKED_MIB):
                file.write(some[at % len(some)])
        with Sink(blobs={f"p/{at:03}.bin": path for at in range(_PACKED)}) as sink:
            command = _program("pack", sink.endpoint_url, BLOBS_BUCKET, "p/", _PACKED, LARGE_BUCKET)
            found = measure(command, Path(folder))
            requests = sink.requests()
    said = json.loads(found.pop("said"))
    ends = sum(one.method == "POST" and "uploadId" in one.path for one in requests)
    sent_bytes = sum(max(one.size_bytes, 0) for one in requests if one.method == "PUT")
    return [{"work": "pack", **found, **said, "completed": ends, "sent_bytes": sent_bytes}]


def pack_table(rows: Sequence[dict[str, Any]]) -> str:
    """Peak of all processes together."""
    (mine,) = [row for row in rows if row["work"] == "pack"]
    good = mine["ok"] and mine["objects"] == _PACKED and mine["pss_bytes"] < _MEMORY_LIMIT_MIB * _MIB
    return (
        f"### pack: {_PACKED} objects of {_PACKED_MIB} MiB through gzip into another bucket\n\n"
        f"{mine['objects']} objects, {mine['sent_bytes'] / 2**30:.1f} GiB made of {_PACKED * _PACKED_MIB / 1024:.1f}, "
        f"in {mine['wall_s']:.0f} s. Peak of all processes: {mine['pss_bytes'] / _MIB:.0f} MiB PSS, "
        f"{mine['rss_bytes'] / _MIB:.0f} MiB RSS (shared pages counted in each); below {_MEMORY_LIMIT_MIB} PSS: "
        f"{'yes' if good else 'NO'}"
    )


def results(rounds: int) -> list[dict[str, Any]]:
    """Results of one size after another, by message and by memory. Raises RunFailed, SinkUnavailable."""
    rows = []
    with Sink({"p/one": bytes(1024)}) as sink:
        for number in range(rounds):
            for kib in _RESULT_KIB:
                count = min(4000, max(300, 256 * 1024 // kib))
                for how in ("message", "memory") if number % 2 else ("memory", "message"):
                    command = _program("results", sink.endpoint_url, OBJECTS_BUCKET, "p/one", kib * 1024, count, how)
                    usage = run_process(command, client_environment())
                    said = json.loads(usage.stdout)
                    rows.append({
                        "work": "results", "round": number + 1, "kib": kib, "how": how, "objects": count,
                        "cpu_s": usage.cpu_s, **said,
                    })  # fmt: skip
            print(f"results: round {number + 1}", file=sys.stderr)
    return rows


def results_table(rows: Sequence[dict[str, Any]]) -> str:
    """Microseconds per result."""
    mine = [row for row in rows if row["work"] == "results"]
    lines = []
    for kib in _RESULT_KIB:
        cells = [str(kib)]
        for what in ("inside_s", "parent_cpu_s"):
            for how in ("message", "memory"):
                found = [row[what] / row["objects"] * 1e6 for row in mine if row["kib"] == kib and row["how"] == how]
                cells.append(f"{statistics.median(found):.0f}")
        lines.append(cells)
    head = ["KiB", "message: us each", "memory: us each", "message: parent's CPU us", "memory: parent's CPU us"]
    return f"### results: a bytearray of so many KiB from each object, two workers\n\n{table(head, lines)}"


def beside(rounds: int, pythons: Sequence[str]) -> list[dict[str, Any]]:
    """Thread and process beside the sockets, by interpreter. Raises RunFailed, SinkUnavailable."""
    rows = []
    some = bodies(20)
    path = os.pathsep.join(filter(None, [str(_ROOT), str(_ROOT / "transports"), os.environ.get("PYTHONPATH", "")]))
    most = max(count for _, count in _BESIDE)
    with Sink({f"p/{at:06}": some[at % len(some)] for at in range(most)}, delay_ms=_LATE_MS) as sink:
        for number in range(rounds):
            for python in pythons:
                for work, count in _BESIDE:
                    for how in ("thread", "process") if number % 2 else ("process", "thread"):
                        _, *command = _program("beside", sink.late_endpoint_url, OBJECTS_BUCKET, "p/", work, count, how)
                        usage = run_process([python, *command], client_environment() | {"PYTHONPATH": path})
                        said = json.loads(usage.stdout)
                        rows.append({
                            "work": "beside", "round": number + 1, "function": work, "objects": count, "how": how,
                            "cpu_s": usage.cpu_s, **said,
                        })  # fmt: skip
            print(f"beside: round {number + 1}", file=sys.stderr)
    return rows


def beside_table(rows: Sequence[dict[str, Any]]) -> str:
    """Objects per second, and how long answers took that a busy interpreter reads."""
    mine = [row for row in rows if row["work"] == "beside"]
    lines = []
    for python, gil, function in dict.fromkeys((row["python"], row["gil"], row["function"]) for row in mine):
        cells = [python + ("" if gil else ", no GIL"), function + (" ms" if function.isdecimal() else "")]
        rates = {}
        for how in ("thread", "process"):
            found = [
                row for row in mine
                if (row["python"], row["gil"], row["function"], row["how"]) == (python, gil, function, how)
            ]  # fmt: skip
            rates[how] = statistics.median(row["objects"] / row["inside_s"] for row in found)
            cells.append(f"{rates[how]:.0f}")
            cells.append(f"{statistics.median(row['answer_s'] for row in found) * 1e3:.0f}")
        lines.append([*cells, f"{rates['process'] / rates['thread']:.2f}"])
    head = ["Python", "function", "thread: objects/s", "answer ms", "process: objects/s", "answer ms", "process of it"]
    return (
        "### beside: the function in a thread or a process beside the sockets, objects of 100 KiB, answers "
        f"{_LATE_MS} ms late, two workers\n\n{table(head, lines)}"
    )
