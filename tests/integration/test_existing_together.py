"""What is there already, together with a journal, with names from files and with limits of what may be deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3engine import Engine, Existing, Journal
from s3engine.cli.app import run
from s3engine.embedded import EmbeddedServer
from s3engine.errors import Cancelled, DeleteLimitExceeded, DuplicateKey, ServerFault
from s3engine.inputs import objects_from
from tests.faults import Fault, FaultProxy, Respond, script
from tests.helpers import S3Probe

PAGES = "tests.small_pages:SmallPages"
pytestmark = pytest.mark.usefixtures("few_attempts")


def filled(probe: S3Probe, bucket: str) -> None:
    for name in "abcd":
        probe.put(bucket, f"p/{name}", b"new")
    probe.put(bucket, "q/a", b"old")


def bodies(probe: S3Probe, bucket: str) -> dict[str, bytes | None]:
    return {key: probe.get(bucket, key) for key in probe.list_keys(bucket)}


def refuse_copies(connection_no: int, request_no: int, head: bytes) -> Fault | None:
    """CopyObject of p/c and p/d is forbidden."""
    copies = head.startswith((b"PUT ", b"GET ")) and b"x-amz-copy-source:" in head.lower()
    return Respond(403) if copies and (b"q/c" in head or b"q/d" in head) else None


def test_move_with_a_journal_skips_and_goes_on(
    seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path
) -> None:
    """What was skipped and what was moved is not done again; what failed is decided anew when it is tried again."""
    filled(probe, bucket)
    told = []
    with FaultProxy("127.0.0.1", seaweed.port, refuse_copies) as proxy:
        for endpoint in (proxy.endpoint_url, proxy.endpoint_url, seaweed.endpoint_url):
            if endpoint == seaweed.endpoint_url:
                proxy.plan = script([])
                probe.put(bucket, "q/c", b"another's")
            with Engine(endpoint_url=proxy.endpoint_url) as engine:
                batch = engine.list(bucket, "p/").move(
                    key=_below_q, journal=Journal(tmp_path / "journal"), existing=Existing("keep", "q/")
                )
                told.append({report.key: report.skipped or report.ok for report in batch})
    assert told == [
        {"p/a": "exists", "p/b": True, "p/c": False, "p/d": False},
        {"p/c": False, "p/d": False},
        {"p/c": "exists", "p/d": True},
    ]
    assert bodies(probe, bucket) == {
        "p/a": b"new", "p/c": b"new", "q/a": b"old", "q/b": b"new", "q/c": b"another's", "q/d": b"new"
    }  # fmt: skip


def _below_q(info: object) -> str:
    return "q/" + str(info.key)[2:]  # type: ignore[attr-defined]


def test_order_of_reports_under_a_journal_with_overlaps(probe: S3Probe, bucket: str, tmp_path: Path) -> None:
    """Of a move into its own prefix the journal knows the right object as failed: tried again it is the same one."""
    for key in ("p/a", "p/p/a", "p/z"):
        probe.put(bucket, key, key.encode())
    path = tmp_path / "journal"
    for _ in range(2):
        with Engine() as engine:
            batch = engine.list(bucket, "p/").move_to_prefix("p/p/", journal=path)
            failed = {report.key: type(report.error) for report in batch if not report.ok}
        assert failed == {"p/a": DuplicateKey}
    assert bodies(probe, bucket) == {"p/a": b"p/a", "p/p/p/a": b"p/p/a", "p/p/z": b"p/z"}
    assert [one.key for one in Journal(path).failed()] == ["p/a"]


def test_names_with_a_limit_and_what_is_there(
    probe: S3Probe, bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The limit counts what the files name, once each; one more and nothing is done, also in a dry run."""
    filled(probe, bucket)
    before = bodies(probe, bucket)
    names = tmp_path / "names"
    names.write_text("a\nb\nb\nc\n")
    move = ["mv", f"s3://{bucket}/p/", f"s3://{bucket}/q/", "--from", str(names), "--no-clobber", "--max-delete"]
    for more in (["2"], ["2", "--dry-run"]):
        assert run([*move, *more]) == 1
        assert "3 objects would be deleted, more than the limit of 2" in capfd.readouterr().err
    assert run([*move, "50%"]) == 2
    assert "no names in it" not in capfd.readouterr().err
    assert bodies(probe, bucket) == before
    assert run([*move, "3"]) == 1  # for the name that comes twice
    out, err = capfd.readouterr()
    assert f"skipped (exists): move s3://{bucket}/p/a" in out
    assert f"{names}:3: 'p/b' comes twice" in err
    assert set(bodies(probe, bucket)) == {"p/a", "p/d", "q/a", "q/b", "q/c"}


def test_finished_job_is_not_called_empty(
    probe: S3Probe, bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second run of a finished job says that all is done, and not that there was nothing to do."""
    filled(probe, bucket)
    names = tmp_path / "names"
    names.write_text("a\nb\n")
    whole = ["rm", "-r", f"s3://{bucket}/q/", "--journal", str(tmp_path / "whole")]
    named = ["rm", f"s3://{bucket}/p/", "--from", str(names), "--journal", str(tmp_path / "named")]
    for command, told in ((whole, "1 object of this job is"), (named, "2 objects of this job are")):
        assert run(command) == 0
        capfd.readouterr()
        assert run(command) == 0
        err = capfd.readouterr().err
        assert f"all {told} done; nothing is left to do" in err
        assert "nothing below" not in err
        assert "no names in it" not in err
    assert set(bodies(probe, bucket)) == {"p/c", "p/d"}


def test_dry_run_of_a_copy_inside_one_bucket(
    probe: S3Probe, bucket: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It tells of the same objects as the copy that they fail, those onto themselves and those onto sources."""
    for key in ("p/a", "p/p/a", "p/z"):
        probe.put(bucket, key, key.encode())
    for target, failing in (("p/", ["p/a", "p/p/a", "p/z"]), ("p/p/", ["p/a"])):
        for option, label in (("--dry-run", "would fail: copy"), ("--quiet", "copy")):
            assert run(["cp", "-r", f"s3://{bucket}/p/", f"s3://{bucket}/{target}", option]) == 1
            out, err = capfd.readouterr()
            told = {key for key in ("p/a", "p/p/a", "p/z") if f"s3engine: {label} s3://{bucket}/{key}: " in err}
            assert told == set(failing), (target, option)
            assert not any(f"s3://{bucket}/{key} ->" in out for key in failing)
    assert set(bodies(probe, bucket)) == {"p/a", "p/p/a", "p/z", "p/p/p/a", "p/p/z"}


def test_nothing_is_moved_when_the_target_cannot_be_listed(
    seaweed: EmbeddedServer, probe: S3Probe, bucket: str, tmp_path: Path
) -> None:
    """Names from a file, a limit, a journal: the last page of the target's listing fails, and all stays as it is."""
    filled(probe, bucket)
    for number in range(25):
        probe.put(bucket, f"q/x{number:02}", b"")
    before = bodies(probe, bucket)
    names = tmp_path / "names"
    names.write_text("a\nb\nc\n")
    pages: list[bytes] = []

    def third(connection_no: int, request_no: int, head: bytes) -> Fault | None:
        if b"list-type=2" in head and b"continuation-token" in head:
            pages.append(head.split()[1])
            if len(set(pages)) > 1:
                return Respond(500)
        return None

    with FaultProxy("127.0.0.1", seaweed.port, third) as proxy:
        engine = Engine(endpoint_url=proxy.endpoint_url, transport=PAGES)
        with engine:
            batch = engine.copy(
                bucket, objects_from(names, bucket, "p/"), bucket, key=_below_q, move=True, max_delete=3,
                existing=Existing("if-size-differs", "q/"), journal=tmp_path / "journal",
            )  # fmt: skip
            with pytest.raises(ServerFault):
                assert all(isinstance(report.error, Cancelled) for report in batch)
        proxy.plan = script([])
        with Engine(endpoint_url=proxy.endpoint_url, transport=PAGES) as again:
            batch = again.copy(
                bucket, objects_from(names, bucket, "p/"), bucket, key=_below_q, move=True, max_delete=2,
                existing=Existing("if-size-differs", "q/"), journal=tmp_path / "journal",
            )  # fmt: skip
            with pytest.raises(DeleteLimitExceeded):
                assert not list(batch)
    assert bodies(probe, bucket) == before
