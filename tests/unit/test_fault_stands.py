"""Cells side by side: a cell that hangs or ends its process is told, and the others are run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.faults.cases import CASES
from tests.faults.cell import NO_FAULT, Row
from tests.faults.events import EVENTS
from tests.faults.stand import BY_FAULT, Task
from tests.faults.stands import run_all
from tests.faults.table import cells, in_order, normal_of, tasks_of, totals

_FAKE = """
import json, os, signal, sys, time
for line in sys.stdin:
    fault, operation, objects = json.loads(line)
    if objects == 1:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        time.sleep(600)
    if objects == 2:
        os._exit(7)
    row = {"fault": fault, "operation": operation, "done": objects, "strokes": 1, "lost": [sys.argv[1]]}
    print(json.dumps(row), flush=True)
"""


def command(name: str) -> Sequence[str]:
    """A stand that is none: hangs at one object, dies at two, and else says its name."""
    return [sys.executable, "-I", "-S", "-c", _FAKE, name]


def test_a_cell_that_hangs_or_dies_is_told_and_the_others_run() -> None:
    """It is not run, with the reason; the same stand goes on with a new process."""
    tasks = [Task("503", "upload", objects) for objects in (3, 1, 4, 2, 5)]
    rows = dict(run_all(tasks, command, 1, cell_s=3.0))
    assert [rows[number].not_run for number in range(5)] == [
        "", "killed after 3 s: it hung", "", "its process ended with 7", "",
    ]  # fmt: skip
    assert [rows[number].lost for number in (0, 2, 4)] == [["stand0-1"], ["stand0-2"], ["stand0-3"]]


def test_side_by_side() -> None:
    """Each stand has a process, and every task has its own row, also that which needs a server of its own."""
    tasks = [Task("server restarted" if objects % 4 == 0 else "503", "upload", objects) for objects in range(3, 23)]
    rows = dict(run_all(tasks, command, 3, cell_s=30.0))
    assert [rows[number].done for number in range(20)] == list(range(3, 23))
    assert {rows[number].lost[0] for number, task in enumerate(tasks) if task.own_server} == {"stand0-1"}


def test_time_over() -> None:
    """What was not begun in time is told as not run."""
    ((_, row),) = run_all([Task("503", "upload", 3)], command, 2, all_s=0.0)
    assert row.problems == ["not run: 0 s were over"]


def test_extra_time_is_counted_from_the_middle_of_the_runs_without_a_fault() -> None:
    """Each operation from its own; a cell without a row is told, and one of them with a problem is shown."""
    wanted = [cell for cell in cells(["503"], ["upload", "list"]) if not cell[1].for_good]
    normal = [Row(NO_FAULT, "upload", elapsed_s=elapsed_s) for elapsed_s in (1.0, 5.0, 2.0)]
    rows = in_order([*normal, Row("503", "upload", elapsed_s=3.5, strokes=1)], wanted)
    assert [(row.fault, row.operation, row.extra_s, row.problems) for row in rows] == [
        (NO_FAULT, "upload", 0.0, []), ("503", "upload", 1.5, []), ("503", "list", 0.0, ["not run: not begun"]),
    ]  # fmt: skip
    assert totals(rows).endswith("0 unexplained; 1 not run")
    hung = Row(NO_FAULT, "upload", not_run="it hung")
    assert normal_of([*normal, hung])["upload"] == (hung, 2.0)


def test_every_cell_is_a_task() -> None:
    """The whole table is in the list of tasks once, and three runs of each operation without a fault."""
    tasks = tasks_of(cells([], []), 12)
    names = [(task.fault, task.operation) for task in tasks]
    expected = {(case.name, name) for case in [*CASES, *(case for case, *_ in EVENTS)] for name in case.operations}
    assert {name for name in names if name[0] != NO_FAULT} == expected
    assert len(names) == len(expected) + 3 * 8
    assert {name for name, _ in names} == set(BY_FAULT)


def test_only_what_a_busy_machine_can_do_is_run_again() -> None:
    """Timeouts that are not the fault's, or a fault that came too late; never what is lost, wrong, or another error."""
    late = Row("503", "upload", false_reasons=["a: FirstByteTimeout"], only_slow=True, strokes=1)
    assert late.undecided
    assert Row("503", "upload").undecided
    for row in (
        Row("503", "upload", strokes=1), Row("503", "upload", false_reasons=["a: NotFound"], strokes=1),
        Row("503", "upload", lost=["a"]), Row("503", "upload", wrong=["a"]), Row("503", "upload", not_run="it hung"),
    ):  # fmt: skip
        assert not row.undecided
