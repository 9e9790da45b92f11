"""``s3engine compare`` as a process, on a small folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import eventually

TIMEOUT_S = 100.0
FILES = 12
_ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Told(NamedTuple):
    """A comparison that ended."""

    code: int
    out: str
    err: str
    document: dict[str, Any]

    def steps(self, transport: str, name: str) -> list[dict[str, Any]]:
        """That step of each run of that transport."""
        runs = [run for run in self.document["runs"] if run["transport"] == transport]
        return [step for run in runs for step in run["steps"] if step["name"] == name]


class Compare:
    """Runs ``s3engine compare`` on a small folder."""

    def __init__(self, folder: Path, bucket: str, variables: dict[str, str]) -> None:
        self.folder = folder
        self.bucket = bucket
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3ENGINE_"))}
        self.mark = uuid.uuid4().hex
        self.environment = kept | variables | {
            "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path if place),
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "S3ENGINE_WORKERS": "2",
            "S3ENGINE_CONCURRENCY": "8", "S3ENGINE_TEST_MARK": self.mark,
        }  # fmt: skip
        for number in range(FILES):
            path = folder / "src" / f"d{number % 3}" / f"file {number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}".encode() * (1 + 300 * number))

    def begin(self, transports: str, *options: str, terminal: int | None = None) -> subprocess.Popen[str]:
        """Start it, with its output in pipes, or on a terminal that is its own."""
        command = [sys.executable, "-m", "s3engine", "compare", "src", f"s3://{self.bucket}/p"]
        if terminal is not None:
            command = [sys.executable, "-c", _ON_ITS_TERMINAL, *command]
        out = subprocess.PIPE if terminal is None else terminal
        return subprocess.Popen(
            [*command, "--transports", transports, "--json", "run.json", *options], cwd=self.folder,
            env=self.environment, stdin=subprocess.DEVNULL if terminal is None else terminal, stdout=out, stderr=out,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip

    def __call__(self, transports: str, *options: str) -> Told:
        """Run it to its end; one round and no warm-up unless ``options`` say otherwise."""
        return self.ended(self.begin(transports, "--rounds", "1", "--no-warm-up", *options))

    def ended(self, process: subprocess.Popen[str]) -> Told:
        """Wait for its end, after which no process of it may run."""
        with process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in err, err
        eventually(lambda: not self.processes())
        written = self.folder / "run.json"
        return Told(process.returncode, out, err, json.loads(written.read_text()) if written.exists() else {})

    def processes(self) -> list[str]:
        """All that run with the mark of this comparison."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    marked = self.mark.encode() in (entry / "environ").read_bytes()
                except OSError:
                    continue
                if marked:
                    found.append(entry.name)
        return found
