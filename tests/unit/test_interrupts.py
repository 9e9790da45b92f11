"""Ctrl-C at moments at which Python by itself would lose it, or end in another way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from s3engine.cli.interrupts import Interrupts

NAMED_TUPLE = """
import os, signal, sys
from s3engine.cli.interrupts import Interrupts

with Interrupts() as interrupts:
    try:
        eval("[1 for _ in iter(lambda: os.kill(os.getpid(), signal.SIGINT), 1)]", {"os": os, "signal": signal})
    except KeyboardInterrupt:
        code = interrupts.exit_code
sys.exit(code)
"""


class _Dropped:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            time.sleep(0)  # where the handler gets its turn


def _drop() -> None:
    _Dropped()
    time.sleep(5)


def test_ctrl_c_in_a_finalizer_comes_after_it() -> None:
    """An interrupt that comes while a finalizer runs is raised when that is over, not printed and forgotten."""
    interrupts = Interrupts()
    with interrupts, pytest.raises(KeyboardInterrupt):
        _drop()
    assert interrupts.exit_code == 130


def test_ctrl_c_in_text_that_is_run_ends_with_its_code() -> None:
    """An interrupt in text that is run, as imports do for named tuples, leaves the exit code to the program."""
    done = subprocess.run([sys.executable, "-c", NAMED_TUPLE], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (130, b"")
