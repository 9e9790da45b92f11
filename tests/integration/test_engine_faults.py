"""The engine through a proxy that breaks requests: what may pass is retried, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import AdaptiveTimeouts, FileSource
from s3engine.errors import AccessDenied, PreconditionFailed, ServerFault
from tests.faults import (
    CloseIdle,
    CutAnswer,
    Drip,
    Fault,
    Latency,
    Reset,
    Respond,
    Stall,
    StallAnswer,
    always,
    first,
    matching,
    script,
)
from tests.helpers import S3Probe, eventually
from tests.integration.faults_common import LARGE, MIB, STALL_S, Recorder, answer, by_key, only_key, sources
from tests.integration.through import Through

SLACK_S = 3.0
pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def through_settings(through_settings: dict[str, Any]) -> dict[str, Any]:
    """A checksum is named, so that plans see no probe."""
    return {**through_settings, "checksum": "md5"}


# ---- silence


def test_answers_that_never_come(through: Through, bucket: str, probe: S3Probe) -> None:
    """One answer in a hundred never comes: nothing fails, the retries are told, none costs more than a stall."""

    def plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        return StallAnswer() if request_no % 100 == 50 and head.startswith(b"PUT") else None

    engine, proxy = through(plan, concurrency=32)
    reports = by_key(engine.upload(bucket, sources(600)))
    assert [report.error for report in reports.values() if not report.ok] == []
    stalls = proxy.log.faults["StallAnswer"]
    assert stalls >= 6
    assert sum(report.retries for report in reports.values()) >= stalls
    assert max(report.total_s for report in reports.values()) < STALL_S + SLACK_S
    assert len(probe.list_keys(bucket)) == 600


def test_connections_that_are_silent(through: Through, bucket: str) -> None:
    """Connections on which no byte is ever read cost their request one retry, and no more than a stall."""

    def plan(connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        return Stall() if not request_no and connection_no in (2, 5) else None

    engine, proxy = through(plan)
    reports = by_key(engine.upload(bucket, sources(300)))
    assert all(report.ok for report in reports.values())
    assert proxy.log.faults["Stall"] >= 1
    assert any(report.retries for report in reports.values())
    assert max(report.total_s for report in reports.values()) < STALL_S + SLACK_S


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stalled_bodies(through: Through, bucket: str, probe: S3Probe, tmp_path: Path, direction: Any) -> None:
    """A body that stops moving ends its attempt after the stall timeout, and the next attempt carries it."""
    body = LARGE[: 3 * MIB]
    (tmp_path / "f").write_bytes(body)
    probe.put(bucket, "down", body)
    engine, proxy = through(
        first(1, Stall(after_bytes=MIB, direction=direction)), timeout_policy=AdaptiveTimeouts(stall_s=1.0)
    )
    if direction == "up":
        (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "up")])
        assert probe.get(bucket, "up") == body
    else:
        (report,) = engine.download(bucket, ["down"], tmp_path)
        assert (tmp_path / "down").read_bytes() == body
    assert report.ok
    assert report.attempts == 2
    assert proxy.log.faults["Stall"] == 1
    assert report.total_s < 1.0 + SLACK_S


@pytest.mark.parametrize("direction", ["up", "down"])
def test_slow_transfer_that_moves_lives(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, direction: Any
) -> None:
    """A transfer several times longer than the stall timeout is left alone as long as bytes move."""
    body = LARGE[:300_000]
    (tmp_path / "f").write_bytes(body)
    probe.put(bucket, "k", body)
    engine, _ = through(always(Drip(150_000, direction)), timeout_policy=AdaptiveTimeouts(stall_s=0.5))
    if direction == "up":
        (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "up")])
    else:
        (report,) = engine.download(bucket, ["k"], tmp_path)
    assert report.ok
    assert report.attempts == 1


# ---- faults that pass


@pytest.mark.parametrize(
    "fault",
    [
        answer(503, "SlowDown"), answer(503, "SlowDownWrite"), answer(500, "InternalError"), Respond(502), Respond(429),
        answer(400, "RequestTimeout"), Reset(), Reset(forward=True), CutAnswer(head=False),
        Respond(503, body=b"busy"), answer(409, "OperationAborted"), Respond(504), Respond(408),
        answer(400, "BadDigest"), answer(503, "SlowDownRead"), answer(400, "Throttling"),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{getattr(fault, 'status', '')}-{len(getattr(fault, 'body', b''))}",
)  # fmt: skip
def test_fault_that_passes(through: Through, bucket: str, probe: S3Probe, fault: Fault) -> None:
    """The first three requests fail in a way that passes: every object is stored, and the retries are told."""
    engine, proxy = through(first(3, fault))
    reports = by_key(engine.upload(bucket, sources(20)))
    assert [report.error for report in reports.values() if not report.ok] == []
    assert sum(report.retries for report in reports.values()) == 3
    assert proxy.log.requests == 23
    assert len(probe.list_keys(bucket)) == 20


def test_connections_that_close_unannounced(through: Through, bucket: str) -> None:
    """A server that closes after every answer without saying so costs connections, not objects."""
    engine, _ = through(always(CloseIdle()))
    reports = by_key(engine.upload(bucket, sources(100)))
    assert all(report.ok for report in reports.values())


def test_fault_that_does_not_pass(through: Through, bucket: str) -> None:
    """One object that always fails ends after max_attempts; it never ends the batch."""
    engine, _ = through(only_key("k7", always(answer(500, "InternalError"))), max_attempts=3)
    reports = by_key(engine.upload(bucket, sources(50)))
    assert [key for key, report in reports.items() if not report.ok] == ["k7"]
    bad = reports["k7"]
    assert isinstance(bad.error, ServerFault)
    assert (bad.attempts, bad.status, bad.error.code) == (3, 500, "InternalError")


def test_listing_is_retried(through: Through, bucket: str, probe: S3Probe) -> None:
    """A listing whose pages fail at first is whole."""
    probe.put(bucket, "k", b"x")
    engine, _ = through(script([answer(500, "InternalError"), Reset(), answer(503, "SlowDown")]))
    assert [info.key for info in engine.list(bucket)] == ["k"]


def test_retry_after_is_heard(through: Through, bucket: str) -> None:
    """A store that asks for a second gets it."""
    engine, _ = through(first(1, answer(503, "SlowDown", ("Retry-After", "1"))))
    (report,) = engine.upload(bucket, sources(1))
    assert (report.ok, report.attempts) == (True, 2)
    assert report.total_s >= 1.0


def test_truncated_download_is_resumed(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A body that breaks off is continued where it ended, by a range of the same version, not begun again."""
    body = LARGE[: 2 * MIB]
    etag = probe.put(bucket, "k", body)
    plan = Recorder(first(2, CutAnswer(after_bytes=700_000)))
    engine, _ = through(plan)
    (report,) = engine.download(bucket, ["k"], tmp_path)
    assert report.ok, report.error
    assert report.attempts == 3
    assert (tmp_path / "k").read_bytes() == body
    assert plan.values("range") == ["bytes=700000-", "bytes=1400000-"]
    assert [value.strip('"') for value in plan.values("if-match")] == [etag, etag]


def test_truncated_range_is_resumed(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A range of a large object that breaks off goes on inside that range, and every range is of the same version."""
    etag = probe.put(bucket, "k", LARGE)
    plan = Recorder(matching(b"bytes=5242880-", first(1, CutAnswer(after_bytes=1_000_000))))
    engine, _ = through(plan)
    (report,) = engine.list(bucket).download(tmp_path)
    assert report.ok, report.error
    assert report.attempts == 2
    assert (tmp_path / "k").read_bytes() == LARGE
    ranges = plan.values("range")
    assert "bytes=6242880-10485759" in ranges
    assert [value.strip('"') for value in plan.values("if-match")] == [etag] * len(ranges)


def test_object_that_changes_between_attempts(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A resumed download never joins two versions: it fails with PreconditionFailed and leaves no file."""
    old, new = LARGE[:MIB], LARGE[1 : MIB + 1]
    probe.put(bucket, "k", old)
    seen = 0

    def plan(_connection_no: int, request_no: int, head: bytes) -> Fault | None:
        nonlocal seen
        if not request_no:
            return None
        seen += 1
        if seen == 2:
            probe.put(bucket, "k", new)
        return CutAnswer(after_bytes=500_000) if seen == 1 else None

    engine, _ = through(plan)
    (report,) = engine.download(bucket, ["k"], tmp_path)
    assert isinstance(report.error, PreconditionFailed)
    assert list(tmp_path.iterdir()) == []


# ---- errors inside good answers


def test_copy_answered_200_with_an_error(through: Through, bucket: str, probe: S3Probe) -> None:
    """An error in the body of a 200 to a copy is an error, and retried when it may pass."""
    probe.put(bucket, "k", b"x")
    engine, _ = through(matching(b"x-amz-copy-source", first(1, answer(200, "InternalError"))))
    (report,) = engine.list(bucket).copy(key=lambda _: "copy")
    assert (report.ok, report.attempts) == (True, 2)
    assert probe.get(bucket, "copy") == b"x"


def test_cut_answer_to_a_move_keeps_the_source(through: Through, bucket: str, probe: S3Probe) -> None:
    """A copy whose 200 tells nothing is not taken for done: it is tried again, and only then the source deleted."""
    probe.put(bucket, "k", b"x")
    engine, _ = through(matching(b"x-amz-copy-source", always(Respond(200))), max_attempts=2)
    (report,) = engine.list(bucket).move(key=lambda _: "moved")
    assert isinstance(report.error, ServerFault)
    assert probe.list_keys(bucket) == ["k"]


def test_failed_key_of_a_delete_is_retried_alone(through: Through, bucket: str) -> None:
    """Of a DeleteObjects only the key whose error may pass is sent again; a final error is that key's alone."""
    failures = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
        for key, code in (("k1", "InternalError"), ("k2", "AccessDenied"))
    )
    body = f"<DeleteResult><Deleted><Key>k0</Key></Deleted>{failures}</DeleteResult>".encode()
    bad = Respond(200, (("Content-Type", "application/xml"),), body)
    engine, proxy = through(script([Latency(1.0), bad]))

    def keys() -> Iterator[str]:
        yield "early"  # goes alone; while it is under way the others are collected
        eventually(lambda: proxy.log.requests == 1)
        yield from ("k0", "k1", "k2")

    reports = by_key(engine.delete(bucket, keys()))
    assert {key for key, report in reports.items() if not report.ok} == {"k2"}
    assert isinstance(reports["k2"].error, AccessDenied)
    assert [line.split(" ")[:2] for line in proxy.log.request_lines] == [
        ["DELETE", f"/{bucket}/early"], ["POST", f"/{bucket}?delete="], ["DELETE", f"/{bucket}/k1"],
    ]  # fmt: skip


@pytest.mark.parametrize("lost", ["lost", "error"])
def test_complete_whose_answer_was_lost(
    through: Through, bucket: str, probe: S3Probe, tmp_path: Path, lost: str
) -> None:
    """Complete answered NoSuchUpload after a lost answer, or by an error in a 200, ends with the object whole."""
    (tmp_path / "f").write_bytes(LARGE)
    faults: list[Fault | None] = [CutAnswer(head=False), answer(404, "NoSuchUpload")]
    if lost == "error":
        faults = [answer(200, "InternalError")]
    engine, _ = through(matching(b"?uploadId=", script(faults)))  # parts say ?partNumber= first
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    assert (probe.head(bucket, "k") or {})["etag"].strip('"') == report.etag
    assert probe.get(bucket, "k") == LARGE


def test_parts_are_retried(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """Parts that fail at first are sent again alone, and told as retries of their object."""
    (tmp_path / "f").write_bytes(LARGE)
    engine, proxy = through(matching(b"partNumber=", script([answer(500, "InternalError"), None, Reset()])))
    (report,) = engine.upload(bucket, [FileSource(str(tmp_path / "f"), "k")])
    assert report.ok, report.error
    assert report.retries == 2
    assert sum("partNumber=" in line for line in proxy.log.request_lines) == 5
    assert probe.get(bucket, "k") == LARGE
