"""The example of docs/transports.md: installed from its own folder, found by name, right, and its tape tells all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine.embedded import EmbeddedServer
from tests.environments import ROOT, Done, FreshEnvironment
from tests.helpers import S3Probe

EXAMPLE = ROOT / "docs" / "example_transport"
FILES = {"a": 10, "b/c": 0, "b/ü": 70_000}  # name: bytes
pytestmark = pytest.mark.timeout(400)  # the first run downloads


@pytest.fixture(scope="module")
def installed(fresh: FreshEnvironment) -> Iterator[FreshEnvironment]:
    """The fresh environment with the example in it, as a package of somebody else."""
    fresh.pip("install", "--quiet", str(EXAMPLE))
    yield fresh
    fresh.pip("uninstall", "--quiet", "-y", "s3engine-tape")


@pytest.fixture
def s3engine(installed: FreshEnvironment, tmp_path: Path, seaweed: EmbeddedServer) -> Callable[..., Done]:
    """The command line with ``--transport tape`` in a folder with FILES below src."""
    for name, size_bytes in FILES.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(b"x" * size_bytes)

    def run(verb: str, *arguments: str, endpoint_url: str = seaweed.endpoint_url, **variables: str) -> Done:
        options = ("--transport", "tape", "--endpoint-url", endpoint_url)
        return installed.run(
            "s3engine", verb, *options, *arguments, folder=tmp_path, **seaweed.environment() | variables
        )

    return run


def _tape(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_tape_has_a_line_for_each_request(
    s3engine: Callable[..., Done], seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path,
    start_method: str,
) -> None:  # fmt: skip
    """A small job ends well, and the tape has what all processes asked, whichever way the workers were started."""
    url = f"{seaweed.endpoint_url}?tape={tmp_path}/the tape"
    for arguments in (
        ("cp", "./src", f"s3://{bucket}/p/"), ("cp", f"s3://{bucket}/p/", "out"), ("rm", "-r", f"s3://{bucket}/p/"),
    ):  # fmt: skip
        done = s3engine(*arguments, endpoint_url=url, S3ENGINE_START_METHOD=start_method)
        assert done.returncode == 0, done.stderr
        assert "3 objects" in done.stderr
    assert probe.list_keys(bucket) == []
    assert {name: (tmp_path / "out" / name).stat().st_size for name in FILES} == FILES
    lines = _tape(tmp_path / "the tape")
    for operation in ("put_object", "get_object"):
        moved = {line["key"]: line["bytes"] for line in lines if line["operation"] == operation}
        assert moved == {f"p/{name}": size_bytes for name, size_bytes in FILES.items()}
    counts = Counter(line["operation"] for line in lines)
    assert (counts["put_object"], counts["get_object"]) == (3, 3)
    assert 1 <= counts["delete_objects"] <= 3  # keys that are listed late go in a request of their own
    assert counts["list_objects_v2"] >= 2
    assert all(line["bucket"] == bucket and line["error"] == "" and line["seconds"] > 0 for line in lines)


def test_errors_are_on_the_tape(s3engine: Callable[..., Done], bucket: str, tmp_path: Path) -> None:
    """With their class, and the command fails as with any transport. Without ``?tape=`` the tape is in the folder."""
    done = s3engine("cp", f"s3://{bucket}/absent", "out")
    assert done.returncode == 1
    assert f"s3://{bucket}/absent" in done.stderr
    lines = _tape(tmp_path / "tape.jsonl")
    assert {(line["key"], line["error"]) for line in lines} == {("absent", "NotFound")}


def test_tape_that_cannot_be_written(s3engine: Callable[..., Done], seaweed: EmbeddedServer, bucket: str) -> None:
    """What goes wrong while a transport is opened is told in one line that names it."""
    done = s3engine("ls", f"s3://{bucket}/", endpoint_url=f"{seaweed.endpoint_url}?tape=/absent/tape")
    assert done.returncode == 2
    assert "cannot open the transport 's3engine_tape:TapeTransport': FileNotFoundError" in done.stderr
    assert done.stderr.count("\n") == 1


def test_name_is_listed_where_another_is_unknown(installed: FreshEnvironment, tmp_path: Path) -> None:
    """Whoever mistypes a name is told of those that others' packages brought."""
    done = installed.run("s3engine", "ls", "--transport", "tpae", "s3://bucket/", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "s3engine: unknown transport 'tpae'; there are boto3, minio, obstore, raw, tape\n"


@pytest.mark.slow
def test_example_keeps_every_promise(s3engine: Callable[..., Done], bucket: str) -> None:
    """The conformance suite finds nothing broken."""
    done = s3engine("check", f"s3://{bucket}/p/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 NO" in done.stderr
