"""The table of faults with few objects: nothing lost, nothing wrong taken for right, every reason true.

The whole of it: ``python -m tests.faults.table``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from s3engine.embedded import EmbeddedServer, free_ports
from tests.faults.cases import CASES
from tests.faults.cell import Row, Stage, run_cell
from tests.faults.events import EVENTS
from tests.faults.operations import BY_NAME
from tests.faults.table import cells, head, line, main, objects_of, totals
from tests.helpers import point_at

OBJECTS = 6
QUICK = (
    "no answer", "stall in the answer's head", "stall in the request's body", "reset in the request's head",
    "reset after the request", "reset in the answer's body", "answer's body cut", "a web server's page", "429",
    "200 with InternalError", "200 with error of COMPLETE", "200 with AccessDenieds", "wrong ETag", "two lengths",
)  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server of its own: one of the faults restarts it."""
    folder = tmp_path_factory.mktemp("faults")
    with EmbeddedServer(str(folder / "server"), port=free_ports(1)[0]) as server, pytest.MonkeyPatch.context() as patch:
        point_at(patch, server)
        yield Stage(server, folder)


@pytest.mark.parametrize("fault", QUICK)
def test_a_fault_of_the_line(stage: Stage, fault: str) -> None:
    """On a share of the requests of each operation: every object is done, or failed with an error that fits."""
    wanted = [(operation, case) for operation, case, *_ in cells([fault], []) if not case.for_good]
    assert wanted
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda cell: run_cell(stage, cell[0], cell[1], objects_of(cell[0], OBJECTS)), wanted))
    assert {f"{row.operation}: {problem}" for row in rows for problem in row.problems} == set()
    assert sum(row.done for row in rows) > 0


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        ("worker killed", "move"), ("worker stopped", "upload"), ("worker out of memory in a call", "copy"),
        ("parent killed", "move"), ("server restarted", "upload"), ("disk full", "download"),
    ],
)  # fmt: skip
def test_a_fault_of_a_process(stage: Stage, fault: str, operation: str) -> None:
    """The same for processes, servers and disks."""
    ((found, case, around, run),) = cells([fault], [operation])
    row = run_cell(stage, found, case, objects_of(found, OBJECTS), around=around, run=run)
    assert row.problems == []


def test_for_good(stage: Stage) -> None:
    """Those whose every request fails are reported with the reason; the others are done."""
    ((operation, case, *_),) = [cell for cell in cells(["500"], ["upload"]) if cell[1].for_good]
    row = run_cell(stage, operation, case, OBJECTS)
    assert row.problems == []
    assert (row.objects, row.done, row.reasons) == (8, 6, {"ServerFault": 2})


def test_a_lie_is_told(stage: Stage) -> None:
    """The table shows what is lost, wrong, false, and a fault that never strikes."""
    row = Row("f", "upload", 3, 2, 1, {"NotFound": 1}, ["k: NotFound: no"], ["a"], ["b"], strokes=1)
    assert row.problems == ["lost: a", "wrong: b", "false reason: k: NotFound: no"]
    assert Row("f", "upload").problems == ["the fault never struck"]
    assert line(row).split() == ["f", "upload", "3", "2", "1", "1", "1", "1", "0.0", "1", "NotFound", "<---"]
    assert head().startswith("fault")
    assert totals([row, Row("f", "upload")]).endswith("1 unexplained; in 1 the fault never struck; 0 not run")


def test_every_fault_has_a_place() -> None:
    """Names are unique, and every operation has faults."""
    cases = [*CASES, *(case for case, *_ in EVENTS)]
    assert len({case.name for case in cases}) == len(cases)
    assert {name for case in cases for name in case.operations} == set(BY_NAME)
    assert {case.name for case in cases} >= set(QUICK)


def test_names_that_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault or operation that is unknown ends the command before anything is started."""
    with pytest.raises(SystemExit):
        main(["--faults", "earthquake"])
    assert "unknown fault 'earthquake'" in capsys.readouterr().err
    assert main(["--list"]) == 0
    assert "half open" in capsys.readouterr().out
