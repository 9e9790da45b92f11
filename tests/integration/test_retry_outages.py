"""The rows of docs/retries.md about throttling and stores that are down, and what is free."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from s3engine import BytesSource
from s3engine.errors import ConnectFailed
from tests.faults import Fault, Latency, Reset, Respond, always, first, matching
from tests.helpers import S3Probe
from tests.integration.faults_common import sources
from tests.integration.retry_common import SLOW_DOWN, failures
from tests.integration.through import Through

pytestmark = pytest.mark.usefixtures("environment")


# ---- throttling


@pytest.mark.parametrize("header", [("Retry-After", "1"), ("x-amz-retry-after", "1000")])
def test_throttled_bucket_gets_no_new_requests(through: Through, bucket: str, header: tuple[str, str]) -> None:
    """Told to come back in a second, both workers send nothing to that bucket for that long."""
    slow = Respond(503, (("Content-Type", "application/xml"), header), SLOW_DOWN)
    times: list[float] = []
    lock = threading.Lock()

    def plan(_connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        if not request_no:
            return None
        with lock:
            times.append(time.monotonic())
        return slow if time.monotonic() - times[0] < 0.1 else None

    engine, proxy = through(plan)
    assert failures(engine.upload(bucket, sources(200))) == []
    assert proxy.log.faults["Respond"] >= 1
    silent = [at - times[0] for at in times if 0.4 < at - times[0] < 0.95]
    assert silent == []


def test_blanket_retry_after_is_capped(through: Through, bucket: str) -> None:
    """MinIO sends Retry-After: 60 with every 503: the item is back within the cap, not after a minute."""
    slow = Respond(503, (("Retry-After", "60"),), SLOW_DOWN.replace(b"Write", b"Read"))
    engine, _ = through(first(1, slow))
    (report,) = engine.upload(bucket, sources(1))
    assert report.ok
    assert report.total_s < 20


# ---- a store that is down


def test_store_that_is_down_for_seconds(through: Through, bucket: str, probe: S3Probe) -> None:
    """Connections refused for longer than all attempts take: items wait, one probe a second goes out, none fails."""
    engine, proxy = through(None, max_attempts=3)
    assert failures(engine.upload(bucket, sources(4))) == []
    proxy.refuse(3.0)
    assert failures(engine.upload(bucket, [BytesSource(b"after", f"a{n}") for n in range(20)])) == []
    assert len(probe.list_keys(bucket)) == 24


@pytest.mark.parametrize(
    ("fault", "transport"),
    [(Respond(502, (("Content-Type", "text/html"),), b"<html>Bad Gateway</html>"), "raw"), (Reset(), "boto3")],
)
def test_gateway_whose_store_is_away(through: Through, bucket: str, fault: Fault, transport: str) -> None:
    """502 to everything, or a reset, for longer than all attempts of a few objects take: nothing fails."""
    broken_from = [0.0]

    def plan(_connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        return fault if request_no and 0 < time.monotonic() - broken_from[0] < 5.0 else None

    engine, _ = through(plan, max_attempts=4, retry_base_s=0.01, transport=transport)
    assert failures(engine.upload(bucket, sources(4))) == []
    broken_from[0] = time.monotonic()
    assert failures(engine.upload(bucket, sources(3))) == []
    assert time.monotonic() - broken_from[0] > 5.0


def test_object_that_is_refused_for_ever_fails(through: Through, bucket: str) -> None:
    """One object alone is answered 500 for ever: it fails soon, whether others are under way or not."""
    engine, _ = through(matching(b"/k1 ", always(Respond(500))), max_attempts=4, retry_base_s=0.01)
    for count in (100, 2):
        began = time.monotonic()
        assert [error.key for error in failures(engine.upload(bucket, sources(count)))] == ["k1"]  # type: ignore[attr-defined]
        assert time.monotonic() - began < 10


def test_store_that_stays_down_is_given_up(through: Through, bucket: str) -> None:
    """A store that was well and then refuses for longer than give_up_after_s: every item fails, and only then."""
    engine, proxy = through(None, give_up_after_s=2.0)
    assert failures(engine.upload(bucket, sources(4))) == []
    proxy.refuse(600.0)
    began = time.monotonic()
    reports = list(engine.upload(bucket, [BytesSource(b"after", f"a{n}") for n in range(40)]))
    took = time.monotonic() - began
    assert {type(report.error) for report in reports} == {ConnectFailed}
    assert 2.0 <= took < 15


def test_faults_beyond_the_budget_wait(through: Through, bucket: str) -> None:
    """A store that was well and answers 500 until the budget is empty: items wait for it instead of failing."""
    broken_from = [0.0]

    def plan(_connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        return Respond(500) if request_no and 0 < time.monotonic() - broken_from[0] < 3.0 else None

    engine, proxy = through(plan)
    assert failures(engine.upload(bucket, sources(4))) == []
    before = proxy.log.requests
    broken_from[0] = time.monotonic()
    assert failures(engine.upload(bucket, [BytesSource(b"after", f"a{n}") for n in range(100)])) == []
    assert proxy.log.faults["Respond"] <= 100 + 500 // 14 + 6  # each once, the budget, and a probe a second
    assert proxy.log.requests - before >= 100


# ---- what is free


def test_stale_connections_are_free(through: Through, bucket: str) -> None:
    """A reused connection that was reset costs no attempt: with one attempt allowed all is done."""
    carried: Counter[int] = Counter()

    def plan(connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        carried[connection_no] += bool(request_no)
        reused = carried[connection_no] > 1 and request_no
        return Reset() if reused and not proxy.log.faults["Reset"] else None

    engine, proxy = through(plan, max_attempts=1)
    reports = list(engine.upload(bucket, sources(100)))
    assert [report.error for report in reports if report.error] == []
    assert sum(report.retries for report in reports) == proxy.log.faults["Reset"] == 1


def test_stale_connections_beside_it_are_not_tried(through: Through, bucket: str) -> None:
    """The store closed all connections: the free retry goes over a new one, not over another that stood idle."""
    old: set[int] = set()
    restarted = threading.Event()

    def plan(connection_no: int, request_no: int, _head: bytes) -> Fault | None:
        if not request_no:
            return None
        if restarted.is_set():
            return Reset() if connection_no in old else None
        old.add(connection_no)
        return Latency(0.2)

    engine, proxy = through(plan, workers=1, concurrency=8, max_attempts=1)
    assert failures(engine.upload(bucket, sources(8))) == []
    assert len(old) > 1
    restarted.set()
    assert failures(engine.upload(bucket, sources(1))) == []
    assert proxy.log.faults["Reset"] == 1
