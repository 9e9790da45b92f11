"""Transports by name: a table for our own, the entry-point group ``s3engine.transports`` for those of others."""

from __future__ import annotations

import errno
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, S3EngineError
from s3engine.transport import Capabilities, Transport

__all__ = [
    "BUILT_IN", "ENTRY_POINT_GROUP", "capabilities_of", "dotted_name", "load_transport", "open_transport",
    "worker_modules",
]  # fmt: skip

BUILT_IN = {
    "raw": "s3engine_transports.raw:RawTransport",
    "boto3": "s3engine_transports.via_boto3:Boto3Transport",
    "minio": "s3engine_transports.via_minio:MinioTransport",
    "obstore": "s3engine_transports.via_obstore:ObstoreTransport",
}
"""Those that need a package of their own are named like it, and so is the extra that installs it."""
ENTRY_POINT_GROUP = "s3engine.transports"


def dotted_name(name: str) -> str:
    """``module:attribute`` of a transport's class; a name that has a colon already is one.

    Raises ConfigError when nothing has that name, or when the package that it needs is not installed.
    """
    if ":" in name:
        return name
    found = BUILT_IN.get(name)
    if found is not None:
        if name != "raw" and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"the transport {name!r} needs the package {name}; install it with: pip install 's3engine[{name}]'"
            )
        return found
    from importlib.metadata import entry_points  # lazy: 50 ms that only others' transports pay

    others = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name in others:
        return others[name]
    raise ConfigError(f"unknown transport {name!r}; there are {', '.join(sorted({*BUILT_IN, *others}))}")


def _age(name: str) -> str:
    """For a package that is there and yet does not do: its version, and how to get the one that is meant."""
    if name not in BUILT_IN or name == "raw":
        return ""
    from importlib.metadata import version

    return f"; {name} {version(name)} is installed, another may do: pip install -U 's3engine[{name}]'"


def load_transport(name: str) -> Callable[[TransportSettings], Any]:
    """Import a transport's class. Raises ConfigError when there is none under that name."""
    dotted = dotted_name(name)
    module_name, _, attribute = dotted.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"a transport is named module:Class, not {dotted!r}")
    try:
        factory: Callable[[TransportSettings], Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load the transport {name!r} ({dotted}): {error}{_age(name)}") from error
    return factory


def worker_modules(name: str, settings: TransportSettings) -> list[str]:
    """The modules that a worker's transport needs: its own, and those that its class tells by ``worker_modules``.

    That is a function of the ``settings``, or a sequence. Imported once before workers are forked, they need not be
    imported in each. Raises ConfigError.
    """
    told: Any = getattr(load_transport(name), "worker_modules", ())
    return [dotted_name(name).partition(":")[0], *(told(settings) if callable(told) else told)]


def capabilities_of(name: str) -> Capabilities:
    """What the class says of itself; imports it.

    ``name`` here and below: of a transport, or ``module:Class``. Raises ConfigError when there is none, or when it has
    no ``capabilities``.
    """
    found = getattr(load_transport(name), "capabilities", None)
    if not isinstance(found, Capabilities):
        raise ConfigError(
            f"the transport {name!r} has no `capabilities` on its class; what a transport needs: docs/transports.md"
        )
    return found


def _is_no_memory(error: Exception) -> bool:
    """Also what the system calls it, and what Python does when it has no memory left to make an exception."""
    return (isinstance(error, OSError) and error.errno == errno.ENOMEM) or (
        isinstance(error, SystemError) and "exception" in str(error)
    )


def open_transport(name: str, settings: TransportSettings) -> Any:
    """Import and open a transport. Raises ConfigError, which names it, whatever goes wrong, but MemoryError for that.

    No memory says nothing of the configuration, and may be there again.
    """
    factory = load_transport(name)
    capabilities_of(name)
    try:
        made = factory(settings)
    except (S3EngineError, MemoryError):
        raise
    except Exception as error:
        if _is_no_memory(error):
            raise MemoryError(f"{type(error).__name__}: {error}") from error
        raise ConfigError(
            f"cannot open the transport {name!r}: {type(error).__name__}: {error}{_age(name)}"
        ) from error
    missing = [method for method in vars(Transport) if not method.startswith("_") and not hasattr(made, method)]
    if missing:
        raise ConfigError(
            f"the transport {name!r} has no {', '.join(missing)}; what a transport needs: docs/transports.md"
        )
    return made
