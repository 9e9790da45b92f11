"""The pieces below a comparison: what is refused, the prefix of its own, and CPU of a family of processes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s3engine.cli import main
from s3engine.compare.checks import unlike, with_wrong
from s3engine.compare.cleanup import Ground, without_secrets
from s3engine.compare.tally import Tally
from s3engine.compare.values import Step
from s3engine.engine import Engine
from s3engine.errors import ConfigError, NotSupported, ServerFault
from s3engine.testing.conformance.scripted import Say, Scripted, answer, list_answer
from s3engine.transport import ObjectInfo
from s3engine.uri import S3Uri

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "S3ENGINE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: whoever asks it gets nowhere
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")


# ---- refused before anything is sent


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["src", "s3://bucket/p", "--transports", "raw,raw"], "names raw more than once"),
        (["src", "s3://bucket/p", "--transports", "raw,"], "names with a comma between"),
        (["src", "s3://bucket/p", "--transports", "none-such"], "unknown transport 'none-such'"),
        (["src", "s3://bucket/p", "--transports", "os:NoSuchClass"], "cannot load the transport 'os:NoSuchClass'"),
        (["src", "bucket/p", "--transports", "raw"], "is no S3 URI"),
        (["s3://bucket/q", "s3://bucket/p", "--transports", "raw"], "a local folder or file"),
        (["src", "s3://bucket/p", "--transports", "raw", "--picture", "no/x.html"], "cannot write 'no/x.html'"),
        (["src", "s3://bucket/p", "--transports", "raw", "--json", "src"], "cannot write 'src'"),
        (["src", "s3://bucket/p", "--transports", "raw", "--rounds", "0"], "--rounds"),
        (["src", "s3://bucket/p", "--transports", "raw", "--workers", "0"], "workers must be"),
    ],
)
def test_usage_errors(arguments: list[str], told: str, capsys: Captured) -> None:
    """What is wrong in the command is told in a line, with exit code 2."""
    assert main(["compare", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_transport_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It is told with the command that installs it, before anything is sent."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "minio" else found(name))
    assert main(["compare", "src", "s3://bucket/p", "--transports", "raw,minio"]) == 2
    assert "pip install 's3engine[minio]'" in capsys.readouterr().err


@pytest.mark.parametrize(("source", "told"), [("none", "does not exist"), ("empty", "holds no file")])
def test_source_with_nothing(source: str, told: str, tmp_path: Path, capsys: Captured) -> None:
    """A source without a file is an error before anything is sent."""
    (tmp_path / "empty").mkdir()
    assert main(["compare", source, "s3://bucket/p", "--transports", "raw"]) == 1
    assert told in capsys.readouterr().err


# ---- the prefix


def test_ground_is_new_each_time_and_below_the_prefix() -> None:
    """Two comparisons never share a prefix, and both lie below the one that the user gave."""
    first, second = (Ground(S3Uri("bucket", "a/b"), {"anonymous": True}) for _ in range(2))
    assert first.uri != second.uri
    for ground in (first, second):
        assert ground.uri.bucket == "bucket"
        assert ground.uri.key.startswith("a/b/s3engine-compare-")
        assert ground.below("raw-1") == f"{ground.uri.key}raw-1/"
    assert Ground(S3Uri("bucket", ""), {"anonymous": True}).uri.key.startswith("s3engine-compare-")


@pytest.mark.parametrize("prefix", ["", "a/", "a/b/", "a/b/s3engine-compare-", "other/"])
def test_ground_deletes_nothing_above_itself(prefix: str) -> None:
    """Any prefix that is not its own is refused without a request."""
    ground = Ground(S3Uri("bucket", "a/b/"), {"anonymous": True})
    with pytest.raises(ConfigError, match="is not below"):
        ground.clear(prefix)
    with pytest.raises(ConfigError, match="is not below"):
        ground.abort_uploads(prefix)


# What a store answers that ignores the prefix it is asked for, or has its pages go round.

_OTHERS = "somebody/else"
_UPLOADS = (
    "<ListMultipartUploadsResult><IsTruncated>{more}</IsTruncated><NextKeyMarker>{marker}</NextKeyMarker>"
    "<NextUploadIdMarker>{marker}</NextUploadIdMarker>{uploads}</ListMultipartUploadsResult>"
)


def _uploads_answer(*keys: str, marker: str = "") -> Say:
    uploads = "".join(f"<Upload><Key>{key}</Key><UploadId>u</UploadId></Upload>" for key in keys)
    page = _UPLOADS.format(more="true" if marker else "false", marker=marker, uploads=uploads)
    return answer(200, page.encode(), ("Content-Type", "application/xml"))


def _ground(server: Scripted) -> Ground:
    return Ground(S3Uri("bucket", "a/b/"), {"anonymous": True, "endpoint_url": server.endpoint_url})


def test_objects_of_others_are_not_deleted() -> None:
    """When the store lists keys that are not below the prefix nothing at all is deleted."""
    with Scripted(list_answer(_OTHERS)) as server:
        ground = _ground(server)
        with pytest.raises(ServerFault, match=_OTHERS):
            ground.clear(ground.below("raw-1"))
    assert [request.method for request in server.requests] == ["GET"]


def test_uploads_of_others_are_not_aborted() -> None:
    """When the store lists uploads that are not below the prefix none of that page is aborted."""
    with Scripted(_uploads_answer("in/a", _OTHERS)) as server:
        engine = Engine(transport="raw", anonymous=True, endpoint_url=server.endpoint_url)
        with engine, pytest.raises(ServerFault, match=_OTHERS):
            engine.abort_uploads("bucket", "in/")
        ground = _ground(server)
        with pytest.raises(ServerFault, match="in/a"):
            ground.abort_uploads(ground.uri.key)
    assert [request.method for request in server.requests] == ["GET", "GET"]


def test_pages_of_uploads_that_go_round() -> None:
    """Pages of unfinished uploads that begin again are an error rather than an endless loop."""
    with Scripted(_uploads_answer(marker="a"), _uploads_answer(marker="b"), _uploads_answer(marker="a")) as server:
        ground = _ground(server)
        with pytest.raises(ServerFault, match="again and again"):
            ground.abort_uploads(ground.uri.key)
    assert len(server.requests) == 3


def test_command_by_hand() -> None:
    """The command that removes the rest names the store, quoted for a shell, without its credentials."""
    url = "http://user:hidden@127.0.0.1:9"
    settings: dict[str, Any] = {"anonymous": True, "endpoint_url": url, "profile": "my own"}
    ground = Ground(S3Uri("bucket", "a b"), settings)
    assert ground.command == (
        f"s3engine rm -r 's3://bucket/{ground.uri.key}' --endpoint-url http://127.0.0.1:9 --profile 'my own'"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://u:p@store.example/base?k=v#f", "https://store.example/base"),
        ("a profile", "a profile"),
    ],
)
def test_without_secrets(url: str, shown: str) -> None:
    """A URL keeps scheme, host, port and path."""
    assert without_secrets(url) == shown


# ---- what is compared with what should be there

KEYS = {"p/raw-1/up/a": 1, "p/raw-1/up/b": 2}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([("a", 1), ("b", 2)], []),
        ([("b", 2), ("a", 1), ("maybe", 9)], []),
        ([("a", 1)], ["'b' was not listed"]),
        ([("a", 1), ("b", 2), ("c", 3)], ["'c' was listed and should not be there"]),
        ([("a", 1), ("b", 2), ("a", 1)], ["'a' was listed twice"]),
        ([("a", 1), ("b", 5)], ["'b' has 5 bytes, not 2"]),
    ],
)
def test_unlike(found: list[tuple[str, int]], told: list[str]) -> None:
    """Missing, surplus, repeated and resized keys are told by name; order does not matter."""
    infos = [ObjectInfo(f"p/raw-1/up/{name}", size_bytes) for name, size_bytes in found]
    assert unlike(infos, KEYS, {"p/raw-1/up/maybe"}, "listed") == told


def test_many_wrong_things_are_counted() -> None:
    """Of many alike the first three are told and the rest counted."""
    step = with_wrong(Step(name="list"), [f"{number}" for number in range(10)])
    assert step.wrong == ("0", "1", "2", "and 7 more like these")


def test_impossible_is_only_what_fails_as_a_whole() -> None:
    """A step all of which is not supported has a reason and no failures; one of many that is not is a failure."""
    tally = Tally()
    tally.fail(NotSupported("there is none"))
    tally.fail(NotSupported("there is none"))
    nothing = tally.step("copy", 1.0, None, objects=0, size_bytes=0, retries=0)
    assert (nothing.cannot, nothing.failed) == ("there is none", {})
    some = tally.step("copy", 1.0, None, objects=5, size_bytes=5, retries=0)
    assert (some.cannot, some.failed) == ("", {"NotSupported": 2})


# ---- CPU and memory

_FAMILY = """
import json, subprocess, sys, threading, time
from s3engine.compare.usage import cpu_since, cpu_so_far, peak

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def begin():
    global outer_s, before, inner_s
    outer_s, before, inner_s = time.process_time(), cpu_so_far(), time.process_time()

def tell():
    # What this process took is measured, not supposed: no less than `least`, no more than `most`.
    least = time.process_time() - inner_s
    counted = cpu_since(before)
    most = time.process_time() - outer_s
    held = peak()
    print(json.dumps([counted - most, counted - least, held.all_bytes - held.main_bytes]))

begin()
thread = threading.Thread(target=burn, args=(0.3,))
thread.start()
thread.join()
tell()

burning = "import time\\nwhile time.process_time() < 0.3: pass\\nprint(flush=True)\\ninput()"
begin()
child = subprocess.Popen([sys.executable, "-c", burning], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
tell()

begin()
child.communicate("")
tell()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to know the CPU time of children")
def test_cpu_of_threads_and_of_processes_alive_and_dead() -> None:
    """Threads that ended, children that run, and children that died in between are all counted, and only once."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path if place)}
    done = subprocess.run(
        [sys.executable, "-c", _FAMILY], capture_output=True, text=True, check=True, env=environment, timeout=60,
        start_new_session=True,
    )  # fmt: skip
    thread, running, dead = map(json.loads, done.stdout.splitlines())
    # CPU beyond this process's own, at least and at most; never time on the wall. The kernel counts some of it in ticks
    # of 10 ms.
    assert thread[1] > -0.02
    assert thread[0] < 0.02
    assert running[1] > 0.28
    assert running[0] < 0.5  # not twice
    assert dead[0] < 0.2  # the child's 0.3 s were counted before
    assert running[2] > 2e6
    assert dead[2] == 0
