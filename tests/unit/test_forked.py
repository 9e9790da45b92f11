"""Forked workers without multiprocessing. Forked from a process of its own: this one may have threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAD = """
import os, select, signal, sys, time
from s3engine.pool.forked import ForkedProcess, wait_for_ends
"""


def _run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _HEAD + code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("what", "code"), [
    ("os._exit(0)", "0"), ("os._exit(3)", "3"), ("os.kill(os.getpid(), 9)", "-9"), ("None", "1"), ("1 / 0", "1"),
])  # fmt: skip
def test_how_it_ended(what: str, code: str) -> None:
    """The exit code, or the signal; a function that returns or raises never comes back into the parent's code."""
    text = f"p = ForkedProcess(lambda a, b: {what}, (1, 2)); p.join(); print(p.exitcode, p.is_alive()); p.close()"
    assert _run(text) == [code, "False"]


def test_its_end_is_seen() -> None:
    """While it lives its sentinel is quiet; kill() ends it, once, and nobody who has its number since."""
    text = """
p = ForkedProcess(time.sleep, (60,))
print(p.is_alive(), wait_for_ends([p.sentinel], 0.0))
p.kill()
print(wait_for_ends([p.sentinel], None) == [p.sentinel])
p.join()
p.kill()
print(p.is_alive(), p.exitcode)
p.close()
"""
    assert _run(text) == ["True", "[]", "True", "False", "-9"]


def test_children_that_the_system_reaps() -> None:
    """Where the application ignores SIGCHLD there is no exit code, but its end is seen all the same."""
    text = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
p = ForkedProcess(time.sleep, (60,))
alive = p.is_alive()
os.kill(p.pid, signal.SIGKILL)
p.join()
print(alive, p.is_alive(), p.exitcode)
"""
    assert _run(text) == ["True", "False", "None"]


def test_the_parents_streams_stay_the_parents() -> None:
    """What waited in a stream is written once, and the child reads nothing of the parent's input."""
    text = """
def child(pipe):
    os.write(pipe, repr(sys.stdin.read()).encode())
    sys.stdout.flush()
    os._exit(0)

read, write = os.pipe()
print("once")
p = ForkedProcess(child, (write,))
p.join()
print(os.read(read, 100).decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + text], input="secret", capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["once", "''"]
