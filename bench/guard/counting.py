"""How many instructions a path takes: under valgrind, as the difference between two numbers of repetitions.

What both have in common, the interpreter's start and making ready, falls out. Instructions of the kernel are not in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.guard.paths import PATHS

__all__ = ["Uncounted", "count", "version"]

_TIMEOUT_S = 240
_ROOT = Path(__file__).resolve().parents[2]


class Uncounted(Exception):
    """It cannot be counted here; the message says what is missing, or what went wrong."""


def version() -> str:
    """What counts depend on beside the code: the interpreter."""
    return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"


def count(name: str) -> float:
    """Instructions of one repetition of the path ``name``. Raises Uncounted."""
    least = PATHS[name].least
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise Uncounted("valgrind is not installed; install it with: apt install valgrind (Debian, Ubuntu)")
    with tempfile.TemporaryDirectory(prefix="s3engine-guard-") as folder:
        _run(name, least, folder)  # uncounted: whoever comes first compiles byte code
        tool = [valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        setarch = shutil.which("setarch")
        if setarch is not None:  # addresses decide the order in some tables of the interpreter
            tool[:0] = [setarch, "-R"]
        few, many = _collected(_run(name, least, folder, tool)), _collected(_run(name, 3 * least, folder, tool))
    return (many - few) / (2 * least)


def _run(name: str, repetitions: int, folder: str, tool: Sequence[str] = ()) -> str:
    """What was written to stderr."""
    code = (
        f"import sys; sys.path[:0] = {[str(_ROOT), *_checkout()]!r}; "
        f"from bench.guard.paths import once; once({name!r}, {repetitions})"
    )
    given = {
        "PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "LC_ALL": "C.UTF-8",
        "TMPDIR": tempfile.gettempdir(),
    }  # fmt: skip
    try:
        done = subprocess.run(
            [*tool, sys.executable, "-c", code], capture_output=True, text=True, env=given, cwd=folder,
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Uncounted(f"{name}: not done within {_TIMEOUT_S} s") from None
    if done.returncode:
        raise Uncounted(f"{name}: ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done.stderr


def _collected(said: str) -> int:
    found = re.search(r"Collected\s*:\s*(\d+)", said)
    if found is None:
        raise Uncounted(f"valgrind tells no count: {said.strip()[-500:]}")
    return int(found.group(1))


def _checkout() -> list[str]:
    """Where the transports are in a checkout; nothing where they are installed."""
    folder = _ROOT / "transports"
    return [str(folder)] if folder.is_dir() else []
