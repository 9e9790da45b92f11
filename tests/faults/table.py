"""The table of faults: ``python -m tests.faults.table [--faults A,B] [--operations X,Y] [--objects N] [--json FILE]``.

Every fault of ``cases.py`` and ``events.py`` with every operation that makes sense, by the engine with two workers,
against SeaweedFS behind the proxy. For each: objects in, done, failed and with which errors, lost, wrong bytes taken
for right, and the time beyond that of the same operation without a fault. Ends with 1 when an object was lost or wrong,
when an error does not tell the truth, or when a fault never struck. ``--list`` prints the names.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from s3engine.embedded import EmbeddedServer, free_ports
from tests.faults.cases import CASES, Case
from tests.faults.cell import Around, Row, Runner, Stage, no_fault, run_cell
from tests.faults.events import EVENTS
from tests.faults.operations import BY_NAME, Operation

Wanted = tuple[Operation, Case, "Around | None", "Runner | None"]
_LARGE = ("multipart upload", "ranged download")
_COLUMNS = (("fault", 34), ("operation", 17), ("in", 4), ("done", 5), ("failed", 7), ("lost", 5), ("wrong", 6),
            ("false", 6), ("extra s", 8))  # fmt: skip


def objects_of(operation: Operation, objects: int) -> int:
    """Objects of a cell: large ones are fewer."""
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


def run_table(
    stage: Stage, faults: Sequence[str] = (), operations: Sequence[str] = (), objects: int = 12, jobs: int = 3
) -> Iterator[Row]:
    """All cells, as they end: those that strike by the proxy alone side by side, the others one by one."""
    wanted = cells(faults, operations)
    normal_s = {
        operation.name: run_cell(stage, operation, no_fault(), objects_of(operation, objects)).elapsed_s
        for operation in {operation.name: operation for operation, *_ in wanted}.values()
    }

    def run(cell: Wanted) -> Row:
        operation, case, around, runner = cell
        count = objects_of(operation, objects)
        return run_cell(stage, operation, case, count, normal_s=normal_s[operation.name], around=around, run=runner)

    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(run, [cell for cell in wanted if cell[2] is None and cell[3] is None])
    yield from map(run, [cell for cell in wanted if cell[2] or cell[3]])


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
    """The last line."""
    rows = list(rows)
    sums = [sum(values) for values in zip(*[
        (row.objects, row.done, row.failed, len(row.lost), len(row.wrong), len(row.false_reasons)) for row in rows
    ], strict=True)]  # fmt: skip
    names = ("objects in", "done", "failed", "lost", "wrong bytes taken for right", "false reasons")
    idle = sum(not row.strokes for row in rows)
    return f"{len(rows)} cells: " + ", ".join(f"{total} {name}" for total, name in zip(sums, names, strict=True)) + (
        f"; in {idle} the fault never struck" if idle else ""
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table", description="The table fault x operation.")
    parser.add_argument("--faults", default="", help="names, with ; or , between; default: all")
    parser.add_argument("--operations", default="", help="names, with , between; default: all")
    parser.add_argument("--objects", type=int, default=12, help="objects of a cell; a quarter when large (default: 12)")
    parser.add_argument("--jobs", type=int, default=6, help="cells side by side (default: 6)")
    parser.add_argument("--json", default="", help="also write all rows to this file")
    parser.add_argument("--list", action="store_true", help="print the names and end")
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
    faulthandler.dump_traceback_later(1800, exit=True)
    rows: list[Row] = []
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="s3engine-faults-") as folder:
        server = EmbeddedServer(str(Path(folder, "server")), port=free_ports(1)[0])
        with server:
            os.environ.update(server.environment(), AWS_CONFIG_FILE="/nowhere", AWS_SHARED_CREDENTIALS_FILE="/nowhere")
            os.environ.pop("AWS_PROFILE", None)
            print(head(), flush=True)
            for row in run_table(Stage(server, Path(folder)), faults, operations, given.objects, given.jobs):
                rows.append(row)
                print(line(row), flush=True)
    print(totals(rows) if rows else "nothing to do", f"({time.monotonic() - started_s:.0f} s)")
    bad = [row for row in rows if row.problems]
    for row in bad:
        shown = row.problems[:4]
        more = [f"and {len(row.problems) - 4} more"] if len(row.problems) > 4 else []
        print(f"\n{row.fault} / {row.operation}:", *shown, *more, sep="\n  ")
    if given.json:
        Path(given.json).write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
