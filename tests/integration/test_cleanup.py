"""``cleanup`` aborts unfinished uploads that are old enough, below the prefix, and nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from s3engine import Engine
from s3engine.cli.app import run
from s3engine.errors import ConfigError
from s3engine.testing.conformance.scripted import Scripted, answer
from s3engine.transport import UploadInfo
from s3engine.uploads import age_of, seconds_from
from tests.helpers import S3Probe

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("environment")


def begin(probe: S3Probe, bucket: str, key: str) -> None:
    """Begin an upload and leave it."""
    assert probe.request("POST", f"/{bucket}/{key}", query="uploads=").status == 200


def listed(bucket: str, prefix: str = "") -> list[str]:
    with Engine() as engine:
        return sorted(upload.key for upload in engine.uploads(bucket, prefix))


def test_old_uploads_below_the_prefix_are_aborted(bucket: str, probe: S3Probe, capfd: Captured) -> None:
    """What is younger than --older-than, or not below the prefix, is left; --dry-run only tells."""
    for key in ("p/a", "p/b", "q/c"):
        begin(probe, bucket, key)
    assert run(["cleanup", f"s3://{bucket}/p/"]) == 0
    assert "0 unfinished uploads aborted, 2 are younger" in capfd.readouterr().err
    assert run(["cleanup", f"s3://{bucket}/p/", "--older-than", "0", "--dry-run"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2
    assert listed(bucket) == ["p/a", "p/b", "q/c"]
    assert run(["cleanup", f"s3://{bucket}/p/", "--older-than", "0s", "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert sorted(line["key"] for line in lines) == ["p/a", "p/b"]
    assert all(line["age_s"] >= 0 and line["message"] is None for line in lines)
    assert listed(bucket) == ["q/c"]


def test_library_aborts_by_age(bucket: str, probe: S3Probe) -> None:
    """Engine.abort_uploads with older_than_s leaves what is younger."""
    begin(probe, bucket, "p/a")
    with Engine() as engine:
        assert engine.abort_uploads(bucket, "p/", older_than_s=3600.0) == 0
        assert engine.abort_uploads(bucket, "p/", older_than_s=0.0) == 1


def test_key_that_the_store_lists_wrongly(bucket: str, probe: S3Probe, capfd: Captured) -> None:
    """SeaweedFS says that it encodes the keys of uploads and does not: a wrong key aborts nothing and is told."""
    begin(probe, bucket, "p/a%252Bb")
    code = run(["cleanup", f"s3://{bucket}/p/", "--older-than", "0"])
    out, err = capfd.readouterr()
    left = listed(bucket)
    if left:
        assert code == 1
        assert "left alone" in err
        assert out == ""
    else:
        assert code == 0
        assert "1 unfinished upload aborted" in err


def _page(*uploads: tuple[str, str]) -> bytes:
    rows = "".join(
        f"<Upload><Key>{key}</Key><UploadId>id-{key}</UploadId><Initiated>{begun}</Initiated></Upload>"
        for key, begun in uploads
    )
    text = f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{rows}</ListMultipartUploadsResult>"
    return text.encode()


XML = ("Content-Type", "application/xml")


def test_age_that_cannot_be_read(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload whose beginning the store tells in no known form is left alone and named; exit 1."""
    recent = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 3600))
    page = _page(("p/a", "yesterday"), ("p/b", "2001-02-03T04:05:06.000Z"), ("p/c", recent), ("p/d", ""))
    monkeypatch.setenv("S3ENGINE_TRANSPORT", "raw")
    with Scripted(answer(200, page, XML), answer(204)) as server:
        code = run(["cleanup", "s3://bucket/p/", "--endpoint-url", server.endpoint_url])
        asked = [(request.method, request.target) for request in server.requests]
    out, err = capfd.readouterr()
    assert code == 1
    assert [method for method, _ in asked] == ["GET", "DELETE"]
    assert "id-p%2Fb" in asked[1][1]
    assert out.startswith("aborted s3://bucket/p/b ")
    assert "p/a" in err
    assert "'yesterday'" in err
    assert "p/d" in err
    assert "1 unfinished upload aborted, 1 is younger, 2 FAILED" in err


def test_times_that_are_none(capfd: Captured) -> None:
    """Go's zero time is no age of 2000 years; with 0 all are aborted, also one that is begun in our future."""
    ahead = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 60))
    page = _page(("p/a", "0001-01-01T00:00:00Z"), ("p/b", "1970-01-01T00:00:00.000Z"), ("p/c", ahead))
    with Scripted(answer(200, page, XML)) as server:
        assert run(["cleanup", "s3://bucket/p/", "--older-than", "1h", "--endpoint-url", server.endpoint_url]) == 1
        assert [request.method for request in server.requests] == ["GET"]
    assert "1 is younger, 2 FAILED" in capfd.readouterr().err
    with Scripted(answer(200, page, XML), answer(204), answer(204), answer(204)) as server:
        assert run(["cleanup", "s3://bucket/p/", "--older-than", "0", "--endpoint-url", server.endpoint_url]) == 0
    assert "3 unfinished uploads aborted, 0 are younger" in capfd.readouterr().err


@pytest.mark.parametrize("still", [False, True])
def test_upload_that_is_gone(still: bool, capfd: Captured) -> None:
    """An abort that finds nothing is an error only if the store still lists the upload."""
    page = _page(("p/b", "2001-02-03T04:05:06.000Z"))
    missing = b"<Error><Code>NoSuchUpload</Code><Message>none</Message></Error>"
    again = page if still else _page()
    with Scripted(answer(200, page, XML), answer(404, missing, XML), answer(200, again, XML)) as server:
        code = run(["cleanup", "s3://bucket/p/", "--endpoint-url", server.endpoint_url])
    _, err = capfd.readouterr()
    assert code == (1 if still else 0)
    assert ("left alone: s3://bucket/p/b" in err) is still
    assert ("1 gone by themselves" in err) is not still


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("2m", 120), ("3h", 10_800), ("7d", 604_800), ("1w", 604_800)],
)
def test_durations(text: str, seconds: int) -> None:
    """Numbers with units are seconds; 0 needs none."""
    assert seconds_from(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5d", "7 d", "7D", "1y", "7", "90", "٣d"])
def test_bad_durations(text: str, tmp_path: Path) -> None:
    """What is no duration is refused before anything is asked."""
    with pytest.raises(ConfigError, match="a duration is"):
        seconds_from(text)
    assert run(["cleanup", "s3://bucket/p/", f"--older-than={text}"]) == 2


@pytest.mark.parametrize(
    "initiated", ["2001-02-03T04:05:06Z", "2001-02-03T04:05:06.000Z", "Sat, 03 Feb 2001 04:05:06 GMT"]
)
def test_ages(initiated: str) -> None:
    """Times are read in the forms that stores use."""
    assert age_of(UploadInfo("k", "id", initiated), 981_173_106.0 + 5) == 5
