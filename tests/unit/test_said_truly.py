"""What a run says of sizes, lists and names is so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from s3engine.cli.interrupts import interrupts
from s3engine.cli.named import tell_if_empty
from s3engine.errors import PreconditionFailed
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.transport import ObjectInfo
from tests.tried_jobs import MIB, Bench, download, outcome


def test_larger_than_listed_is_refused_whatever_its_size(tmp_path: Path) -> None:
    """An object of 20 MiB that a table calls 2 bytes fails before a range of it is fetched, and leaves no file."""

    def answer(task: Task) -> tuple[Any, ...]:
        assert task[2] == Kind.GET_FILE
        return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, etag="e", headers=()))

    bench = Bench(answer)
    (report,) = bench.run(download(bench, [ObjectInfo("k", 2)], tmp_path))
    assert type(report.error) is PreconditionFailed
    assert f"{20 * MIB} bytes came of an object that was listed with 2; it was written again" in str(report.error)
    assert not list(tmp_path.iterdir())


def test_large_object_of_a_size_that_nobody_told_is_fetched(tmp_path: Path) -> None:
    """A key without a size, or with the right one, goes on in ranges."""

    def answer(task: Task) -> tuple[Any, ...]:
        if task[2] == Kind.GET_FILE:
            return outcome(task, error=NeedsParts("large", size_bytes=20 * MIB, etag="e", headers=()))
        return outcome(task)

    bench = Bench(answer)
    reports = bench.run(download(bench, ["k", ObjectInfo("l", 20 * MIB - 1, "e")], tmp_path, threshold_bytes=21 * MIB))
    assert [report.key for report in reports if type(report.error) is PreconditionFailed] == ["l"]
    assert bench.kinds()[Kind.GET_PART] > 0


@pytest.mark.parametrize(("number", "said"), [(0, True), (2, False)])
def test_an_interrupted_list_is_not_called_empty(
    number: int, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That a list names nothing is told only by a run that read it to its end."""
    monkeypatch.setattr(interrupts, "number", number)
    tell_if_empty(cast("Any", SimpleNamespace(rows=0, label="standard input")))
    assert ("no names in it" in capsys.readouterr().err) is said
