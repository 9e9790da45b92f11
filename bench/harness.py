"""What the benchmarks share: running a whole process and counting its CPU, the data, tables, and keeping a run."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.sink import memory_folder, nginx_version

__all__ = [
    "CREDENTIALS", "Usage", "client_environment", "find_s5cmd", "keep_run", "make_files", "median_and_range",
    "run_process", "table",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
CREDENTIALS = ("AKIDBENCHMARK", "no-secret-at-all")
_PACKAGES = ("urllib3", "botocore", "boto3", "minio", "obstore", "s5cmd", "click", "pytest", "pytest-benchmark")
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Usage(NamedTuple):
    """What one process and all its descendants took."""

    wall_s: float
    """From before it was started until it had ended."""
    cpu_s: float
    """User and system time, of it and all its descendants."""
    stdout: str


class RunFailed(Exception):
    """A measured process ended with an error; the message has what it said."""


def client_environment() -> dict[str, str]:
    """The environment of every contender: fixed credentials and region, no files, proxies or settings of the user."""
    keep = {
        name: value for name, value in os.environ.items()
        if not name.upper().startswith(("AWS_", "S3ENGINE_", "S3_")) and not name.lower().endswith("_proxy")
    }  # fmt: skip
    if "PYTHONPATH" in keep:  # contenders run elsewhere
        keep["PYTHONPATH"] = os.pathsep.join(os.path.abspath(one) for one in keep["PYTHONPATH"].split(os.pathsep))
    return keep | {
        "AWS_ACCESS_KEY_ID": CREDENTIALS[0], "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1], "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def run_process(command: Sequence[str], environment: Mapping[str, str], timeout_s: float = 300) -> Usage:
    """Run a fresh process to its end. Raises RunFailed.

    Descendants that it left to others (workers of a fork server) come to this process and are counted too: Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environment),
            cwd=tempfile.gettempdir(), start_new_session=True,
        )  # fmt: skip
        timer = subprocess.Popen(  # kills the whole group when it hangs; the group's own exit ends it
            ["sleep", str(timeout_s)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) if False else None  # fmt: skip
        del timer
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        cpu_s = usage.ru_utime + usage.ru_stime
        process.returncode = code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(ChildProcessError):
            while True:
                _, _, usage = os.wait4(-process.pid, 0)
                cpu_s += usage.ru_utime + usage.ru_stime
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if code:
        raise RunFailed(f"{os.path.basename(command[0])} ended with {code}: {(stderr or stdout).strip()[-2000:]}")
    return Usage(wall_s, cpu_s, stdout)
