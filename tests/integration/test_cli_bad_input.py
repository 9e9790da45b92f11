"""What goes wrong, told in a line that names it, with the right exit code; and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer, free_ports
from tests.helpers import S3Probe, eventually
from tests.integration.test_cli_verbs import TIMEOUT_S, Cli, group_is_gone
from tests.web import Headers, web_server


@pytest.fixture
def cli(tmp_path: Path, seaweed: EmbeddedServer) -> Cli:
    """The command line, pointed at ``seaweed``."""
    return Cli(tmp_path, seaweed.environment())


def _answering(answer: Callable[[str], tuple[int, str, bytes]]) -> AbstractContextManager[str]:
    """A server that answers GET and PUT of a path by a function; its URL."""

    def answer_to(_method: str, path: str) -> tuple[int, Headers, bytes]:
        status, kind, body = answer(path)
        # Without an ETag it would be a page, and no object.
        etag = (("ETag", '"an object"'),) if kind == "text/plain" else ()
        return status, (("Content-Type", kind), *etag), body

    return web_server(answer_to)


# ---- the store says no


@pytest.mark.parametrize("arguments", [("ls", "s3://{}/"), ("cp", "s3://{}/p/", "out"), ("cp", "f", "s3://{}/")])
def test_missing_bucket(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Exit code 1 and a line that names the bucket and mb."""
    cli.write("f")
    done = cli(*(argument.format("absent-bucket") for argument in arguments))
    assert done.code == 1
    assert "s3://absent-bucket/" in done.err
    assert "s3engine mb" in done.err


def test_missing_key(cli: Cli, bucket: str) -> None:
    """Exit code 1, the key is named, no file is left."""
    done = cli("cp", f"s3://{bucket}/absent", "out")
    assert done.code == 1
    assert f"s3engine: download s3://{bucket}/absent: " in done.err
    assert not (cli.folder / "out").exists()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials(cli: Cli, bucket: str, variables: dict[str, str], message: str) -> None:
    """Exit code 1, the store's reason, and where credentials come from; for an upload as for a listing."""
    cli.write("f")
    for done in (cli("cp", "f", f"s3://{bucket}/", **variables), cli("ls", f"s3://{bucket}/", **variables)):
        assert done.code == 1
        assert message in done.err
        assert "AWS_ACCESS_KEY_ID" in done.err


def test_unknown_profile(cli: Cli, bucket: str) -> None:
    """Exit code 2 and the profile's name."""
    done = cli("ls", f"s3://{bucket}/", "--profile", "absent")
    assert done.code == 2
    assert "absent" in done.err
    assert "--profile" in done.err


# ---- the endpoint


@pytest.mark.parametrize("arguments", [("ls", "s3://bucket/"), ("cp", "f", "s3://bucket/"), ("rm", "s3://bucket/k")])
def test_endpoint_that_is_not_there(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Exit code 1; the line names the endpoint and the option."""
    cli.write("f")
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = cli(*arguments, "--endpoint-url", url, S3ENGINE_MAX_ATTEMPTS="2")
    assert done.code == 1
    assert url in done.err
    assert "--endpoint-url" in done.err


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("arguments", [("ls", "s3://bucket/"), ("cp", "s3://bucket/p/", "out")])
def test_endpoint_that_is_not_s3(cli: Cli, arguments: tuple[str, ...], status: int) -> None:
    """A web page as an answer to a listing: exit code 1 and the option that may be wrong."""
    with _answering(lambda path: (status, "text/html", b"<html><body>It works!</body></html>")) as url:
        done = cli(*arguments, "--endpoint-url", url, S3ENGINE_MAX_ATTEMPTS="2")
    assert done.code == 1
    assert "--endpoint-url" in done.err


# ---- files


def test_unreadable_files_do_not_stop_the_rest(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """A dangling link and a FIFO fail by name; the file beside them is uploaded; exit code 1."""
    cli.write("src/good")
    (cli.folder / "src" / "dangling").symlink_to("nowhere")
    os.mkfifo(cli.folder / "src" / "fifo")
    done = cli("cp", "src", f"s3://{bucket}/")
    assert done.code == 1
    assert "s3engine: upload src/dangling: cannot read 'src/dangling': No such file" in done.err
    assert "s3engine: upload src/fifo: cannot upload 'src/fifo': it is not a regular file" in done.err
    assert probe.list_keys(bucket) == ["good"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(cli: Cli, bucket: str) -> None:
    """A file one may not read fails by name."""
    cli.write("f").chmod(0)
    done = cli("cp", "f", f"s3://{bucket}/")
    assert done.code == 1
    assert "Permission denied" in done.err


@pytest.mark.parametrize("direction", [1, -1])
def test_file_that_changes_while_it_is_sent(cli: Cli, bucket: str, probe: S3Probe, direction: int) -> None:
    """A large file that grows or shrinks under way fails by name, and no object stands for it."""
    path = cli.write("big", b"0" * (48 << 20))
    stop = threading.Event()

    def change() -> None:
        size = path.stat().st_size
        while not stop.wait(0.002) and size > 17 << 20:
            size += direction * (16 << 10)
            os.truncate(path, size)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        done = cli("cp", "big", f"s3://{bucket}/")
    finally:
        stop.set()
        thread.join()
    assert done.code == 1
    assert "s3engine: upload big: " in done.err
    assert "change" in done.err
    assert probe.list_keys(bucket) == []


LISTING = b"""<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>
<Contents><Key>p/../../evil</Key><Size>4</Size></Contents><Contents><Key>p//abs</Key><Size>4</Size></Contents>
<Contents><Key>p/good</Key><Size>4</Size></Contents></ListBucketResult>"""
TWICE = LISTING.replace(b"p//abs", b"p/good").replace(b"p/../../evil", b"p/other")


def test_key_that_escapes_the_folder(cli: Cli) -> None:
    """A key with .. or // is refused by name, nothing is written outside, the others come."""

    def answer(path: str) -> tuple[int, str, bytes]:
        return (200, "application/xml", LISTING) if "list-type" in path else (200, "text/plain", b"body")

    with _answering(answer) as url:
        done = cli("cp", "s3://bucket/p/", "below/out", "--endpoint-url", url)
        plan = cli("cp", "s3://bucket/p/", "below/out", "--endpoint-url", url, "--dry-run")
    for one in (done, plan):
        assert one.code == 1
        assert "s3://bucket/p/../../evil" in one.err
        assert "s3://bucket/p//abs" in one.err
    assert [str(path.relative_to(cli.folder)) for path in cli.folder.rglob("*") if path.is_file()] == ["below/out/good"]
    assert plan.out == "would download s3://bucket/p/good -> below/out/good\n"


def test_two_sources_for_one_file(cli: Cli) -> None:
    """The second of two objects with one target fails by name, and the first one stands."""

    def answer(path: str) -> tuple[int, str, bytes]:
        return (200, "application/xml", TWICE) if "list-type" in path else (200, "text/plain", b"body")

    with _answering(answer) as url:
        done = cli("cp", "s3://bucket/p/", "out", "--endpoint-url", url)
    assert done.code == 1
    assert "path 'good' comes twice" in done.err
    assert sorted(path.name for path in (cli.folder / "out").iterdir()) == ["good", "other"]


def test_file_in_the_way(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """A file where a download needs a folder fails that object alone."""
    probe.put(bucket, "p/a/b", b"x")
    probe.put(bucket, "p/c", b"x")
    cli.write("out/a")
    done = cli("cp", f"s3://{bucket}/p/", "out")
    assert done.code == 1
    assert f"s3engine: download s3://{bucket}/p/a/b: " in done.err
    assert (cli.folder / "out" / "c").read_bytes() == b"x"


def test_move_onto_itself(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """mv of an object to where it is is refused, and the object stays."""
    probe.put(bucket, "k", b"x")
    done = cli("mv", f"s3://{bucket}/k", f"s3://{bucket}/k")
    assert done.code == 1
    assert "the same object" in done.err
    assert probe.get(bucket, "k") == b"x"


# ---- Ctrl-C


FILES = 3000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted_upload(cli: Cli, bucket: str, probe: S3Probe, number: int, code: int) -> None:
    """A signal ends a running cp soon: what was told is stored, a summary is printed, no process is left."""
    for index in range(FILES):
        cli.write(f"src/{index}", b"x" * 1000)
    with cli.begin("cp", "src", f"s3://{bucket}/", "-n", "2") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        started = time.monotonic()
        rest, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code
    assert time.monotonic() - started < 10
    told = {line.rpartition("/")[2] for line in (first + rest).splitlines()}
    assert len(told) < FILES
    assert told <= set(probe.list_keys(bucket))
    assert err.startswith("interrupted, ")
    assert err.count("\n") == 1
    eventually(lambda: group_is_gone(process))


def test_closed_terminal_reaches_workers_too(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """The SIGHUP that a whole process group gets, and gets twice, ends cp as one Ctrl-C does."""
    for index in range(FILES):
        cli.write(f"src/{index}", b"x" * 1000)
    with cli.begin("cp", "src", f"s3://{bucket}/", "-n", "2") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGHUP)
        os.killpg(process.pid, signal.SIGHUP)
        rest, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 129
    told = {line.rpartition("/")[2] for line in (first + rest).splitlines()}
    assert told <= set(probe.list_keys(bucket))
    assert err.startswith("interrupted, ")
    assert err.count("\n") == 1
    eventually(lambda: group_is_gone(process))


def test_nohup(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """Where SIGHUP is ignored from the start it does not end anything."""
    for index in range(300):
        cli.write(f"src/{index}", b"x" * 1000)
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = cli.begin("cp", "src", f"s3://{bucket}/", "-n", "2")
    finally:
        signal.signal(signal.SIGHUP, kept)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert len(probe.list_keys(bucket)) == 300


def test_interrupted_download_leaves_no_temporary_file(cli: Cli, bucket: str) -> None:
    """After Ctrl-C every file at the target is whole, and there is no other."""
    body = b"x" * 300_000
    for index in range(400):
        cli.write(f"src/{index}", body)
    assert cli("cp", "src", f"s3://{bucket}/", "--quiet").code == 0
    with cli.begin("cp", f"s3://{bucket}/", "out", "-n", "2") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    found = list((cli.folder / "out").rglob("*"))
    assert 0 < len(found) < 400
    assert {path.name for path in found} <= {str(index) for index in range(400)}
    assert {path.stat().st_size for path in found} == {len(body)}
    eventually(lambda: group_is_gone(process))


def test_interrupted_demo_stops_its_server(cli: Cli) -> None:
    """Ctrl-C in demo: 130, no traceback, no server left."""
    with cli.begin("demo") as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert "server: SeaweedFS at " in endpoint
    assert process.returncode == 130
    assert "Traceback" not in err
    eventually(lambda: group_is_gone(process))
