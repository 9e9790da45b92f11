"""Functions of the caller's on the bodies of objects, against a real server."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FetchedObject, ObjectHeaders, ObjectInfo, errors
from tests.integration import map_common as functions
from tests.integration.map_common import MIB, fill


def test_every_object_has_its_result(engine: Engine, bucket: str) -> None:
    """A function is called once on each object of a listing, and what it returns comes back beside its report."""
    bodies = fill(engine, bucket, 300)
    found = {report.key: (report, result) for report, result in engine.map(functions.words, engine.list(bucket, "p/"))}
    assert {key: result for key, (_, result) in found.items()} == {key: len(b.split()) for key, b in bodies.items()}
    assert all(report.ok and report.function_s > 0 and report.verified for report, _ in found.values())


def test_order_on_wish(engine: Engine, bucket: str) -> None:
    """With ``ordered`` results come in the order of the input, whichever is done first."""
    fill(engine, bucket, 200)
    keys = [f"p/{number:05d}" for number in reversed(range(200))]
    assert [report.key for report, _ in engine.map(functions.words, keys, bucket=bucket, ordered=True)] == keys


@pytest.mark.parametrize("size_bytes", [0, 1, 64 * 1024, 64 * 1024 + 1, MIB, 8 * MIB, 8 * MIB + 1, 21 * MIB + 3])
def test_bodies_of_all_sizes(engine: Engine, bucket: str, size_bytes: int) -> None:
    """``body``, ``file()`` and ``chunks()`` give the same bytes, for objects that come whole or in chunks."""
    body = os.urandom(size_bytes)
    assert engine.upload(bucket, [BytesSource(body, "one")]).wait().ok

    def all_ways(found: FetchedObject) -> list[str]:
        import hashlib

        ways = [hashlib.sha256(found.body).hexdigest(), hashlib.sha256(found.file().read()).hexdigest()]
        chunked = hashlib.sha256()
        for chunk in found.chunks():
            chunked.update(chunk)
        return [*ways, chunked.hexdigest()]

    def first_chunks(found: FetchedObject) -> str:
        import hashlib

        chunked = hashlib.sha256()
        for chunk in found.chunks():
            chunked.update(chunk)
        return chunked.hexdigest()

    expected = hashlib.sha256(body).hexdigest()
    listed = engine.list(bucket, "one")
    assert [result for _, result in engine.map(all_ways, listed)] == [[expected] * 3]
    (pair,) = engine.map(first_chunks, [f"s3://{bucket}/one"])
    assert (pair[1], pair[0].size_bytes, pair[0].ok) == (expected, size_bytes, True)


def test_part_of_a_large_object_is_enough(engine: Engine, bucket: str) -> None:
    """A function that reads the first chunk alone is done then, and the next one gets its own bytes."""
    bodies = {f"l/{number}": bytes([number]) * (20 * MIB) for number in range(4)}
    assert engine.upload(bucket, [BytesSource(body, key) for key, body in bodies.items()]).wait().ok

    def first(found: FetchedObject) -> tuple[int, bool]:
        chunk = bytes(next(iter(found.chunks())))
        return chunk[0], len(set(chunk)) == 1

    assert sorted(result for _, result in engine.map(first, engine.list(bucket, "l/"))) == [
        (number, True) for number in range(4)
    ]


@pytest.mark.parametrize("function", [functions.reads_nothing, functions.reads_one_chunk, functions.fails_early])
def test_large_objects_that_are_not_read(
    environment: pytest.MonkeyPatch, bucket: str, function: Callable[[FetchedObject], Any]
) -> None:
    """Functions that do not read large objects to their ends are done all the same, with the least memory there is."""
    with Engine(workers=2, function_buffer_bytes=8 * MIB) as engine:
        sources = [BytesSource(bytes(5 * MIB), f"u/{number:02d}") for number in range(20)]
        assert engine.upload(bucket, sources).wait().ok
        found = list(engine.map(function, engine.list(bucket, "u/")))
        assert len(found) == 20
        assert {type(result) for _, result in found} <= {int, errors.FunctionRaised}
        assert engine.map(functions.words, [f"s3://{bucket}/u/00"]).wait().ok


@pytest.mark.parametrize("function", [functions.forks_and_dies, functions.forks_and_leaves, functions.forks_a_pool])
def test_functions_that_fork(engine: Engine, bucket: str, function: Callable[[FetchedObject], Any]) -> None:
    """A function that forks, and whose children stay or come back, costs no other object, and leaves no process."""
    fill(engine, bucket, 40)
    batch = engine.map(function, engine.list(bucket, "p/"), timeout_s=3)
    found = {report.key: result for report, result in batch}
    bad = {key: type(result).__name__ for key, result in found.items() if isinstance(result, Exception)}
    assert len(found) == 40
    assert bad in ({}, {"p/00013": "FunctionDied"}, {"p/00013": "FunctionTimedOut"})
    assert bool(bad) == (function is not functions.forks_and_leaves)


def test_errors_of_the_callers_own(engine: Engine, bucket: str) -> None:
    """An exception of a class that only the function's process has, even one of ours, comes as what it said."""
    fill(engine, bucket, 10)

    class Own(errors.S3EngineError):
        def __init__(self, one: int, other: int) -> None:
            super().__init__(f"{one} and {other}")

    def fails(found: FetchedObject) -> None:
        if found.key.endswith("3"):
            raise Own(1, 2)

    bad = [error for _, error in engine.map(fails, engine.list(bucket, "p/")) if error is not None]
    assert [type(error) for error in bad] == [errors.FunctionRaised]
    assert "1 and 2" in str(bad[0])


def test_other_batches_do_not_keep_functions_waiting(engine: Engine, bucket: str) -> None:
    """A map comes to its end while an upload of the same engine keeps all workers busy, and waits for it."""
    fill(engine, bucket, 20)
    mapped = threading.Event()

    def sources() -> Iterator[BytesSource]:
        number = 0
        while not mapped.is_set():
            number += 1
            yield BytesSource(b"x" * 1000, f"busy/{number % 500}-{number}")

    upload = engine.upload(bucket, sources())
    assert engine.map(functions.words, engine.list(bucket, "p/")).wait(60).objects == 20
    mapped.set()
    assert upload.wait().ok


def test_what_a_function_is_told(engine: Engine, bucket: str) -> None:
    """Key, size, ETag, content type and metadata of an object are those of the store."""
    headers = ObjectHeaders(content_type="text/x-test", metadata={"colour": "green"})
    assert engine.upload(bucket, [BytesSource(b"body", "told", headers)]).wait().ok

    def told(found: FetchedObject) -> Any:
        return found.url, found.size_bytes, found.etag, found.content_type, found.metadata, found.body.readonly

    head = engine.head(bucket, "told")
    (pair,) = engine.map(told, ["told"], bucket=bucket)
    assert pair[1] == (f"s3://{bucket}/told", 4, head.etag, "text/x-test", {"colour": "green"}, True)


def test_missing_and_changed_objects(engine: Engine, bucket: str) -> None:
    """An object that is gone, or another than was listed, fails by name; the others are done."""
    fill(engine, bucket, 3)
    objects = [*engine.list(bucket, "p/")]
    objects[1] = ObjectInfo(objects[1].key, objects[1].size_bytes, "0" * 32)
    found = {
        report.key: result for report, result in engine.map(functions.words, [*objects, "none"], bucket=bucket)
    }
    assert isinstance(found["none"], errors.NotFound)
    assert isinstance(found["p/00001"], errors.PreconditionFailed)
    assert (found["p/00000"], found["p/00002"]) == (1, 3)


@pytest.mark.slow
def test_what_misbehaves_costs_one_object_each(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """Of a thousand objects and one of each kind that misbehaves, all others are done, and nothing is left behind."""
    forkserver.ensure_running()  # the fork server's own descriptors stay
    before = os.listdir("/proc/self/fd")
    with Engine(workers=2, function_memory_bytes=512 * MIB) as engine:
        fill(engine, bucket, 1010)
        found = {
            report.key: result
            for report, result in engine.map(functions.misbehaves, engine.list(bucket, "p/"), timeout_s=2.0)
        }
    bad = {int(key[-5:]): error for key, error in found.items() if isinstance(error, Exception)}
    assert len(found) == 1010, [str(error) for error in bad.values()]
    assert {number: type(error).__name__ for number, error in bad.items()} == {
        100: "FunctionRaised", 200: "FunctionRaised", 300: "FunctionDied", 400: "FunctionDied", 500: "FunctionRaised",
        600: "FunctionTimedOut", 700: "FunctionTimedOut", 800: "FunctionRaised", 900: "FunctionDied",
        950: "FunctionDied",
    }  # fmt: skip
    assert all(key in str(error) for key, error in found.items() if isinstance(error, Exception))
    assert all(result == int(key[-5:]) for key, result in found.items() if not isinstance(result, Exception))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_large_results_through_memory(engine: Engine, bucket: str) -> None:
    """Results of megabytes come back equal, and no descriptor stays open for them."""
    fill(engine, bucket, 20)
    with_memory = len(os.listdir("/proc/self/fd"))

    def grown(found: FetchedObject) -> bytes:
        return bytes(found.body) * 400_000

    for report, result in engine.map(grown, engine.list(bucket, "p/")):
        assert result == b"word " * (int(report.key[-5:]) % 7 + 1) * 400_000
    assert len(os.listdir("/proc/self/fd")) <= with_memory + 6  # the workers' own channels


def test_logs_and_warnings_reach_the_caller(
    engine: Engine, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a function logs or warns of is logged and warned of here, with the object it was at."""
    fill(engine, bucket, 1)
    with pytest.warns(UserWarning, match=rf"mind the gap \(s3://{bucket}/p/00000\)"):
        assert engine.map(functions.speaks, engine.list(bucket, "p/")).wait().ok
    assert [(one.name, one.getMessage()) for one in caplog.records if one.name == "a.function"] == [
        ("a.function", f"at number 0 (s3://{bucket}/p/00000)")
    ]


def test_state_is_made_once_for_each_process(
    environment: pytest.MonkeyPatch, bucket: str, tmp_path: Path
) -> None:
    """``initializer`` runs once in each process; what it returns is the state of its objects, and goes to the end."""
    with Engine(workers=2) as engine:
        fill(engine, bucket, 100)
        calls: dict[int, list[int]] = {}
        for _, (pid, number) in engine.map(
            functions.next_call, engine.list(bucket, "p/"), initializer=functions.Counting,
            finalizer=functools.partial(functions.leave_mark, str(tmp_path)),
        ):  # fmt: skip
            calls.setdefault(pid, []).append(number)
    assert {pid: max(numbers) for pid, numbers in calls.items()} == {
        pid: len(numbers) for pid, numbers in calls.items()
    }
    assert {int(path.name): int(path.read_text()) for path in tmp_path.iterdir()} == {
        pid: len(numbers) for pid, numbers in calls.items()
    }


def test_bodies_that_are_kept_do_not_stop_the_batch(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """A function that keeps all its bodies gets a new process when there is no room for more of them."""
    with Engine(workers=1, function_buffer_bytes=8 * MIB) as engine:
        body = os.urandom(900_000)
        assert engine.upload(bucket, [BytesSource(body, f"k/{number:02d}") for number in range(40)]).wait().ok
        found = [result for _, result in engine.map(functions.keeps, engine.list(bucket, "k/"))]
    assert len(found) == 40
    assert all(isinstance(result, int) for result in found)
    assert found.count(1) > 1


@pytest.mark.parametrize("leak", [functions.leaks_descriptors, functions.leaks_memory, functions.leaks_threads])
def test_leaks_cost_no_object(environment: pytest.MonkeyPatch, bucket: str, leak: Callable[..., Any]) -> None:
    """A function that leaks a little with each object gets new processes, and every object its result."""
    with Engine(workers=1, function_memory_bytes=128 * MIB) as engine:
        fill(engine, bucket, 250)
        found = list(engine.map(leak, engine.list(bucket, "p/"), initializer=functions.few_descriptors))
    assert [result for report, result in found if not report.ok] == []
    assert len(found) == 250
    assert len({result for _, result in found}) > 1


def test_what_wants_more_than_there_is_fails_once(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """An object whose function has not enough even in a new process fails by name; the others are done."""
    with Engine(workers=1, function_memory_bytes=128 * MIB) as engine:
        fill(engine, bucket, 100)
        found = dict(engine.map(functions.opens_thousands_at_50, engine.list(bucket, "p/")))
    bad = {report.key: error for report, error in found.items() if not report.ok}
    assert list(bad) == ["p/00050"]
    assert isinstance(bad["p/00050"], errors.FunctionRaised)
    assert "Too many open files" in str(bad["p/00050"])


def test_cancel_ends_a_function_that_goes_on(engine: Engine, bucket: str) -> None:
    """After ``cancel`` a function that never ends is ended, and every object has its report."""
    fill(engine, bucket, 50)

    def endless(found: FetchedObject) -> None:
        while True:
            pass

    batch = engine.map(endless, engine.list(bucket, "p/"))
    batch.cancel()
    assert all(isinstance(error, errors.Cancelled) for _, error in batch)


def test_what_cannot_be_used_is_said_once(engine: Engine, bucket: str) -> None:
    """A function whose initializer fails ends the batch with what that raised; the next batch is not concerned."""
    fill(engine, bucket, 30)

    def broken() -> None:
        raise OSError("no model file")

    with pytest.raises(errors.FunctionUnusable, match="no model file"):
        engine.map(functions.words, engine.list(bucket, "p/"), initializer=broken).wait()
    assert engine.map(functions.words, engine.list(bucket, "p/")).wait().objects == 30


@pytest.mark.parametrize(
    ("function", "options", "text"),
    [
        (functions.is_async, {}, "is_async is async"), (7, {}, "must be something to call"),
        (functions.words, {"timeout_s": 0}, "more than 0"), (functions.words, {"ordered": "yes"}, "True or False"),
    ],
)  # fmt: skip
def test_refused_at_the_call(engine: Engine, bucket: str, function: Any, options: dict[str, Any], text: str) -> None:
    """What cannot be is refused before anything is asked of the store."""
    with pytest.raises(errors.ConfigError, match=text):
        engine.map(function, ["a"], bucket=bucket, **options)


def test_bucket_must_be_known(engine: Engine, bucket: str) -> None:
    """Keys alone do not tell their bucket; a URL of another bucket fails in its own report."""
    with pytest.raises(errors.ConfigError, match="bucket="):
        engine.map(functions.words, ["a"])
    found = list(engine.map(functions.words, [f"s3://{bucket}/a", "s3://other-bucket/b"]))
    assert [type(result).__name__ for _, result in found].count("ConfigError") == 1


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_every_start_method(environment: pytest.MonkeyPatch, bucket: str, start_method: str) -> None:
    """Functions run however processes are started, and also after another batch has started the workers."""
    if start_method == "fork" and len(os.listdir("/proc/self/task")) > 1:
        start_method = "auto"
    with Engine(workers=2, start_method=start_method) as engine:
        fill(engine, bucket, 40)
        assert sum(result for _, result in engine.map(functions.words, engine.list(bucket, "p/"))) == sum(
            number % 7 + 1 for number in range(40)
        )


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio", "obstore"])
def test_through_every_transport(made: Any, bucket: str, transport: str) -> None:
    """Functions get the same bodies, whole and in chunks, whichever client brings them."""
    engine = made(transport=transport)
    fill(engine, bucket, 20)
    large = os.urandom(9 * MIB)
    assert engine.upload(bucket, [BytesSource(large, "p/large")]).wait().ok

    def summed(found: FetchedObject) -> str:
        import hashlib

        return hashlib.sha256(b"".join(bytes(chunk) for chunk in found.chunks())).hexdigest()

    found = {report.key: result for report, result in engine.map(summed, engine.list(bucket, "p/"))}
    assert len(found) == 21
    assert found["p/large"] == hashlib.sha256(large).hexdigest()
    assert found["p/00003"] == hashlib.sha256(b"word " * 4).hexdigest()
