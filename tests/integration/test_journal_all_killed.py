"""A run with a journal of which everything is killed at once: nobody is left who could tidy up."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer
from tests.faults import FaultProxy
from tests.helpers import S3Probe, eventually
from tests.journaled import come_so_far

FILES = 500
IN_FLIGHT = 16


@pytest.fixture(scope="module", autouse=True)
def python_path(environment: pytest.MonkeyPatch) -> None:
    """In other folders too."""
    environment.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(place) for place in sys.path if place))


def begun(command: list[str]) -> subprocess.Popen[str]:
    """A command in a session, and a process group, of its own."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def members(group: int) -> list[int]:
    """Processes of the group that run."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            state, _, its_group = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # ended meanwhile
        if int(its_group) == group and state != "Z":
            found.append(int(name))
    return found


def kill_all_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> int:
    """SIGKILL for the parent and its workers at once, as soon as it has come so far; how many there were."""
    with process:
        try:
            come_so_far(process, condition)
            count = len(members(process.pid))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    eventually(lambda: not members(process.pid))
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to know which processes are left")
def test_everything_killed_twice(tmp_path: Path, seaweed: EmbeddedServer, probe: S3Probe, bucket: str) -> None:
    """After SIGKILL of parent and workers at once each object is done once; only what was in flight is sent twice."""
    source, journal = tmp_path / "src", tmp_path / "journal"
    bodies = {f"d{n % 7}/f{n}": f"body {n}".encode() * 20 for n in range(FILES)}
    for name, body in bodies.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(body)
    puts: list[bytes] = []

    def see(connection_no: int, request_no: int, head: bytes) -> None:
        path = head.split(b" ", 2)[1:2]
        if head.startswith(b"PUT") and b"?" not in path[0]:
            puts.append(path[0])

    with FaultProxy("127.0.0.1", seaweed.port, see) as proxy:
        command = [
            sys.executable, "-m", "s3engine", "cp", str(source), f"s3://{bucket}/p/", "--journal", str(journal),
            "--endpoint-url", proxy.endpoint_url, "--workers", "2", "-n", str(IN_FLIGHT), "--quiet",
        ]  # fmt: skip
        for count in (100, 280):
            killed = kill_all_when(begun(command), lambda count=count: len(puts) >= count)  # type: ignore[misc]
            assert killed >= 3, "the parent and two workers"
        with begun(command) as last:
            assert last.communicate(timeout=60) == ("", "")
        assert last.returncode == 0
    with closing(sqlite3.connect(journal)) as connection:
        found = connection.execute("SELECT key, state FROM objects").fetchall()
    assert Counter(found) == Counter((name, 1) for name in (f"p/{name}" for name in bodies))
    assert {key[2:]: probe.get(bucket, key) for key in probe.list_keys(bucket)} == bodies
    sent_again = sum(count - 1 for count in Counter(puts).values())
    assert sent_again <= 2 * IN_FLIGHT, f"{sent_again} objects were sent again after two kills"
