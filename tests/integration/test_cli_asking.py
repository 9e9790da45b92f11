"""Ctrl-C while the command line asks the store which checksums it compares."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from s3engine import Engine
from s3engine.embedded import EmbeddedServer
from tests.faults.kinds import Fault, Latency
from tests.faults.proxy import FaultProxy
from tests.helpers import eventually, point_at
from tests.integration.test_cli_verbs import TIMEOUT_S, Cli, group_is_gone


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_interrupted_while_the_store_is_asked(
    nth: int, tmp_path: Path, seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No upload in parts is left in the store, and the object that the question was for is counted."""
    point_at(monkeypatch, seaweed)
    asked = threading.Event()
    begun = 0

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault:
        nonlocal begun
        if head.startswith(b"POST ") and b"uploads" in head.partition(b"\r\n")[0]:
            begun += 1
            if begun == nth:
                asked.set()
        return Latency(0.15)

    with FaultProxy("127.0.0.1", seaweed.port, plan) as proxy:
        cli = Cli(tmp_path, seaweed.environment() | {"XDG_CACHE_HOME": str(tmp_path / "cache")})
        cli.write("large", b"x" * 20_000_000)
        with cli.begin("cp", "large", f"s3://{bucket}/large", AWS_ENDPOINT_URL=proxy.endpoint_url) as process:
            assert asked.wait(TIMEOUT_S)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 130
        assert err.startswith("interrupted, 1 object given up: ")
        eventually(lambda: group_is_gone(process))
    with Engine(workers=1) as engine:
        assert list(engine.uploads(bucket, "")) == []
