"""A list in a file as the input of a job that goes on: what counts is what it names, not when it was written."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import AccessDenied, JournalMismatch
from s3engine.inputs import Items, files_from, objects_from
from s3engine.jobs.delete import DeleteJob
from s3engine.journal import Journal
from s3engine.journal.rest import Rest
from s3engine.journal.store import DONE, FAILED, INFO, REJECTED
from s3engine.sources import FileSource
from tests.journal_inputs import keys, never
from tests.journaled import Driver, outcome, uploads


def listed(tmp_path: Path, *names: str) -> Items[FileSource]:
    """The list, written anew: never with a time that it had before."""
    path = tmp_path / "list"
    before_ns = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("".join(f"{name}\n" for name in names))
    os.utime(path, ns=(before_ns + 10**9, before_ns + 10**9))
    return files_from(path, "/src", "p/")


def left(path: Path, source: Any) -> list[str]:
    return [one.key for one in Rest(Journal(path)).of(source)]


def lost(key: str) -> Callable[[Any], Any]:
    """A worker that never answers about ``key``."""
    return lambda task: None if task[3] == key else outcome(task)


def cut_off(path: Path, items: Any, count: int, make: Any = uploads) -> None:
    """A run that ends when ``count`` names were read."""
    whole = items.marked

    def broken(after: str = "") -> Iterator[Any]:
        yield from itertools.islice(whole(after), count)
        raise OSError("cut off")

    items.marked = broken
    with pytest.raises(OSError, match="cut off"):
        Driver(path, items, make=make).run()
    counts = Journal(path).counts()
    assert (counts.done + counts.planned + counts.failed, counts.input_read) == (count, False)


def test_list_that_was_written_anew_is_the_same(tmp_path: Path) -> None:
    """Its identity is its place; with the same names in it, in any order, the job is the same one."""
    path = tmp_path / "j"
    first = listed(tmp_path, "a", "b", "a")
    Driver(path, first, lambda task: outcome(task, error=AccessDenied("no") if task[3] == "p/b" else None)).run()
    again = listed(tmp_path, "a", "b", "a")
    assert (first.identity, first.stamp == again.stamp) == (again.identity, False)
    assert left(path, again) == ["p/b", "p/a"]
    assert keys(Driver(path, again).run()) == ["p/a", "p/b"]
    assert keys(Driver(path, listed(tmp_path, "b", "a", "a"), never).run()) == ["p/a"]


@pytest.mark.parametrize("names", ["ac", "abc", "a", ""])
def test_list_with_other_names_is_refused(tmp_path: Path, names: str) -> None:
    """In words, and before anything is done; by a dry run, too."""
    path = tmp_path / "j"
    Driver(path, listed(tmp_path, "a", "b")).run()
    with pytest.raises(JournalMismatch, match=r"list '.*/list' was changed: "):
        Driver(path, listed(tmp_path, *names), never).run()
    with pytest.raises(JournalMismatch, match="was changed"):
        left(path, listed(tmp_path, *names))
    assert Driver(path, listed(tmp_path, "a", "b"), never).run() == []


def test_empty_list_that_gets_names_is_another_one(tmp_path: Path) -> None:
    """A job that had nothing to do is done, and says so of no other names."""
    path = tmp_path / "j"
    Driver(path, listed(tmp_path)).run()
    with pytest.raises(JournalMismatch, match="no 'p/a' in that"):
        Driver(path, listed(tmp_path, "a"), never).run()


def test_places_in_a_list_as_it_was_are_forgotten(tmp_path: Path) -> None:
    """The job was cut off in the middle of a list; written anew in another order it is read from its beginning."""
    path = tmp_path / "j"
    names = [f"n{number}" for number in range(2000)]
    cut_off(path, listed(tmp_path, *names), 1200)
    again = listed(tmp_path, *reversed(names))
    Driver(path, again, lost("p/n1500")).run()
    assert keys(Driver(path, again).run()) == ["p/n1500"]
    with closing(sqlite3.connect(path)) as connection:
        done = [key for (key,) in connection.execute("SELECT key FROM objects WHERE state = 1")]
    assert sorted(done) == sorted(f"p/{name}" for name in names)


def test_list_that_lost_a_name_before_it_was_read_to_its_end(tmp_path: Path) -> None:
    """What the journal has planned must all be in it."""
    path = tmp_path / "j"
    cut_off(path, listed(tmp_path, *(f"n{number}" for number in range(2000))), 1200)
    with pytest.raises(JournalMismatch, match="objects that it has planned are not in the input of now"):
        Driver(path, listed(tmp_path, *(f"n{number}" for number in range(1, 2000))), never).run()


def deletes(emit: Any, items: Any) -> DeleteJob:
    return DeleteJob(items, "b", emit)


def test_object_with_the_name_of_a_bad_row_is_done(tmp_path: Path) -> None:
    """The run before had come to the bad row only; the good one behind it is no older acquaintance."""
    path, table = tmp_path / "j", tmp_path / "k.csv"
    table.write_text("key,size\na,1\nb,none\nb,1\n")
    cut_off(path, objects_from(table, "bucket"), 2, make=deletes)
    source = objects_from(table, "bucket")
    assert [(type(one).__name__, one.key) for one in Rest(Journal(path)).of(source)].count(("ObjectInfo", "b")) == 1
    Driver(path, source, lambda task: outcome(task, detail=[]), make=deletes).run()
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT kind, key, state FROM objects ORDER BY id").fetchall()
    assert rows == [(INFO, "a", DONE), (REJECTED, "b", FAILED), (INFO, "b", DONE)]
