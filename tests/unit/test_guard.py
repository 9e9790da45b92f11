"""The guard of the hot paths: it does what it counts, and fails when a path became dearer."""

from __future__ import annotations

import contextlib
import json

import pytest

from bench.guard.__main__ import BOUNDS, MARGIN, judge
from bench.guard.paths import PATHS, once
from bench.guard.stage import Stage, answer
from s3engine.pool.messages import Context, Kind

NAMES = [name for name in PATHS if name != "yardstick"]


@pytest.mark.parametrize("name", PATHS)
def test_paths_run(name: str) -> None:
    """Each path does what it says, or raises: a path that came to nothing would be the cheapest of all."""
    once(name, PATHS[name].least)


def test_refused_deletes_are_no_cheap_ones() -> None:
    """A delete whose keys are refused stops the count, as any failed task does."""
    said = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    )
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, Context(id=1, bucket="bucket"), answer(said, ("Content-Type", "application/xml")))
        with pytest.raises(RuntimeError, match="1 deletes failed"):
            stage.run([(1, 1, Kind.DELETE, "", 0, [("k", "tag")])])


def test_dearer_path_fails() -> None:
    """A path above its bound by more than the margin is named; the others are not."""
    bounds = dict.fromkeys(NAMES, 10.0)
    counted = {"yardstick": 100.0, **dict.fromkeys(NAMES, 1000.0)}
    assert judge(counted, bounds)[1] == []
    counted["put"] = 1000.0 * (1 + MARGIN) + 1
    (wrong,) = judge(counted, bounds)[1]
    assert wrong.startswith("put: 5.1% above")


def test_slower_build_is_not_taken_for_a_slower_path() -> None:
    """An interpreter that needs half as much again for everything changes nothing."""
    bounds = dict.fromkeys(NAMES, 10.0)
    assert judge({"yardstick": 150.0, **dict.fromkeys(NAMES, 1500.0)}, bounds)[1] == []


def test_path_without_a_bound_fails() -> None:
    """A path that nobody gave a bound is not passed over."""
    bounds = dict.fromkeys(NAMES[1:], 10.0)
    (wrong,) = judge({"yardstick": 100.0, **dict.fromkeys(NAMES, 1000.0)}, bounds)[1]
    assert wrong.startswith(f"{NAMES[0]}: there is no bound")


def test_bounds_are_of_the_paths_there_are() -> None:
    """The file of bounds names every path, and no other."""
    for version, bounds in json.loads(BOUNDS.read_text()).items():
        assert sorted(bounds) == sorted(NAMES), version
