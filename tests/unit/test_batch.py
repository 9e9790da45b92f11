"""A batch gives every report to its reader, keeps few of them, and ends in one of its ways."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from s3engine.batch import Batch, Progress
from s3engine.errors import NotFound
from s3engine.report import AlikeReports, RequestReport
from tests.helpers import eventually


def report(seq: int, *, ok: bool = True) -> RequestReport:
    """A report of 10 bytes after two attempts."""
    error = None if ok else NotFound("no")
    return RequestReport(seq, "upload", "b", f"k{seq}", 10, 2, 0.1, 0.2, 0.0, 30.0, 200, "id", "etag", error)


class Harness:
    """A batch with the engine's side played by the test."""

    def __init__(self, progress: Progress | None = None, max_buffered: int = 100) -> None:
        self.cancels = 0
        self.wakes = 0
        self.batch = Batch(self._cancel, progress, max_buffered)
        self.batch._attach(self._wake)

    def _cancel(self) -> None:
        self.cancels += 1

    def _wake(self) -> None:
        self.wakes += 1

    def emit(self, *seqs: int) -> None:
        for seq in seqs:
            self.batch._emit(report(seq))
        self.batch._turned()


def test_iteration_gives_all_reports() -> None:
    """A reader gets what came before it began and while it waits, then the end."""
    harness = Harness()
    harness.emit(0, 1)

    def later() -> None:
        time.sleep(0.05)
        harness.emit(2)
        harness.batch._end(None)

    thread = threading.Thread(target=later)
    thread.start()
    assert [one.seq for one in harness.batch] == [0, 1, 2]
    thread.join()


def test_unread_reports_stop_the_work_and_reading_goes_on() -> None:
    """At max_buffered_reports the batch is full; the engine is woken as soon as one is read."""
    harness = Harness(max_buffered=3)
    harness.emit(0, 1)
    assert not harness.batch._full
    harness.emit(2)
    assert harness.batch._full
    reader = iter(harness.batch)
    next(reader)
    next(reader)
    assert not harness.batch._full
    assert harness.wakes >= 1


def test_wait_drops_reports_and_sums_up() -> None:
    """wait() makes room for all and returns totals of done and failed objects."""
    harness = Harness(max_buffered=1)
    harness.emit(0)

    def later() -> None:
        harness.batch._emit(report(1, ok=False))
        harness.batch._end(None)

    threading.Timer(0.05, later).start()
    summary = harness.batch.wait()
    assert (summary.objects, summary.failed, summary.size_bytes, summary.retries) == (1, 1, 10, 2)
    assert not harness.batch._full
    assert list(harness.batch) == []


def test_wait_has_a_limit() -> None:
    """wait(timeout_s) raises TimeoutError in time, cancels nothing, and can be called again."""
    harness = Harness()
    with pytest.raises(TimeoutError):
        harness.batch.wait(timeout_s=0.05)
    assert harness.cancels == 0
    harness.batch._end(None)
    assert harness.batch.wait(timeout_s=0.05).ok


@pytest.mark.parametrize("end", ["wait", "iterate"])
def test_error_in_progress_is_raised(end: str) -> None:
    """What progress raises cancels the batch once and comes out where the caller waits."""

    def progress(_report: RequestReport) -> None:
        raise LookupError("mine")

    harness = Harness(progress)
    harness.emit(0, 1)
    harness.batch._end(None)
    assert harness.cancels == 1
    with pytest.raises(LookupError, match="mine"):
        harness.batch.wait() if end == "wait" else list(harness.batch)


def test_error_of_the_input_is_raised_after_the_reports() -> None:
    """The reports of what was done come first, then what the input raised."""
    harness = Harness()
    harness.emit(0)
    harness.batch._end(LookupError("input"))
    reader = iter(harness.batch)
    assert next(reader).seq == 0
    with pytest.raises(LookupError, match="input"):
        next(reader)


def test_progress_sees_each_report() -> None:
    """progress is called once for each report, read or not."""
    seen: list[int] = []
    harness = Harness(lambda one: seen.append(one.seq), max_buffered=2)
    harness.emit(0, 1, 2, 3)
    assert seen == [0, 1, 2, 3]


def test_two_readers_share_the_reports() -> None:
    """Each report goes to one reader, and both come to the end."""
    harness = Harness(max_buffered=10_000)
    got: list[list[int]] = [[], []]
    threads = [threading.Thread(target=lambda n=n: got[n].extend(one.seq for one in harness.batch)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for start in range(0, 3000, 10):
        harness.emit(*range(start, start + 10))
    harness.batch._end(None)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(got[0] + got[1]) == list(range(3000))


def test_reader_that_comes_by_takes_what_is_there() -> None:
    """Taking gives the oldest reports, no more than there are or were asked for, and a full batch goes on."""
    harness = Harness(max_buffered=4)
    harness.emit(0, 1, 2, 3)
    assert harness.batch._full
    assert [one.seq for one in harness.batch._take(3)] == [0, 1, 2]
    assert harness.wakes == 1
    assert [one.seq for one in harness.batch._take(3)] == [3]
    assert harness.batch._take(3) == []
    assert harness.wakes == 1


def test_rest_ends_with_the_batch() -> None:
    """Whoever rests between two looks is woken by the end of the batch."""
    harness = Harness()
    thread = threading.Thread(target=harness.batch._rest, args=(3600.0,))
    thread.start()
    harness.batch._end(None)
    thread.join(10)
    assert not thread.is_alive()
    harness.batch._rest(3600.0)
    assert harness.batch.over


def test_over_tells_the_end() -> None:
    """over is False until the end and True from then on."""
    harness = Harness()
    assert not harness.batch.over
    harness.batch._end(None)
    eventually(lambda: harness.batch.over)


def alike(*seqs: int) -> AlikeReports:
    """What was done by one request."""
    return AlikeReports(report(0), [(seq, f"k{seq}", 10) for seq in seqs])


def test_what_one_request_did_is_shown_one_by_one() -> None:
    """A reader gets a report for each object of a request, the same as if each had come alone."""
    harness = Harness()
    harness.batch._emit_alike(alike(3, 4, 5))
    harness.batch._turned()
    harness.batch._end(None)
    assert list(harness.batch) == [report(3), report(4), report(5)]


def test_progress_is_told_of_each_object_of_a_request() -> None:
    """The callback gets every report, also where nobody iterates."""
    told: list[RequestReport] = []
    harness = Harness(told.append)
    harness.batch._discard = True
    harness.batch._emit_alike(alike(3, 4))
    harness.batch._turned()
    assert told == [report(3), report(4)]


def test_what_nobody_looks_at_is_counted() -> None:
    """A batch that is waited for has the same totals as one that is iterated."""
    seen, waited = Harness(), Harness()
    waited.batch._discard = True
    for harness in (seen, waited):
        harness.batch._emit_alike(alike(3, 4, 5))
        harness.batch._turned()
        harness.batch._end(None)
    assert not waited.batch._reports
    totals = [one.batch.summary() for one in (seen, waited)]
    assert totals[0].objects == 3
    assert dataclasses.replace(totals[0], elapsed_s=0.0) == dataclasses.replace(totals[1], elapsed_s=0.0)


def test_failures_may_be_all_that_is_kept() -> None:
    """Where only failures are wanted what went well is counted, and takes no room."""
    harness = Harness(max_buffered=5)
    harness.batch._keep_failures_only()
    harness.emit(*range(100))
    harness.batch._emit(report(100, ok=False))
    harness.batch._emit_alike(alike(101, 102))
    harness.batch._turned()
    harness.batch._end(None)
    assert not harness.batch._full
    assert [one.seq for one in harness.batch] == [100]
    assert (harness.batch.summary().objects, harness.batch.summary().failed) == (102, 1)
