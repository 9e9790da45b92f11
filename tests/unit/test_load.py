"""Opening a transport by its name."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from s3engine.config import TransportSettings
from s3engine.errors import ConfigError
from s3engine.pool.load import open_transport, worker_modules
from s3engine.testing import FaultyTransport


class _Fails(FaultyTransport):
    """Raises what a test says when it is opened."""

    error: Exception = OSError("no such device")

    def __init__(self, settings: Any) -> None:
        raise self.error


class _NoMemory(_Fails):
    error = MemoryError()


class _NoMemoryOfTheSystem(_Fails):
    error = OSError(errno.ENOMEM, "Cannot allocate memory", "somewhere")


class _NoMemoryForAnException(_Fails):
    error = SystemError("error return without exception set")


def test_no_memory_is_no_error_of_configuration() -> None:
    """What a transport raises when it is opened becomes ConfigError, but not MemoryError: it may pass."""
    settings = TransportSettings(endpoint_url="http://127.0.0.1:9", region="us-east-1")
    with pytest.raises(ConfigError, match="no such device"):
        open_transport(f"{__name__}:_Fails", settings)
    for name in ("_NoMemory", "_NoMemoryOfTheSystem", "_NoMemoryForAnException"):
        with pytest.raises(MemoryError):
            open_transport(f"{__name__}:{name}", settings)


@pytest.mark.parametrize(
    ("url", "proxy", "late"),
    [
        ("http://127.0.0.1:9000", "", False), ("http://[::1]:9000", "", False), ("http://localhost:9000", "", True),
        ("https://127.0.0.1:9000", "", True), ("", "", True), ("http://127.0.0.1:9000", "http://proxy:3128", True),
        ("http://user:word@127.0.0.1", "", False),
    ],
)  # fmt: skip
def test_workers_import_what_they_will_need(url: str, proxy: str, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib3's part of the raw transport is named for TLS, proxies and host names, not for HTTP to an address."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    if proxy:
        monkeypatch.setenv("http_proxy", proxy)
    found = worker_modules("raw", TransportSettings(endpoint_url=url, region="us-east-1"))
    assert found == ["s3engine_transports.raw", *(["s3engine_transports.raw.pooled"] if late else [])]
