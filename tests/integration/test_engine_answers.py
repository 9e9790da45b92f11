"""The engine through a proxy: remedies for what can be mended, and final answers reported by name."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FileSource, SeedTimeouts
from s3engine.embedded import EmbeddedServer, free_ports
from s3engine.errors import AccessDenied, ConnectFailed, NotFound, NotS3, Throttled
from tests.faults import Fault, Latency, Plan, Respond, StallAnswer, always, first, matching
from tests.integration.faults_common import LARGE, MIB, STALL_S, answer, by_key, error_body, only_key, sources
from tests.integration.through import Through

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def through_settings(through_settings: dict[str, Any]) -> dict[str, Any]:
    """A checksum is named, so that plans see no probe."""
    return {**through_settings, "checksum": "md5"}


# ---- remedies


def _signed_too_early(code: str, ahead_s: int) -> Plan:
    """Requests signed with our clock are refused by a store whose clock is ``ahead_s`` ahead."""
    ahead = datetime.now(timezone.utc) + timedelta(seconds=ahead_s)
    skewed = answer(403, code, ("Date", format_datetime(ahead, usegmt=True)))

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        found = re.search(rb"x-amz-date: (\S+)", head, re.IGNORECASE)
        if not found:
            return None
        signed = datetime.strptime(found[1].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        return skewed if signed < ahead - timedelta(seconds=100) else None

    return plan


def test_expired_credentials_are_refreshed(
    through: Through, seaweed: EmbeddedServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store calls the credentials expired fresh ones are fetched, and every object is done with them."""
    renewed = tmp_path / "renewed"
    helper = tmp_path / "helper.py"
    expires = (datetime.now(timezone.utc) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answers = [
        json.dumps({"Version": 1, "AccessKeyId": access, "SecretAccessKey": secret, "Expiration": expires})
        for access, secret in (("OLDKEY", "old"), (seaweed.access_key, seaweed.secret_key))
    ]
    helper.write_text(f"import os\nprint({answers!r}[os.path.exists({str(renewed)!r})])\n")
    config = tmp_path / "config"
    config.write_text(f"[profile changing]\ncredential_process = {sys.executable} {helper}\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        if b"OLDKEY" not in head:
            return None
        renewed.touch()
        return answer(400, "ExpiredToken")

    engine, proxy = through(plan, profile="changing")
    reports = by_key(engine.upload(bucket, sources(100)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert proxy.log.faults["Respond"] >= 1
    renewed.unlink()
    assert engine.list(bucket).count() == 100  # the parent's own calls have a remedy too


@pytest.mark.parametrize(("code", "ahead_s"), [("RequestTimeTooSkewed", 200), ("SignatureDoesNotMatch", 600)])
def test_wrong_clock_is_corrected(through: Through, bucket: str, code: str, ahead_s: int) -> None:
    """One request is told that the clock is wrong: from then on all workers sign with the store's time.

    Without a code of its own for that a clock is wrong when it differs by more than five minutes.
    """
    connections: set[int] = set()

    def plan(connection_no: int, request_no: int, head: bytes) -> Fault | None:
        connections.add(connection_no)
        return refuse(connection_no, request_no, head) or (Latency(0.05) if request_no else None)

    refuse = _signed_too_early(code, ahead_s)
    engine, proxy = through(plan, workers=2, concurrency=16)
    (report,) = engine.upload(bucket, [BytesSource(b"x", "first")])
    assert (report.error, proxy.log.faults["Respond"]) == (None, 1)
    time.sleep(0.15)  # a worker looks at what the others know ten times a second, and before it starts anew
    connections.clear()
    reports = by_key(engine.upload(bucket, sources(100)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert len(connections) > 8  # more than one worker has
    assert proxy.log.faults["Respond"] == 1
    assert engine.list(bucket).count() == 101


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio"])
def test_wrong_clock_fails_nothing_that_is_under_way(through: Through, bucket: str, transport: str) -> None:
    """Many requests that were signed with a wrong clock are refused together: the first one corrects it for all."""
    refuse = _signed_too_early("SignatureDoesNotMatch", 600)

    def plan(connection_no: int, request_no: int, head: bytes) -> Fault | None:
        if request_no == 1:
            time.sleep(0.3)  # no answer goes out before all have been sent
        return refuse(connection_no, request_no, head)

    engine, proxy = through(plan, transport=transport, workers=1, concurrency=8)
    reports = by_key(engine.upload(bucket, sources(24)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert 2 <= proxy.log.faults["Respond"] <= 8


@pytest.mark.parametrize("named_by", ["header", "body"])
def test_region_is_followed(through: Through, bucket: str, named_by: str) -> None:
    """Told the bucket's region, the engine signs for it from then on."""
    if named_by == "header":
        elsewhere = answer(301, "PermanentRedirect", ("x-amz-bucket-region", "us-east-1"))
    else:
        elsewhere = answer(400, "AuthorizationHeaderMalformed", extra="<Region>us-east-1</Region>")
    engine, proxy = through(matching(b"/eu-west-3/s3/", always(elsewhere)), region="eu-west-3")
    reports = by_key(engine.upload(bucket, sources(60)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert 1 <= proxy.log.faults["Respond"] <= 60
    assert engine.list(bucket).count() == 60


# ---- final answers


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(403, "AccessDenied", AccessDenied), (404, "NoSuchKey", NotFound)]
)
def test_final_answer_is_not_retried(through: Through, bucket: str, status: int, code: str, kind: type) -> None:
    """403 and 404 fail their object after one attempt, with status and request id; the others are done."""
    fault = answer(status, code, ("x-amz-request-id", "ID7"))
    engine, _ = through(only_key("k3", always(fault)))
    reports = by_key(engine.upload(bucket, sources(30)))
    assert [key for key, report in reports.items() if not report.ok] == ["k3"]
    bad = reports["k3"]
    assert type(bad.error) is kind
    assert (bad.attempts, bad.status, bad.request_id) == (1, status, "ID7")
    assert "k3" in str(bad.error)


def test_refusal_before_the_body_is_read(through: Through, bucket: str, tmp_path: Path) -> None:
    """A store that refuses a large body before reading it is heard: its error is reported, not a broken pipe."""
    (tmp_path / "f").write_bytes(LARGE[: 4 * MIB])
    refusal = Respond(403, (("Content-Type", "application/xml"),), error_body("AccessDenied"), early=True)
    engine, _ = through(always(refusal))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert isinstance(report.error, AccessDenied)
    assert report.attempts == 1


def test_wrong_secret(seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret fails every object by name after one attempt, and raises from a listing."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with Engine(workers=2, concurrency=8) as engine:
        reports = by_key(engine.upload(bucket, sources(20)))
        assert {(type(report.error), report.attempts) for report in reports.values()} == {(AccessDenied, 1)}
        with pytest.raises(AccessDenied):
            engine.list(bucket).count()


def test_endpoint_that_is_not_there() -> None:
    """An endpoint that refuses connections fails every object with ConnectFailed, and soon."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    began_s = time.monotonic()
    with Engine(workers=2, concurrency=8, endpoint_url=url, max_attempts=2) as engine:
        reports = by_key(engine.upload("bucket", sources(10)))
    assert {type(report.error) for report in reports.values()} == {ConnectFailed}
    assert url.removeprefix("http://") in str(reports["k0"].error)
    assert time.monotonic() - began_s < 30


def test_endpoint_that_is_a_web_server(through: Through, bucket: str) -> None:
    """A web server that says 200 to all is told apart from a store, at once."""
    page = Respond(200, (("Content-Type", "text/html"),), b"<!DOCTYPE html><html>Welcome</html>")
    engine, _ = through(always(page))
    reports = by_key(engine.upload(bucket, sources(5)))
    assert {(type(report.error), report.attempts) for report in reports.values()} == {(NotS3, 1)}
    with pytest.raises(NotS3):
        engine.list(bucket).count()


def test_endpoint_that_speaks_another_protocol() -> None:
    """Something that is no HTTP server is told by name, at once."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while not stop.is_set():
                connection, _ = listener.accept()
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
                connection.recv(10)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Engine(workers=1, concurrency=2, endpoint_url=url, max_attempts=3) as engine:
            reports = by_key(engine.upload("bucket", sources(3)))
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
    assert {type(report.error) for report in reports.values()} == {NotS3}


def test_throttling_that_does_not_end(through: Through, bucket: str) -> None:
    """A store that only says SlowDown gets no more than the attempts, and the objects say why."""
    engine, proxy = through(always(answer(503, "SlowDown")), max_attempts=2)
    reports = by_key(engine.upload(bucket, sources(5)))
    assert {(type(report.error), report.attempts) for report in reports.values()} == {(Throttled, 2)}
    assert proxy.log.requests == 10


# ---- the other policy


def test_seed_policy(through: Through, bucket: str, tmp_path: Path) -> None:
    """The seed's own formula can be used: an answer that does not come is asked for again after its short timeout."""
    engine, _ = through(first(1, StallAnswer()), timeout_policy=SeedTimeouts())
    reports = by_key(engine.upload(bucket, sources(40)))
    assert all(report.ok for report in reports.values())
    assert sum(report.retries for report in reports.values()) >= 1
    assert max(report.total_s for report in reports.values()) < STALL_S
    assert engine.list(bucket).download(tmp_path).wait().objects == 40
    assert hashlib.md5((tmp_path / "k0").read_bytes()).hexdigest() == reports["k0"].etag
