"""What tests share: a client that is independent of s3engine, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable

from s3engine.testing.witness import Answer
from s3engine.testing.witness import Witness as S3Probe

__all__ = ["Answer", "S3Probe", "eventually"]


def eventually(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait for what another process or thread does. Raises AssertionError when it does not come true."""
    give_up_at_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at_s, f"not within {within_s} s"
        time.sleep(0.02)
