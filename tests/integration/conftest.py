"""Fixtures that only integration tests use."""

from __future__ import annotations

import pytest

from tests.environments import FreshEnvironment


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """A virtual environment with s3engine and none of its extras. Who installs something there takes it away again."""
    return FreshEnvironment(tmp_path_factory.mktemp("fresh"))
