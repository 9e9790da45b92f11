"""Credentials that end while a batch runs: refused ones are replaced, and most are replaced before that."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from s3engine import BytesSource, Engine
from s3engine.testing.conformance.scripted import Request, Scripted, object_answer
from tests.faults import Fault, FaultProxy
from tests.helpers import eventually
from tests.integration.faults_common import answer, sources
from tests.integration.retry_common import failures

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def renew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The profile ``changing``, whose key is OLDKEY until this is called, and NEWKEY from then on."""
    renewed, helper, config = tmp_path / "renewed", tmp_path / "helper.py", tmp_path / "config"
    # Less than the quarter of an hour from which on botocore asks again each time.
    expires = (datetime.now(timezone.utc) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answers = [
        json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": "secret", "Expiration": expires})
        for key in ("OLDKEY", "NEWKEY")
    ]
    helper.write_text(f"import os\nprint({answers!r}[os.path.exists({str(renewed)!r})])\n")
    config.write_text(f"[profile changing]\ncredential_process = {sys.executable} {helper}\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return renewed.touch


def _signer(request: Request) -> str:
    found = re.search("Credential=([A-Z]*)/", request.headers["authorization"])
    assert found
    return found[1]


def test_credentials_that_expire_in_mid_batch(renew: Callable[[], None]) -> None:
    """After 40 objects the store refuses the key: fresh ones are fetched, all is done, and it costs no attempt."""
    taken = 0

    def plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        nonlocal taken
        if not request_no or b"OLDKEY" not in head:
            return None
        taken += 1
        if taken <= 40:
            return None
        renew()
        return answer(400, "ExpiredToken")

    with (
        Scripted(object_answer(b"")) as store,
        FaultProxy("127.0.0.1", store.port, plan) as proxy,
        Engine(
            endpoint_url=proxy.endpoint_url, profile="changing", workers=2, concurrency=16, checksum="none",
            max_attempts=1,
        ) as engine,
    ):  # fmt: skip
        assert failures(engine.upload("bucket", sources(100))) == []
        assert 1 <= proxy.log.faults["Respond"] <= 60  # each of the others once at most
    assert sorted(request.target for request in store.requests) == sorted(f"/bucket/k{n}" for n in range(100))
    assert Counter(map(_signer, store.requests)) == {"OLDKEY": 40, "NEWKEY": 60}


def test_credentials_are_renewed_in_advance(renew: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that lives long signs with fresh credentials before the store refuses the old ones."""
    monkeypatch.setattr("s3engine.pool.renewal._EVERY_S", 0.2)
    with (
        Scripted(object_answer(b"")) as store,
        Engine(endpoint_url=store.endpoint_url, profile="changing", workers=1, checksum="none") as engine,
    ):
        assert failures(engine.upload("bucket", sources(1))) == []
        renew()

        def is_renewed() -> bool:
            assert failures(engine.upload("bucket", [BytesSource(b"x", "k")])) == []
            return _signer(store.requests[-1]) == "NEWKEY"

        eventually(is_renewed)
    assert _signer(store.requests[0]) == "OLDKEY"
