"""Fixtures that only integration tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from s3engine import Engine
from s3engine.embedded import EmbeddedServer
from tests.environments import FreshEnvironment
from tests.faults import FaultProxy, Plan
from tests.helpers import S3Probe, point_at
from tests.integration.compare_common import Compare
from tests.integration.engine_common import SETTINGS
from tests.integration.through import Through

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """A virtual environment with s3engine and none of its extras. Who installs something there takes it away again."""
    return FreshEnvironment(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def environment(seaweed: EmbeddedServer) -> Iterator[pytest.MonkeyPatch]:
    """AWS_* variables of ``seaweed``, and no configuration files, here and in what is started; more can be set."""
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, seaweed)
        yield patch


@pytest.fixture(scope="module")
def few_attempts(environment: pytest.MonkeyPatch) -> None:
    """The same, with few attempts, and two workers."""
    environment.setenv("S3ENGINE_MAX_ATTEMPTS", "3")
    environment.setenv("S3ENGINE_WORKERS", "2")


@pytest.fixture(scope="module")
def engine(environment: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Two workers; objects above 5 MiB go in parts."""
    with Engine(**SETTINGS) as engine:
        yield engine


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the machine that runs the tests are left out of it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def through_settings() -> dict[str, Any]:
    """Settings of the engines that ``through`` makes. A file that needs others has a fixture of this name."""
    return {
        "workers": 2, "concurrency": 16, "retry_throttle_base_s": 0.05,
        "multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB,
    }  # fmt: skip


@pytest.fixture
def through(
    seaweed: EmbeddedServer, environment: pytest.MonkeyPatch, through_settings: dict[str, Any]
) -> Iterator[Through]:
    """Make an engine that reaches ``seaweed`` through a proxy with a plan, and the proxy."""
    with ExitStack() as stack:

        def make(plan: Plan | None = None, **settings: Any) -> tuple[Engine, FaultProxy]:
            proxy = stack.enter_context(FaultProxy("127.0.0.1", seaweed.port, plan))
            settings = {"endpoint_url": proxy.endpoint_url, **through_settings, **settings}
            return stack.enter_context(Engine(**settings)), proxy

        yield make


@pytest.fixture
def made(through: Through) -> Callable[..., Engine]:
    """The same for who does not look at the proxy."""
    return lambda *given, **settings: through(*given, **settings)[0]


@pytest.fixture
def compare(tmp_path: Path, bucket: str, probe: S3Probe, seaweed: EmbeddedServer) -> Compare:
    """``s3engine compare`` for an otherwise empty bucket, in which one object lies that is none of its business."""
    probe.put(bucket, "p/other", b"stays")
    return Compare(tmp_path, bucket, seaweed.environment())


@pytest.fixture
def nothing_left(compare: Compare, probe: S3Probe) -> Any:
    """A check that the bucket holds what it held before."""

    def check() -> None:
        assert probe.list_keys(compare.bucket) == ["p/other"]
        assert b"<Upload>" not in probe.request("GET", f"/{compare.bucket}", query="uploads=").body

    return check
