"""Workers that do not go on are reported, stopped ones ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from s3engine.control.shared import HEARTBEAT_S, SharedBlock
from s3engine.pool.watch import Watch, process_state
from tests.helpers import eventually


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    """Shared memory for one worker."""
    block = SharedBlock.create(1)
    yield block
    block.close()


@pytest.fixture
def stopped() -> Iterator[int]:
    """The pid of a process that is stopped."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(process.pid, signal.SIGSTOP)
    eventually(lambda: process_state(process.pid) == "T")
    yield process.pid
    process.kill()
    process.communicate()


def _worker(pid: int, tasks: int = 3) -> Any:
    return SimpleNamespace(process=SimpleNamespace(pid=pid), index=0, ready=True, tasks=dict.fromkeys(range(tasks)))


def _look(watch: Watch, worker: Any, first: int, last: int) -> float:
    """The second at which the worker is to be killed; 0.0 when it is not."""
    for now in range(first, last, 2):
        if watch.look([worker], float(now)):
            return float(now)
    return 0.0


def test_stopped_worker_is_reported_and_ended(
    block: SharedBlock, stopped: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Reported after half a minute, killed after five."""
    block.slots[0][HEARTBEAT_S] = 1000.0
    assert 1300 <= _look(Watch(block), _worker(stopped), 1002, 2000) <= 1320
    first, last = caplog.messages
    assert "stopped (SIGSTOP?)" in first
    assert "3 objects" in first
    assert "is ended" in last


def test_worker_that_hangs_is_reported_only(block: SharedBlock, caplog: pytest.LogCaptureFixture) -> None:
    """One that is not stopped is never killed; it is reported now and then."""
    block.slots[0][HEARTBEAT_S] = 1000.0
    assert _look(Watch(block), _worker(os.getpid()), 1002, 3000) == 0.0
    assert 3 <= len(caplog.messages) <= 4


@pytest.mark.parametrize("idle", [False, True])
def test_worker_that_goes_on_is_left_alone(
    block: SharedBlock, stopped: int, caplog: pytest.LogCaptureFixture, idle: bool
) -> None:
    """One with a heartbeat, or without anything to do, is no one's business."""
    worker = _worker(stopped, tasks=0 if idle else 3)
    watch = Watch(block)
    for now in range(1000, 2000, 2):
        block.slots[0][HEARTBEAT_S] = 1000.0 if idle else now - 1.0
        assert watch.look([worker], float(now)) == []
    assert caplog.messages == []


def test_time_away_of_the_parent_does_not_count(block: SharedBlock, stopped: int) -> None:
    """Ctrl-Z for an hour stops the parent as well: after it the worker has its five minutes."""
    block.slots[0][HEARTBEAT_S] = 1000.0
    watch = Watch(block)
    assert _look(watch, _worker(stopped), 1002, 1200) == 0.0
    assert _look(watch, _worker(stopped), 4600, 6000) >= 4900
