"""``--from`` with a journal, on SeaweedFS: lists that were written anew, pipes, and what is said of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import S3Probe

pytestmark = pytest.mark.usefixtures("environment")


def run(folder: Path, *arguments: str, given: str = "", env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "s3engine", *arguments], cwd=folder, input=given, capture_output=True, timeout=60,
        check=False, text=True, env=env,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module", autouse=True)
def places(environment: pytest.MonkeyPatch) -> None:
    """In other folders too; one worker is enough."""
    environment.setenv("PYTHONPATH", ":".join(str(Path(place).resolve()) for place in sys.path if place))
    environment.setenv("S3ENGINE_WORKERS", "1")


def test_list_that_was_written_anew_goes_on(tmp_path: Path, bucket: str, probe: S3Probe) -> None:
    """The same names are the same job, whenever they were written; retry needs no list at all, and no input."""
    names = tmp_path / "names"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    names.write_text("a\nlate\n")
    command = ("cp", "src", f"s3://{bucket}/p/", "--from", "names", "--journal", "j")
    assert run(tmp_path, *command)[0] == 1
    names.unlink()
    names.write_text("a\nlate\n")
    assert run(tmp_path, *command)[0] == 1  # it goes on: the file is not there yet
    names.write_text("a\nother\n")
    code, _, err = run(tmp_path, *command)
    assert code == 2
    assert "the list 'names' was changed: it is done with its input, and there is no 'p/other' in that" in err
    names.unlink()
    (tmp_path / "src" / "late").write_text("late")
    assert run(tmp_path, "retry", "j", "--dry-run")[1] == f"would upload {tmp_path}/src/late -> s3://{bucket}/p/late\n"
    assert run(tmp_path, "retry", "j", "--quiet") == (0, "", "")
    assert probe.list_keys(bucket) == ["p/a", "p/late"]


def test_dry_run_says_where_the_job_stands(tmp_path: Path, bucket: str) -> None:
    """With nothing to do it is not silent: on standard error, for retry and for rm too, but not with --quiet."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    for name, command in (
        ("up", ("cp", "src", f"s3://{bucket}/p/")),
        ("down", ("rm", "-r", f"s3://{bucket}/p/")),
    ):
        assert run(tmp_path, *command, "--journal", name)[0] == 0
        code, out, err = run(tmp_path, *command, "--journal", name, "--dry-run")
        assert (code, out, err.count(" done; nothing is left to do\n")) == (0, "", 1), err
        assert run(tmp_path, *command, "--journal", name, "--dry-run", "--quiet") == (0, "", "")
    for more, told in (((), ""), (("--only", "NetworkError"), " with such an error")):
        code, out, err = run(tmp_path, "retry", "up", "--dry-run", *more)
        assert (code, out, err) == (0, "", f"s3engine: journal up: nothing has failed{told}; nothing is tried again\n")


def test_refused_pipe_is_not_told_as_done(tmp_path: Path, bucket: str) -> None:
    """Where the job stands is said once its input was compared: of another one only that it is another."""
    command = ("rm", f"s3://{bucket}/p/", "--from", "-", "--journal", "j")
    assert run(tmp_path, *command, given="a\nb\n")[0] == 0
    code, out, err = run(tmp_path, *command, given="a\nb\n")
    assert (code, out, err.count("nothing is left to do")) == (0, "", 1), err
    for dry in ((), ("--dry-run",)):
        code, out, err = run(tmp_path, *command, *dry, given="a\nc\n")
        assert (code, out, "nothing is left to do" in err) == (2, "", False), err
        assert "belongs to another job" in err


def test_retry_knows_the_endpoint(tmp_path: Path, bucket: str, probe: S3Probe) -> None:
    """It is on record; no variable and no option has to name it again."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "late").symlink_to(tmp_path / "absent")
    assert run(tmp_path, "cp", "src", f"s3://{bucket}/p/", "--journal", "j")[0] == 1
    (tmp_path / "absent").write_text("late")
    elsewhere = {name: value for name, value in os.environ.items() if "ENDPOINT_URL" not in name}
    assert run(tmp_path, "retry", "j", "--quiet", env=elsewhere) == (0, "", "")
    assert probe.list_keys(bucket) == ["p/late"]
    code, _, err = run(tmp_path, "cp", "src", f"s3://{bucket}/p/", "--journal", "j", env=elsewhere)
    assert (code, "--endpoint-url http://" in err) == (2, True), err
