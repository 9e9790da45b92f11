"""What the tests of the obstore transport share."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytest.importorskip("obstore", reason="the obstore transport needs the package obstore")

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.transport import Timeouts
from s3engine_transports.via_obstore import ObstoreTransport

T = Timeouts(connect_s=5, stall_s=15, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024
BUCKET = "via-obstore"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the machine that runs the tests are nobody's business here."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def open_obstore(endpoint_url: str, server: Any = None, **changes: Any) -> ObstoreTransport:
    credentials = Credentials(server.access_key, server.secret_key) if server else Credentials("AKID", "secret")
    return ObstoreTransport(TransportSettings(**{"endpoint_url": endpoint_url, "credentials": credentials, **changes}))


def get(api: ObstoreTransport, bucket: str, key: str, **keywords: Any) -> bytes:
    sink = MemorySink()
    api.get_object(bucket, key, sink, timeouts=T, **keywords)
    return sink.body()


def list_keys(api: ObstoreTransport, bucket: str, prefix: str = "", max_keys: int = 1000, **keywords: Any) -> list[str]:
    keys: list[str] = []
    token = ""
    while True:
        page = api.list_objects_v2(bucket, prefix, continuation_token=token, max_keys=max_keys, timeouts=T, **keywords)
        assert len(page.objects) + len(page.prefixes) <= max_keys
        keys += [info.key for info in page.objects] + page.prefixes
        token = page.next_token
        if not token:
            return keys


