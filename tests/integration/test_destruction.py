"""What destroys stops where it does not know enough, and its reports agree key by key with what the store holds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from s3engine import Engine, ObjectInfo, RequestReport
from s3engine.cli.app import run
from s3engine.embedded import EmbeddedServer
from s3engine.errors import Cancelled, DeleteLimitExceeded, PreconditionFailed, S3EngineError, ServerFault
from s3engine.transport import ListPage
from tests.faults import Fault, FaultProxy, Latency, Plan, Respond, StallAnswer, always
from tests.half_listed import HalfListed
from tests.helpers import S3Probe, eventually, point_at
from tests.integration.through import Through
from tests.servers import Ministack, RcloneServer

PAGES = "tests.small_pages:SmallPages"
KEYS = [f"p/{n:03}" for n in range(200)]  # twenty pages of ten
MANY = [f"p/{n:03}" for n in range(400)]  # twenty pages of twenty: in six are more than workers are given ahead
LISTED = set(MANY[:120])
MANY_PAGES = "tests.small_pages:TwentyKeys"
pytestmark = pytest.mark.usefixtures("few_attempts")


@pytest.fixture
def through_settings() -> dict[str, Any]:
    """Of the engines that ``through`` makes."""
    return {"transport": PAGES}


def fill(probe: S3Probe, bucket: str, keys: Iterable[str] = KEYS) -> None:
    for key in keys:
        probe.put(bucket, key, key.encode())


def page(number: int, prefix: str = "p%2F") -> Plan:
    """A listing below ``prefix`` whose page ``number`` answers 500 for good."""
    tokens: dict[bytes, int] = {}

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        line = head.split(b"\r\n", 1)[0]
        if b"list-type=2" not in line or f"prefix={prefix}&".encode() not in line.replace(b" ", b"&"):
            return None
        name = next((word for word in line.replace(b" ", b"&").split(b"&") if b"continuation-token=" in word), b"")
        return Respond(500) if tokens.setdefault(name, len(tokens) + 1) >= number else None

    return plan


def read(batch: Any) -> tuple[dict[str, RequestReport], S3EngineError | None]:
    """The reports by key, one for each, and what ended the batch."""
    reports: dict[str, RequestReport] = {}
    try:
        for report in batch:
            assert report.key not in reports
            reports[report.key] = report
    except S3EngineError as error:
        return reports, error
    return reports, None


def test_rm_stops_at_a_listing_that_fails(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, capfd: pytest.CaptureFixture[str]
) -> None:
    """rm -r whose listing fails on page 7 of 20 exits 1 and begins nothing more; reports agree with the store."""
    fill(probe, bucket, MANY)
    with FaultProxy("127.0.0.1", seaweed.port, HalfListed(7)) as proxy:
        arguments = ["--json", "--transport", MANY_PAGES, "-n", "1", "--endpoint-url", proxy.endpoint_url]
        code = run(["rm", "-r", f"s3://{bucket}/p/", *arguments])
    out, err = capfd.readouterr()
    told = {line["key"]: line["error"] for line in map(json.loads, out.splitlines())}
    assert code == 1
    assert "ListObjectsV2" in err
    left = set(probe.list_keys(bucket))
    assert set(told) == LISTED
    assert {key for key, error in told.items() if error is None} == set(MANY) - left
    assert set(told.values()) == {None, "Cancelled"}


@pytest.mark.parametrize("kind", ["copy", "download"])
def test_move_stops_at_a_listing_that_fails(
    kind: str, through: Through, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """A move whose listing fails on page 7 of 20 begins nothing more; what is not moved is still there."""
    fill(probe, bucket, MANY)
    other = f"{bucket}-to"
    probe.create_bucket(other)
    engine, _ = through(HalfListed(7), transport=MANY_PAGES, workers=1, concurrency=2)
    listing = engine.list(bucket, "p/")
    batch = listing.move(other) if kind == "copy" else listing.download(tmp_path, remove_objects=True)
    reports, error = read(batch)
    assert isinstance(error, ServerFault)
    there = set(probe.list_keys(other)) if kind == "copy" else {f"p/{path.name}" for path in tmp_path.iterdir()}
    left = set(probe.list_keys(bucket))
    probe.delete_all(other)
    assert set(reports) == LISTED
    moved = {key for key, report in reports.items() if report.ok}
    assert moved == set(MANY) - left
    assert moved <= there
    assert LISTED - there  # not even begun
    for key in set(reports) - moved:
        problem = reports[key].error
        assert isinstance(problem, Cancelled)
        assert ("its source was not deleted" in str(problem)) == (key in there)
    assert batch.summary().objects == len(moved)


def test_copy_goes_on_with_what_was_listed(through: Through, bucket: str, probe: S3Probe) -> None:
    """A copy destroys nothing, so a listing that fails ends it only after all that was listed is copied."""
    fill(probe, bucket)
    other = f"{bucket}-to"
    probe.create_bucket(other)
    engine, _ = through(page(7))
    reports, error = read(engine.list(bucket, "p/").copy(other))
    found = set(probe.list_keys(other))
    probe.delete_all(other)
    assert isinstance(error, ServerFault)
    assert found == set(reports) == set(KEYS[:60])
    assert all(report.ok for report in reports.values())


@pytest.mark.parametrize("verb", ["rm", "mv"])
def test_limit_needs_the_whole_listing(
    verb: str, seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With --max-delete 50% a listing that fails on page 7 of 20 means that nothing at all is done, exit 1."""
    fill(probe, bucket)
    target = [str(tmp_path)] if verb == "mv" else []
    with FaultProxy("127.0.0.1", seaweed.port, page(7)) as proxy:
        code = run(
            [verb, "-r", f"s3://{bucket}/p/", *target, "--max-delete", "50%", "--transport", PAGES,
             "--endpoint-url", proxy.endpoint_url]
        )  # fmt: skip
    out, err = capfd.readouterr()
    assert (code, out) == (1, "")
    assert "ListObjectsV2" in err
    assert probe.list_keys(bucket) == KEYS
    assert list(tmp_path.iterdir()) == []


def test_limit_is_of_all_below_the_prefix(through: Through, bucket: str, probe: S3Probe) -> None:
    """A percentage is of all objects below the prefix, before filters; above it nothing is deleted, and it is told."""
    fill(probe, bucket, KEYS[:40])
    fill(probe, bucket, ["other"])
    engine, _ = through(None)
    odd = engine.list(bucket, "p/").filter(lambda info: int(info.key[-1]) % 2 == 1)
    with pytest.raises(DeleteLimitExceeded, match="20 of 40") as caught:
        odd.delete(max_delete="49.9%").wait()
    assert (caught.value.limit, caught.value.count, caught.value.total) == ("49.9%", 20, 40)
    with pytest.raises(DeleteLimitExceeded, match="20 of 40"):
        odd.delete(max_delete=19).wait()
    assert len(probe.list_keys(bucket)) == 41
    assert odd.delete(max_delete="50%").wait().objects == 20
    assert len(probe.list_keys(bucket)) == 21


def test_object_written_after_the_listing_survives(through: Through, bucket: str, probe: S3Probe) -> None:
    """What was written again after it was listed is kept by a delete, and its report says so; what is gone is done."""
    fill(probe, bucket, KEYS[:30])
    engine, _ = through(None)
    listed = list(engine.list(bucket, "p/"))
    probe.put(bucket, "p/003", b"again")
    probe.delete(bucket, "p/000")
    probe.delete(bucket, "p/007")
    reports, error = read(engine.delete(bucket, listed))
    assert error is None
    assert probe.list_keys(bucket) == ["p/003"]
    assert {key: type(report.error) for key, report in reports.items() if not report.ok} == {
        "p/003": PreconditionFailed
    }
    assert "was written again after it was listed; it was kept" in str(reports["p/003"].error)
    listed = [info for info in listed if info.key == "p/003"]
    assert engine.delete(bucket, listed, unconditional=True).wait().ok
    assert probe.list_keys(bucket) == []


def test_delete_by_etag_is_asked_once_for_each_bucket(through: Through, bucket: str, probe: S3Probe) -> None:
    """Whether the store heeds ETags is found out by one request, and remembered."""
    fill(probe, bucket, KEYS[:4])
    engine, proxy = through(None)
    listed = list(engine.list(bucket, "p/"))
    assert engine.delete(bucket, listed[:3]).wait().objects == 3
    before = proxy.log.requests
    assert engine.delete(bucket, listed[3:]).wait().objects == 1
    assert proxy.log.requests - before == 1


def test_move_keeps_a_source_that_changed(seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A source that is written again after it was copied stays, and the report says what is where."""
    fill(probe, bucket, ["p/a", "p/b"])
    changed: list[bytes] = []

    def plan(_connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        if head.startswith(b"POST") and not changed and (tmp_path / "a").exists():  # a delete, and a was copied by now
            changed.append(head)
            probe.put(bucket, "p/a", b"newer")
        return None

    with FaultProxy("127.0.0.1", seaweed.port, plan) as proxy, Engine(endpoint_url=proxy.endpoint_url) as engine:
        reports, _ = read(engine.list(bucket, "p/").download(tmp_path, remove_objects=True))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"p/a", "b": b"p/b"}
    assert probe.list_keys(bucket) == ["p/a"]
    assert reports["p/b"].ok
    assert isinstance(reports["p/a"].error, PreconditionFailed)
    assert str(reports["p/a"].error).startswith(f"downloaded to '{tmp_path}/a'; its source was not deleted: ")


@pytest.mark.parametrize("name", ["ministack", "rclone_server"])
def test_stores_that_look_and_one_that_does_not(name: str, request: pytest.FixtureRequest) -> None:
    """ministack keeps what was written again; rclone does not look at ETags, so there a delete is as it always was."""
    server: Ministack | RcloneServer = request.getfixturevalue(name)
    config: dict[str, Any] = {"endpoint_url": server.endpoint_url, "workers": 1}
    with (
        pytest.MonkeyPatch.context() as patch,
        S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe,
    ):
        point_at(patch, server)
        with Engine(**config) as engine:
            bucket = "conditions"
            probe.create_bucket(bucket)
            fill(probe, bucket, "abc")
            listed = list(engine.list(bucket))
            probe.put(bucket, "b", b"again")
            reports, _ = read(engine.delete(bucket, listed))
            left = probe.list_keys(bucket)
            probe.delete_all(bucket)
    if name == "ministack":
        assert left == ["b"]
        assert type(reports["b"].error) is PreconditionFailed
        assert reports["a"].ok
        assert reports["c"].ok
    else:
        assert left == []
        assert all(report.ok for report in reports.values())


def test_endless_listing_ends(through: Through, bucket: str, probe: S3Probe) -> None:
    """A store whose pages go in a circle is caught before anything is done under a limit."""
    fill(probe, bucket, KEYS[:50])
    engine, _ = through(None)
    listing = engine.list(bucket, "p/")
    fetch = listing._page
    pages = [fetch("")]
    while pages[-1].next_token:
        pages.append(fetch(pages[-1].next_token))
    ring = itertools.cycle(one._replace(next_token=f"t{n}") for n, one in enumerate(pages))
    numbers = itertools.count()

    def page(token: str, start_after: str = "") -> ListPage:
        """A token of its own each time: only what is listed shows the circle."""
        return next(ring)._replace(next_token=f"n{next(numbers)}")

    listing._page = page  # type: ignore[method-assign]
    with pytest.raises(ServerFault, match="nothing new"):
        listing.delete(max_delete=1000).wait()
    assert len(probe.list_keys(bucket)) == 50


def test_store_that_ignores_the_prefix_costs_nobody_an_object(through: Through, bucket: str, probe: S3Probe) -> None:
    """A listing that shows what is not below its prefix is an error: nothing of that page is deleted."""
    fill(probe, bucket, ["p/a", "q/b"])
    engine, _ = through(None)
    listing = engine.list(bucket, "p/")
    call = listing._call
    infos = list(engine.list(bucket))

    def foreign(*arguments: Any) -> Any:
        return call(*arguments)._replace(objects=[ObjectInfo(*info) for info in infos])

    listing._call = foreign
    _, error = read(listing.delete())
    assert isinstance(error, ServerFault)
    assert "q/b" in str(error)
    assert probe.list_keys(bucket) == ["p/a", "q/b"]


# ---- a cancel in the middle


@pytest.mark.parametrize("transport", ["raw", "boto3"])
def test_deletes_under_way_are_waited_for(through: Through, bucket: str, probe: S3Probe, transport: str) -> None:
    """A delete that is answered seconds after the grace of a cancel is reported as what it is: done."""
    fill(probe, bucket, KEYS[:3])
    slow = always(Latency(1.5))
    engine, proxy = through(slow, transport=transport, shutdown_grace_s=0.1)
    batch = engine.delete(bucket, KEYS[:3])
    eventually(lambda: proxy.log.faults["Latency"] > 0)
    batch.cancel()
    reports = list(batch)
    kept = {report.key for report in reports if report.error is not None}  # not begun: of another request
    assert not any("not known" in str(report.error) for report in reports)
    assert kept == set(probe.list_keys(bucket))
    assert len(kept) < 3


def test_deletes_never_answered_are_not_known(through: Through, bucket: str, probe: S3Probe, tmp_path: Path) -> None:
    """A cancel waits no more than 10 s for a delete; its report says what is not known, the next run settles it."""
    fill(probe, bucket, KEYS[:3])
    engine, proxy = through(always(StallAnswer()), transport="raw", shutdown_grace_s=0.0)
    batch = engine.delete(bucket, KEYS[:3], journal=tmp_path / "j")
    eventually(lambda: proxy.log.faults["StallAnswer"] > 0)
    batch.cancel()
    errors = [report.error for report in batch]
    assert {type(error) for error in errors} == {Cancelled}
    assert any("not known" in str(error) for error in errors)
    assert len(probe.list_keys(bucket)) < 3  # the store did it
    proxy.plan = lambda *_: None
    summary = engine.delete(bucket, KEYS[:3], journal=tmp_path / "j").wait()
    assert (summary.objects, summary.failed) == (3, 0)
