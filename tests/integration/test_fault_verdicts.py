"""The table of faults counts every lie: cells with an engine that loses, spoils, repeats and excuses itself falsely."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from s3engine import Engine
from s3engine.embedded import EmbeddedServer, free_ports
from s3engine.errors import AccessDenied, ServerFault
from tests.faults import table
from tests.faults.cases import Case
from tests.faults.cell import Row, Stage, run_cell
from tests.faults.operations import BY_NAME, Cell, Operation, Outcome
from tests.helpers import eventually, point_at

FAILED = ServerFault("no", status=500)
DENIED = AccessDenied("no", status=403)
UPLOAD = BY_NAME["upload"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the cells take place."""
    folder = tmp_path_factory.mktemp("verdicts")
    with EmbeddedServer(str(folder / "server"), port=free_ports(1)[0]) as server, pytest.MonkeyPatch.context() as patch:
        point_at(patch, server)
        yield Stage(server, folder)


def case(**settings: Any) -> Case:
    """A fault that never strikes by itself, and lets objects fail with ServerFault."""
    return Case("503", lambda: lambda *_: None, ("upload",), (ServerFault,), **settings)


def liar(_engine: Engine, cell: Cell, operation: Operation, stage: Stage) -> Iterator[Outcome]:
    """Uploads six objects, each wrong in another way, and the others right."""
    stage.strokes += 1
    for number, name in enumerate(cell.names):
        body = operation.body(name)
        sent = {0: None, 1: body[:9] + bytes([body[9] ^ 1]) + body[10:], 4: None, 5: body[:-1000]}.get(number, body)
        if sent is not None:
            cell.probe.put(cell.bucket, cell.key(name), sent)
        if number != 3:
            yield name, {4: DENIED, 5: FAILED}.get(number)
        if number == 2:
            yield name, None


def honest(_engine: Engine, cell: Cell, operation: Operation, stage: Stage) -> Iterator[Outcome]:
    """Uploads all but the first, which fails, and says so."""
    stage.strokes += 1
    yield cell.names[0], FAILED
    for name in cell.names[1:]:
        cell.probe.put(cell.bucket, cell.key(name), operation.body(name))
        yield name, None


def test_every_lie_is_counted(stage: Stage) -> None:
    """Lost, wrong, reported twice or never, a false reason, part of a failed upload: each is told by its name."""
    row = run_cell(stage, UPLOAD, case(), 8, run=liar)
    assert (row.objects, row.done, row.failed, row.strokes) == (8, 5, 2, 1)
    assert sorted(row.lost) == ["o-000", "o-002 reported 2 times", "o-003 reported 0 times"]
    assert row.wrong == ["o-001", "o-005, which failed, and is there with other bytes"]
    assert [text.split(":")[:2] for text in row.false_reasons] == [["o-004", " AccessDenied"]]
    assert row.reasons == {"AccessDenied": 1, "ServerFault": 1}
    assert len(row.problems) == 6
    assert not row.undecided
    assert "8 objects in, 5 done, 2 failed, 3 lost, 2 wrong bytes taken for right, 1 unexplained" in table.totals([row])


def test_the_truth_is_no_problem(stage: Stage) -> None:
    """An object that fails with an error of its fault; but not one that the fault leaves alone."""
    assert run_cell(stage, UPLOAD, case(), 3, run=honest).problems == []
    row = run_cell(stage, UPLOAD, case(for_good=True), 3, run=honest)
    assert [text.split(":")[:2] for text in row.false_reasons] == [["o-000", " ServerFault"]]
    assert row.problems == [f"false reason: {text}" for text in row.false_reasons]


def test_a_batch_that_ends_by_itself_is_lost(stage: Stage) -> None:
    """What it raises is told, and all that it did not report."""

    def ends(_engine: Engine, cell: Cell, operation: Operation, stage: Stage) -> Iterator[Outcome]:
        yield from list(honest(_engine, cell, operation, stage))[:1]
        raise FAILED

    row = run_cell(stage, UPLOAD, case(), 2, run=ends)
    assert [text.split(":")[0] for text in row.lost] == ["the batch ended with ServerFault", "o-001 reported 0 times"]


def test_a_batch_that_hangs_is_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled when its time is over, and that is told although every object has its report."""
    monkeypatch.setattr("tests.faults.cell.HANGS_AFTER_S", 0.2)

    class Hanging:
        """A batch that ends when it is cancelled."""

        cancelled = False

        def cancel(self) -> None:
            """End it."""
            self.cancelled = True

    def hangs(_engine: Engine, cell: Cell, operation: Operation, stage: Stage) -> Iterator[Outcome]:
        batch: Any = Hanging()
        cell.batches.append(batch)
        eventually(lambda: batch.cancelled)
        yield from honest(_engine, cell, operation, stage)

    row = run_cell(stage, UPLOAD, case(), 2, run=hangs)
    assert [text for text in row.lost if "it hung" in text] == row.lost != []


def test_the_command_ends_with_1(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a cell has a problem, of any kind; and with 0 when none has."""
    told = run_cell(stage, UPLOAD, case(), 8, run=liar)
    fine = run_cell(stage, UPLOAD, case(), 3, run=honest)
    nothing: dict[str, Any] = {"lost": [], "wrong": [], "false_reasons": []}

    def ends_with(row: Row) -> int:
        def run_table(wanted: Sequence[table.Wanted], *_: Any) -> tuple[list[Row], list[Row]]:
            good = [dataclasses.replace(fine, fault=one.name, operation=which.name) for which, one, *_ in wanted]
            return [dataclasses.replace(row, fault=good[0].fault, operation=good[0].operation), *good[1:]], []

        monkeypatch.setattr(table, "run_table", run_table)
        return table.main(["--faults", "503", "--operations", "upload,list"])

    assert ends_with(fine) == 0
    assert "<---" not in capsys.readouterr().out
    assert ends_with(told) == 1
    assert "lost: o-000\n" in capsys.readouterr().out
    for kept in nothing:
        rest: dict[str, Any] = {name: [] for name in nothing if name != kept}
        assert ends_with(dataclasses.replace(told, **rest)) == 1
    assert ends_with(dataclasses.replace(told, **nothing)) == 0
    assert ends_with(dataclasses.replace(fine, strokes=0)) == 1
    assert ends_with(dataclasses.replace(fine, not_run="killed")) == 1
    monkeypatch.setattr(table, "run_table", lambda *_: ([], []))
    assert table.main(["--faults", "503"]) == 1
