"""Servers and buckets for all tests."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

# So that `from tests.helpers import ...` works under `python -I` too. At the end of the path: an installed s3engine
# must win over the checkout.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe
from tests.relays import Relay, behind_tls
from tests.servers import Ministack, RcloneServer, ServerUnavailable

_numbers = itertools.count(1)

# No limit of 200 ms for an example: other processes may have the processor. And no memory of earlier runs: a run tells
# the same as the next.
settings.register_profile("s3engine", deadline=None, database=None)
settings.load_profile("s3engine")


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of endpoints stays with the tests, whose ports mean something else each time."""
    with pytest.MonkeyPatch.context() as patch:
        # SeaweedFS is written in Go, and would keep as garbage what it ever held of large objects: a gigabyte for each
        # of the processes that run tests. All its servers are started by this process or by what it starts. What it
        # needs is below 200 MiB; with no more than that it would do nothing but collect.
        if "GOMEMLIMIT" not in os.environ:
            patch.setenv("GOMEMLIMIT", "640MiB")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1; its key lies beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(path),
         "-keyout", str(path.with_suffix(".key"))],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return path


@pytest.fixture
def tls(seaweed: EmbeddedServer, certificate: Path) -> Iterator[Relay]:
    """SeaweedFS behind TLS."""
    with Relay(behind_tls(certificate, seaweed.port)) as relay:
        yield relay
