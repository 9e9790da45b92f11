"""A function with all that it needs: how it is begun, how long it may take, how it ends."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from s3engine.errors import ConfigError
from s3engine.functions.calls import FunctionCall, packed_call
from s3engine.functions.fetched import FetchedObject

__all__ = ["Function", "Transform"]


@dataclass(frozen=True, slots=True)
class Transform:
    """What ``upload``, ``download`` and ``transform`` take for a function that needs more than its object.

    ``initializer`` is called once in each process; what it returns is ``state`` of its objects, and goes to
    ``finalizer`` at the end. ``timeout_s`` is for each object, without waiting for the network; None: no limit.
    """

    function: Callable[[FetchedObject], Any]
    initializer: Callable[[], Any] | None = None
    finalizer: Callable[[Any], object] | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not (isinstance(self.timeout_s, (int, float)) and self.timeout_s > 0):
            raise ConfigError(f"timeout_s must be more than 0 seconds, or None: no limit; not {self.timeout_s!r}")

    @classmethod
    def of(cls, function: Function) -> Transform:
        """Of a function alone, or as it is."""
        return function if isinstance(function, cls) else cls(function)  # type: ignore[arg-type]  # what is no Transform is a function

    def call(self, **settings: Any) -> FunctionCall:
        """Ready to travel. Raises ConfigError for what cannot be called in another process."""
        import logging  # lazy, as all of this is

        return packed_call(
            self.function, initializer=self.initializer, finalizer=self.finalizer, timeout_s=self.timeout_s,
            log_level=logging.getLogger().getEffectiveLevel(), token=secrets.token_hex(4), **settings,
        )  # fmt: skip


Function: TypeAlias = "Callable[[FetchedObject], Any] | Transform"
