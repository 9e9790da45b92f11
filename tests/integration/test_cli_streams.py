"""The command line with closed or full streams, and with Ctrl-C where nothing is under way yet, or any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe
from tests.integration.test_cli_verbs import TIMEOUT_S, Cli, Done


@pytest.fixture
def cli(tmp_path: Path, seaweed: EmbeddedServer) -> Cli:
    """The command line, pointed at ``seaweed``."""
    return Cli(tmp_path, seaweed.environment())


def _shell(cli: Cli, command: str, *arguments: str, **variables: str) -> Done:
    """``command`` for sh; ``$0 -m s3engine "$@"`` is the command line."""
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments], cwd=cli.folder, env=cli.environment | variables,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nowhere(cli: Cli, bucket: str, probe: S3Probe, closed: str) -> None:
    """A batch whose standard streams are closed does its work, with 0; nothing is printed to what it opens."""
    for index in range(20):
        cli.write(f"src/{index}", b"body")
    done = _shell(cli, f'"$0" -m s3engine "$@" {closed}', "cp", "src", f"s3://{bucket}/")
    assert done.code == 0, done
    assert "Traceback" not in done.err
    assert {probe.get(bucket, key) for key in probe.list_keys(bucket)} == {b"body"}
    assert len(probe.list_keys(bucket)) == 20


@pytest.mark.parametrize(
    "arguments", [("cp", "src", "s3://{}/"), ("ls", "-r", "s3://{}/"), ("--help",), ("journal", "failed", "j")]
)
def test_full_standard_output_is_named(cli: Cli, bucket: str, probe: S3Probe, arguments: tuple[str, ...]) -> None:
    """What cannot be written to standard output fails with 1 and a line that says so."""
    cli.write("src/a")
    probe.put(bucket, "k", b"x")
    if arguments[0] == "journal":
        assert cli("cp", "src", "s3://no-such-bucket/", "--journal", "j").code == 1
    given = (argument.format(bucket) for argument in arguments)
    done = _shell(cli, '"$0" -m s3engine "$@" > /dev/full', *given)
    assert done.code == 1, done
    assert "cannot write to standard output: No space left on device" in done.err
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err


INTERRUPTED_IN_AN_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["s3engine", {verb!r}, "s3://bucket"]
from s3engine.cli import main
sys.exit(main())
"""

INTERRUPTED_AT_THE_END = """
import atexit, os, signal, sys
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv = ["s3engine", "--version"]
from s3engine.cli import main
sys.exit(main())
"""


def _python(cli: Cli, text: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=cli.folder, env=cli.environment, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("verb", "module"),
    [("mb", "s3engine.cli.app"), ("mb", "click"), ("ls", "s3engine.cli.quick"), ("ls", "s3engine.errors")],
)
def test_interrupted_before_anything_is_begun(cli: Cli, verb: str, module: str) -> None:
    """Ctrl-C while the command line is being imported: one line, 130, no traceback."""
    done = _python(cli, INTERRUPTED_IN_AN_IMPORT.format(verb=verb, module=module))
    assert (done.code, done.err) == (130, "s3engine: interrupted\n")


def test_interrupted_after_everything_is_done(cli: Cli) -> None:
    """Ctrl-C while the interpreter ends: 130, no traceback, not death by a signal."""
    done = _python(cli, INTERRUPTED_AT_THE_END)
    assert done.out.startswith("s3engine ")
    assert (done.code, done.err) == (130, "")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_no_clobber_of_an_absent_object(cli: Cli, bucket: str, probe: S3Probe, more: tuple[str, ...]) -> None:
    """One SRC that is not there is 1, also where the target is there and would have been kept."""
    probe.put(bucket, "f1", b"kept")
    kept = cli.write("out", b"kept")
    for target in (f"s3://{bucket}/f1", "out"):
        done = cli("cp", f"s3://{bucket}/nokey", target, "--no-clobber", *more)
        assert done.code == 1, done
        assert f"s3://{bucket}/nokey: " in done.err
        assert "skipped" not in done.out
    assert probe.get(bucket, "f1") == kept.read_bytes() == b"kept"
    assert cli("cp", f"s3://{bucket}/f1", "out", "--no-clobber", *more).code == 0
