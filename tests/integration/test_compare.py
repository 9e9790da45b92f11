"""``s3engine compare`` against SeaweedFS, with transports that are right and others that are not."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from s3engine.embedded import EmbeddedServer
from s3engine.engine import Engine
from tests.helpers import S3Probe, eventually, point_at

TIMEOUT_S = 100.0
FILES = 12
SECRET = "a-secret-nobody-shall-see"
_ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Told(NamedTuple):
    """A comparison that ended."""

    code: int
    out: str
    err: str
    document: dict[str, Any]

    def steps(self, transport: str, name: str) -> list[dict[str, Any]]:
        """That step of each run of that transport."""
        runs = [run for run in self.document["runs"] if run["transport"] == transport]
        return [step for run in runs for step in run["steps"] if step["name"] == name]


class Compare:
    """Runs ``s3engine compare`` on a small folder."""

    def __init__(self, folder: Path, bucket: str, variables: dict[str, str]) -> None:
        self.folder = folder
        self.bucket = bucket
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3ENGINE_"))}
        self.mark = uuid.uuid4().hex
        self.environment = kept | variables | {
            "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path if place),
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "S3ENGINE_WORKERS": "2",
            "S3ENGINE_CONCURRENCY": "8", "S3ENGINE_TEST_MARK": self.mark,
        }  # fmt: skip
        for number in range(FILES):
            path = folder / "src" / f"d{number % 3}" / f"file {number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number}".encode() * (1 + 300 * number))

    def begin(self, transports: str, *options: str, terminal: int | None = None) -> subprocess.Popen[str]:
        """Start it, with its output in pipes, or on a terminal that is its own."""
        command = [sys.executable, "-m", "s3engine", "compare", "src", f"s3://{self.bucket}/p"]
        if terminal is not None:
            command = [sys.executable, "-c", _ON_ITS_TERMINAL, *command]
        out = subprocess.PIPE if terminal is None else terminal
        return subprocess.Popen(
            [*command, "--transports", transports, "--json", "run.json", *options], cwd=self.folder,
            env=self.environment, stdin=subprocess.DEVNULL if terminal is None else terminal, stdout=out, stderr=out,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip

    def __call__(self, transports: str, *options: str) -> Told:
        """Run it to its end; one round and no warm-up unless ``options`` say otherwise."""
        return self.ended(self.begin(transports, "--rounds", "1", "--no-warm-up", *options))

    def ended(self, process: subprocess.Popen[str]) -> Told:
        """Wait for its end, after which no process of it may run."""
        with process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in err, err
        eventually(lambda: not self.processes())
        written = self.folder / "run.json"
        return Told(process.returncode, out, err, json.loads(written.read_text()) if written.exists() else {})

    def processes(self) -> list[str]:
        """All that run with the mark of this comparison."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    marked = self.mark.encode() in (entry / "environ").read_bytes()
                except OSError:
                    continue
                if marked:
                    found.append(entry.name)
        return found


@pytest.fixture
def compare(tmp_path: Path, bucket: str, probe: S3Probe, seaweed: EmbeddedServer) -> Compare:
    """``s3engine compare`` for an otherwise empty bucket, in which one object lies that is none of its business."""
    probe.put(bucket, "p/other", b"stays")
    return Compare(tmp_path, bucket, seaweed.environment())


@pytest.fixture
def nothing_left(compare: Compare, probe: S3Probe) -> Any:
    """A check that the bucket holds what it held before."""

    def check() -> None:
        assert probe.list_keys(compare.bucket) == ["p/other"]
        assert b"<Upload>" not in probe.request("GET", f"/{compare.bucket}", query="uploads=").body

    return check


# ---- what is right


def test_two_transports_side_by_side(compare: Compare, nothing_left: Any) -> None:
    """Both do every step in every round in rotating order, all is right, and nothing stays in the bucket."""
    told = compare.ended(
        compare.begin("raw,tests.compared:Blocking", "--rounds", "2", "--picture", "run.html", "--timeout", "60")
    )
    assert told.code == 0, told.err
    nothing_left()
    order = [(run["round"], run["transport"]) for run in told.document["runs"]]
    blocking = "tests.compared:Blocking"
    assert order == [(0, "raw"), (0, blocking), (1, "raw"), (1, blocking), (2, blocking), (2, "raw")]
    for run in told.document["runs"]:
        assert [step["name"] for step in run["steps"]] == ["upload", "list", "download", "copy", "delete"]
        assert [step["objects"] for step in run["steps"]] == [FILES] * 4 + [2 * FILES]
        assert not any(step["failed"] or step["wrong"] or step["cannot"] for step in run["steps"])
        assert [len(step["latency_us"]) for step in run["steps"]] == [FILES, 1, FILES, FILES, 2 * FILES]
        assert all(0 < step["wall_s"] < run["wall_s"] for step in run["steps"])
        assert 0 < run["startup_s"] < run["wall_s"]
        assert run["workers"] == 2
    for name in ("upload", "list", "download", "copy", "delete"):
        assert f"{name}: " in told.out
    assert "dependability: nothing failed" in told.out
    assert ElementTree.fromstring((compare.folder / "run.html").read_text()).tag == "html"


@pytest.mark.skipif(sys.platform != "linux", reason="CPU and memory of other processes: /proc")
def test_cpu_and_memory_are_of_all_processes(compare: Compare) -> None:
    """CPU has the workers' threads in it, and peak memory is more than that of the main process."""
    told = compare("tests.compared:Blocking")
    run = told.document["runs"][0]
    assert all(0 < step["cpu_s"] < 60 for step in run["steps"])
    assert 10e6 < run["peak_main_bytes"] < run["peak_bytes"] < 1e9


def test_one_file(compare: Compare, nothing_left: Any) -> None:
    """SRC may be a file."""
    os.rename(compare.folder / "src" / "d0" / "file 3", compare.folder / "one")
    for path in (compare.folder / "src").rglob("file*"):
        path.unlink()
    os.replace(compare.folder / "one", compare.folder / "src" / "one")
    command = compare.begin("raw", "--rounds", "1", "--no-warm-up")
    told = compare.ended(command)
    assert told.code == 0
    assert told.steps("raw", "upload")[0]["objects"] == 1
    nothing_left()


def test_quiet_prints_the_result_alone(compare: Compare) -> None:
    """With --quiet standard error is empty and the tables are there."""
    told = compare("raw", "--quiet")
    assert (told.code, told.err) == (0, "")
    assert "upload: 12 objects" in told.out


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Neither the files nor the lines hold a secret; the document names neither the machine nor a path."""
    with EmbeddedServer(secret_key=SECRET) as server:
        variables = server.environment()
        variables["AWS_ENDPOINT_URL"] = server.endpoint_url.replace("//", f"//user:{SECRET}@")
        compare = Compare(tmp_path, "secrets", variables)
        with S3Probe(server.endpoint_url, server.access_key, SECRET) as probe:
            probe.create_bucket("secrets")
        told = compare("raw,tests.compared:Liar", "--picture", "run.html")
    assert told.code == 1
    document = json.dumps(told.document)
    assert SECRET not in told.out + told.err + document + (tmp_path / "run.html").read_text()
    assert os.uname().nodename not in document
    assert str(tmp_path) not in document


# ---- what is wrong


def test_wrong_bytes_are_called_wrong(compare: Compare, nothing_left: Any) -> None:
    """A transport that downloads other bytes is WRONG, by name, and that is exit code 1; the others are not."""
    compare.environment["S3ENGINE_VERIFY_DOWNLOADS"] = "false"  # else the engine notices, and refuses them
    told = compare("raw,tests.compared:Liar")
    assert told.code == 1
    assert re.search(r"^  tests.compared:Liar .* WRONG \[1\]$", told.out, re.MULTILINE)
    assert "has other bytes than its source" in told.out
    assert "download: raw, and nobody to compare it with" in told.out
    assert not told.steps("raw", "download")[0]["wrong"]
    assert not told.steps("tests.compared:Liar", "upload")[0]["wrong"]
    nothing_left()


def test_objects_that_stay_are_called_wrong(compare: Compare, nothing_left: Any) -> None:
    """A transport that says it deleted and did not is WRONG; what it left is deleted."""
    told = compare("tests.compared:Forgetful")
    assert told.code == 1
    assert told.steps("tests.compared:Forgetful", "delete")[0]["wrong"] == ["24 objects were still there afterwards"]
    nothing_left()


def test_listing_with_a_hole_is_called_wrong(compare: Compare, nothing_left: Any) -> None:
    """A key that is not listed is named, and the steps after it go on with all keys."""
    told = compare("tests.compared:Blind")
    assert told.code == 1
    assert told.steps("tests.compared:Blind", "list")[0]["wrong"] == ["'d2/file 8' was not listed"]
    assert told.steps("tests.compared:Blind", "download")[0]["objects"] == FILES
    nothing_left()


def test_source_that_changes_is_not_the_transports_fault(compare: Compare, nothing_left: Any) -> None:
    """A file that was written to during a run is told as SourceChanged, not as WRONG."""
    path = compare.folder / "src" / "d0" / "file 0"
    process = compare.begin("raw", "--rounds", "3", "--no-warm-up")
    body = 0
    while process.poll() is None:
        body += 1
        (compare.folder / "next").write_bytes(b"%d" % body)
        os.replace(compare.folder / "next", path)
        time.sleep(0.001)
    told = compare.ended(process)
    assert told.code == 1
    assert "SourceChanged" in told.out
    assert "WRONG" not in told.out
    nothing_left()


def test_failed_objects_are_counted(compare: Compare, nothing_left: Any) -> None:
    """Objects that fail are counted by class with the first message; the rest goes on; exit code 1."""
    told = compare("tests.compared:Choosy")
    step = told.steps("tests.compared:Choosy", "upload")[0]
    assert told.code == 1
    assert step["failed"] == {"RequestError": 1}
    assert step["objects"] == FILES - 1
    assert "1 failed with RequestError, the first: it does not like threes" in told.out
    assert told.steps("tests.compared:Choosy", "download")[0]["objects"] == FILES - 1
    nothing_left()


def test_what_cannot_be_done_is_no_failure(compare: Compare, nothing_left: Any) -> None:
    """A step that a transport does not have gets a footnote with its reason; the rest goes on; exit code 0."""
    told = compare("raw,tests.compared:CopyLess")
    assert told.code == 0, told.err
    assert "tests.compared:CopyLess: not possible: it has no copy" in told.out
    assert told.steps("tests.compared:CopyLess", "delete")[0]["objects"] == FILES
    nothing_left()


# ---- what ends early


def test_process_that_dies(compare: Compare, nothing_left: Any) -> None:
    """A run whose process dies is told with its last words, its objects are deleted, and the others go on."""
    told = compare("tests.compared:Dying,raw")
    assert told.code == 1
    run = told.document["runs"][0]
    assert run["error"] == "its process ended with exit code 3: no more strength"
    assert run["removed"] == FILES
    assert told.steps("tests.compared:Dying", "upload")[0]["objects"] == FILES
    assert len(told.document["runs"][1]["steps"]) == 5
    assert "1 of 1 runs ended early" in told.out
    nothing_left()


def test_process_that_hangs(compare: Compare, nothing_left: Any) -> None:
    """A run that takes too long is ended, told, cleaned up after, and not tried again."""
    told = compare("tests.compared:Hanging,raw", "--timeout", "6", "--rounds", "2")
    assert told.code == 1
    errors = [(run["transport"], run["error"]) for run in told.document["runs"]]
    assert errors == [("tests.compared:Hanging", "not done after 6 s: ended"), ("raw", ""), ("raw", "")]
    nothing_left()


def test_unfinished_upload_is_aborted(compare: Compare, nothing_left: Any) -> None:
    """Parts of a large upload do not stay behind when a run has to be killed in the middle of it."""
    for name in ("MULTIPART_THRESHOLD_BYTES", "PART_SIZE_BYTES"):
        compare.environment[f"S3ENGINE_{name}"] = str(5 << 20)
    (compare.folder / "src" / "large").write_bytes(os.urandom(11 << 20))
    told = compare("tests.compared:Stuck", "--timeout", "4")
    assert told.code == 1
    assert told.document["runs"][0]["hung"]
    nothing_left()


def test_upload_begun_twice_is_aborted(compare: Compare, nothing_left: Any) -> None:
    """Parts do not stay behind either when no run failed: an upload that was begun twice is finished once."""
    for name in ("MULTIPART_THRESHOLD_BYTES", "PART_SIZE_BYTES"):
        compare.environment[f"S3ENGINE_{name}"] = str(5 << 20)
    (compare.folder / "src" / "large").write_bytes(os.urandom(6 << 20))
    told = compare("tests.compared:Twofold")
    assert told.code == 0, told.err
    nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(compare: Compare, nothing_left: Any, number: int) -> None:
    """Ctrl-C ends the run under way, deletes what it made, says how to do that by hand, and shows what there is."""
    process = compare.begin("raw,tests.compared:Blocking", "--rounds", "1000", "--no-warm-up")
    assert process.stderr is not None
    for line in process.stderr:
        if "round 2 of" in line:
            break
    process.send_signal(number)
    told = compare.ended(process)
    assert told.code == 128 + number
    assert re.search(r"s3engine rm -r s3://\S+/p/s3engine-compare-[0-9a-f]{16}/", told.err)
    assert 2 <= len(told.document["runs"]) < 20
    nothing_left()


def test_terminal_that_is_closed(compare: Compare, nothing_left: Any) -> None:
    """When its terminal goes away, and with it whatever it writes to, a comparison still deletes what it made."""
    ours, theirs = pty.openpty()
    with compare.begin("raw", "--rounds", "1000", "--no-warm-up", terminal=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"round 2 of" not in shown:
            shown += os.read(ours, 65536)
        os.close(ours)
        assert process.wait(TIMEOUT_S) == 128 + signal.SIGHUP
    eventually(lambda: not compare.processes())
    nothing_left()


def test_killed_comparison_ends_its_process(compare: Compare, probe: S3Probe) -> None:
    """After a SIGKILL of the comparison the process under way and its workers end; nothing is written any more."""
    process = compare.begin("tests.compared:Hanging", "--rounds", "1", "--no-warm-up")
    eventually(lambda: len(probe.list_keys(compare.bucket)) > FILES)
    with process:
        process.kill()
        process.communicate()
    eventually(lambda: not compare.processes())
    left = probe.list_keys(compare.bucket)
    time.sleep(1.0)  # longer than a worker needs for its next object
    assert probe.list_keys(compare.bucket) == left


def test_store_that_cannot_be_used(compare: Compare) -> None:
    """Wrong credentials are told before any process is started."""
    compare.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    told = compare("raw")
    assert told.code == 1
    assert "round" not in told.err
    assert not told.document


# ---- what the engine lends


def test_engine_aborts_uploads_below_a_prefix_only(
    bucket: str, probe: S3Probe, seaweed: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Engine.abort_uploads`` aborts what is unfinished below its prefix and leaves other uploads alone."""
    point_at(monkeypatch, seaweed)
    for key in ("in/a", "in/b/c", "other"):
        assert probe.request("POST", f"/{bucket}/{key}", query="uploads=").status == 200
    with Engine() as engine:
        assert engine.abort_uploads(bucket, "in/") == 2
        assert engine.abort_uploads(bucket, "in/") == 0
    left = probe.request("GET", f"/{bucket}", query="uploads=").body
    assert re.findall(rb"<Key>(.*?)</Key>", left) == [b"other"]


def test_engine_is_ready_when_all_workers_are(seaweed: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """``Engine.ready`` is false before ``start``, and true once every worker has opened its transport."""
    point_at(monkeypatch, seaweed)
    with Engine(workers=2) as engine:
        assert not engine.ready
        engine.start()
        eventually(lambda: engine.ready)
