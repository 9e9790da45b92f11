"""Transports by name: a table for our own, the entry-point group ``s3engine.transports`` for those of others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, S3EngineError

__all__ = ["BUILT_IN", "ENTRY_POINT_GROUP", "dotted_name", "load_transport", "open_transport"]

BUILT_IN = {"raw": "s3engine_transports.raw:RawTransport"}
ENTRY_POINT_GROUP = "s3engine.transports"


def dotted_name(name: str) -> str:
    """``module:attribute`` of a transport's class; a name that has a colon already is one. Raises ConfigError."""
    if ":" in name:
        return name
    found = BUILT_IN.get(name)
    if found is not None:
        return found
    from importlib.metadata import entry_points  # lazy: 50 ms that only others' transports pay

    others = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name in others:
        return others[name]
    raise ConfigError(f"unknown transport {name!r}; there are {', '.join(sorted({*BUILT_IN, *others}))}")


def load_transport(dotted: str) -> Callable[[TransportSettings], Any]:
    """Import a transport's class. Raises ConfigError when there is none under that name."""
    module_name, _, attribute = dotted.partition(":")
    try:
        factory: Callable[[TransportSettings], Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load the transport {dotted!r}: {error}") from error
    return factory


def open_transport(dotted: str, settings: TransportSettings) -> Any:
    """Import and open a transport. Raises ConfigError, which names it, whatever goes wrong."""
    factory = load_transport(dotted)
    try:
        return factory(settings)
    except S3EngineError:
        raise
    except Exception as error:
        raise ConfigError(f"cannot open the transport {dotted!r}: {type(error).__name__}: {error}") from error
