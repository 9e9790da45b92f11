"""``max_delete`` of a job with a journal: one limit for all runs together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import ConfigError, DeleteLimitExceeded
from s3engine.jobs.base import Job
from s3engine.jobs.delete import DeleteJob
from s3engine.journal import Journal
from s3engine.limits import DeleteLimit, Within
from s3engine.listing import ObjectListing
from s3engine.pool.messages import Task
from s3engine.report import RequestReport
from s3engine.transport import ListPage, ObjectInfo
from tests.helpers import eventually
from tests.journaled import Driver, outcome


class Listed(ObjectListing):
    """A listing of what is in ``store``, of which those that begin with "p" are wanted."""

    def __init__(self, store: set[str]) -> None:
        self.store = store
        self._predicate = lambda info: info.key.startswith("p")

    def provable(self) -> None:
        """This one always is."""

    def pages(self) -> Iterator[ListPage]:
        """One page."""
        yield ListPage([ObjectInfo(key, 1) for key in sorted(self.store)], [], "")


def deletes(emit: Callable[[RequestReport], None], items: Iterable[Any]) -> Job:
    return DeleteJob(items, "b", emit)


def cut_off_without(store: set[str]) -> None:
    """The input breaks off, after what came of it is deleted."""
    eventually(lambda: not store & set("abc"))
    raise OSError("cut off")


def run(
    journal: Path | Journal, source: Iterable[Any], limit: int | str | None, store: set[str], lost: str = ""
) -> list[str]:  # fmt: skip
    """One run; deletes from ``store``, but for requests with the key ``lost``, whose answer never comes."""

    def answer(task: Task) -> tuple[Any, ...] | None:
        if lost in [key for key, _ in task[5]]:
            return None
        store.difference_update(key for key, _ in task[5])
        return outcome(task)

    limited = source if limit is None else Within(source, DeleteLimit.parse(limit))
    driver = Driver(journal, limited, answer, make=deletes, identity={"operation": "delete"})
    return sorted(report.key for report in driver.run())


def test_limit_counts_what_earlier_runs_deleted(tmp_path: Path) -> None:
    """Three are gone and three are new: a limit of 4 that held for the first run stops the second before it begins."""
    path = tmp_path / "j"
    store = set("abc")

    def cut() -> Iterator[str]:
        yield from "abc"
        cut_off_without(store)

    with pytest.raises(OSError, match="cut off"):
        run(path, cut(), None, store)
    assert Journal(path).counts().done == 3
    store = set("def")
    text = "6 objects would be deleted by this job, more than the limit of 5; earlier runs of its journal have done 3, "
    with pytest.raises(DeleteLimitExceeded, match=text + "nothing more was deleted"):
        run(path, "def", 5, store)
    assert store == set("def")
    assert run(path, "abcdef", 6, store) == list("def")
    assert not store


def test_limit_holds_for_what_is_left_of_a_job(tmp_path: Path) -> None:
    """What the journal has planned is counted before any of it is deleted, though the input is not read again."""
    path = tmp_path / "j"
    store = set("abc")
    run(path, "abc", 3, store, lost="a")
    left = store.copy()
    assert left
    assert Journal(path).counts().input_read
    with pytest.raises(DeleteLimitExceeded, match="3 objects would be deleted"):
        run(path, "abc", 2, store)
    assert store == left
    run(path, "abc", 3, store)
    assert not store
    assert run(path, "abc", 3, store) == []


def test_percentage_is_of_what_the_first_run_counted(tmp_path: Path) -> None:
    """40 of 100 may go: the run that goes on counts 40 of 100 as well, not what is left of what is left."""
    path = tmp_path / "j"
    store = {f"p{n}" for n in range(40)} | {f"q{n}" for n in range(60)}
    run(path, Listed(store), "40%", store, lost="p0")
    assert "p0" in store
    with pytest.raises(DeleteLimitExceeded, match="40 of 100 objects would be deleted"):
        run(path, Listed(store), "39%", store)
    run(path, Listed(store), "40%", store)
    assert store == {f"q{n}" for n in range(60)}


def test_percentage_that_no_run_has_counted(tmp_path: Path) -> None:
    """A job that was begun without a limit, its input read, has nothing that a percentage could be of."""
    path = tmp_path / "j"
    store = set("abc")
    run(path, "abc", None, store, lost="a")
    with pytest.raises(ConfigError, match="no run of this journal has counted one; give a number"):
        run(path, Listed(store), "50%", store)
    assert store


def test_limit_that_comes_later_repeats_nothing(tmp_path: Path) -> None:
    """An input with marks that only a later run counts is read anew; what is known of it is not done again."""

    class Marked(list[str]):
        def marked(self, after: str = "") -> Iterator[tuple[str, str]]:
            for n in range(int(after or 0), len(self)):
                if n == 3:
                    cut_off_without(store)
                yield self[n], str(n + 1)

    path = tmp_path / "j"
    store = set("abcde")
    with pytest.raises(OSError, match="cut off"):
        run(path, Marked("abcde"), None, store)
    assert store == set("de")
    assert run(path, Marked("abcde"), 5, store) == list("de")
    assert not store
