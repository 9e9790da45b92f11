"""A batch's function in its process: made ready, called, its result packed, its errors told."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from s3engine.errors import FunctionRaised
from s3engine.functions.calls import FunctionCall
from s3engine.functions.fetched import FetchedObject
from s3engine.functions.results import Packed, pack
from s3engine.functions.wear import is_want
from s3engine.functions.writing import Writer

__all__ = ["Known", "called", "class_of", "described", "failure", "is_own", "packed_result"]


class Known:
    """A batch's function, ready to be called."""

    def __init__(self, call: FunctionCall, writer: Writer | None) -> None:
        self.writer = writer
        self.function: Callable[[FetchedObject], Any]
        self.function, initializer, self.finalizer = pickle.loads(call.pickled)
        self.name = call.name
        self.state = initializer() if initializer is not None else None


def called(known: Known, found: FetchedObject) -> Any:
    """What the function returns. Raises what it raises, TypeError for something to be awaited."""
    value = known.function(found)
    if hasattr(value, "__await__") or hasattr(value, "__anext__"):
        if hasattr(value, "close"):
            value.close()
        raise TypeError(f"{known.name} returned something to be awaited; there is no event loop, give a plain function")
    return value


def packed_result(known: Known, value: Any) -> tuple[Packed, int | None]:
    """A result, ready to go back. Raises TypeError for what cannot, and what wants memory or descriptors."""
    if hasattr(value, "__next__"):
        value = list(value)
    try:
        return pack(value)
    except Exception as error:
        if is_want(error):
            raise
        text = f"what {known.name} returned ({type(value).__name__}) cannot be sent back: {described(error)}"
        raise TypeError(text) from error


def is_own(error: BaseException) -> bool:
    """Whether it is an error of the engine's, which every process can unpickle; the caller's own are told as text."""
    if type(error).__module__ != "s3engine.errors":
        return False
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  (whatever it holds)
        return False
    return True


def described(error: BaseException) -> str:
    """Its class and what it says."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def class_of(error: BaseException) -> str:
    """Its class with its module."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def failure(known: Known, found: FetchedObject, raised: BaseException) -> FunctionRaised:
    """What the caller is told of it: the class, and the traceback as text."""
    frames = raised.__traceback__.tb_next if raised.__traceback__ is not None else None  # without our own
    text = "".join(traceback.format_exception(type(raised), raised, frames))
    return FunctionRaised(
        f"{known.name} failed on {found.url}: {described(raised)}", key=found.key, exception=class_of(raised),
        traceback=text,
    )  # fmt: skip
