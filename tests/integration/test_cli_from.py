"""``--from``: what files name, on SeaweedFS."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from s3engine.embedded import EmbeddedServer
from s3engine.engine import Engine
from s3engine.errors import DuplicateKey, MalformedRow
from s3engine.inputs import objects_from
from tests.helpers import S3Probe, point_at


def run(server: EmbeddedServer, folder: Path, *arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3ENGINE_"))}
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path if place)
    environment = kept | server.environment() | {"PYTHONPATH": places, "S3ENGINE_WORKERS": "1"}
    command = [sys.executable, "-m", "s3engine", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_what_find_prints_goes_up_and_down(
    seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path
) -> None:
    """Names with newlines come through a pipe with -0; the rest of the folder, and of the prefix, stays where it is."""
    for name in ("a/x", "a/new\nline", "b"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    code, _, err = run(seaweed, tmp_path, "cp", "src", f"s3://{bucket}/p/", "--from", "-", "-0", given=b"./a/x\0./b\0")
    assert (code, probe.list_keys(bucket)) == (0, ["p/a/x", "p/b"]), err
    code, _, err = run(seaweed, tmp_path, "cp", f"s3://{bucket}/p", "out", "--from", "-", given=b"b\r\n")
    assert code == 0, err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


def test_bad_rows_fail_and_the_rest_is_deleted(
    seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path
) -> None:
    """Exit code 1, each bad row a report with its line, all others done."""
    for key in ("p/1", "p/2", "p/3", "q/1"):
        probe.put(bucket, key, b"x")
    names = tmp_path / "names.csv"
    names.write_text(f"bucket,key\n{bucket},p/1\nother,p/2\n{bucket},p/3\n{bucket},p/1\n{bucket},q/1\n")
    code, out, err = run(seaweed, tmp_path, "rm", f"s3://{bucket}/p/", "--from", str(names), "--json")
    assert code == 1, err
    reports = [json.loads(line) for line in out.splitlines()]
    assert sorted(report["seq"] for report in reports) == [0, 1, 2, 3, 4]
    failed = {report["message"].split(": ")[0]: report["error"] for report in reports if report["error"]}
    assert failed == {f"{names}:3": "MalformedRow", f"{names}:5": "DuplicateKey", f"{names}:6": "MalformedRow"}
    assert probe.list_keys(bucket) == ["p/2", "q/1"]


def test_move_of_what_a_list_names(seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path) -> None:
    """mv inside a bucket takes the named objects and no others."""
    for key in ("p/1", "p/2"):
        probe.put(bucket, key, key.encode())
    code, _, err = run(
        seaweed, tmp_path, "mv", f"s3://{bucket}/p/", f"s3://{bucket}/new/", "--from", "-", given=b"2\nnone\n"
    )
    assert code == 1
    assert "none" in err
    assert probe.list_keys(bucket) == ["new/2", "p/1"]


def test_nothing_named_is_said(seaweed: EmbeddedServer, bucket: str, tmp_path: Path) -> None:
    """An empty list is no error, and no silence either."""
    code, _, err = run(seaweed, tmp_path, "rm", f"s3://{bucket}/", "--from", "-")
    assert (code, "standard input: no names in it; nothing was done" in err) == (0, True)


def test_names_that_cannot_be_read_are_not_told_to_be_none(
    seaweed: EmbeddedServer, bucket: str, tmp_path: Path
) -> None:
    """Input that is refused once it is read has one reason told, exit code 2."""
    for option, given, said in (
        ("--json", b"a\0b\0", "a list with NUL between its names needs -0"),
        ("--max-delete=10%", b"a\n", "a limit of 10% is a part of a listing"),
    ):
        code, _, err = run(seaweed, tmp_path, "rm", f"s3://{bucket}/", "--from", "-", option, given=given)
        assert (code, said in err, "no names in it" in err) == (2, True, False), err


@pytest.mark.parametrize("broken", [False, True])
def test_inventory_from_the_store(
    seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path, broken: bool
) -> None:
    """Manifest and data files come from the bucket; a data file that is not the one of the manifest stops it."""
    for key in ("p/a b", "p/c", "q/d"):
        probe.put(bucket, key, b"x")
    data = gzip.compress(b"".join(f'"{bucket}","{key}","1"\n'.encode() for key in ("p/a+b", "p/c", "q/d")))
    probe.put(bucket, "inv/data/1.csv.gz", data)
    manifest = {
        "sourceBucket": bucket, "destinationBucket": f"arn:aws:s3:::{bucket}", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "inv/data/1.csv.gz", "MD5checksum": "0" * 32 if broken else hashlib.md5(data).hexdigest()}],
    }  # fmt: skip
    probe.put(bucket, "inv/manifest.json", json.dumps(manifest).encode())
    uri = f"s3://{bucket}/inv/manifest.json"
    code, _, err = run(seaweed, tmp_path, "rm", f"s3://{bucket}/p/", "--from", uri)
    assert code == (1 if broken else 0), err
    assert ("another MD5 than its manifest says" in err) is broken
    assert probe.list_keys(bucket, "p/") == (["p/a b", "p/c"] if broken else [])
    assert probe.list_keys(bucket, "q/") == ["q/d"]


def test_library_face(
    seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What objects_from gives goes into a batch as it is, rejected rows included."""
    probe.put(bucket, "p/1", b"one")
    names = tmp_path / "names"
    names.write_bytes(b"1\n1\n\xff\n")
    point_at(monkeypatch, seaweed)
    with Engine(workers=1) as engine:
        reports = list(engine.download(bucket, objects_from(names, bucket, "p/"), tmp_path / "out"))
    found = {(report.seq, type(report.error)) for report in reports}
    assert found == {(0, type(None)), (1, MalformedRow), (2, DuplicateKey)}
    assert (tmp_path / "out" / "p" / "1").read_bytes() == b"one"
