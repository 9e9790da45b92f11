"""What is not the network's: stopped workers, slow disks, the second Ctrl-C, workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s3engine import AdaptiveTimeouts, Engine, FileSource, ObjectHeaders, RequestReport
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ServerFault
from s3engine.testing.conformance.scripted import Say, Scripted
from tests.faults import Latency, Respond, StallAnswer, always, first, matching
from tests.helpers import S3Probe, eventually
from tests.integration.faults_common import LARGE, sources
from tests.integration.retry_common import ABSENT, MIB, ROOT, failures
from tests.integration.through import Through
from tests.relays import Relay, behind_tls

pytestmark = pytest.mark.usefixtures("environment")


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
from tests.integration.test_retry_local import Tight

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
