"""Where the time goes on small PUTs: flame graphs of one worker and of the parent, sampled at the same time.

``python -m bench.flames [--into docs/performance] [--seconds 8]``. Needs py-spy, and the right to look into one's own
processes (as root, or with /proc/sys/kernel/yama/ptrace_scope at 0).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.growth.points import Point
from bench.harness import client_environment, run_program
from bench.sink import Sink, SinkUnavailable

__all__ = ["main"]

_JOB = Path(__file__).parent / "growth" / "job.py"
_SETTLED_S = 1.5  # after which workers are started and connected
_OBJECTS_PER_S = 60_000  # objects, more than any run does: the job must not end while it is sampled


def _children(pid: int) -> list[int]:
    """Of a process, the first one last. Linux."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _busiest(pids: Sequence[int]) -> int:
    """By CPU so far: a resource tracker or a fork server has little."""
    return max(pids, key=lambda pid: int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]))


def _record(spy: str, pid: int, into: Path, title: str, seconds: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [spy, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", "250", "--format", "flamegraph",
         "--output", str(into), "--gil" if title == "parent" else "--idle"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _without_title(path: Path) -> None:
    """py-spy's title is its own command line, with the paths of this machine."""
    drawn = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'(<text id="title"[^>]*>)[^<]*', r"\1", drawn), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 2 when it could not be sampled."""
    parser = argparse.ArgumentParser(prog="python -m bench.flames", description=__doc__.split("\n")[0])
    parser.add_argument("--into", type=Path, default=Path("docs/performance"), help="where the SVG files go")
    parser.add_argument("--seconds", type=int, default=8, help="how long is sampled (8)")
    options = parser.parse_args(arguments)
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        print("bench: py-spy is not installed; install it with: pip install '.[bench]'", file=sys.stderr)
        return 2
    options.into.mkdir(parents=True, exist_ok=True)
    point = Point(series="", work="upload", x=0, count=_OBJECTS_PER_S * (options.seconds + 4))
    with contextlib.ExitStack() as stack:
        try:
            sink = stack.enter_context(Sink())
        except SinkUnavailable as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3engine-flames-")))
        files = []
        for number in range(100):
            path = folder / f"{number}.bin"
            path.write_bytes(bytes(1024))
            files.append(str(path))
        given = folder / "job.json"
        given.write_text(json.dumps({
            "work": "upload", "bucket": "sink", "count": point.count, "config": {}, "endpoint_url": sink.endpoint_url,
            "files": files,
        }))  # fmt: skip
        job = subprocess.Popen(
            [sys.executable, str(_JOB), str(given)], env=client_environment(), stdout=subprocess.DEVNULL
        )
        try:
            time.sleep(_SETTLED_S)  # by the clock: how far it is can be asked of nobody without disturbing it
            seen = {
                "parent": _record(spy, job.pid, options.into / "flames-parent.svg", "parent", options.seconds),
                "worker": _record(
                    spy, _busiest(_children(job.pid)), options.into / "flames-worker.svg", "worker", options.seconds
                ),
            }
            for name, process in seen.items():
                said = process.communicate(timeout=options.seconds + 60)[1].decode(errors="replace")
                if process.returncode:
                    print(f"bench: py-spy on the {name}: {said.strip()[-500:]}", file=sys.stderr)
                    return 2
                _without_title(options.into / f"flames-{name}.svg")
        finally:
            job.terminate()
            job.wait(20)
    print(f"{options.into}/flames-worker.svg, {options.into}/flames-parent.svg")
    return 0


if __name__ == "__main__":
    run_program(main)
