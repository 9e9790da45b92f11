"""Fixtures that several unit tests use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from s3engine.control.shared import SharedBlock

if TYPE_CHECKING:
    import urllib3

    from tests.deadline_server import Server

# Examples have no deadline: on a machine with much to do one of them may take a second.
settings.register_profile("s3engine", deadline=None)
settings.load_profile("s3engine")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder to work in, and nothing that the user has set: no variables, files or roles."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "S3ENGINE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def block() -> Iterator[SharedBlock]:
    """Shared memory for two workers."""
    block = SharedBlock.create(2)
    yield block
    block.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that does as it is told."""
    from tests.deadline_server import Server

    made = Server()
    yield made
    made.close()


@pytest.fixture
def manager() -> Iterator[urllib3.PoolManager]:
    """urllib3 with the deadlines of the transports."""
    import urllib3

    from s3engine_transports.deadlines import pool_classes

    made = urllib3.PoolManager(retries=False, maxsize=4)
    made.pool_classes_by_scheme = pool_classes
    yield made
    made.clear()
