"""Jobs keep their books: each item of the input ends in one report, whatever becomes of its tasks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from s3engine.errors import AccessDenied, Cancelled, ConfigError, DuplicateKey
from s3engine.jobs.base import Job
from s3engine.jobs.delete import DeleteJob
from s3engine.operations import ObjectHeaders, content_type_headers
from s3engine.pool.messages import Kind, Task
from s3engine.sources import BytesSource, FileSource
from tests.helpers import eventually
from tests.tried_jobs import MIB, Bench, copy, outcome, upload


def test_each_item_has_one_report() -> None:
    """Items come out once each, numbered as they came in, good and bad ones alike."""
    denied = AccessDenied("no")
    bench = Bench(lambda task: outcome(task, error=denied if task[3] == "k3" else None))
    reports = bench.run(upload(bench, (FileSource(f"/f{n}", f"k{n}") for n in range(300))))
    assert sorted((report.seq, report.key) for report in reports) == [(n, f"k{n}") for n in range(300)]
    assert [report.key for report in reports if not report.ok] == ["k3"]


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\udcff"])
def test_bad_key_is_refused_by_name(key: str) -> None:
    """A key that S3 does not take fails alone, and nothing is sent for it."""
    bench = Bench(outcome)
    reports = bench.run(upload(bench, [FileSource("/f", key), FileSource("/f", "good")]))
    assert {report.key: type(report.error) for report in reports} == {key: ConfigError, "good": type(None)}
    assert [task[3] for task in bench.tasks] == ["good"]


def test_second_source_of_a_key_is_refused() -> None:
    """Of two sources with one key the first is sent and the second reported."""
    bench = Bench(outcome)
    reports = bench.run(upload(bench, [BytesSource(b"1", "k"), BytesSource(b"2", "k")]))
    assert [(report.seq, type(report.error)) for report in reports if report.error] == [(1, DuplicateKey)]
    assert [task[5][0] for task in bench.tasks] == [b"1"]


def test_plain_pairs_will_do() -> None:
    """A (path, key) pair is a FileSource."""
    bench = Bench(outcome)
    bench.run(upload(bench, [("/f", "k")]))
    assert [(task[2], task[3], task[5]) for task in bench.tasks] == [(Kind.PUT_FILE, "k", ("/f", None))]


def test_template_function_gives_headers_of_each() -> None:
    """A template function is asked for each source; a source's own headers go before it."""
    bench = Bench(outcome)
    own = ObjectHeaders(cache_control="own")
    items = [FileSource("/f", "a"), FileSource("/f", "b", own)]
    bench.run(upload(bench, items, template=lambda source: ObjectHeaders(cache_control=source.key)))
    assert [task[5][1] for task in bench.tasks] == [(("cache-control", "a"),), (("cache-control", "own"),)]


def _broken_function(_source: object) -> Any:
    raise LookupError("no headers")


@pytest.mark.parametrize(
    "broken",
    [
        lambda bench: upload(bench, [("/f", "a"), ("/f", "b")], template=_broken_function),
        lambda bench: upload(bench, [("/f", "a"), 17]),
        lambda bench: copy(bench, ["a", "b"], _broken_function),
        lambda bench: DeleteJob(["a", 17], "b", bench.emit),
    ],
)
def test_error_in_a_callers_function_ends_the_job(broken: Callable[[Bench], Job]) -> None:
    """What a template or key function raises, or an item that is none, ends the batch and is handed to the caller."""
    bench = Bench(outcome)
    job = broken(bench)
    bench.run(job)
    assert isinstance(job.failure, (LookupError, TypeError, AttributeError))
    assert len({report.seq for report in bench.reports}) == len(bench.reports)


def test_error_in_the_input_ends_the_job() -> None:
    """What came before the error is done, and the error is kept for the caller."""

    def items() -> Iterator[FileSource]:
        yield FileSource("/f", "a")
        raise LookupError("gone")

    bench = Bench(outcome)
    job = upload(bench, items())
    assert [report.key for report in bench.run(job)] == ["a"]
    assert isinstance(job.failure, LookupError)


def test_endless_input_is_read_at_the_pace_of_the_work() -> None:
    """The reader is never more than a few thousand items ahead."""
    taken = itertools.count()

    def items() -> Iterator[FileSource]:
        while True:
            yield FileSource("/f", f"k{next(taken)}")

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    eventually(lambda: len(bench.turn(job, 1)) == 1)
    time.sleep(0.2)
    assert next(taken) < 5000
    job.cancel()


def test_bodies_in_memory_are_bounded() -> None:
    """Bodies that are read ahead and under way are held to tens of MiB, however many items that is."""
    taken = itertools.count()

    def items() -> Iterator[BytesSource]:
        while True:
            yield BytesSource(bytes(MIB), f"k{next(taken)}")

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    time.sleep(0.5)
    assert next(taken) < 100
    for _ in range(200):  # done work makes room
        for task in bench.turn(job, 8):
            job.done(task, outcome(task))
        time.sleep(0.001)
    assert next(taken) > 110
    job.cancel()


def test_cancel_reports_what_was_taken() -> None:
    """After a cancel everything taken from the input has its report: done, in flight, or cancelled."""
    taken: list[str] = []

    def items() -> Iterator[FileSource]:
        for n in range(10_000):
            taken.append(f"k{n}")
            yield FileSource("/f", taken[-1])

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    in_flight: list[Task] = []
    while len(in_flight) < 10:
        in_flight += bench.turn(job, 10)
    eventually(lambda: len(taken) >= 2000)
    time.sleep(0.1)  # the reader waits for room now
    job.cancel()
    for task in in_flight:
        job.done(task, outcome(task))
    eventually(lambda: not bench.turn(job) and job.finished)
    assert sorted(report.key for report in bench.reports) == sorted(taken)
    assert sum(report.ok for report in bench.reports) == len(in_flight)
    assert {type(report.error) for report in bench.reports if not report.ok} == {Cancelled}


def test_cancel_ends_though_the_input_hangs() -> None:
    """An input that waits for ever does not keep a cancelled batch."""
    released = threading.Event()

    def items() -> Iterator[FileSource]:
        yield FileSource("/f", "k")
        released.wait(30)

    bench = Bench(outcome)
    job = upload(bench, items())
    job.start_reading()
    eventually(lambda: bool(bench.turn(job)))
    job.done(bench.tasks[0], outcome(bench.tasks[0]))
    job.cancel()
    try:
        eventually(lambda: not bench.turn(job) and job.finished, within_s=5)
    finally:
        released.set()
    assert [report.key for report in bench.reports] == ["k"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.html", "text/html"), ("a.tar.gz", "application/octet-stream"), ("noext", "application/octet-stream")],
)
def test_content_type_of_a_name(name: str, kind: str) -> None:
    """The type follows the name; a compressed file is served as what it is; one that is given stands."""
    assert content_type_headers(name, (("a", "b"),), True) == (("a", "b"), ("content-type", kind))
    assert content_type_headers(name, (("content-type", "own"),), True) == (("content-type", "own"),)
    assert content_type_headers(name, (), False) == ()
