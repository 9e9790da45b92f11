"""Whether an input without an identity of its own is the one that a journal was made of: by its items, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from s3engine.errors import JournalMismatch

__all__ = ["can_be_read_twice", "changed_label", "check_same_input"]


def can_be_read_twice(source: Any) -> bool:
    """What comes out of a pipe is kept: see Items of :mod:`s3engine.inputs`."""
    return getattr(source, "positionable", None) is False


def changed_label(source: Any) -> str:
    """What an input is called whose files have other sizes or times than those on record."""
    return str(getattr(source, "label", "") or "input")


def check_same_input(
    path: str, source: Iterable[Any], has: Callable[[Any], bool], rows: int, *, finished: bool, changed: str = ""
) -> None:  # fmt: skip
    """Raises JournalMismatch for an input that is another one.

    ``finished``: the input was read to its end, so that it can have nothing else. One that can be read twice, and a
    list in a file that was ``changed`` (its name), must still have all ``rows``; from others (a folder that is moved
    away) some may be gone.
    """
    known = 0
    for item in source:
        if has(item):
            known += 1
        elif finished:
            raise _mismatch(path, f"it is done with its input, and there is no {_name(item)!r} in that", changed)
    if (changed or can_be_read_twice(source)) and known < rows:
        why = f"{rows - known} of the {rows} objects that it has planned are not in the input of now"
        raise _mismatch(path, why, changed)


def _name(item: Any) -> str:
    return str(getattr(item, "key", item))


def _mismatch(path: str, why: str, changed: str) -> JournalMismatch:
    why = f"the list {changed!r} was changed: {why}" if changed else why
    return JournalMismatch(
        f"journal {path!r} belongs to another job: {why}. Give it the input it was made with, or name another journal "
        "for this one",
        field="input",
    )  # fmt: skip
