"""What a move deletes from the store is on the disk first: bytes, name, and the names of all folders above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer
from tests.faults import Fault, FaultProxy
from tests.helpers import S3Probe
from tests.integration.faults_common import LARGE
from tests.integration.retry_common import ROOT

pytestmark = pytest.mark.usefixtures("environment")

# Workers are forked, so what is recorded is what they do too. One write call a line: lines of several processes come
# whole and in their order.
MOVE = """
import os, sys
from s3engine import Engine

url, bucket, folder, log = sys.argv[1:]
MIB = 1024 * 1024
record = os.open(log, os.O_WRONLY | os.O_APPEND)
fsync, replace = os.fsync, os.replace

def recorded_fsync(fd):
    fsync(fd)
    os.write(record, f"sync {os.readlink(f'/proc/self/fd/{fd}')}\\n".encode())

def recorded_replace(source, target, *, src_dir_fd=None, dst_dir_fd=None):
    replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    if dst_dir_fd is not None:
        target = os.path.join(os.readlink(f"/proc/self/fd/{dst_dir_fd}"), target)
    os.write(record, f"name {target}\\n".encode())

os.fsync, os.replace = recorded_fsync, recorded_replace
sizes = {"multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB}
with Engine(endpoint_url=url, workers=2, concurrency=4, start_method="fork", **sizes) as engine:
    for report in engine.list(bucket).download(folder, remove_objects=True):
        print(report.ok, report.error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to know which file is synced")
@pytest.mark.parametrize("ranges", [1, 3])
def test_source_is_deleted_after_all_is_on_the_disk(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, ranges: int
) -> None:
    """The bytes (of each range), then the name, then its folder and all above it are synced before the DELETE."""
    body = LARGE if ranges > 1 else LARGE[:1000]
    probe.put(bucket, "a/b/k", body)
    log = tmp_path / "log"
    log.touch()
    target = tmp_path / "new" / "root" / "a" / "b" / "k"

    def plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        if request_no and (head.startswith(b"DELETE ") or b"?delete" in head.partition(b"\r\n")[0]):
            with log.open("a") as file:
                file.write("delete\n")
        return None

    with FaultProxy("127.0.0.1", seaweed.port, plan) as proxy:
        command = [sys.executable, "-c", MOVE, proxy.endpoint_url, bucket, str(tmp_path / "new" / "root"), str(log)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.stdout == "True None\n", done.stderr
    assert target.read_bytes() == body
    assert probe.list_keys(bucket) == []

    lines = log.read_text().splitlines()
    assert lines.count("delete") == 1
    deleted, named = lines.index("delete"), lines.index(f"name {target}")
    assert sum(line.startswith(f"sync {target.parent}/.s3engine-") for line in lines[:named]) == ranges
    assert f"sync {target.parent}" in lines[named:deleted]
    for folder in list(target.parents)[1:5]:  # a, root, new, and where new was made
        assert f"sync {folder}" in lines[:deleted]
