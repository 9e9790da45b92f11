"""The rows of docs/retries.md against servers that really do that: what was lost is found, what is free is free."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s3engine import AdaptiveTimeouts, BytesSource, Engine, FileSource, ObjectHeaders, ObjectInfo, RequestReport
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConnectFailed, PreconditionFailed, S3EngineError, ServerFault
from s3engine.testing.conformance.scripted import Say, Scripted, answer, error_answer, object_answer
from tests.faults import (
    CutAnswer,
    Fault,
    Latency,
    Reset,
    Respond,
    StallAnswer,
    always,
    first,
    matching,
)
from tests.helpers import S3Probe, eventually
from tests.integration.through import Through
from tests.relays import Relay, behind_tls

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]
LARGE = bytes(range(256)) * (12 * MIB // 256)
ABSENT = ObjectHeaders(extra={"if-none-match": "*"})
SLOW_DOWN = b"<Error><Code>SlowDownWrite</Code><Message>Resource requested is unwritable</Message></Error>"
pytestmark = pytest.mark.usefixtures("environment")


def to(server: Scripted, **settings: Any) -> Engine:
    """An engine of one worker and one connection, so that requests come in order."""
    fixed = {"workers": 1, "concurrency": 1, "retry_base_s": 0.01, "checksum": "none"}
    sizes = {"multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB}
    return Engine(endpoint_url=server.endpoint_url, **{**fixed, **sizes, **settings})


def sources(count: int, headers: ObjectHeaders | None = None) -> list[BytesSource]:
    return [BytesSource(b"x" * 100, f"k{n}", headers) for n in range(count)]


def failures(batch: Any) -> list[S3EngineError]:
    return [report.error for report in batch if report.error is not None]


def xml(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


# ---- 412 by one's own earlier attempt


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio"])
def test_own_write_behind_a_412(through: Through, bucket: str, probe: S3Probe, transport: str) -> None:
    """A conditional PUT whose answer was lost is refused when it is sent again: the object is ours, so it is done."""
    engine, proxy = through(first(1, CutAnswer(head=False)), transport=transport, workers=1)
    (report,) = engine.upload(bucket, sources(1, ABSENT))
    assert report.error is None
    assert [line.split(" ")[0] for line in proxy.log.request_lines] == ["PUT", "PUT", "HEAD"]
    assert report.etag == (probe.head(bucket, "k0") or {})["etag"].strip('"')


def test_own_file_behind_a_412(through: Through, bucket: str, tmp_path: Path) -> None:
    """The same for a file that was sent from disk."""
    (tmp_path / "f").write_bytes(LARGE[:MIB])
    engine, _ = through(first(1, Reset(forward=True)))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k", ABSENT)])
    assert (report.error, report.size_bytes) == (None, MIB)


def test_write_of_another_behind_a_412(through: Through, bucket: str, probe: S3Probe) -> None:
    """Refused after a lost attempt, but the object is another's: PreconditionFailed, and the other's stays."""
    probe.put(bucket, "k0", b"y" * 100)
    engine, _ = through(first(1, Reset()))
    (report,) = engine.upload(bucket, sources(1, ABSENT))
    assert isinstance(report.error, PreconditionFailed)
    assert probe.get(bucket, "k0") == b"y" * 100


def test_conditional_conflict_is_retried(through: Through, bucket: str) -> None:
    """409 ConditionalRequestConflict passes: another conditional write of the key was under way."""
    conflict = xml("<Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>")
    engine, _ = through(first(2, Respond(409, (("Content-Type", "application/xml"),), conflict)))
    (report,) = engine.upload(bucket, sources(1, ABSENT))
    assert (report.error, report.attempts) == (None, 3)


# ---- multipart uploads


def _begin(probe: S3Probe, bucket: str, key: str) -> str:
    found = probe.request("POST", f"/{bucket}/{key}", query="uploads=")
    match = re.search(rb"<UploadId>(.*?)</UploadId>", found.body)
    assert match
    return match[1].decode()


def test_orphan_of_a_lost_create_is_aborted(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """CreateMultipartUpload answered into the void leaves an upload: it is aborted, an older one stays."""
    (tmp_path / "f").write_bytes(LARGE)
    before = _begin(probe, bucket, "k")
    time.sleep(2.5)  # the store tells whole seconds
    engine, proxy = through(matching(b"/k?uploads", first(1, CutAnswer(head=False))), checksum="none")
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    assert sum(line.startswith("POST") and "?uploads" in line for line in proxy.log.request_lines) == 2
    left = probe.request("GET", f"/{bucket}", query="uploads=").body.decode()
    assert re.findall("<UploadId>(.*?)</UploadId>", left) == [before]
    assert probe.get(bucket, "k") == LARGE


CREATED = answer(
    200, xml("<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
)
PART = object_answer(b"")
ETAG = "0123456789abcdef0123456789abcdef"
COMPLETED = xml('<CompleteMultipartUploadResult><ETag>"e-3"</ETag></CompleteMultipartUploadResult>')


THERE = answer(
    200, b"", ("ETag", '"e-3"'), ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"), length=len(LARGE)
)  # to the HEAD that measures an object whose Complete proves nothing


def _upload_large(script_: list[Say], tmp_path: Path, **settings: Any) -> tuple[RequestReport, list[str]]:
    """What becomes of an upload in 3 parts whose requests are answered like this, and the requests."""
    (tmp_path / "f").write_bytes(LARGE)
    with Scripted(CREATED, PART, PART, PART, *script_) as server, to(server, **settings) as engine:
        (report,) = engine.upload("bucket", [FileSource(str(tmp_path / "f"), "k")])
        return report, [f"{request.method} {request.target}" for request in server.requests[4:]]


def test_complete_that_drips_white_space(tmp_path: Path) -> None:
    """A Complete that sends a space now and then for several stall timeouts is waited for."""
    dripping = answer(200, b" " * 12 + COMPLETED, piece_bytes=8, pause_s=0.03)
    policy = AdaptiveTimeouts(stall_s=0.3)
    report, requests = _upload_large([dripping, THERE], tmp_path, timeout_policy=policy)
    assert report.error is None
    assert report.etag == "e-3"
    assert [request.split(" ")[0] for request in requests] == ["POST", "HEAD"]
    assert report.total_s > 2 * policy.stall_s


@pytest.mark.parametrize(
    "bad",
    [
        error_answer(200, "InternalError"), answer(200, b""), answer(200, COMPLETED[:60]), error_answer(500, ""),
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + COMPLETED, then="close"),
    ],
    ids=["error-in-200", "empty", "cut-xml", "500", "cut-body"],
)  # fmt: skip
def test_complete_that_says_nothing_good(bad: Say, tmp_path: Path) -> None:
    """An error in a 200, an empty, cut or broken answer to Complete: asked again, no success is made up."""
    report, requests = _upload_large([bad, answer(200, COMPLETED), THERE], tmp_path)
    assert (report.error, report.retries, len(requests)) == (None, 1, 3)


def test_complete_refused_for_a_part_that_landed_twice(tmp_path: Path) -> None:
    """InvalidPart: the parts are listed, and Complete names those the store has, as they are all there."""
    listed = "".join(
        f'<Part><PartNumber>{number}</PartNumber><ETag>"other{number}"</ETag><Size>{size}</Size></Part>'
        for number, size in ((1, 5 * MIB), (2, 5 * MIB), (3, 2 * MIB))
    )
    parts = answer(200, xml(f"<ListPartsResult><IsTruncated>false</IsTruncated>{listed}</ListPartsResult>"))
    refused = error_answer(400, "InvalidPart")
    report, requests = _upload_large([refused, parts, answer(200, COMPLETED), THERE], tmp_path)
    assert report.error is None
    assert [request.split(" ")[0] for request in requests] == ["POST", "GET", "POST", "HEAD"]


def test_complete_refused_for_a_part_that_is_missing(tmp_path: Path) -> None:
    """InvalidPart, and a part of another size in the store: no object is made of it; the upload is aborted."""
    listed = f'<Part><PartNumber>1</PartNumber><ETag>"other"</ETag><Size>{MIB}</Size></Part>'
    parts = answer(200, xml(f"<ListPartsResult><IsTruncated>false</IsTruncated>{listed}</ListPartsResult>"))
    report, requests = _upload_large([error_answer(400, "InvalidPart"), parts, answer(204)], tmp_path)
    assert getattr(report.error, "code", "") == "InvalidPart"
    assert [request.split(" ")[0] for request in requests] == ["POST", "GET", "DELETE"]


def test_upload_gone_and_an_old_object_is_no_success(tmp_path: Path) -> None:
    """NoSuchUpload, and the object there is of last year, though of the same size: the upload has failed."""
    old = answer(
        200, b"", ("ETag", f'"{ETAG}-3"'), ("Last-Modified", "Fri, 02 Jan 2025 03:04:05 GMT"), length=len(LARGE)
    )
    report, requests = _upload_large([error_answer(404, "NoSuchUpload"), old], tmp_path)
    assert getattr(report.error, "code", "") == "NoSuchUpload"
    assert [request.split(" ")[0] for request in requests] == ["POST", "HEAD"]


# ---- errors in good answers, of the others


@pytest.mark.parametrize(
    "bad",
    [
        xml("<Error><Code>InternalError</Code><Message>m</Message></Error>"), b"",
        xml("<CopyObjectResult><ETag>"), xml("<DeleteResult>"),
    ],
    ids=["error", "empty", "cut-copy", "cut-delete"],
)  # fmt: skip
def test_200_that_is_no_success(through: Through, bucket: str, probe: S3Probe, bad: bytes) -> None:
    """COPY, PART-COPY and DELETE of many answered 200 with an error, nothing, or half of it are asked again."""
    for key in ("a", "b"):
        probe.put(bucket, key, b"x")
    probe.put(bucket, "large", LARGE)
    fault = Respond(200, (("Content-Type", "application/xml"),), bad)
    engine, proxy = through(None, copy_threshold_bytes=5 * MIB, copy_part_size_bytes=5 * MIB)
    jobs: tuple[tuple[bytes, Callable[[], Any]], ...] = (
        (b"x-amz-copy-source", lambda: engine.copy(bucket, ["a"], bucket, key=lambda _: "copy")),
        (b"partNumber=1", lambda: engine.copy(
            bucket, [ObjectInfo("large", len(LARGE))], bucket, key=lambda _: "large-copy")),
        (b"?delete", lambda: engine.delete(bucket, ["a", "b", *(f"absent{n}" for n in range(200))])),
    )  # fmt: skip
    for request, job in jobs:
        proxy.plan = matching(request, first(1, fault))
        assert failures(job()) == []
        assert proxy.log.faults["Respond"] == 1, request
        proxy.log.faults.clear()
    assert probe.list_keys(bucket) == ["copy", "large", "large-copy"]
    assert probe.get(bucket, "large-copy") == LARGE


def test_probe_leaves_no_upload_behind(
    through: Through, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first request of the checksum probe is lost: the upload that it began is aborted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nothing is remembered of this port
    (tmp_path / "f").write_bytes(LARGE)
    engine, proxy = through(matching(b"?uploads", first(1, CutAnswer(head=False))))
    assert failures(engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])) == []
    assert proxy.log.faults["CutAnswer"] == 1
    assert list(engine.uploads(bucket)) == []


# ---- throttling


@pytest.mark.parametrize("header", [("Retry-After", "1"), ("x-amz-retry-after", "1000")])
def test_throttled_bucket_gets_no_new_requests(through: Through, bucket: str, header: tuple[str, str]) -> None:
    """Told to come back in a second, both workers send nothing to that bucket for that long."""
    slow = Respond(503, (("Content-Type", "application/xml"), header), SLOW_DOWN)
    times: list[float] = []
    lock = threading.Lock()

    def plan(_connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        if not request_no:
            return None
        with lock:
            times.append(time.monotonic())
        return slow if time.monotonic() - times[0] < 0.1 else None

    engine, proxy = through(plan)
    assert failures(engine.upload(bucket, sources(200))) == []
    assert proxy.log.faults["Respond"] >= 1
    silent = [at - times[0] for at in times if 0.4 < at - times[0] < 0.95]
    assert silent == []


def test_blanket_retry_after_is_capped(through: Through, bucket: str) -> None:
    """MinIO sends Retry-After: 60 with every 503: the item is back within the cap, not after a minute."""
    slow = Respond(503, (("Retry-After", "60"),), SLOW_DOWN.replace(b"Write", b"Read"))
    engine, _ = through(first(1, slow))
    (report,) = engine.upload(bucket, sources(1))
    assert report.ok
    assert report.total_s < 20


# ---- a store that is down


def test_store_that_is_down_for_seconds(through: Through, bucket: str, probe: S3Probe) -> None:
    """Connections refused for longer than all attempts take: items wait, one probe a second goes out, none fails."""
    engine, proxy = through(None, max_attempts=3)
    assert failures(engine.upload(bucket, sources(4))) == []
    proxy.refuse(3.0)
    assert failures(engine.upload(bucket, [BytesSource(b"after", f"a{n}") for n in range(20)])) == []
    assert len(probe.list_keys(bucket)) == 24


@pytest.mark.parametrize(
    ("fault", "transport"),
    [(Respond(502, (("Content-Type", "text/html"),), b"<html>Bad Gateway</html>"), "raw"), (Reset(), "boto3")],
)
def test_gateway_whose_store_is_away(through: Through, bucket: str, fault: Fault, transport: str) -> None:
    """502 to everything, or a reset, for longer than all attempts of a few objects take: nothing fails."""
    broken_from = [0.0]

    def plan(_connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        return fault if request_no and 0 < time.monotonic() - broken_from[0] < 5.0 else None

    engine, _ = through(plan, max_attempts=4, retry_base_s=0.01, transport=transport)
    assert failures(engine.upload(bucket, sources(4))) == []
    broken_from[0] = time.monotonic()
    assert failures(engine.upload(bucket, sources(3))) == []
    assert time.monotonic() - broken_from[0] > 5.0


def test_object_that_is_refused_for_ever_fails(through: Through, bucket: str) -> None:
    """One object alone is answered 500 for ever: it fails soon, whether others are under way or not."""
    engine, _ = through(matching(b"/k1 ", always(Respond(500))), max_attempts=4, retry_base_s=0.01)
    for count in (100, 2):
        began = time.monotonic()
        assert [error.key for error in failures(engine.upload(bucket, sources(count)))] == ["k1"]  # type: ignore[attr-defined]
        assert time.monotonic() - began < 10


def test_store_that_stays_down_is_given_up(through: Through, bucket: str) -> None:
    """A store that was well and then refuses for longer than give_up_after_s: every item fails, and only then."""
    engine, proxy = through(None, give_up_after_s=2.0)
    assert failures(engine.upload(bucket, sources(4))) == []
    proxy.refuse(600.0)
    began = time.monotonic()
    reports = list(engine.upload(bucket, [BytesSource(b"after", f"a{n}") for n in range(40)]))
    took = time.monotonic() - began
    assert {type(report.error) for report in reports} == {ConnectFailed}
    assert 2.0 <= took < 15


def test_faults_beyond_the_budget_wait(through: Through, bucket: str) -> None:
    """A store that was well and answers 500 until the budget is empty: items wait for it instead of failing."""
    broken_from = [0.0]

    def plan(_connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        return Respond(500) if request_no and 0 < time.monotonic() - broken_from[0] < 3.0 else None

    engine, proxy = through(plan)
    assert failures(engine.upload(bucket, sources(4))) == []
    before = proxy.log.requests
    broken_from[0] = time.monotonic()
    assert failures(engine.upload(bucket, [BytesSource(b"after", f"a{n}") for n in range(100)])) == []
    assert proxy.log.faults["Respond"] <= 100 + 500 // 14 + 6  # each once, the budget, and a probe a second
    assert proxy.log.requests - before >= 100


# ---- what is free


def test_stale_connections_are_free(through: Through, bucket: str) -> None:
    """A reused connection that was reset costs no attempt: with one attempt allowed all is done."""
    carried: Counter[int] = Counter()

    def plan(connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        carried[connection_no] += bool(request_no)
        reused = carried[connection_no] > 1 and request_no
        return Reset() if reused and not proxy.log.faults["Reset"] else None

    engine, proxy = through(plan, max_attempts=1)
    reports = list(engine.upload(bucket, sources(100)))
    assert [report.error for report in reports if report.error] == []
    assert sum(report.retries for report in reports) == proxy.log.faults["Reset"] == 1


# ---- what is not the network's


@dataclass(frozen=True)
class Tight:
    """All timers short, so that any time that is wrongly counted shows."""

    limit_s: float = 2.0
    gain: float = 0.125
    deviation_gain: float = 0.25
    minimum_bytes: int = 262_144
    start_bytes_per_s: float = 1e6
    max_attempts: int | None = 1

    def timeouts(self, op: Any, size_bytes: int, attempt: int, estimate: Any) -> Any:
        """The same for all."""
        from s3engine.transport import Timeouts

        return Timeouts(3.0, self.limit_s, self.limit_s, 2 * self.limit_s)

    def learns_from_timeout(self, issued: Any, now: Any) -> bool:
        """Never."""
        return False


@pytest.mark.parametrize("transport", ["raw", "boto3"])
def test_stopped_worker_blames_nobody(through: Through, bucket: str, transport: str, tmp_path: Path) -> None:
    """A worker stopped for longer than every timer, with answers under way, finds them when it goes on."""
    engine, proxy = through(None, workers=1, concurrency=8, transport=transport, timeout_policy=Tight())
    assert failures(engine.upload(bucket, sources(8))) == []
    proxy.plan = always(Latency(0.5))
    batch = engine.upload(bucket, sources(8))
    done: list[RequestReport] = []
    thread = threading.Thread(target=lambda: done.extend(batch))
    seen = proxy.log.requests
    thread.start()
    eventually(lambda: proxy.log.requests >= seen + 8)
    (pid,) = engine.worker_pids
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4.5)
    os.kill(pid, signal.SIGCONT)
    thread.join(10)
    assert [(report.error, report.attempts) for report in done] == [(None, 1)] * 8


SLOW_DISK = """
import sys, time
from s3engine import Engine
from s3engine.sinks import FileSink
from tests.integration.test_retry_table import Tight

write, slept = FileSink.write, []

def slow(sink, data):
    if not slept:
        slept.append(True)
        until = time.monotonic() + 2.3
        while time.monotonic() < until:
            {how}
    write(sink, data)

FileSink.write = slow
url, bucket, folder = sys.argv[1:]
settings = {{"workers": 1, "concurrency": 4, "timeout_policy": Tight(limit_s=1.0), "start_method": "fork"}}
with Engine(endpoint_url=url, **settings) as engine:
    for report in engine.download(bucket, [f"k{{n}}" for n in range(4)], folder):
        print(report.attempts, type(report.error).__name__, report.total_s > 2.2)
"""


@pytest.mark.parametrize("how", ["time.sleep(0.5)", "pass"], ids=["sleeps", "busy"])
def test_slow_disk_blames_nobody(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, how: str
) -> None:
    """A disk, or code, that takes longer than every timer holds up the lane, and no transfer in it fails for that."""
    for n in range(4):
        probe.put(bucket, f"k{n}", LARGE[: 2 * MIB])
    command = [sys.executable, "-c", SLOW_DISK.format(how=how), seaweed.endpoint_url, bucket, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    lines = done.stdout.split("\n")[:-1]
    assert [line.rpartition(" ")[0] for line in lines] == ["1 NoneType"] * 4, done.stderr
    assert any(line.endswith("True") for line in lines)


# ---- the second Ctrl-C


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio"])
def test_hard_cancel_ends_calls_under_way(tmp_path: Path, transport: str) -> None:
    """A cancelled batch whose calls wait for an answer that never comes is over soon after its grace, in both lanes."""
    policy = AdaptiveTimeouts(stall_s=30.0)
    with (
        Scripted(Say(then="hang")) as server,
        Engine(
            endpoint_url=server.endpoint_url, workers=1, concurrency=4, transport=transport, timeout_policy=policy,
            shutdown_grace_s=0.2,
        ) as engine,
    ):  # fmt: skip
        batch = engine.upload("bucket", sources(4))
        eventually(lambda: len(server.requests) >= 4)
        began = time.monotonic()
        batch.cancel()
        reports = list(batch)
        assert time.monotonic() - began < 3
    assert {type(report.error).__name__ for report in reports} == {"Cancelled"}


def test_server_fault_is_what_is_reported(through: Through, bucket: str) -> None:
    """An object that the store always fails on does so after its attempts, while the others are done."""
    engine, _ = through(matching(b"/k3 ", always(Respond(500))), max_attempts=3)
    reports = {report.key: report for report in engine.upload(bucket, sources(30))}
    assert [key for key, report in reports.items() if report.error] == ["k3"]
    assert isinstance(reports["k3"].error, ServerFault)
    assert reports["k3"].attempts == 3


@pytest.mark.parametrize("transport", ["boto3", "minio"])
def test_hard_cancel_wakes_tls(tmp_path: Path, certificate: Path, transport: str) -> None:
    """Threads that are blocked in a read through TLS are woken by a cancel, long before their timers."""
    policy = AdaptiveTimeouts(stall_s=30.0)
    with (
        Scripted(Say(then="hang")) as server,
        Relay(behind_tls(certificate, server.port)) as tls,
        Engine(
            endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate), workers=1, concurrency=4,
            transport=transport, timeout_policy=policy, shutdown_grace_s=0.2,
        ) as engine,
    ):  # fmt: skip
        batch = engine.upload("bucket", sources(4))
        eventually(lambda: len(server.requests) >= 4)
        began = time.monotonic()
        batch.cancel()
        reports = list(batch)
        assert time.monotonic() - began < 3
    assert {type(report.error).__name__ for report in reports} == {"Cancelled"}


# ---- a worker that dies in the middle of putting an object together


@pytest.mark.parametrize("headers", [None, ABSENT], ids=["plain", "conditional"])
def test_complete_of_a_worker_that_died(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, headers: ObjectHeaders | None
) -> None:
    """The store has done the Complete, the worker dies before it hears so: the next one finds the object."""
    (tmp_path / "f").write_bytes(LARGE)
    engine, proxy = through(matching(b"POST /", matching(b"uploadId=", first(1, StallAnswer()))), workers=1)
    batch = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k", headers)])
    reports: list[RequestReport] = []
    thread = threading.Thread(target=lambda: reports.extend(batch))
    thread.start()
    eventually(lambda: probe.head(bucket, "k") is not None, within_s=20)
    os.kill(engine.worker_pids[0], signal.SIGKILL)
    thread.join(30)
    (report,) = reports
    assert report.error is None
    assert probe.get(bucket, "k") == LARGE
    assert proxy.log.faults["StallAnswer"] == 1


def test_cancel_ends_although_a_worker_is_stopped(through: Through, bucket: str) -> None:
    """A worker that is stopped for good does not keep a cancelled batch, nor the engine."""
    engine, proxy = through(always(Latency(1.0)), shutdown_grace_s=0.2)
    batch = engine.upload(bucket, sources(64))
    eventually(lambda: proxy.log.requests >= 8)
    os.kill(engine.worker_pids[0], signal.SIGSTOP)
    began = time.monotonic()
    batch.cancel()
    reports = list(batch)
    assert time.monotonic() - began < 0.2 + 10
    assert len(reports) == 64
    engine.close()
    assert time.monotonic() - began < 20
