"""A transport that breaks another one in chosen ways.

Everything that a worker must know travels in ``endpoint_url``: environment variables do not reach workers that come out
of a fork server which was started earlier.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from s3engine import errors
from s3engine.config import TransportSettings
from s3engine.errors import ConfigError
from s3engine.pool.load import dotted_name, open_transport
from s3engine.transport import Capabilities, Link

__all__ = ["Fault", "FaultyTransport", "with_faults"]


class Fault(NamedTuple):
    """What shall go wrong in which calls."""

    action: str
    """``exit`` and ``segfault`` end the process; ``raise:Throttled`` raises that class of s3engine.errors;
    ``block:1.5`` sleeps so many seconds before the call goes on; ``memory`` raises MemoryError; ``limit:1000000`` lets
    the process have so many more bytes of address space from now on, and the call goes on."""
    operation: str = "*"
    """A method of Transport, or ``open`` for the making of the transport; ``*``: any method."""
    key: str = "*"
    """The key it is called with (for a copy: the target); ``*``: any."""
    times: int = 0
    """How often, counted by each process for itself; 0: always."""


def with_faults(endpoint_url: str, *faults: Fault, inner: str = "raw") -> str:
    """The ``endpoint_url`` that makes a FaultyTransport wrap ``inner`` (a name or ``module:Class``) with ``faults``."""
    return f"{endpoint_url}?{urlencode({'inner': inner, 'faults': json.dumps(faults)})}"


class FaultyTransport:
    """Another transport with faults; multiplexable when that one is. See :func:`with_faults`.

    In the loop lane a fault strikes where the exchange is made, so an error that is raised there costs no request.
    """

    capabilities = Capabilities(multiplexable=True)
    """Of the class, which wraps any; an instance has those of what it wraps."""

    def __init__(self, settings: TransportSettings) -> None:
        parts = urlsplit(settings.endpoint_url)
        query = parse_qs(parts.query)
        try:
            inner = query["inner"][0]
            self._faults = [Fault(*values) for values in json.loads(query["faults"][0])]
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"endpoint_url of a FaultyTransport must come from with_faults(): {error!r}") from None
        for fault in self._faults:
            if fault.operation == "open":
                _act(fault.action, "open")
        self._struck = [0] * len(self._faults)
        self._lock = threading.Lock()
        self._inner = open_transport(
            dotted_name(inner), dataclasses.replace(settings, endpoint_url=urlunsplit(parts._replace(query="")))
        )
        self.capabilities = self._inner.capabilities

    @property
    def exchanges(self) -> Any:
        """The inner transport's exchanges, with the faults."""
        return _FaultyExchanges(self, self._inner.exchanges)

    def open_link(self, endpoint: Any, timeout_s: float) -> Link:
        """As the inner transport."""
        link: Link = self._inner.open_link(endpoint, timeout_s)
        return link

    def begin_link(self, endpoint: Any) -> Any:
        """As the inner transport; None when it has none."""
        begin = getattr(self._inner, "begin_link", None)
        return None if begin is None else begin(endpoint)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not ours to have: before __init__ is through this would go in circles
            raise AttributeError(name)
        return self.wrap(name, getattr(self._inner, name))

    def wrap(self, name: str, method: Any) -> Any:
        """``method`` with the faults that are meant for it."""
        concerned = [index for index, fault in enumerate(self._faults) if fault.operation in ("*", name)]
        if not concerned or name.startswith(("set_", "close")):
            return method

        def faulty(*args: Any, **keywords: Any) -> Any:
            self._strike(concerned, _key_of(name, args))
            return method(*args, **keywords)

        return faulty

    def _strike(self, concerned: list[int], key: str) -> None:
        for index in concerned:
            fault = self._faults[index]
            if fault.key not in ("*", key):
                continue
            with self._lock:
                self._struck[index] += 1
                if 0 < fault.times < self._struck[index]:
                    continue
            _act(fault.action, key)


class _FaultyExchanges:
    def __init__(self, owner: FaultyTransport, inner: Any) -> None:
        self._owner = owner
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return self._owner.wrap(name, getattr(self._inner, name))


def _act(action: str, key: str) -> None:
    name, _, value = action.partition(":")
    if name == "exit":
        os._exit(3)
    elif name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)  # delivered by now
    elif name == "block":
        time.sleep(float(value))
    elif name == "memory":
        raise MemoryError(f"MemoryError was ordered for {key!r}")
    elif name == "limit":
        _limit_memory(int(value))
    elif name == "raise":
        raise getattr(errors, value)(f"{value} was ordered for {key!r}", key=key)
    else:
        raise ConfigError(f"unknown fault {action!r}")


def _limit_memory(more_bytes: int) -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:  # Linux alone; macOS does not keep to the limit either
        used_bytes = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + more_bytes, hard))


def _key_of(operation: str, args: tuple[Any, ...]) -> str:
    place = {"copy_object": 3, "upload_part_copy": 5}.get(operation, 1)
    found = args[place] if len(args) > place else ""
    return found if isinstance(found, str) else ""
