"""Credentials are looked up in advance, away from the supervisor's thread, and handed on when they have changed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from s3engine.credentials import Credentials
from s3engine.errors import NoCredentials
from s3engine.pool.renewal import CredentialRenewal

OLD, NEW = Credentials("OLD", "secret"), Credentials("NEW", "secret")


class Source:
    """Has what it is told to have."""

    def __init__(self) -> None:
        self.fixed = False
        self.has: Credentials | Exception = OLD
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def current(self) -> Credentials:
        self.asked += 1
        assert self.answers.wait(10)
        if isinstance(self.has, Exception):
            raise self.has
        return self.has


class Fleet:
    """Workers that have the old credentials; ``handed`` are those they were given."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(transport_settings=SimpleNamespace(credentials=OLD))
        self.handed: list[Credentials] = []

    def set_credentials(self, credentials: Credentials) -> None:
        self.handed.append(credentials)
        self.settings.transport_settings.credentials = credentials


class Bench:
    """A renewal that began at 100 s of a clock that stands."""

    def __init__(self) -> None:
        self.source = Source()
        self.fleet = Fleet()
        self.now = 100.0
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        source, fleet = cast(Any, self.source), cast(Any, self.fleet)
        self._renewal = CredentialRenewal(source, fleet, self._calls.put, lambda: self.now)

    def tick(self, now: float) -> None:
        self.now = now
        self._renewal.tick(now)

    def found(self) -> None:
        """A look-up comes to its end, and the supervisor hears of it."""
        self._calls.get(timeout=10)()


def test_credentials_are_looked_up_in_advance() -> None:
    """Every 30 s, though no store has refused the old ones; new ones go to all workers, the same ones do not."""
    bench = Bench()
    bench.source.has = NEW
    bench.tick(129.9)
    assert bench.source.asked == 0
    for now in (130.0, 160.0):
        bench.tick(now)
        bench.found()
        bench.tick(now + 29.9)
    assert bench.source.asked == 2
    assert bench.fleet.handed == [NEW]


def test_fixed_credentials_are_not_looked_up() -> None:
    """Keys out of the environment cannot change."""
    bench = Bench()
    bench.source.fixed = True
    bench.tick(1000.0)
    assert bench.source.asked == 0


@pytest.mark.parametrize("error", [NoCredentials("the metadata service is away"), RuntimeError("a plug-in broke")])
def test_look_up_that_fails_changes_nothing(error: Exception) -> None:
    """The workers go on with what they have, and the next look-up is made."""
    bench = Bench()
    bench.source.has = error
    bench.tick(130.0)
    bench.found()
    assert bench.fleet.handed == []
    bench.source.has = NEW
    bench.tick(160.0)
    bench.found()
    assert bench.fleet.handed == [NEW]


def test_one_look_up_at_a_time() -> None:
    """While one is under way no other is begun, however long it takes."""
    bench = Bench()
    bench.source.answers.clear()
    for now in (130.0, 160.0, 190.0):
        bench.tick(now)
    bench.source.answers.set()
    bench.found()
    assert bench.source.asked == 1
