"""What tests share: a client that is independent of s3engine, the way to a server, and waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from s3engine.testing.witness import Answer
from s3engine.testing.witness import Witness as S3Probe

if TYPE_CHECKING:
    import pytest

__all__ = ["Answer", "S3Probe", "eventually", "point_at"]


class Server(Protocol):
    """Any of the servers of conftest.py."""

    def environment(self) -> dict[str, str]:
        """AWS_* variables that lead to it."""


def point_at(patch: pytest.MonkeyPatch, server: Server, **more: str) -> None:
    """Set the AWS_* variables of a server and whatever else is given; no configuration file is read."""
    for name, value in {**server.environment(), **more}.items():
        patch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, "/nowhere")
    patch.delenv("AWS_PROFILE", raising=False)


def file_state(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """What an upload tells of the file that it sent: time of the last write, number, time of the last change."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def eventually(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait for what another process or thread does. Raises AssertionError when it does not come true."""
    give_up_at_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at_s, f"not within {within_s} s"
        time.sleep(0.02)
