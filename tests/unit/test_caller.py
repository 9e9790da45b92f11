"""Single calls from the parent keep pauses, and wait for a store that is down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from s3engine.control.estimator import OpClass
from s3engine.control.pauses import Pauses
from s3engine.control.retry import RetryPolicy
from s3engine.control.shared import LAST_SUCCESS_S, SharedBlock
from s3engine.control.timeouts import AdaptiveTimeouts
from s3engine.credentials import CredentialSource
from s3engine.errors import NotFound, S3EngineError, ServerFault, Throttled
from s3engine.pool.caller import Caller

DOWN = ServerFault("bad gateway", status=502)


class Store:
    """Fails as told until a time; ``head_bucket`` may fare otherwise."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.asked = 0
        self.head: Callable[[], S3EngineError | None] = lambda: None

    def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now += max(wait_s, 0.001)

    def head_bucket(self, bucket: str, *, timeouts: Any) -> None:
        self.asked += 1
        error = self.head()
        if error is not None:
            raise error


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    """Shared memory for a worker and the parent."""
    block = SharedBlock.create(2)
    yield block
    block.close()


def _caller(block: SharedBlock, store: Store, **policy: Any) -> Caller:
    return Caller(
        store, block, 1, AdaptiveTimeouts(), RetryPolicy(**policy), CredentialSource(anonymous=True),
        clock=lambda: store.now, sleep=store.sleep, rng=lambda: 0.5,
    )  # fmt: skip


def _until(store: Store, until_s: float, error: S3EngineError) -> Callable[[Any], str]:
    def answer(_: Any) -> str:
        if store.now < until_s:
            raise error
        return "page"

    return answer


def test_call_waits_for_the_end_of_an_outage(block: SharedBlock) -> None:
    """A store that was well and answers 502 to everything for a minute: the listing goes on after it."""
    store = Store()
    block.slots[0][LAST_SUCCESS_S] = 99.0
    store.head = lambda: DOWN if store.now < 160.0 else None
    caller = _caller(block, store, max_attempts=4)
    assert caller.call(OpClass.LIST, "b", _until(store, 160.0, DOWN)) == "page"
    assert 20 <= store.asked <= 60


def test_call_that_alone_fails_is_given_up(block: SharedBlock) -> None:
    """The store answers something else: max_attempts and one more."""
    store = Store()
    block.slots[0][LAST_SUCCESS_S] = 99.0
    caller = _caller(block, store, max_attempts=4)
    calls = 0

    def listing(_: Any) -> None:
        nonlocal calls
        calls += 1
        raise DOWN

    with pytest.raises(ServerFault):
        caller.call(OpClass.LIST, "b", listing)
    assert (calls, store.asked) == (5, 1)


def test_outage_without_end_is_given_up(block: SharedBlock) -> None:
    """Nothing has succeeded for give_up_after_s: the call fails with its own error."""
    store = Store()
    block.slots[0][LAST_SUCCESS_S] = 99.0
    store.head = lambda: DOWN
    with pytest.raises(ServerFault, match="bad gateway"):
        _caller(block, store, max_attempts=4).call(OpClass.LIST, "b", _until(store, 1e9, DOWN))
    assert 1000.0 <= store.now <= 1010.0


def test_store_that_never_answered_fails_by_attempts(block: SharedBlock) -> None:
    """Nothing ever worked: no waiting."""
    store = Store()
    with pytest.raises(ServerFault):
        _caller(block, store, max_attempts=4).call(OpClass.LIST, "b", _until(store, 1e9, DOWN))
    assert store.asked == 0
    assert store.now < 110.0


def test_pauses_hold_for_the_parent(block: SharedBlock) -> None:
    """Told to come back later, the parent makes no call to that bucket before, and tells the workers."""
    store = Store()
    caller = _caller(block, store)
    slow = Throttled("slow", retry_after_s=60.0)
    assert caller.call(OpClass.LIST, "b", _until(store, 100.001, slow)) == "page"
    assert store.now >= 106.0
    before = store.now
    with pytest.raises(NotFound):
        caller.call(OpClass.LIST, "b", _until(store, 1e9, NotFound("none", status=404)))
    assert store.now - before < 10.0


def test_parent_keeps_pauses_that_workers_were_told(block: SharedBlock) -> None:
    """A worker was told to come back later: the parent makes no call to that bucket before, to others it does."""
    store = Store()
    caller = _caller(block, store)
    Pauses(block, 0, RetryPolicy(), lambda: 0.5).throttled("b", 60.0, 99.0, 100.0)
    assert caller.call(OpClass.LIST, "another", _until(store, 0.0, DOWN)) == "page"
    assert store.now == 100.0
    assert caller.call(OpClass.LIST, "b", _until(store, 0.0, DOWN)) == "page"
    assert store.now >= 106.0
