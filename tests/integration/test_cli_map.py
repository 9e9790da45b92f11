"""``s3engine map``: functions and programs on all objects below a prefix, as a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe
from tests.integration.engine_common import tree
from tests.integration.test_cli_verbs import Cli

FUNCTIONS = '''
import os

def words(found):
    return {"words": len(bytes(found.body).split()), "of": found.key}

def capitals(found):
    return bytes(found.body).upper()

def picky(found):
    if found.key.endswith("3"):
        raise ValueError("not this one")
    if found.key.endswith("4"):
        os._exit(9)
    return {1, 2}

async def later(found):
    return 1

def strange(found):
    return object()
'''


@pytest.fixture
def cli(seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path) -> Cli:
    """The command line in a folder with functions, and six objects in the bucket."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    for number in range(6):
        probe.put(bucket, f"p/{number}", b"word " * number)
    return Cli(tmp_path, seaweed.environment())


def test_results_are_lines_of_json(cli: Cli, bucket: str, tmp_path: Path) -> None:
    """What a function returns is a line of JSON with the key, on standard output or in a file."""
    done = cli("map", "functions:words", f"s3://{bucket}/p/")
    assert done.code == 0, done.err
    found = {line["key"]: line["result"] for line in map(json.loads, done.lines)}
    assert found == {f"p/{number}": {"words": number, "of": f"p/{number}"} for number in range(6)}
    assert "6 objects" in done.err
    done = cli("map", "functions.py:words", f"s3://{bucket}/p/", "--results", "out.jsonl", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6


def test_outputs_are_stored(cli: Cli, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """With --output what comes of each object is an object, or a file, of its name."""
    assert cli("map", "functions:capitals", f"s3://{bucket}/p/", "--output", f"s3://{bucket}/q").code == 0
    assert probe.get(bucket, "q/2") == b"WORD WORD "
    assert cli("map", "functions:capitals", f"s3://{bucket}/p/", "--output", "out", "--include", "[12]").code == 0
    assert tree(tmp_path / "out") == {"1": b"WORD ", "2": b"WORD WORD "}


def test_programs(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """--exec runs a program for each object: what it writes is the result, its code and its words are the error."""
    done = cli("map", "--exec", "wc -w", f"s3://{bucket}/p/")
    assert done.code == 0, done.err
    assert {line["key"]: int(line["result"]) for line in map(json.loads, done.lines)} == {
        f"p/{number}": number for number in range(6)
    }
    assert cli("map", "--exec", "tr a-z A-Z", f"s3://{bucket}/p/", "--output", f"s3://{bucket}/r/").code == 0
    assert probe.get(bucket, "r/3") == b"WORD " * 3
    done = cli("map", "--exec", "sh -c 'echo no luck >&2; exit 3'", f"s3://{bucket}/p/1")
    assert (done.code, done.out) == (1, "")
    assert "ended with code 3: no luck" in done.err


def test_programs_that_behave_oddly(cli: Cli, bucket: str) -> None:
    """One that reads nothing is no error, one that does not end is ended, one that is not there is told."""
    done = cli("map", "--exec", "echo 7", f"s3://{bucket}/p/")
    assert [json.loads(line)["result"] for line in done.lines] == ["7\n"] * 6
    done = cli("map", "--exec", "sleep 1000", f"s3://{bucket}/p/1", "--timeout", "0.5")
    assert done.code == 1
    assert "took longer than 0.5 s" in done.err
    done = cli("map", "--exec", "no-such-program-here", f"s3://{bucket}/p/1")
    assert done.code == 1
    assert "no-such-program-here" in done.err


def test_what_fails_is_named_and_the_rest_is_done(cli: Cli, bucket: str) -> None:
    """A function that raises, or ends its process, fails for its object; the others have their lines."""
    done = cli("map", "functions:picky", f"s3://{bucket}/p/")
    assert done.code == 1
    assert {json.loads(line)["key"] for line in done.lines} == {"p/0", "p/1", "p/2", "p/5"}
    assert "p/3" in done.err
    assert "not this one" in done.err
    assert "exit code 9" in done.err
    assert "2 FAILED" in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("functions:words",), "MODULE:FUNCTION and a URI"), (("functions", "s3://{}/p/"), "is no function"),
        (("functions:none", "s3://{}/p/"), "cannot load 'functions:none'"),
        (("nowhere:words", "s3://{}/p/"), "No module named 'nowhere'"),
        (("functions:later", "s3://{}/p/"), "is async"), (("functions:FUNCTIONS", "s3://{}/p/"), "cannot load"),
        (("functions:words", "{}/p/"), "no S3 URI"), (("--exec", "wc 'x", "s3://{}/p/"), "is no command"),
        (("functions:words", "s3://{}/p/", "--timeout", "0"), "timeout_s"),
        (("functions:words", "s3://{}/p/", "--output", "o", "--results", "r"), "nothing for --results"),
    ],
)  # fmt: skip
def test_refused(cli: Cli, bucket: str, arguments: tuple[str, ...], text: str) -> None:
    """What cannot be is refused with its reason, and code 2, before anything is done."""
    done = cli("map", *(argument.format(bucket) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert text in done.err


def test_no_json_is_an_error_of_its_object(cli: Cli, bucket: str) -> None:
    """A result that JSON has no form for fails by name."""
    done = cli("map", "functions:strange", f"s3://{bucket}/p/1")
    assert (done.code, done.out) == (1, "")
    assert "no JSON" in done.err


def test_nothing_there(cli: Cli, bucket: str) -> None:
    """A prefix with nothing below it is told, and no error."""
    done = cli("map", "functions:words", f"s3://{bucket}/empty/")
    assert (done.code, done.out) == (0, "")
    assert "nothing below" in done.err
