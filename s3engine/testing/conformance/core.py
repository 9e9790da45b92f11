"""What a check is, what it is given, and what may come of it.

A check is a function of a :class:`Case` whose docstring's first line is the guarantee. It ends in one of five ways:
it returns ("yes"), it raises anything ("no": the transport broke the guarantee), it raises :class:`Declared` (the
transport says of itself that it cannot), :class:`StoreCannot` (the store lacks it, as an independent client saw), or
:class:`Skipped` (not asked for).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from s3engine.config import TransportSettings
from s3engine.errors import NetworkError, S3EngineError, ServerFault, Throttled
from s3engine.pool.load import open_transport
from s3engine.sinks import MemorySink
from s3engine.testing import witness
from s3engine.testing.conformance.scripted import Say, Scripted
from s3engine.testing.witness import Witness
from s3engine.transport import Body, GetResult, Timeouts

__all__ = [
    "CHECKS", "Broken", "Case", "Check", "Declared", "Finding", "Skipped", "Store", "StoreCannot", "check", "expect",
    "raises",
]  # fmt: skip

T = Timeouts(connect_s=5.0, stall_s=15.0, first_byte_s=20.0, attempt_s=60.0)
"""Generous: for checks that are not about time."""

CHECK_TIMEOUT_S = 180.0
"""One check takes seconds; exact keys on a far store perhaps a minute."""

E = TypeVar("E", bound=BaseException)


class Broken(Exception):
    """The guarantee does not hold; the text says what was seen instead."""


class Declared(Exception):
    """The transport says of itself that it cannot."""


class StoreCannot(Exception):
    """The store cannot, as an independent client saw."""


class Skipped(Exception):
    """What is needed was not given; the text names the option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where checks may write: everything below ``prefix``, which is emptied afterwards."""

    settings: TransportSettings
    bucket: str
    prefix: str = ""
    other_bucket: str = ""
    """For copies between buckets, below the same prefix; "": not checked."""
    make_buckets: bool = False
    """Buckets may be made and deleted."""


class Check(NamedTuple):
    """One guarantee."""

    name: str
    promise: str
    on: str
    """"store": needs a real store. "wire": against a server of ours that misbehaves on order."""
    needs: tuple[str, ...]
    """Fields of Capabilities without which it is not run; a timer as ``timer:stall``."""
    function: Callable[[Case], str | None]


class Finding(NamedTuple):
    """What came of a check."""

    check: str
    outcome: str
    """yes, no, declared, store or skipped."""
    reason: str
    elapsed_s: float


CHECKS: dict[str, Check] = {}
"""By name, in the order of their definition. Filled when ``s3engine.testing.conformance`` is imported."""


def check(
    name: str, *, on: str = "store", needs: Iterable[str] = ()
) -> Callable[[Callable[[Case], str | None]], Callable[[Case], str | None]]:
    """Register a function as a check."""

    def register(function: Callable[[Case], str | None]) -> Callable[[Case], str | None]:
        promise = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        CHECKS[name] = Check(name, promise, on, tuple(needs), function)
        return function

    return register


def expect(condition: object, seen: str) -> None:
    """Raise Broken, saying what was seen, unless the condition holds (``assert`` is gone under ``python -O``)."""
    if not condition:
        raise Broken(seen)


def raises(kind: type[E], what: str, function: Callable[..., Any], *args: Any, **keywords: Any) -> E:
    """Call ``function``, which must raise an error of this kind, and return that; ``what`` names it in words."""
    try:
        got = function(*args, **keywords)
    except kind as error:
        return error
    except Exception as error:
        raise Broken(f"{what} raised {type(error).__name__} ({error}), not {kind.__name__}") from error
    raise Broken(f"{what} raised nothing and returned {str(got)[:100]!r}; {kind.__name__} was due")


class Case:
    """What one check is given: the transport, a witness, and names of its own in the store."""

    def __init__(
        self, transport: str, store: Store, name: str = "", *, run: str = "",
        opens: Callable[[str, TransportSettings], Any] = open_transport,
    ) -> None:  # fmt: skip
        self.transport = transport
        """Dotted name."""
        self.run = run
        self.store = store
        self.bucket = store.bucket
        self.prefix = f"{store.prefix}{run or 'check'}/{name}/"
        self.settings = store.settings
        self._stack = contextlib.ExitStack()
        self._api: Any = None
        self._opens = opens
        self._witness: Witness | None = None
        self._numbers = itertools.count(1)

    @property
    def api(self) -> Any:
        """The transport, opened on the store."""
        if self._api is None:
            self._api = self.open()
        return self._api

    @property
    def witness(self) -> Witness:
        """The independent client of the store."""
        if self._witness is None:
            self._witness = self._stack.enter_context(Witness.from_settings(self.settings))
        return self._witness

    def open(self, **changes: Any) -> Any:
        """Another transport, with other settings; closed when the check is over."""
        api = self._opens(self.transport, replace(self.settings, **changes))
        self._stack.callback(api.close)
        return api

    @contextlib.contextmanager
    def wire(self, *script: Say, at_accept: str = "", **changes: Any) -> Iterator[tuple[Any, Scripted]]:
        """A transport whose endpoint is a server that does what the script says."""
        with Scripted(*script, at_accept=at_accept) as server:
            api = self._opens(
                self.transport,
                replace(self.settings, endpoint_url=server.endpoint_url, addressing_style="path", **changes),
            )
            try:
                yield api, server
            finally:
                api.close()

    def key(self, name: str = "") -> str:
        """A key that no other check has."""
        return self.prefix + (name or f"{next(self._numbers):03}")

    def get(self, key: str, **keywords: Any) -> bytes:
        """The body by the transport."""
        return self.get_all(key, **keywords)[0]

    def get_all(self, key: str, **keywords: Any) -> tuple[bytes, GetResult]:
        """Body and result by the transport."""
        return fetch(self.api, self.bucket, key, **keywords)

    def put(self, key: str, body: Body = b"x", headers: tuple[tuple[str, str], ...] = ()) -> Any:
        """Store by the transport."""
        return self.api.put_object(self.bucket, key, body, headers, timeouts=T)

    def close(self) -> None:
        """Close what was opened."""
        self._stack.close()


def fetch(api: Any, bucket: str, key: str, *, timeouts: Timeouts = T, **keywords: Any) -> tuple[bytes, GetResult]:
    """One GetObject into memory."""
    sink = MemorySink()
    result: GetResult = api.get_object(bucket, key, sink, timeouts=timeouts, **keywords)
    return sink.body(), result


def run_check(one: Check, transport: str, store: Store, run: str, timeout_s: float = CHECK_TIMEOUT_S) -> Finding:
    """Run one check, in a thread of its own: one that does not end is a finding too, and its thread is left behind.

    What it leaves in the store is for the caller to remove.
    """
    found: list[Finding] = []
    worker = threading.Thread(
        target=lambda: found.append(_run_check(one, transport, store, run)), name=f"check-{one.name}", daemon=True
    )
    worker.start()
    worker.join(timeout_s)
    return found[0] if found else Finding(one.name, "no", f"it hangs: no end after {timeout_s:.0f} s", timeout_s)


_PASSING = (NetworkError, ServerFault, Throttled)


def _run_check(one: Check, transport: str, store: Store, run: str, *, again: bool = False) -> Finding:
    started = time.monotonic()
    case = Case(transport, store, one.name, run=run)

    def finding(outcome: str, reason: str) -> Finding:
        return Finding(one.name, outcome, " ".join(reason.split()), time.monotonic() - started)

    try:
        missing = _missing(case.api, one.needs)
        if missing:
            return finding("declared", missing)
        return finding("yes", one.function(case) or "")
    except Declared as error:
        return finding("declared", str(error))
    except StoreCannot as error:
        return finding("store", str(error))
    except Skipped as error:
        return finding("skipped", str(error))
    except Broken as error:
        if one.on == "store" and isinstance(error.__cause__, _PASSING) and not again:
            return _run_check(one, transport, store, f"{run}/again", again=True)
        return finding("no", str(error))
    except Exception as error:  # noqa: BLE001  (whatever a transport raises against its promise is the finding)
        if one.on == "store" and isinstance(error, _PASSING) and not again:
            # A store may fail once, and a transport makes one attempt: retries are the engine's.
            return _run_check(one, transport, store, f"{run}/again", again=True)
        if _of_the_witness(error):
            return finding("store", f"the independent client met {type(error).__name__}: {error}")
        kind = "" if isinstance(error, S3EngineError) else " (not an error of s3engine)"
        return finding("no", f"{type(error).__name__}{kind}: {error}")
    finally:
        case.close()


def _of_the_witness(error: BaseException) -> bool:
    """Whether it was raised in the independent client: then nothing is known of the transport."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_filename == witness.__file__ for frame, _ in frames)


def _missing(api: Any, needs: tuple[str, ...]) -> str:
    able = api.capabilities
    for need in needs:
        if need.startswith("timer:"):
            if need[6:] not in able.timers:
                return f"no {need[6:]} timer: {able.reason('timers')}"
        elif not getattr(able, need):
            reason: str = able.reason(need)
            return reason
    return ""


def new_run() -> str:
    """A name for what one run writes: no two runs share it."""
    return f"s3engine-check-{os.getpid()}-{secrets.token_hex(4)}"
