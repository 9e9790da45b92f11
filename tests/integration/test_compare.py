"""``s3engine compare`` against SeaweedFS, with transports that are right and others that are not."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe
from tests.integration.compare_common import FILES, Compare

SECRET = "a-secret-nobody-shall-see"


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
