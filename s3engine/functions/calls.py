"""A function as it travels to the processes that run it, and what is refused before it does."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from s3engine.errors import ConfigError

__all__ = ["FunctionCall", "is_async", "name_of", "packed_call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """What a function process needs to know of a batch."""

    pickled: bytes = field(repr=False)
    """The function, its initializer and its finalizer."""
    name: str
    """For messages."""
    timeout_s: float = 0.0
    """For each object; 0.0: none."""
    log_level: int = 30
    output: str = ""
    """What becomes of what it returns: "" (it goes back to the caller), "objects" or "files"."""
    part_bytes: int = 0
    """Of outputs that go to the store."""
    most_unstored_bytes: int = 0
    """Of outputs that one process has made and the store does not have: it waits then."""
    root: str = ""
    """The folder of files."""
    token: str = ""
    """For their temporary names."""
    guess_content_type: bool = False


def name_of(function: Any) -> str:
    """How a function is called in messages."""
    while isinstance(function, functools.partial):
        function = function.func
    found = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(found)


def is_async(function: Any) -> bool:
    """Whether calling it gives something to be awaited."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = getattr(type(function), "__call__", function)  # noqa: B004  (an instance's own does not count)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def packed_call(
    function: Callable[..., Any], *, initializer: Callable[[], Any] | None = None,
    finalizer: Callable[[Any], Any] | None = None, timeout_s: float | None = None, **settings: Any,
) -> FunctionCall:  # fmt: skip
    """``function`` ready to travel; ``settings`` are the other fields of a FunctionCall.

    Raises ConfigError for what cannot be called there, or cannot travel.
    """
    for what, given in (("function", function), ("initializer", initializer), ("finalizer", finalizer)):
        if given is None and what != "function":
            continue
        if not callable(given):
            raise ConfigError(f"the {what} must be something to call, not {given!r}")
        if is_async(given):
            raise ConfigError(
                f"{name_of(given)} is async, and runs where no event loop is; give a plain function "
                "(what it would await belongs before or after the batch)"
            )
    name = name_of(function)
    return FunctionCall(
        pickled=_pickled((function, initializer, finalizer), name), name=name, timeout_s=timeout_s or 0.0,
        **settings,
    )  # fmt: skip


def _pickled(values: Any, name: str) -> bytes:
    try:
        data = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
        if b"__main__" not in data:  # no other process has it under that name
            return data
    except Exception:  # noqa: BLE001  (whatever plain pickle has against it: the other one takes more)
        data = b""
    import cloudpickle  # lazy: functions of modules do without

    try:
        found: bytes = cloudpickle.dumps(values, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise ConfigError(
            f"{name} cannot travel to another process: {type(error).__name__}: {error}; make what it refers to in its "
            "initializer, or in itself"
        ) from error
    return found

