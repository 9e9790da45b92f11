"""How the start method of the workers is chosen."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from s3engine.errors import ConfigError
from s3engine.pool.launch import choose_start_method

SCRIPT = """
import os, threading
from s3engine.errors import ConfigError
from s3engine.pool.launch import choose_start_method
print(choose_start_method("auto"), choose_start_method("fork"))
release = threading.Event()
thread = threading.Thread(target=release.wait)
thread.start()
print(choose_start_method("auto"))
release.set()
thread.join()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_named_method_is_taken(method: str) -> None:
    """spawn and forkserver are always possible."""
    assert choose_start_method(method) == method


def test_auto_forks_only_while_there_is_one_thread() -> None:
    """auto is fork in a process with one thread, counted where C libraries' threads count too, else forkserver."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["fork", "fork", "forkserver"]


def test_fork_is_refused_beside_threads() -> None:
    """fork in a process with threads is refused with the way out."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(ConfigError, match="'forkserver' or 'spawn'"):
            choose_start_method("fork")
        assert choose_start_method("auto") == "forkserver"
    finally:
        release.set()
        thread.join()
