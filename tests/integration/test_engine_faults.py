"""The engine through a proxy that breaks requests: what may pass is retried, what is final is reported, all by name."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from s3engine import AdaptiveTimeouts, BytesSource, Engine, FileSource, RequestReport, SeedTimeouts
from s3engine.embedded import EmbeddedServer, free_ports
from s3engine.errors import AccessDenied, ConnectFailed, NotFound, NotS3, ServerFault, Throttled
from tests.faults import (
    CloseIdle,
    CutAnswer,
    Drip,
    Fault,
    Latency,
    Plan,
    Reset,
    Respond,
    Stall,
    StallAnswer,
    always,
    first,
    matching,
    script,
)
from tests.helpers import S3Probe, eventually
from tests.integration.through import Through

MIB = 1024 * 1024
STALL_S = 10.0  # the default stall timeout, above every first-byte timeout of a small request
SLACK_S = 3.0
LARGE = bytes(range(256)) * (12 * MIB // 256)
pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def through_settings(through_settings: dict[str, Any]) -> dict[str, Any]:
    """A checksum is named, so that plans see no probe."""
    return {**through_settings, "checksum": "md5"}


def error_body(code: str, extra: str = "") -> bytes:
    text = f"<Code>{code}</Code><Message>made up</Message>{extra}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'.encode()


def answer(status: int, code: str, *headers: tuple[str, str], extra: str = "") -> Respond:
    return Respond(status, (("Content-Type", "application/xml"), *headers), error_body(code, extra))


def sources(count: int) -> list[BytesSource]:
    return [BytesSource(b"x" * 100, f"k{n}") for n in range(count)]


def by_key(batch: Any) -> dict[str, RequestReport]:
    """The reports by key, one for each."""
    reports = list(batch)
    found = {report.key: report for report in reports}
    assert len(found) == len(reports)
    return found


class Recorder:
    """A plan that keeps all heads and asks another one."""

    def __init__(self, plan: Plan) -> None:
        self.heads: list[bytes] = []
        self._plan = plan

    def __call__(self, connection_no: int, request_no: int, head: bytes) -> Fault | None:
        if request_no:
            self.heads.append(head)
        return self._plan(connection_no, request_no, head)

    def values(self, name: str) -> list[str]:
        """Values of a header in the requests that have it, in order."""
        pattern = re.compile(rf"^{name}: *(.*?)\r$", re.IGNORECASE | re.MULTILINE)
        return [found[1] for head in self.heads if (found := pattern.search(head.decode("latin-1")))]


def only_key(key: str, plan: Plan) -> Plan:
    return matching(f"/{key} ".encode(), plan)


# ---- silence


def test_answers_that_never_come(through: Through, bucket: str, probe: S3Probe) -> None:
    """One answer in a hundred never comes: nothing fails, the retries are told, none costs more than a stall."""

    def plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        return StallAnswer() if request_no % 100 == 50 and head.startswith(b"PUT") else None

    engine, proxy = through(plan, concurrency=32)
    reports = by_key(engine.upload(bucket, sources(600)))
    assert [report.error for report in reports.values() if not report.ok] == []
    stalls = proxy.log.faults["StallAnswer"]
    assert stalls >= 6
    assert sum(report.retries for report in reports.values()) >= stalls
    assert max(report.total_s for report in reports.values()) < STALL_S + SLACK_S
    assert len(probe.list_keys(bucket)) == 600


def test_connections_that_are_silent(through: Through, bucket: str) -> None:
    """Connections on which no byte is ever read cost their request one retry, and no more than a stall."""

    def plan(connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        return Stall() if not request_no and connection_no in (2, 5) else None

    engine, proxy = through(plan)
    reports = by_key(engine.upload(bucket, sources(300)))
    assert all(report.ok for report in reports.values())
    assert proxy.log.faults["Stall"] >= 1
    assert any(report.retries for report in reports.values())
    assert max(report.total_s for report in reports.values()) < STALL_S + SLACK_S


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stalled_bodies(through: Through, bucket: str, probe: S3Probe, tmp_path: Path, direction: Any) -> None:
    """A body that stops moving ends its attempt after the stall timeout, and the next attempt carries it."""
    body = LARGE[: 3 * MIB]
    (tmp_path / "f").write_bytes(body)
    probe.put(bucket, "down", body)
    engine, proxy = through(
        first(1, Stall(after_bytes=MIB, direction=direction)), timeout_policy=AdaptiveTimeouts(stall_s=1.0)
    )
    if direction == "up":
        (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "up")])
        assert probe.get(bucket, "up") == body
    else:
        (report,) = engine.download(bucket, ["down"], tmp_path)
        assert (tmp_path / "down").read_bytes() == body
    assert report.ok
    assert report.attempts == 2
    assert proxy.log.faults["Stall"] == 1
    assert report.total_s < 1.0 + SLACK_S


@pytest.mark.parametrize("direction", ["up", "down"])
def test_slow_transfer_that_moves_lives(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, direction: Any
) -> None:
    """A transfer several times longer than the stall timeout is left alone as long as bytes move."""
    body = LARGE[:300_000]
    (tmp_path / "f").write_bytes(body)
    probe.put(bucket, "k", body)
    engine, _ = through(always(Drip(150_000, direction)), timeout_policy=AdaptiveTimeouts(stall_s=0.5))
    if direction == "up":
        (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "up")])
    else:
        (report,) = engine.download(bucket, ["k"], tmp_path)
    assert report.ok
    assert report.attempts == 1


# ---- faults that pass


@pytest.mark.parametrize(
    "fault",
    [
        answer(503, "SlowDown"), answer(503, "SlowDownWrite"), answer(500, "InternalError"), Respond(502), Respond(429),
        answer(400, "RequestTimeout"), Reset(), Reset(forward=True), CutAnswer(head=False),
        Respond(503, body=b"busy"), answer(409, "OperationAborted"),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{getattr(fault, 'status', '')}-{len(getattr(fault, 'body', b''))}",
)  # fmt: skip
def test_fault_that_passes(through: Through, bucket: str, probe: S3Probe, fault: Fault) -> None:
    """The first three requests fail in a way that passes: every object is stored, and the retries are told."""
    engine, proxy = through(first(3, fault))
    reports = by_key(engine.upload(bucket, sources(20)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert sum(report.retries for report in reports.values()) == 3
    assert proxy.log.requests == 23
    assert len(probe.list_keys(bucket)) == 20


def test_connections_that_close_unannounced(through: Through, bucket: str) -> None:
    """A server that closes after every answer without saying so costs connections, not objects."""
    engine, _ = through(always(CloseIdle()))
    reports = by_key(engine.upload(bucket, sources(100)))
    assert all(report.ok for report in reports.values())


def test_fault_that_does_not_pass(through: Through, bucket: str) -> None:
    """One object that always fails ends after max_attempts; it never ends the batch."""
    engine, _ = through(only_key("k7", always(answer(500, "InternalError"))), max_attempts=3)
    reports = by_key(engine.upload(bucket, sources(50)))
    assert [key for key, report in reports.items() if not report.ok] == ["k7"]
    bad = reports["k7"]
    assert isinstance(bad.error, ServerFault)
    assert (bad.attempts, bad.status, bad.error.code) == (3, 500, "InternalError")


def test_listing_is_retried(through: Through, bucket: str, probe: S3Probe) -> None:
    """A listing whose pages fail at first is whole."""
    probe.put(bucket, "k", b"x")
    engine, _ = through(script([answer(500, "InternalError"), Reset(), answer(503, "SlowDown")]))
    assert [info.key for info in engine.list(bucket)] == ["k"]


def test_retry_after_is_heard(through: Through, bucket: str) -> None:
    """A store that asks for a second gets it."""
    engine, _ = through(first(1, answer(503, "SlowDown", ("Retry-After", "1"))))
    (report,) = engine.upload(bucket, sources(1))
    assert (report.ok, report.attempts) == (True, 2)
    assert report.total_s >= 1.0


def test_truncated_download_is_resumed(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A body that breaks off is continued where it ended, by a range of the same version, not begun again."""
    body = LARGE[: 2 * MIB]
    etag = probe.put(bucket, "k", body)
    plan = Recorder(first(2, CutAnswer(after_bytes=700_000)))
    engine, _ = through(plan)
    (report,) = engine.download(bucket, ["k"], tmp_path)
    assert report.ok, report.error
    assert report.attempts == 3
    assert (tmp_path / "k").read_bytes() == body
    assert plan.values("range") == ["bytes=700000-", "bytes=1400000-"]
    assert [value.strip('"') for value in plan.values("if-match")] == [etag, etag]


def test_truncated_range_is_resumed(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A range of a large object that breaks off goes on inside that range."""
    probe.put(bucket, "k", LARGE)
    plan = Recorder(matching(b"bytes=5242880-", first(1, CutAnswer(after_bytes=1_000_000))))
    engine, _ = through(plan)
    (report,) = engine.list(bucket).download(tmp_path)
    assert report.ok, report.error
    assert report.attempts == 2
    assert (tmp_path / "k").read_bytes() == LARGE
    assert "bytes=6242880-10485759" in plan.values("range")


def test_object_that_changes_between_attempts(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A resumed download never joins two versions: it fails, or brings one of them whole."""
    old, new = LARGE[:MIB], LARGE[1 : MIB + 1]
    probe.put(bucket, "k", old)
    seen = 0

    def plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        nonlocal seen
        if not request_no:
            return None
        seen += 1
        if seen == 2:
            probe.put(bucket, "k", new)
        return CutAnswer(after_bytes=500_000) if seen == 1 else None

    engine, _ = through(plan)
    (report,) = engine.download(bucket, ["k"], tmp_path)
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files == ([new] if report.ok else [])


# ---- errors inside good answers


def test_copy_answered_200_with_an_error(through: Through, bucket: str, probe: S3Probe) -> None:
    """An error in the body of a 200 to a copy is an error, and retried when it may pass."""
    probe.put(bucket, "k", b"x")
    engine, _ = through(matching(b"x-amz-copy-source", first(1, answer(200, "InternalError"))))
    (report,) = engine.list(bucket).copy(key=lambda _: "copy")
    assert (report.ok, report.attempts) == (True, 2)
    assert probe.get(bucket, "copy") == b"x"


def test_cut_answer_to_a_move_keeps_the_source(through: Through, bucket: str, probe: S3Probe) -> None:
    """A copy whose 200 tells nothing is not taken for done: it is tried again, and only then the source deleted."""
    probe.put(bucket, "k", b"x")
    engine, _ = through(matching(b"x-amz-copy-source", always(Respond(200))), max_attempts=2)
    (report,) = engine.list(bucket).move(key=lambda _: "moved")
    assert isinstance(report.error, ServerFault)
    assert probe.list_keys(bucket) == ["k"]


def test_failed_key_of_a_delete_is_retried_alone(through: Through, bucket: str) -> None:
    """Of a DeleteObjects only the key whose error may pass is sent again; a final error is that key's alone."""
    failures = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
        for key, code in (("k1", "InternalError"), ("k2", "AccessDenied"))
    )
    body = f"<DeleteResult><Deleted><Key>k0</Key></Deleted>{failures}</DeleteResult>".encode()
    bad = Respond(200, (("Content-Type", "application/xml"),), body)
    engine, proxy = through(script([Latency(1.0), bad]))

    def keys() -> Iterator[str]:
        yield "early"  # goes alone; while it is under way the others are collected
        eventually(lambda: proxy.log.requests == 1)
        yield from ("k0", "k1", "k2")

    reports = by_key(engine.delete(bucket, keys()))
    assert {key for key, report in reports.items() if not report.ok} == {"k2"}
    assert isinstance(reports["k2"].error, AccessDenied)
    assert [line.split(" ")[:2] for line in proxy.log.request_lines] == [
        ["DELETE", f"/{bucket}/early"], ["POST", f"/{bucket}?delete="], ["DELETE", f"/{bucket}/k1"],
    ]  # fmt: skip


@pytest.mark.parametrize("lost", ["lost", "error"])
def test_complete_whose_answer_was_lost(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, lost: str
) -> None:
    """Complete answered NoSuchUpload after a lost answer, or by an error in a 200, ends with the object whole."""
    (tmp_path / "f").write_bytes(LARGE)
    faults: list[Fault | None] = [CutAnswer(head=False), answer(404, "NoSuchUpload")]
    if lost == "error":
        faults = [answer(200, "InternalError")]
    engine, _ = through(matching(b"?uploadId=", script(faults)))  # parts say ?partNumber= first
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    assert (probe.head(bucket, "k") or {})["etag"].strip('"') == report.etag
    assert probe.get(bucket, "k") == LARGE


def test_parts_are_retried(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Parts that fail at first are sent again alone, and told as retries of their object."""
    (tmp_path / "f").write_bytes(LARGE)
    engine, proxy = through(matching(b"partNumber=", script([answer(500, "InternalError"), None, Reset()])))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    assert report.retries == 2
    assert sum("partNumber=" in line for line in proxy.log.request_lines) == 5
    assert probe.get(bucket, "k") == LARGE


# ---- remedies


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


def test_wrong_clock_is_corrected(through: Through, bucket: str) -> None:
    """Told that the clock is wrong, the engine signs with the store's time, in all workers."""
    ahead = datetime.now(timezone.utc) + timedelta(seconds=200)
    skewed = answer(403, "RequestTimeTooSkewed", ("Date", format_datetime(ahead, usegmt=True)))

    def now_plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        found = re.search(rb"x-amz-date: (\S+)", head)
        if not found:
            return None
        signed = datetime.strptime(found[1].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        return skewed if signed < ahead - timedelta(seconds=100) else None

    engine, proxy = through(now_plan)
    reports = by_key(engine.upload(bucket, sources(100)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert 1 <= proxy.log.faults["Respond"] <= 100
    assert engine.list(bucket).count() == 100


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
