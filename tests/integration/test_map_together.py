"""What functions, their processes and several batches of one engine owe each other."""

from __future__ import annotations

import functools
import os
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FetchedObject, Output, Transform, errors
from tests.helpers import S3Probe
from tests.integration import map_common as functions
from tests.integration.map_common import MIB, fill


@pytest.mark.timeout(30)
def test_one_after_another(engine: Engine, bucket: str) -> None:
    """Objects that are asked for one by one are done at once: a hundred are, in a time in which nobody sleeps."""
    fill(engine, bucket, 1)
    assert [engine.submit(functions.words, f"s3://{bucket}/p/00000").result() for _ in range(100)] == [1] * 100


def test_an_ordered_batch_is_taken_up_again(engine: Engine, bucket: str) -> None:
    """Who leaves the loop over an ordered batch gets the rest, in order, from the next one."""
    keys = list(fill(engine, bucket, 50))
    batch = engine.map(functions.number_of, keys, bucket=bucket, ordered=True)
    assert next(iter(batch))[1] == 0
    assert [result for _, result in batch] == list(range(1, 50))


def test_large_results_of_worn_processes(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """Results by memory of processes that end in between are all there, and no object is blamed for such an end."""

    def leaks(found: FetchedObject) -> bytearray:
        os.dup(2)
        return bytearray(MIB // 2)

    with Engine(workers=1) as engine:
        fill(engine, bucket, 400)
        found = list(engine.map(leaks, engine.list(bucket, "p/"), initializer=functions.few_descriptors))
    assert [report.error for report, _ in found if not report.ok] == []
    assert {len(result) for _, result in found} == {MIB // 2}


def test_a_large_object_behind_a_worn_process(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """An object in chunks that the process before it had been given comes whole to the next one."""

    def reads(found: FetchedObject) -> int:
        if found.key == "worn":
            time.sleep(0.5)
            for _ in range(230):
                os.dup(2)
        return sum(map(len, found.chunks()))

    def slowly(state: object) -> None:
        time.sleep(1)

    with Engine(workers=1, function_buffer_bytes=8 * MIB) as engine:
        bodies = [BytesSource(b"a", "first"), BytesSource(b"b", "worn"), BytesSource(os.urandom(2 * MIB), "large")]
        assert engine.upload(bucket, bodies).wait().ok
        found = {
            report.key: result
            for report, result in engine.map(
                reads, ["first", "worn", "large"], bucket=bucket, initializer=functions.few_descriptors,
                finalizer=slowly,
            )
        }  # fmt: skip
    assert found == {"first": 1, "worn": 1, "large": 2 * MIB}


@pytest.mark.parametrize("slow", ["initializer", "finalizer"])
def test_what_a_batch_sets_up_is_not_anothers_time(environment: pytest.MonkeyPatch, bucket: str, slow: str) -> None:
    """The initializer and the finalizer of one batch take no object of another beyond its ``timeout_s``."""
    with Engine(workers=1) as engine:
        keys = list(fill(engine, bucket, 100))
        first = engine.map(functools.partial(_sleeps, 0.02), keys, bucket=bucket, timeout_s=0.7)
        pairs = iter(first)
        next(pairs)
        call: Any = {slow: _sleep}
        assert engine.map(functions.words, keys[:2], bucket=bucket, **call).wait().ok
        assert [report.error for report, _ in pairs if not report.ok] == []


def _sleeps(seconds: float, found: FetchedObject) -> None:
    time.sleep(seconds)


def _sleep(*state: object) -> None:
    time.sleep(1.5)


def test_an_initializer_that_never_ends(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """A batch that is cancelled while its initializer runs does not keep the next one waiting."""
    with Engine(workers=1) as engine:
        fill(engine, bucket, 1)
        batch = engine.map(functions.words, ["p/00000"], bucket=bucket, initializer=functools.partial(time.sleep, 600))
        time.sleep(1)
        batch.cancel()
        assert [type(result) for _, result in batch] == [errors.Cancelled]
        assert engine.map(functions.words, ["p/00000"], bucket=bucket).wait().ok


def test_journal_and_outputs_in_parts(
    environment: pytest.MonkeyPatch, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """Functions that wait for the store get there, however few tasks a journal allows."""

    def large(found: FetchedObject) -> Output:
        return Output((bytes(MIB) for _ in range(12)), key=f"out/{found.key}")

    with Engine(
        workers=1, concurrency=2, part_size_bytes=5 * MIB, multipart_threshold_bytes=5 * MIB,
        function_buffer_bytes=8 * MIB,
    ) as engine:  # fmt: skip
        keys = list(fill(engine, bucket, 5))
        assert engine.transform(bucket, keys, large, bucket, journal=tmp_path / "journal").wait().ok
    assert len(probe.list_keys(bucket, "out/")) == 5


def test_callbacks_that_submit(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """What is done when a future is done may submit more, also of another function, while the engine closes."""
    second: list[Future[Any]] = []
    with Engine(workers=1) as engine:
        fill(engine, bucket, 1)

        def again(future: Future[Any]) -> None:
            second.append(engine.submit(functions.number_of, f"s3://{bucket}/p/00000"))

        engine.submit(functions.words, f"s3://{bucket}/p/00000").add_done_callback(again)
    assert [future.result(10) for future in second] == [0]


def test_callbacks_of_what_failed(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """When the batch behind futures ends by an error, their callbacks may submit once more, and nobody hangs."""
    said: list[BaseException | None] = []

    def fails() -> None:
        raise ValueError("no")

    with Engine(workers=1) as engine:
        fill(engine, bucket, 1)
        function = Transform(functions.words, initializer=fails)

        def again(future: Future[Any]) -> None:
            try:
                engine.submit(function, f"s3://{bucket}/p/00000").add_done_callback(
                    lambda second: said.append(second.exception())
                )
            except errors.EngineClosed as error:
                said.append(error)

        future = engine.submit(function, f"s3://{bucket}/p/00000")
        future.add_done_callback(again)
        with pytest.raises(errors.FunctionUnusable):
            future.result(30)
    assert len(said) == 1
    assert isinstance(said[0], errors.FunctionUnusable | errors.EngineClosed)
