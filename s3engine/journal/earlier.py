"""What earlier runs of a job have destroyed and left to do, for a limit that holds for all of them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Earlier"]


class Earlier(NamedTuple):
    """What a journal knows when a run begins."""

    done: int
    """Objects that are on record as done."""
    waiting: int
    """Those that are not, and that this run does."""
    total: int
    """How many objects there were when they were counted; -1: they were not."""
    input_goes_on: bool
    """This run takes from the input, too."""
    has: Callable[[Any], bool]
    """Whether an item of the input is among those that are done or waiting."""
