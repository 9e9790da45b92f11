"""``s3engine compare`` that ends early: processes that die or hang, signals, a terminal that goes; nothing is left."""

from __future__ import annotations

import os
import pty
import re
import signal
import time
from typing import Any

import pytest

from s3engine.embedded import EmbeddedServer
from s3engine.engine import Engine
from tests.helpers import S3Probe, eventually, point_at
from tests.integration.compare_common import FILES, TIMEOUT_S, Compare

SECRET = "a-secret-nobody-shall-see"


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
