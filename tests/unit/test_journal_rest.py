"""What a dry run takes from a journal: the same as the next run would, and it writes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import AccessDenied, DeleteLimitExceeded, JournalMismatch
from s3engine.journal import Journal
from s3engine.journal.rest import Rest
from s3engine.limits import DeleteLimit, Within
from s3engine.sources import BytesSource, Rejected
from tests.journal_inputs import files, keys
from tests.journaled import Driver, outcome


def content(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("objects", "runs", "meta")]


def left(path: Path, source: Any) -> list[str]:
    return sorted(item.key for item in Rest(Journal(path)).of(source))


def denied(task: Any) -> Any:
    return outcome(task, error=AccessDenied("no") if task[3] == "k3" else None)


def test_all_of_a_job_without_a_journal(tmp_path: Path) -> None:
    """A journal that is not there is not made."""
    assert len(left(tmp_path / "j", files(3))) == 3
    assert not (tmp_path / "j").exists()


def test_what_failed_of_a_job_that_is_done(tmp_path: Path) -> None:
    """The input is not read again; neither is the journal written to."""
    path = tmp_path / "j"
    Driver(path, files(5), denied).run()
    before = content(path)

    def unread() -> Iterator[Any]:
        raise AssertionError("the input was read")
        yield

    assert left(path, unread()) == ["k3"]
    assert content(path) == before
    assert keys(Driver(path, files(0)).run()) == ["k3"]
    assert left(path, unread()) == []


def test_what_was_not_read_yet_comes_too(tmp_path: Path) -> None:
    """First what is on record and not done, then what of the input is not on record."""

    def broken() -> Iterator[Any]:
        yield from files(5)
        yield Rejected("bad", AccessDenied("no"))
        raise OSError("broken")

    path = tmp_path / "j"
    with pytest.raises(OSError, match="broken"):
        Driver(path, broken(), denied).run()
    assert left(path, files(8)) == ["bad", "k3", "k5", "k6", "k7"]


def test_bodies_in_memory_come_from_the_input(tmp_path: Path) -> None:
    """They are not in the journal."""
    path = tmp_path / "j"
    source = [BytesSource(b"x", f"k{n}") for n in range(5)]
    Driver(path, source, denied).run()
    assert left(path, source) == ["k3"]


def test_another_command_is_refused(tmp_path: Path) -> None:
    """As its run would be."""
    path = tmp_path / "j"
    Driver(path, files(1), identity={"operation": "upload", "verb": "cp", "src": "/a"}).run()
    with pytest.raises(JournalMismatch, match="src"):
        Rest(Journal(path, command={"verb": "cp", "src": "/b"}))
    Rest(Journal(path, command={"verb": "cp", "src": "/a"})).close()


def test_limit_counts_what_earlier_runs_did(tmp_path: Path) -> None:
    """A dry run says what the limit of the whole job says."""
    path = tmp_path / "j"
    Driver(path, files(5), denied).run()
    rest = Rest(Journal(path))
    items, _ = Within([], DeleteLimit.parse(5)).all_of_job(rest.earlier())
    with pytest.raises(DeleteLimitExceeded, match="5 objects would be deleted by this job"):
        Within([], DeleteLimit.parse(4)).all_of_job(rest.earlier())
    assert [item.key for item in rest.of(items)] == ["k3"]


def test_what_a_retry_would_do(tmp_path: Path) -> None:
    """Of a run of what has failed: that with the error asked for, and nothing of the input."""
    path = tmp_path / "j"
    Driver(path, files(5), denied).run()
    assert [item.key for item in Rest(Journal(path).only_failed("AccessDenied")).of(files(9))] == ["k3"]
    assert list(Rest(Journal(path).only_failed("NetworkError")).of(files(9))) == []
