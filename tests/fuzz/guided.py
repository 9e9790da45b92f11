"""A run that is led by what the parser does with the bytes: atheris (libFuzzer for Python), in a process of its own.

libFuzzer ends its process by itself, so the result comes back through a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.run import CORPUS, HANG_S, Result, Watched

_INSTRUMENTED = ["s3engine_transports.raw", "s3engine.uri", "s3engine.cli.route"]


def available() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def run(target: str, seconds: float) -> Result:
    """Run for so long, in a child."""
    with tempfile.TemporaryDirectory(prefix="s3engine-fuzz-") as folder:
        path = Path(folder, "result.json")
        command = [sys.executable, "-m", "tests.fuzz.guided", target, str(int(seconds)), folder]
        # The grown corpus goes with the folder; findings are kept in the result.
        child = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
        if not path.exists():
            raise RuntimeError(f"atheris ended with {child.returncode} and no result:\n{child.stderr[-2000:]}")
        result = Result(**json.loads(path.read_text()))
        if child.returncode:
            result.crashes.append(f"libFuzzer ended with {child.returncode}: {child.stderr[-500:]}")
        return result


def _child(target: str, seconds: str, folder: str) -> None:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets")
    grown = Path(folder, "corpus")
    grown.mkdir()
    watched = Watched(Result(target, "atheris"), targets.TARGETS[target], Path(folder, "result.json"))
    watched.save()
    arguments = [
        "fuzz", f"-max_total_time={seconds}", f"-timeout={10 * HANG_S:.0f}", "-max_len=4096", "-verbosity=0",
        f"-artifact_prefix={folder}/", str(grown), str(CORPUS / target),
    ]  # fmt: skip
    atheris.Setup(arguments, watched)
    atheris.Fuzz()


if __name__ == "__main__":
    _child(*sys.argv[1:])
