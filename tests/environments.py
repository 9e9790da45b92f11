"""A virtual environment that has s3engine, as its wheel, and nothing that it does not require.

Wheels of all that is ever installed there are kept in ``.cache/`` (or ``S3ENGINE_TEST_CACHE``) until pyproject.toml
changes, so only the first run needs a network. The environment itself is made anew in each run, in seconds: tests
install and uninstall in it, and runs at the same time must not see each other's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers import locked

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("boto3", "minio", "obstore")
"""Extras whose packages can be installed."""
TIMEOUT_S = 300.0

Done = subprocess.CompletedProcess[str]


class FreshEnvironment:
    """A new environment in ``folder``. Programs in it get none of this process's Python settings and AWS variables."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        kept = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("AWS_", "S3ENGINE_", "PYTHON", "PIP_", "VIRTUAL_ENV"))
        }  # fmt: skip
        self._environment = kept | {
            "PATH": os.pathsep.join([str(self.bin), kept.get("PATH", os.defpath)]), "S3ENGINE_WORKERS": "2",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }  # fmt: skip
        _expect_good(
            subprocess.run(
                [sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update", str(folder / "venv")],
                check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S,
            )
        )  # fmt: skip
        self._wheels = self._cached_wheels()
        self.pip("install", self._wheel_of_s3engine(folder))

    def run(self, *command: str, folder: Path, **variables: str) -> Done:
        """Run a program of the environment in a folder, to its end."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]], cwd=folder, env=self._environment | variables, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT_S,
        )  # fmt: skip

    def pip(self, verb: str, *arguments: str) -> str:
        """Run pip, which sees nothing but the wheels that are kept; what it prints. Fails the test when pip fails."""
        local = ["--no-index", "--find-links", str(self._wheels)] if verb in ("install", "wheel") else []
        return _expect_good(self.run("python", "-m", "pip", verb, *local, *arguments, folder=ROOT)).stdout

    def packages(self) -> set[str]:
        """Names of what is installed."""
        lines = self.pip("list", "--format=freeze").splitlines()
        return {line.partition("==")[0].lower() for line in lines}

    def _cached_wheels(self) -> Path:
        cache = Path(os.environ.get("S3ENGINE_TEST_CACHE") or ROOT / ".cache")
        state = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:16]
        name = f"fresh-wheels-{sys.implementation.cache_tag}"
        wheels = cache / name
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{name}.lock"):
            done = wheels / f"complete-{state}"
            if not done.exists():
                shutil.rmtree(wheels, ignore_errors=True)
                wanted = [f"{ROOT}[{','.join(EXTRAS)}]", "hatchling>=1.24"]
                pip = ["python", "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels)]
                _expect_good(self.run(*pip, *wanted, folder=ROOT, **_settings_of_pip()))
                for ours in wheels.glob("s3engine-*.whl"):
                    ours.unlink()
                done.touch()
        return wheels

    def _wheel_of_s3engine(self, folder: Path) -> str:
        under_tox = os.environ.get("TOX_PACKAGE", "")
        if under_tox.endswith(".whl"):
            return under_tox  # the very one that is tested
        self.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
        (wheel,) = folder.glob("s3engine-*.whl")
        return str(wheel)


def _settings_of_pip() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _expect_good(done: Done) -> Done:
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr or ''}"
    return done
