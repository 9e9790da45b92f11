"""Servers and buckets for all tests."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# So that `from tests.helpers import ...` works under `python -I` too. At the end of the path: an installed s3engine
# must win over the checkout.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe
from tests.servers import Ministack, RcloneServer, ServerUnavailable

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[EmbeddedServer]:
    """SeaweedFS: production server, checks signatures and checksums; not exact with odd keys."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    """ministack: exact with odd keys and order of listing; skipped when it cannot be installed."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Ministack())
        except ServerUnavailable as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[RcloneServer]:
    """rclone serve s3: answers 200 with Content-Range to ranges; no copy of parts, no conditions."""
    with RcloneServer() as server:
        yield server


@pytest.fixture(scope="session")
def probe(seaweed: EmbeddedServer) -> Iterator[S3Probe]:
    """A client of ``seaweed`` that shares nothing with s3engine."""
    with S3Probe(seaweed.endpoint_url, seaweed.access_key, seaweed.secret_key) as probe:
        yield probe


@pytest.fixture
def bucket(probe: S3Probe) -> Iterator[str]:
    """Name of a fresh, empty bucket of ``seaweed``, deleted with all it holds after the test."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    probe.create_bucket(name)
    yield name
    probe.delete_all(name)
