"""Functions on objects in the surroundings that programs have: event loops, futures, process pools."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import pytest

from s3engine import BytesSource, Engine, FetchedObject, errors
from s3engine.embedded import EmbeddedServer
from tests.integration import map_common as functions
from tests.integration.map_common import fill


def test_an_event_loop_goes_on(engine: Engine, bucket: str) -> None:
    """``async for`` gives all pairs, and other coroutines have their turns while functions run."""
    fill(engine, bucket, 60)

    def slow(found: FetchedObject) -> int:
        import time

        time.sleep(0.02)
        return functions.words(found)

    async def both() -> tuple[dict[str, int], int]:
        turns = 0

        async def ticks() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(ticks())
        found = {report.key: result async for report, result in engine.map(slow, engine.list(bucket, "p/"))}
        ticking.cancel()
        return found, turns

    found, turns = asyncio.run(both())
    assert found == {f"p/{number:05d}": number % 7 + 1 for number in range(60)}
    assert turns > 10


def test_any_batch_in_a_coroutine(engine: Engine, bucket: str) -> None:
    """``async for report in batch`` works for uploads, and raises what ended the batch."""

    async def uploaded() -> list[str]:
        sources = [BytesSource(b"x", f"a/{number}") for number in range(1000)]
        return [report.key async for report in engine.upload(bucket, sources)]

    assert sorted(asyncio.run(uploaded())) == sorted(f"a/{number}" for number in range(1000))

    def fails() -> Any:
        yield BytesSource(b"x", "b")
        raise RuntimeError("no more")

    async def failing() -> None:
        async for _ in engine.upload(bucket, fails()):
            pass

    with pytest.raises(RuntimeError, match="no more"):
        asyncio.run(failing())


def test_a_coroutine_can_be_cancelled(engine: Engine, bucket: str) -> None:
    """A coroutine that waits for a function which never ends can be cancelled; the batch goes on until it is, too."""
    fill(engine, bucket, 1)

    def endless(found: FetchedObject) -> None:
        while True:
            pass

    batch = engine.map(endless, engine.list(bucket, "p/"))

    async def waiting() -> None:
        async for _ in batch:
            pass

    async def cancelled() -> None:
        task = asyncio.create_task(waiting())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    batch.cancel()
    assert [type(error) for _, error in batch] == [errors.Cancelled]


def test_a_future_for_each_object(engine: Engine, bucket: str) -> None:
    """``submit`` gives futures that have what the function returns, or raise what it raised; from several threads."""
    bodies = fill(engine, bucket, 40)
    futures: dict[Any, str] = {}

    def some(keys: list[str]) -> None:
        for key in keys:
            futures[engine.submit(functions.words, f"s3://{bucket}/{key}")] = key

    keys = list(bodies)
    threads = [threading.Thread(target=some, args=(keys[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {futures[future]: future.result() for future in as_completed(futures, 30)} == {
        key: len(body.split()) for key, body in bodies.items()
    }
    with pytest.raises(errors.NotFound):
        engine.submit(functions.words, "none", bucket=bucket).result(30)
    with pytest.raises(errors.FunctionRaised, match="invalid literal"):
        engine.submit(_not_a_number, "p/00001", bucket=bucket).result(30)


def _not_a_number(found: FetchedObject) -> int:
    return int("seven")


def test_closing_waits_for_futures(environment: pytest.MonkeyPatch, bucket: str) -> None:
    """Leaving the engine waits for what was submitted; afterwards nothing can be."""
    with Engine(workers=1) as engine:
        fill(engine, bucket, 10)
        futures = [engine.submit(functions.words, key, bucket=bucket) for key in (f"p/{n:05d}" for n in range(10))]
    assert [future.result(0) for future in futures] == [n % 7 + 1 for n in range(10)]
    with pytest.raises(errors.EngineClosed):
        engine.submit(functions.words, "p/00000", bucket=bucket)


def test_classes_of_a_script(seaweed: EmbeddedServer, bucket: str) -> None:
    """What a script's own class makes comes back as an instance of that class, small or large."""
    program = textwrap.dedent(
        f"""
        from dataclasses import dataclass

        from s3engine import BytesSource, Engine


        @dataclass
        class Found:
            key: str
            body: bytes


        if __name__ == "__main__":
            with Engine(workers=1) as engine:
                engine.upload("{bucket}", [BytesSource(b"abc", "one")]).wait()
                for many in (1, 100_000):
                    make = lambda found: Found(found.key, bytes(found.body) * many)
                    (_, result), = engine.map(make, ["one"], bucket="{bucket}")
                    assert result == Found("one", b"abc" * many), result
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | seaweed.environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pool", ["multiprocessing.Pool(1)", "concurrent.futures.ProcessPoolExecutor(1)"])
@pytest.mark.parametrize("start_method", ["auto", "forkserver"])
def test_inside_a_process_of_a_pool(seaweed: EmbeddedServer, bucket: str, pool: str, start_method: str) -> None:
    """A process that multiprocessing or an executor started can have an engine and its functions, daemon or not."""
    program = textwrap.dedent(
        f"""
        import concurrent.futures, multiprocessing, os
        from s3engine import BytesSource, Engine

        def words(found):
            if found.key == "w/3":
                os._exit(1)
            return len(bytes(found.body).split())

        def job(bucket):
            with Engine(workers=1, start_method={start_method!r}) as engine:
                engine.upload(bucket, [BytesSource(b"a b", f"w/{{n}}") for n in range(5)]).wait()
                return sum(result for report, result in engine.map(words, engine.list(bucket, "w/")) if report.ok)

        if __name__ == "__main__":
            with {pool} as pool:
                print(list(pool.map(job, [{bucket!r}])))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | seaweed.environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("[8]\n", 0), done.stderr


def test_nobody_survives_the_caller(seaweed: EmbeddedServer, bucket: str) -> None:
    """When the caller is killed in the middle, its workers and their functions end, even one that never would."""
    program = textwrap.dedent(
        f"""
        import os, sys
        from s3engine import BytesSource, Engine

        def endless(found):
            while True:
                pass

        engine = Engine(workers=2)
        engine.upload({bucket!r}, [BytesSource(b"a", f"e/{{n}}") for n in range(4)]).wait()
        batch = engine.map(endless, engine.list({bucket!r}, "e/"))
        import time
        while not all(worker.function_process for worker in engine._runtime.supervisor._fleet.workers):
            time.sleep(0.01)
        time.sleep(0.3)
        workers = engine._runtime.supervisor._fleet.workers
        print(*engine.worker_pids, *(worker.function_process.process.pid for worker in workers), flush=True)
        os.kill(os.getpid(), 9)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | seaweed.environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 4, done.stderr
    for _ in range(200):
        left = [pid for pid in pids if _lives(pid)]
        if not left:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"{left} of {pids} are still there")


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_urls_wherever_a_key_is(engine: Engine, bucket: str, tmp_path: Path) -> None:
    """URLs name objects of a batch, a listing and single calls; one of another bucket fails in its own report."""
    fill(engine, bucket, 4)
    start = f"s3://{bucket}/p/"
    assert [info.key for info in engine.list(start)] == [f"p/{number:05d}" for number in range(4)]
    assert engine.head(bucket, f"{start}00001").size_bytes == 10
    found = {report.key: report.error for report in engine.download(bucket, [f"{start}00000", "p/00001"], tmp_path)}
    assert found == {"p/00000": None, "p/00001": None}
    assert engine.copy(bucket, [f"{start}00002"], bucket, key=lambda info: "c/" + info.key).wait().ok
    (report, other) = engine.delete(bucket, [f"{start}00003", "s3://another-one/p/00003"])
    assert {report.ok, other.ok} == {True, False}
    assert sorted(info.key for info in engine.list(bucket)) == ["c/p/00002", "p/00000", "p/00001", "p/00002"]
