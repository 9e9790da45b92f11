"""The table of faults: ``python -m tests.faults.table [--faults A,B] [--operations X,Y] [--objects N] [--json FILE]``.

Every fault of ``cases.py`` and ``events.py`` with every operation that makes sense, by the engine with two workers,
against SeaweedFS behind the proxy. For each: objects in, done, failed and with which errors, lost, wrong bytes taken
for right, and the time beyond that of the same operation without a fault. Cells run side by side, in processes of their
own; the operations without a fault run among them, so that both have the same company. Progress goes to standard error,
the table to standard output. ``--list`` prints the names.

A cell in which objects failed by timeouts that are not its fault's, or whose fault never struck, is run again when the
others are done, with but one beside it: the table's timers are short, and many cells at a time can make a server slower
than they are. The second run counts, and both are told.

Ends with 1 when an object was lost or wrong, when an error does not tell the truth, when a fault never struck, or when
a cell was not run to its end: one that hangs is killed, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from s3engine.embedded import EmbeddedServer, free_ports
from tests.faults.cases import CASES, Case
from tests.faults.cell import NO_FAULT, Around, Row, Runner, Stage
from tests.faults.events import EVENTS, unmount_below
from tests.faults.operations import BY_NAME, Delete, Operation
from tests.faults.stand import Task, specification
from tests.faults.stands import CELL_S, run_all

Wanted = tuple[Operation, Case, "Around | None", "Runner | None"]
NORMAL_RUNS = 3
_LONG = ("connection refused for 10 s", *(case.name for case, *_ in EVENTS))
_LARGE = ("multipart upload", "ranged download")
_COLUMNS = (("fault", 43), ("operation", 17), ("in", 4), ("done", 5), ("failed", 7), ("lost", 5), ("wrong", 6),
            ("false", 6), ("extra s", 8))  # fmt: skip


def objects_of(operation: Operation, objects: int) -> int:
    """Objects of a cell: large ones are fewer; of deletes three for each batch, so that not all go one by one."""
    if operation.name == Delete.name:
        return max(3 * Delete.REQUESTS, objects)
    return max(2, objects // 4) if operation.name in _LARGE else objects


def cells(faults: Sequence[str], operations: Sequence[str]) -> list[Wanted]:
    """What is to be run: these faults, also for good, and these operations; none: all."""
    found: list[Wanted] = []
    for case, around, run in [*((case, None, None) for case in CASES), *EVENTS]:
        if faults and not any(case.name == name or case.name == f"{name}, for good" for name in faults):
            continue
        names = [name for name in case.operations if not operations or name in operations]
        found += [(BY_NAME[name], case, around, run) for name in names]
    return found


def tasks_of(wanted: Sequence[Wanted], objects: int) -> list[Task]:
    """The cells, and three runs of each operation without a fault: the longest first, then waiting mixed with working.

    The order is the same each time.
    """
    names = dict.fromkeys(operation.name for operation, *_ in wanted)
    tasks = [Task(case.name, operation.name, objects_of(operation, objects)) for operation, case, *_ in wanted]
    tasks += [Task(NO_FAULT, name, objects_of(BY_NAME[name], objects)) for name in names for _ in range(NORMAL_RUNS)]
    random.Random(1).shuffle(tasks)
    return sorted(tasks, key=lambda task: task.fault not in _LONG)


def normal_of(rows: Iterable[Row]) -> dict[str, tuple[Row, float]]:
    """Of the runs without a fault, by operation: one, with problems if any has some, and the median of their times.

    Those that were not run to their end have no time; where none was, it is NaN.
    """
    by_operation: dict[str, list[Row]] = {}
    for row in rows:
        if row.fault == NO_FAULT:
            by_operation.setdefault(row.operation, []).append(row)
    chosen: dict[str, tuple[Row, float]] = {}
    for operation, mine in by_operation.items():
        times_s = [row.elapsed_s for row in mine if not row.not_run] or [math.nan]
        chosen[operation] = (min(mine, key=lambda row: not row.problems), statistics.median(times_s))
    return chosen


def in_order(rows: Iterable[Row], wanted: Sequence[Wanted]) -> list[Row]:
    """The rows of the table, those without a fault first, with the extra time; a cell without a row was not run."""
    rows = list(rows)
    normal = normal_of(rows)
    found = {(row.fault, row.operation): row for row in rows if row.fault != NO_FAULT}
    ordered = [row for row, _ in normal.values()]
    for operation, case, *_ in wanted:
        row = found.get((case.name, operation.name)) or Row(case.name, operation.name, not_run="not begun")
        if operation.name in normal and not row.not_run:
            row.extra_s = row.elapsed_s - normal[operation.name][1]
        ordered.append(row)
    return ordered


def head() -> str:
    """The head of the table."""
    names = [f"{name:<{width}}" if width > 10 else f"{name:>{width}}" for name, width in _COLUMNS]
    return "".join(names) + "  failed with"


def line(row: Row) -> str:
    """One cell."""
    values = (row.fault, row.operation, row.objects, row.done, row.failed, len(row.lost), len(row.wrong),
              len(row.false_reasons), f"{row.extra_s:.1f}")  # fmt: skip
    text = "".join(
        f"{value:<{width}}" if width > 10 else f"{value:>{width}}"
        for value, (_, width) in zip(values, _COLUMNS, strict=True)
    )
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(row.reasons.items()))
    return f"{text}  {reasons}".rstrip() + ("   <---" if row.problems else "")


def totals(rows: Iterable[Row]) -> str:
    """The last line; runs without a fault count with what they found, and are no cells."""
    rows = list(rows)
    sums = [sum(values) for values in zip(*[
        (row.objects, row.done, row.failed, len(row.lost), len(row.wrong), len(row.false_reasons)) for row in rows
    ], strict=True)]  # fmt: skip
    names = ("objects in", "done", "failed", "lost", "wrong bytes taken for right", "unexplained")
    count = sum(row.fault != NO_FAULT for row in rows)
    text = f"{count} cells: " + ", ".join(f"{total} {name}" for total, name in zip(sums, names, strict=True))
    idle = sum(not row.strokes and not row.not_run and row.fault != NO_FAULT for row in rows)
    not_run = sum(bool(row.not_run) for row in rows)
    return text + (f"; in {idle} the fault never struck" if idle else "") + f"; {not_run} not run"


def run_table(
    wanted: Sequence[Wanted], objects: int, jobs: int, cell_s: float, limit_s: float
) -> tuple[list[Row], list[Row]]:
    """All cells, with a server that they share, so many at a time; Ctrl-C and SIGTERM end it with those that are done.

    Also gives the first rows of what was run again.
    """
    tasks = tasks_of(wanted, objects)
    rows: dict[int, Row] = {}
    repeated: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="s3engine-faults-") as name:
        folder = Path(name)
        with EmbeddedServer(str(folder / "server"), port=free_ports(1)[0]) as server:
            Stage(server, folder)  # the buckets, once for all stands
            os.environ.update(server.environment(), AWS_CONFIG_FILE="/nowhere", AWS_SHARED_CREDENTIALS_FILE="/nowhere")
            os.environ.pop("AWS_PROFILE", None)

            def command(stand: str) -> list[str]:
                given = specification(server.port, folder / stand, stand)
                return [sys.executable, "-m", "tests.faults.stand", given]

            def again_command(stand: str) -> list[str]:
                return command(f"again-{stand}")

            try:
                with closing(run_all(tasks, command, jobs, cell_s=cell_s, all_s=limit_s)) as found:
                    for number, row in found:
                        rows[number] = row
                        progress(row, len(rows), len(tasks))
                again = [number for number, row in sorted(rows.items()) if row.undecided]
                repeated = [rows[number] for number in again]
                second = [tasks[number] for number in again]
                with closing(run_all(second, again_command, 2, cell_s=cell_s, all_s=limit_s)) as found:
                    for place, row in found:
                        rows[again[place]] = row
                        progress(row, place + 1, len(again), "again: ")
            except KeyboardInterrupt:
                print("interrupted: the table has what is done", file=sys.stderr)
            finally:
                unmount_below(folder)
    return list(rows.values()), repeated


def progress(row: Row, done: int, count: int, prefix: str = "") -> None:
    """A line to standard error."""
    told = "".join(f"   <--- {problem}" for problem in row.problems[:1])
    print(f"[{prefix}{done}/{count}] {row.fault} / {row.operation}: {row.elapsed_s:.1f} s{told}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table", description="The table fault x operation.")
    parser.add_argument("--faults", default="", help="names, with ; or , between; default: all")
    parser.add_argument("--operations", default="", help="names, with , between; default: all")
    parser.add_argument("--objects", type=int, default=12, help="objects of a cell; a quarter when large (default: 12)")
    parser.add_argument("--jobs", type=int, default=8, help="cells side by side (default: 8)")
    parser.add_argument(
        "--cell-s", type=float, default=CELL_S, help=f"a cell that takes longer is killed (default: {CELL_S:.0f})"
    )
    parser.add_argument("--limit-s", type=float, default=3600, help="no cell is begun after this (default: 3600)")
    parser.add_argument("--json", default="", help="also write all rows to this file")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the table and print it."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.list:
        for name in dict.fromkeys(case.name for case in [*CASES, *(case for case, *_ in EVENTS)]):
            print(name)
        print("operations:", ", ".join(BY_NAME))
        return 0
    separator = ";" if ";" in given.faults else ","
    faults = [name.strip() for name in given.faults.split(separator) if name.strip()]
    names = [*(case.name for case in CASES), *(case.name for case, *_ in EVENTS)]
    if unknown := [name for name in faults if name not in names]:
        parser.error(f"unknown fault {unknown[0]!r}; --list prints them (names that hold a comma: write ; between)")
    operations = [name.strip() for name in given.operations.split(",") if name.strip()]
    if unknown := [name for name in operations if name not in BY_NAME]:
        parser.error(f"unknown operation {unknown[0]!r}; there are {', '.join(BY_NAME)}")
    wanted = cells(faults, operations)
    if not wanted:
        parser.error("no such fault has such an operation")
    started_s = time.monotonic()
    found, repeated = run_table(wanted, given.objects, given.jobs, given.cell_s, given.limit_s)
    rows = in_order(found, wanted)
    if given.json:
        Path(given.json).write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    print(f"{given.jobs} cells at a time on {os.cpu_count()} cores. extra s: beyond the same operation without a fault")
    print(f"(median of {NORMAL_RUNS} runs in the same company), which takes, in seconds:", ", ".join(
        f"{operation} {normal_s:.1f}" for operation, (_, normal_s) in normal_of(found).items()
    ))  # fmt: skip
    print(head(), *map(line, rows), sep="\n")
    bad = [row for row in rows if row.problems]
    for row in repeated:
        print(f"\nrun again, {row.fault} / {row.operation}:", *row.problems[:2], sep="\n  ")
    for row in bad:
        shown = row.problems[:4]
        more = [f"and {len(row.problems) - 4} more"] if len(row.problems) > 4 else []
        print(f"\n{row.fault} / {row.operation}:", *shown, *more, sep="\n  ")
    again = f", {len(repeated)} run again" if repeated else ""
    print(f"{totals(rows)}{again} ({time.monotonic() - started_s:.0f} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the table has what is done
    sys.exit(main())
