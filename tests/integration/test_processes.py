"""Worker processes: every start method, deaths of workers and of the parent, Ctrl-C, and no secret in sight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine
from s3engine.config import TransportSettings
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, S3EngineError, WorkerCrashed
from s3engine.pool.worker import WorkerSettings
from s3engine.testing import Fault, with_faults
from s3engine.transport import Capabilities
from tests.helpers import S3Probe, eventually

FAULTY = "s3engine.testing:FaultyTransport"

# What a user writes who has never heard of a __main__ guard. {body} runs with `engine` and `bucket`.
SCRIPT = """
import json, os, sys
from s3engine import BytesSource, Engine
print("started", flush=True)
bucket = sys.argv[1]
engine = Engine(workers=2, concurrency=8, start_method=sys.argv[2])
{body}
"""
UPLOAD = """
with engine:
    summary = engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(40)]).wait()
print(summary.objects, summary.failed)
"""
# Kills a worker; tells whether what came before and after it was done, and what is left of the dead one's pipe.
REPLACED = """
import fcntl, signal, time
with engine:
    before = engine.upload(bucket, [BytesSource(b"x", "before")]).wait().ok
    fleet = engine._runtime.supervisor._fleet
    dead = fleet.workers[0]
    pipe = os.fstat(dead.process.sentinel)
    os.kill(dead.process.pid, signal.SIGKILL)
    until = time.monotonic() + 20
    while fleet.workers[0] is dead and time.monotonic() < until:
        time.sleep(0.01)  # nobody tells a script when a worker was replaced; the loop has an end
    after = engine.upload(bucket, [BytesSource(b"x", "after")]).wait().ok
print(before, after)
left = []
for name in os.listdir("/proc/self/fd"):
    try:
        held, flags = os.fstat(int(name)), fcntl.fcntl(int(name), fcntl.F_GETFL)
    except OSError:
        continue
    if (held.st_dev, held.st_ino, flags & os.O_ACCMODE) == (pipe.st_dev, pipe.st_ino, os.O_RDONLY):
        left.append(name)
print(left)
"""
# Runs until it is killed; tells its workers, then the count of reports when it was interrupted.
FOR_EVER = """
def sources():
    n = 0
    while True:
        yield BytesSource(b"x", f"k{n}")
        n += 1

done = []
try:
    with engine:
        batch = engine.upload(bucket, sources())
        for report in batch:
            if report.ok:
                done.append(report.key)
            if len(done) == 20:
                print(json.dumps(engine.worker_pids), flush=True)
except KeyboardInterrupt:
    print(json.dumps(done), flush=True)
    print("interrupted", flush=True)
"""

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def script(tmp_path: Path, bucket: str) -> Iterator[Any]:
    """Start a script with a body, in a process group of its own; all of the group is gone afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str, method: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(SCRIPT.format(body=body))
        process = subprocess.Popen(
            [sys.executable, str(path), bucket, method], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def group(leader: int) -> list[int]:
    """Processes of a group that run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == leader and alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_start_method(bucket: str, probe: S3Probe, method: str) -> None:
    """Workers started by spawn and by a fork server do the work, beside threads of the caller."""
    with Engine(workers=2, concurrency=8, start_method=method) as engine:
        assert engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(40)]).wait().objects == 40
    assert len(probe.list_keys(bucket)) == 40


def test_a_batch_over_plain_http_imports_little(script: Any) -> None:
    """Upload, list and delete at an IP address without TLS need neither urllib3 nor ssl, in parent or workers."""
    job = UPLOAD.replace("print", "    assert engine.list(bucket).delete().wait().objects == 40\nprint")
    process = script(job + 'print({"urllib3", "ssl", "concurrent.futures"} & set(sys.modules))', "fork")
    out, err = process.communicate(timeout=60)
    assert out.split("\n") == ["started", "40 0", "set()", ""], err


@pytest.mark.parametrize("method", ["fork", "auto", "forkserver", "spawn"])
def test_script_without_a_guard(script: Any, method: str) -> None:
    """A script without an `if __name__` guard works under every start method and runs once."""
    process = script(UPLOAD, method)
    out, err = process.communicate(timeout=60)
    assert out.split("\n") == ["started", "40 0", ""], err
    assert err == ""
    assert process.returncode == 0
    eventually(lambda: group(process.pid) == [])


def test_killed_workers_lose_nothing(bucket: str, probe: S3Probe) -> None:
    """With a worker killed by SIGKILL every 0.3 s every object is in one report, and all are stored."""
    keys = [f"k{n}" for n in range(1500)]
    kills = 0
    with Engine(workers=3, concurrency=6) as engine:
        batch = engine.upload(bucket, (BytesSource(key.encode(), key) for key in keys))
        over = threading.Event()

        def kill() -> None:
            nonlocal kills
            while not over.wait(0.3):
                pids = engine.worker_pids
                if pids:
                    try:
                        os.kill(pids[kills % len(pids)], signal.SIGKILL)
                        kills += 1
                    except ProcessLookupError:
                        continue

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            reports = list(batch)
        finally:
            over.set()
            killer.join()
    assert sorted(report.key for report in reports) == sorted(keys)
    assert [report.error for report in reports if not report.ok] == []
    assert kills >= 1
    assert sorted(probe.list_keys(bucket)) == sorted(keys)


def test_killed_workers_leave_no_descriptor(script: Any) -> None:
    """What the parent held of a forked worker that died is closed when another takes its place."""
    process = script(REPLACED, "fork")
    out, err = process.communicate(timeout=60)
    assert out.split("\n") == ["started", "True True", "[]", ""], err


def test_killed_workers_leave_no_temporary_file(bucket: str, tmp_path: Path) -> None:
    """Downloads whose worker was killed are done by another, and only whole files are there."""
    keys = [f"k{n}" for n in range(40)]
    body = bytes(1_000_000)
    with Engine(workers=2, concurrency=8) as engine:
        assert engine.upload(bucket, [BytesSource(body, key) for key in keys]).wait().ok
        batch = engine.download(bucket, keys, tmp_path / "out")
        reports = iter(batch)
        first = next(reports)
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        rest = list(reports)
    assert all(report.ok for report in [first, *rest])
    assert {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()} == dict.fromkeys(keys, len(body))


@pytest.mark.parametrize("action", ["exit", "segfault"])
def test_task_that_crashes_workers_is_reported(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, action: str
) -> None:
    """A task that kills every worker that tries it fails by name with WorkerCrashed; its neighbours are all done."""
    url = with_faults(seaweed.endpoint_url, Fault(action, "put_object", "k77"))
    keys = [f"k{n}" for n in range(200)]
    with Engine(workers=2, concurrency=16, transport=FAULTY, endpoint_url=url) as engine:
        reports = {report.key: report for report in engine.upload(bucket, [BytesSource(b"x", key) for key in keys])}
    assert sorted(reports) == sorted(keys)
    assert [key for key, report in reports.items() if not report.ok] == ["k77"]
    error = reports["k77"].error
    assert isinstance(error, WorkerCrashed)
    assert "k77" in str(error)
    assert sorted(probe.list_keys(bucket)) == sorted(set(keys) - {"k77"})


@pytest.mark.parametrize("method", ["forkserver", "fork", "spawn"])
def test_killed_parent_leaves_no_worker(script: Any, method: str) -> None:
    """When the parent is killed by SIGKILL its workers are gone within five seconds."""
    process = script(FOR_EVER, method)
    process.stdout.readline()
    pids = json.loads(process.stdout.readline())
    assert all(alive(pid) for pid in pids)
    process.kill()
    eventually(lambda: not any(alive(pid) for pid in pids), within_s=5)
    eventually(lambda: group(process.pid) == [], within_s=5)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_ctrl_c(script: Any, method: str, bucket: str, probe: S3Probe) -> None:
    """Ctrl-C ends a script by KeyboardInterrupt: what it had reports of is stored, and no process is left."""
    process = script(FOR_EVER, method)
    process.stdout.readline()
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    done, last = out.splitlines()[-2:]
    assert last == "interrupted", err
    assert "Traceback" not in err
    assert len(json.loads(done)) >= 20
    assert set(json.loads(done)) <= set(probe.list_keys(bucket))
    eventually(lambda: group(process.pid) == [], within_s=5)


@pytest.mark.parametrize("transport", ["no.such.module:Transport", "s3engine.testing:NoSuchTransport", "nonsense"])
def test_transport_that_cannot_be_loaded(bucket: str, transport: str) -> None:
    """A transport that is not there is an error that names it, not a batch that hangs."""
    said: list[str] = []
    try:
        with Engine(workers=2, transport=transport) as engine:
            reports = list(engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(100)]))
            said = [str(report.error) for report in reports]
            assert len(said) == 100
    except S3EngineError as error:
        said = [str(error)]
    assert all(transport in text for text in said)


def test_transport_that_refuses_to_open(seaweed: EmbeddedServer, bucket: str) -> None:
    """When no worker can open its transport each object fails with the reason, and so does the next batch."""
    url = with_faults(seaweed.endpoint_url, Fault("raise:ConfigError", "open"))
    with Engine(workers=2, concurrency=8, transport=FAULTY, endpoint_url=url) as engine:
        for _ in range(2):
            reports = list(engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(300)]))
            assert len(reports) == 300
            assert all("was ordered for 'open'" in str(report.error) for report in reports)


@pytest.mark.timeout(40)
def test_workers_that_die_before_they_are_ready(seaweed: EmbeddedServer, bucket: str) -> None:
    """Workers that cannot start end the batch with an error instead of being replaced for ever."""
    url = with_faults(seaweed.endpoint_url, Fault("exit", "open"))
    with Engine(workers=2, concurrency=8, transport=FAULTY, endpoint_url=url) as engine:
        reports = list(engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(10)]))
    assert [type(report.error) for report in reports] == [WorkerCrashed] * 10


@pytest.mark.timeout(60)
def test_workers_that_die_of_every_task(seaweed: EmbeddedServer, bucket: str) -> None:
    """Where each task kills its worker the batch ends with an error, not with three new processes for each object."""
    url = with_faults(seaweed.endpoint_url, Fault("exit", "put_object"))
    with Engine(workers=2, concurrency=8, transport=FAULTY, endpoint_url=url) as engine:
        reports = list(engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(2000)]))
    assert [type(report.error) for report in reports] == [WorkerCrashed] * 2000


@pytest.mark.timeout(40)
class Unwilling:
    """Cannot be opened."""

    capabilities = Capabilities()

    def __init__(self, settings: TransportSettings) -> None:
        raise OSError("no such device")


class Half:
    """Knows no operation."""

    capabilities = Capabilities()

    def __init__(self, settings: TransportSettings) -> None:
        self.settings = settings


def test_transport_that_cannot_be_called(bucket: str) -> None:
    """A transport whose opening raises what is no error of ours fails each object with the reason."""
    with Engine(workers=2, concurrency=8, transport=f"{__name__}:Unwilling") as engine:
        reports = list(engine.upload(bucket, [BytesSource(b"x", f"k{n}") for n in range(10)]))
    assert all("Unwilling" in str(report.error) for report in reports)
    assert all("OSError: no such device" in str(report.error) for report in reports)
    assert len(reports) == 10


def test_what_is_no_transport(bucket: str) -> None:
    """A class without capabilities is refused before anything is begun; one without an operation when it is opened."""
    with Engine(transport="os:getpid") as engine, pytest.raises(ConfigError, match="has no `capabilities`"):
        engine.upload(bucket, [BytesSource(b"x", "k")])
    with Engine(transport=f"{__name__}:Half") as engine, pytest.raises(ConfigError, match=r"has no .*list_objects_v2"):
        engine.head(bucket, "k")


def test_no_secret_in_sight(seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are neither in a worker's command line, nor in the environment of one that was spawned without them."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
    secret = seaweed.secret_key.encode()
    with Engine(workers=2, concurrency=8, start_method="spawn") as engine:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert engine.upload(bucket, [BytesSource(b"x", "k")]).wait().ok
        assert len(engine.worker_pids) == 2
        for pid in engine.worker_pids:
            assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert secret not in Path(f"/proc/{pid}/environ").read_bytes()
        supervisor = engine._runtime.supervisor
        assert supervisor is not None
        settings: WorkerSettings = supervisor._fleet.settings
        assert settings.transport_settings.credentials is not None
        for shown in (repr(settings), repr(settings.transport_settings), repr(engine.config), repr(engine)):
            assert seaweed.secret_key not in shown


def test_engine_that_is_forgotten_ends_with_the_script(script: Any) -> None:
    """A script that never closes its engine ends, and so do its workers."""
    process = script("print(engine.upload(bucket, [BytesSource(b'x', 'k')]).wait().objects)", "auto")
    out, err = process.communicate(timeout=30)
    assert out.split() == ["started", "1"], err
    assert process.returncode == 0
    eventually(lambda: group(process.pid) == [], within_s=5)


def test_workers_survive_the_wait_between_batches(bucket: str) -> None:
    """Idle workers are kept for the next batch."""
    with Engine(workers=2, concurrency=8) as engine:
        assert engine.upload(bucket, [BytesSource(b"x", "a")]).wait().ok
        before = engine.worker_pids
        time.sleep(1.2)
        assert engine.upload(bucket, [BytesSource(b"x", "b")]).wait().ok
        assert engine.worker_pids == before
