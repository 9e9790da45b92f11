"""The soak bench tells what was in flight at a kill from what was sent again for nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bench.putcount import Put
from bench.resent import PARENT, SERVER, WORKER, Stroke, blame, on_record


def _put(begun_s: float, status: int = 0, *, answered_s: float = 0.0, cut_by: str = "", run: int = 0) -> Put:
    return Put("/b/k", run, begun_s, status, answered_s or begun_s, cut_by)


AGAIN = _put(20.0, 200)


@pytest.mark.parametrize(
    ("stroke", "earlier", "later", "explained"),
    [
        (Stroke(WORKER, 0, 10.0, 1), _put(9.9, cut_by="client"), AGAIN, True),
        (Stroke(WORKER, 0, 10.0, 1), _put(9.9, cut_by="server"), AGAIN, False),
        (Stroke(WORKER, 0, 10.0, 1), _put(9.9, 200, answered_s=9.95), AGAIN, True),
        (Stroke(WORKER, 0, 10.0, 1), _put(9.0, 200, answered_s=9.5), AGAIN, False),
        (Stroke(WORKER, 0, 30.0, 1), _put(9.9, cut_by="client"), AGAIN, False),
        (Stroke(WORKER, 1, 10.0, 1), _put(9.9, cut_by="client"), AGAIN, False),
        (Stroke(WORKER, 0, 10.0, 1), _put(9.9, 500, cut_by="client"), AGAIN, False),
        (Stroke(SERVER, 0, 10.0, 1, over_s=12.0), _put(11.0, cut_by="server"), AGAIN, True),
        (Stroke(SERVER, 0, 10.0, 1, over_s=12.0), _put(11.0, 503), AGAIN, True),
        (Stroke(SERVER, 0, 10.0, 1, over_s=12.0), _put(11.0, 200), AGAIN, False),
        (Stroke(SERVER, 0, 10.0, 1, over_s=12.0), _put(15.0, 503), AGAIN, False),
        (Stroke(PARENT, 0, 10.0, 1, unrecorded={"/b/k"}), _put(9.0, 200), _put(20.0, 200, run=1), True),
        (Stroke(PARENT, 0, 10.0, 1), _put(9.0, 200), _put(20.0, 200, run=1), False),
        (Stroke(PARENT, 0, 10.0, 1, unrecorded={"/b/k"}), _put(9.0, 200), AGAIN, False),
    ],
)  # fmt: skip
def test_what_was_in_flight(stroke: Stroke, earlier: Put, later: Put, explained: bool) -> None:
    """A PUT is given to the stroke that cut it; one that was answered and known, or that nothing cut, to none."""
    stray = blame([earlier, later], [stroke])
    assert (stroke.again, stray) == (([earlier], []) if explained else ([], [earlier]))


def test_each_time_counts() -> None:
    """An object that was sent four times was sent again three times."""
    puts = [_put(float(second), 200) for second in range(4)]
    assert blame(puts, []) == puts[:3]


def test_the_journal_is_read_and_left_alone(tmp_path: Path) -> None:
    """What is only in the write-ahead log counts, and the files stay as they were."""
    path = tmp_path / "j"
    with closing(sqlite3.connect(path, isolation_level=None)) as journal:
        journal.execute("PRAGMA journal_mode=WAL")
        journal.execute("CREATE TABLE objects (key TEXT, state INTEGER)")
        journal.execute("INSERT INTO objects VALUES ('done', 1), ('planned', 0)")
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        assert on_record(path) == {"done"}
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
