"""Another run of a job: is its input the same one, and what is asked of the input again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import sources
from s3engine.errors import AccessDenied, ConnectionLost, JournalInUse, JournalMismatch, SourceError
from s3engine.journal import Journal
from s3engine.journal.identity import described
from s3engine.journal.lock import JournalLock
from s3engine.pool.messages import Task
from s3engine.sources import BytesSource, FileSource, files_recursive
from s3engine.transport import ObjectInfo
from tests.helpers import eventually
from tests.journal_inputs import files, keys, never
from tests.journaled import Driver, outcome


def test_lists_are_told_apart_by_their_items() -> None:
    """By keys and paths, in their order; not by sizes and ETags, which another listing may give otherwise."""
    assert described(["a", "b"]) == described((ObjectInfo("a", 1, "e"), "b"))
    assert described([("f", "k")]) == described([FileSource(os.path.abspath("f"), "k")])
    different = [[], ["a"], ["a", "b"], ["b", "a"], ["ab"], [("f", "k")], [("g", "k")], [BytesSource(b"", "k")]]
    assert len({described(one) for one in different}) == len(different)
    assert described(["\udcff"]).startswith("1 items, ")


class Pipe:
    """What comes out of a pipe, and is kept."""

    positionable = False
    identity = ""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __iter__(self) -> Iterator[Any]:
        return (FileSource(f"/{name}", name) for name in self.names)


def generated(*names: str) -> Iterator[Any]:
    return iter(Pipe(*names))


def some_left(path: Path, source: Any) -> None:
    """A run that is killed with b under way."""
    Driver(path, source, lambda task: None if task[3] == "b" else outcome(task), untold=True).run()


@pytest.mark.parametrize("make", [Pipe, generated])
@pytest.mark.parametrize("names", ["ax", "xyz", "abcx"])
def test_another_input_is_not_taken_for_done(tmp_path: Path, make: Any, names: str) -> None:
    """A job that is done with its input does not say that names are done which it never had. It does nothing else."""
    path = tmp_path / "j"
    some_left(path, make("a", "b", "c"))
    with pytest.raises(JournalMismatch, match="belongs to another job") as caught:
        Driver(path, make(*names), never, untold=True).run()
    assert caught.value.field == "input"
    assert keys(Driver(path, make("a", "b", "c"), untold=True).run()) == ["b"]
    assert Driver(path, make("a", "b", "c"), never, untold=True).run() == []


def test_input_of_which_some_has_gone_is_the_same(tmp_path: Path) -> None:
    """What a move has removed does not come again; of a pipe it must."""
    path = tmp_path / "j"
    some_left(path, generated("a", "b", "c"))
    assert keys(Driver(path, generated("b"), untold=True).run()) == ["b"]
    other = tmp_path / "other"
    some_left(other, Pipe("a", "b", "c"))
    with pytest.raises(JournalMismatch, match="2 of the 3"):
        Driver(other, Pipe("b"), never, untold=True).run()


def test_pipe_that_broke_off_must_begin_alike(tmp_path: Path) -> None:
    """What is planned from one pipe is not done for the sake of another; what is new in the same one is."""

    class Broken(Pipe):
        def __iter__(self) -> Iterator[Any]:
            yield from super().__iter__()
            raise OSError("broken")

    path = tmp_path / "j"
    with pytest.raises(OSError, match="broken"):
        some_left(path, Broken("a", "c"))
    with pytest.raises(JournalMismatch, match="2 of the 2"):
        Driver(path, Pipe("x", "y", "z"), never, untold=True).run()
    assert keys(Driver(path, Pipe("a", "c", "d"), untold=True).run()) == ["d"]


def test_folder_that_could_not_be_listed_is_walked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next run and by one that tries what has failed: its files take its place. Else it fails as before."""
    folder = tmp_path / "in"
    (folder / "sub" / "deep").mkdir(parents=True)
    for name in ("a", "sub/b", "sub/deep/c"):
        (folder / name).write_text("x")
    os.symlink("..", folder / "sub" / "up")  # leads back up: the walk knows what is above it
    closed = [True]
    real = sources._open

    def opened(path: str, prefix: str) -> Any:
        return None if closed[0] and path.endswith("/sub") else real(path, prefix)

    def answer(task: Task) -> tuple[Any, ...]:
        error = SourceError("a folder that cannot be listed") if os.path.isdir(task[5][0]) else None
        return outcome(task, error=error)

    monkeypatch.setattr(sources, "_open", opened)
    runs: list[Callable[[Journal], Journal]] = [Journal.only_failed, lambda journal: journal]
    for number, again in enumerate(runs):
        path = tmp_path / f"j{number}"
        closed[0] = True
        for expected in (["p/a", "p/sub"], ["p/sub"]):
            assert keys(Driver(path, files_recursive(folder, "p/"), answer).run()) == expected
            assert Journal(path).counts().failed == 1
        closed[0] = False
        second = Driver(again(Journal(path)), files_recursive(folder, "p/"), answer)
        assert keys(second.run()) == ["p/sub/b", "p/sub/deep/c"]
        assert Journal(path).counts()[:3] == (3, 0, 0)
        assert Journal(path).counts().finished


def test_folder_in_a_list_is_not_walked(tmp_path: Path) -> None:
    """Only a walk is walked again: who names a folder as a file did not ask for what is in it."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").touch()
    source = [FileSource(str(tmp_path / "d"), "k")]
    for _ in range(2):
        driver = Driver(tmp_path / "j", source, lambda task: outcome(task, error=SourceError("a folder")))
        assert keys(driver.run()) == ["k"]


@pytest.mark.parametrize(("operation", "level"), [("move", 2), ("upload", 1)])
def test_moves_are_on_record_after_a_power_cut(tmp_path: Path, operation: str, level: int) -> None:
    """What is removed must be known to have arrived: each transaction of a move is synced to the disk, no others."""
    driver = Driver(tmp_path / "j", files(1), identity={"operation": operation})
    assert driver.run_._writer.connection.execute("PRAGMA synchronous").fetchone() == (level,)
    driver.run()


def test_lock_is_held_while_something_is_written(tmp_path: Path) -> None:
    """A batch that was given up on lets others in when its writer is done, not before."""
    path = tmp_path / "j"
    driver = Driver(path, files(1))
    with driver.run_._writer.lock:  # a disk that hangs
        driver.run_.abandon(wait_s=0.05)
        with pytest.raises(JournalInUse):
            JournalLock(str(path))
    driver.run_.abandon()
    eventually(lambda: not os.path.exists(f"{path}-lock"))
    JournalLock(str(path)).release()


def test_bodies_in_memory_are_tried_again_by_their_error(tmp_path: Path) -> None:
    """``only_failed("X")`` holds for what must come out of the input again, too."""
    source = [BytesSource(b"x", "a"), BytesSource(b"x", "b")]
    errors = {"a": AccessDenied("no"), "b": ConnectionLost("reset")}
    Driver(tmp_path / "j", source, lambda task: outcome(task, error=errors[task[3]])).run()
    journal = Journal(tmp_path / "j")
    assert keys(Driver(journal.only_failed("NetworkError"), source).run()) == ["b"]
    assert keys(Driver(journal.only_failed(), source).run()) == ["a"]
