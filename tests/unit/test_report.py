"""Reports, totals and the performance table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import NotFound
from s3engine.report import LENGTH_ONLY, AlikeReports, RequestReport, SummaryBuilder, perf_header, perf_row


def _report(**changes: Any) -> RequestReport:
    report = RequestReport(
        seq=0, operation="upload", bucket="b", key="k", size_bytes=2_000_000, attempts=1, success_s=0.5, total_s=0.75,
        estimate_bytes_per_s=3_500_000.0, timeout_s=30.0, status=200, request_id="", etag="", error=None,
    )  # fmt: skip
    return report._replace(**changes)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _columns(line: str) -> list[str]:
    return [line[at : at + 18] for at in range(0, len(line), 18)]


def test_the_table_has_six_columns_of_width_18() -> None:
    """Head and rows are six right-aligned columns of 18 characters."""
    names = ["attempts", "bytes", "success_ms", "total_ms", "MBps", "MBps est"]
    cells = ["1", "2000000", "500", "750", "4.00000", "3.50000"]

    assert _columns(perf_header()) == [name.rjust(18) for name in names]
    assert _columns(perf_row(_report())) == [cell.rjust(18) for cell in cells]


def test_a_row_without_a_success_time_has_rate_zero() -> None:
    """An object that never succeeded divides nothing by zero."""
    assert _columns(perf_row(_report(success_s=0.0)))[4].strip() == "0.00000"


def test_totals_count_only_what_was_done() -> None:
    """Failed objects add to ``failed`` and ``retries``, not to objects or bytes."""
    clock = Clock()
    builder = SummaryBuilder(clock)
    builder.add(_report())
    builder.add(_report(attempts=3))
    builder.add(_report(attempts=8, error=NotFound("gone")))
    clock.now += 4.0
    summary = builder.summary()

    assert (summary.objects, summary.failed, summary.retries, summary.size_bytes) == (2, 1, 9, 4_000_000)
    assert (summary.elapsed_s, summary.objects_per_s, summary.bytes_per_s) == (4.0, 0.5, 1_000_000.0)
    assert not summary.ok
    assert "1 FAILED" in str(summary)


def test_what_was_done_by_length_only_is_counted() -> None:
    """The summary says how many objects were compared by nothing but their length; without any it says nothing."""
    builder = SummaryBuilder(Clock())
    for verified in ("md5", "length only", "", "length only"):
        builder.add(_report(verified=verified))
    builder.add(_report(verified="", error=NotFound("gone")))
    assert builder.summary().length_only == 2
    assert str(builder.summary()).endswith("; 2 of 4 by length only")
    assert "length" not in str(SummaryBuilder(Clock()).summary())


def test_stopping_freezes_the_elapsed_time() -> None:
    """After ``stop`` the clock counts no more, and a second stop changes nothing."""
    clock = Clock()
    builder = SummaryBuilder(clock)
    clock.now += 2.0
    builder.stop()
    clock.now += 5.0
    builder.stop()

    assert builder.summary().elapsed_s == 2.0


def test_an_empty_batch_has_a_summary() -> None:
    """Nothing done in no time divides nothing by zero."""
    summary = SummaryBuilder(Clock()).summary()

    assert (summary.objects_per_s, summary.bytes_per_s, summary.p50_s, summary.p99_s) == (0.0, 0.0, 0.0, 0.0)
    assert summary.ok
    assert "FAILED" not in str(summary)


@given(total_s=st.floats(2e-4, 3000.0))
def test_percentiles_are_within_ten_percent(total_s: float) -> None:
    """A batch of equal objects has their time as every percentile, to within 10 %."""
    builder = SummaryBuilder(Clock())
    for _ in range(10):
        builder.add(_report(total_s=total_s))
    summary = builder.summary()

    assert [summary.p50_s, summary.p95_s, summary.p99_s] == pytest.approx([total_s] * 3, rel=0.1)


def test_percentiles_split_the_objects() -> None:
    """Of 1 to 100 s the 50th, 95th and 99th percentile are about 50, 95 and 99 s."""
    builder = SummaryBuilder(Clock())
    for seconds in range(1, 101):
        builder.add(_report(total_s=float(seconds)))
    summary = builder.summary()

    assert (summary.p50_s, summary.p95_s, summary.p99_s) == pytest.approx((50.0, 95.0, 99.0), rel=0.1)


@pytest.mark.parametrize("total_s", [0.0, 1e-5, 1e9])
def test_extreme_times_are_counted(total_s: float) -> None:
    """Times outside the histogram fall into its first or last bucket."""
    builder = SummaryBuilder(Clock())
    builder.add(_report(total_s=total_s))

    assert builder.summary().p50_s > 0.0


def test_a_report_becomes_json() -> None:
    """``as_dict`` is JSON-ready: the error is its class name and its message."""
    values = json.loads(json.dumps(_report(error=NotFound("no such key: k"), attempts=2).as_dict()))

    assert (values["error"], values["message"], values["attempts"]) == ("NotFound", "no such key: k", 2)
    assert _report().as_dict()["error"] is None


def test_retries_are_attempts_beyond_the_first() -> None:
    """An object without any attempt has no retries."""
    assert [_report(attempts=attempts).retries for attempts in (0, 1, 4)] == [0, 0, 3]


@given(
    st.lists(st.tuples(st.integers(0, 1 << 40), st.text(), st.integers(0, 1 << 50)), min_size=1),
    st.integers(0, 9), st.floats(0, 1e4), st.sampled_from(["", "sha256", LENGTH_ONLY]),
)
def test_alike_reports_count_as_each_of_them(
    objects: list[tuple[int, str, int]], attempts: int, total_s: float, verified: str
) -> None:
    """Counting what one request did gives the totals that its reports give one by one."""
    clock = Clock()
    alike = AlikeReports(_report(attempts=attempts, total_s=total_s, verified=verified), objects)
    at_once, one_by_one = SummaryBuilder(clock), SummaryBuilder(clock)
    at_once.add_alike(alike)
    for report in alike.reports():
        one_by_one.add(report)
    assert at_once.summary() == one_by_one.summary()
    assert [(report.seq, report.key, report.size_bytes) for report in alike.reports()] == objects
