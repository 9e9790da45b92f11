"""The hot paths whose instructions are counted, each as a function that makes ready and one that does it n times."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.guard.stage import ETAG, Stage, answer
from bench.guard.yardstick import yardstick
from bench.sink_config import PAGE
from s3engine.batch import Batch
from s3engine.channel import Channel
from s3engine.integrity.choice import Checking
from s3engine.jobs.upload import UploadJob
from s3engine.pool.messages import OUTCOMES, TASKS, Context, Kind, Task
from s3engine.sources import FileSource
from s3engine.transport import ObjectInfo

__all__ = ["PATHS", "Path", "once"]

_MIB = 1024 * 1024
_KEYS = 1000
_BATCH = 512  # sources of a batch of the parent's; its reader, which is no thread here, would wait at 2000
_BODY = bytes(range(256)) * 4
_DELETED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></DeleteResult>'
)

# What a worker says of an upload, behind the task's number.
_SAID = (1, 0.001, 0.001, 1e8, 20.0, 200, "18EA6C7D468B86E1", 1024, ETAG, (1, 2, 3), None, "", "")

Run = Callable[[int], object]


class Path(NamedTuple):
    """``prepare`` gives what does it ``n`` times; ``least`` is an n that takes long enough to be told from noise."""

    what: str
    prepare: Callable[[str, contextlib.ExitStack], Run]
    """Of a folder for files, and what closes at the end."""
    least: int


def _put(folder: str, stack: contextlib.ExitStack) -> Run:
    paths = []
    for number in range(64):
        path = os.path.join(folder, f"{number:06}.bin")
        with open(path, "wb") as file:
            file.write(_BODY)
        os.utime(path, ns=(1, 1))
        paths.append(path)
    context = Context(
        id=1, bucket="bucket", guess_content_type=True, threshold_bytes=16 * _MIB, checking=Checking(signed=True)
    )
    stage = Stage(stack, context, answer())
    ids = itertools.count()

    def tasks(count: int) -> list[Task]:
        numbers = [n % 64 for n in range(count)]
        return [(next(ids), 1, Kind.PUT_FILE, f"some/prefix/{n:06}.bin", -1, (paths[n], None)) for n in numbers]

    stage.warm(tasks(64))
    return lambda n: stage.run(tasks(n))


def _get(folder: str, stack: contextlib.ExitStack) -> Run:
    stage = Stage(
        stack, Context(id=1, bucket="bucket", root=folder, threshold_bytes=16 * _MIB, verify=True, ask_checksums=True),
        answer(_BODY).replace(ETAG.encode(), _MD5_OF_BODY),
    )
    ids = itertools.count()

    def tasks(count: int) -> list[Task]:
        names = [f"some/prefix/{n % 64:06}.bin" for n in range(count)]
        return [(next(ids), 1, Kind.GET_FILE, name, len(_BODY), (name, "", f"t{n}")) for n, name in enumerate(names)]

    stage.warm(tasks(64))
    return lambda n: stage.run(tasks(n))


_MD5_OF_BODY = b"b2ea9f7fcea831a4a63b213f41a8855b"


def _list(folder: str, stack: contextlib.ExitStack) -> Run:
    del folder
    stage = Stage(stack, Context(id=1, bucket="bucket"), b"")
    said = memoryview(answer(PAGE.encode(), ("Content-Type", "application/xml")))
    api = stage.transport.exchanges

    def run(n: int) -> None:
        for _ in range(n):
            exchange = api.list_objects_v2("bucket", "p/")
            if not exchange.feed(said):
                raise RuntimeError("the page is not whole")
            if len(exchange.result().objects) != _KEYS:
                raise RuntimeError("keys are missing")

    return run


def _delete(folder: str, stack: contextlib.ExitStack) -> Run:
    del folder
    stage = Stage(stack, Context(id=1, bucket="bucket"), answer(_DELETED, ("Content-Type", "application/xml")))
    ids = itertools.count()
    pairs = [(f"some/prefix/{n:06}.bin", ETAG) for n in range(_KEYS)]

    def tasks(count: int) -> list[Task]:
        return [(next(ids), 1, Kind.DELETE, "", 0, pairs) for _ in range(count)]

    stage.warm(tasks(16))
    return lambda n: stage.run(tasks(n))


def _parent(folder: str, stack: contextlib.ExitStack) -> Run:
    """Sources to tasks, over a channel and back, outcomes to reports: what the parent does, and the worker's end."""
    near, far = socket.socketpair()
    stack.enter_context(near)
    stack.enter_context(far)
    parent, worker = Channel(near), Channel(far)

    def run(n: int) -> None:
        for _ in range(n // _BATCH):
            batch_of(_BATCH)

    def batch_of(n: int) -> None:
        batch = Batch(lambda: None, None, n + 1)
        sources = [FileSource(f"{folder}/{number:06}.bin", f"some/prefix/{number:06}.bin") for number in range(n)]
        job: Any = UploadJob(
            sources, "bucket", batch._emit, template=None, threshold_bytes=16 * _MIB, part_bytes=8 * _MIB
        )
        job.reader.read(job)
        held: dict[int, Task] = {}
        while not job.finished:
            tasks = job.next_tasks(64)
            held.update((task[0], task) for task in tasks)
            parent.send((TASKS, tasks))
            ((_, came),) = worker.receive()
            worker.send((OUTCOMES, [(task[0], *_SAID) for task in came]))
            ((_, outcomes),) = parent.receive()
            for outcome in outcomes:
                job.done(held.pop(outcome[0]), outcome)
            batch._turned()
        if batch.summary().objects != n:
            raise RuntimeError("reports are missing")

    return run


def _keys(folder: str, stack: contextlib.ExitStack) -> Run:
    """What an iteration of a listing gives its caller, from pages that are there."""
    del folder, stack
    from s3engine.pages import PageWatch

    page = [ObjectInfo(f"p/{n:06}.bin", 1024, ETAG, "2020-01-01T00:00:00.000Z", "STANDARD") for n in range(_KEYS)]

    def run(n: int) -> None:
        watch = PageWatch("listing")
        for number in range(n):
            watch.page(f"token{number}", [f"{number}/{info.key}" for info in page])

    return run


PATHS: dict[str, Path] = {
    "yardstick": Path("what the others are measured by", lambda _folder, _stack: yardstick, 1024),
    "put": Path("a file of 1 KiB, from the task to its outcome in a worker", _put, 256),
    "get": Path("an object of 1 KiB into a file, the same", _get, 256),
    "list": Path("a page of 1000 keys, from the socket's bytes to its objects", _list, 8),
    "watch": Path("a page of 1000 keys, looked at for listings without end", _keys, 8),
    "delete": Path("a request for 1000 deletes and its answer, in a worker", _delete, 8),
    "parent": Path("a source, from the input to its report, and what crosses to the worker and back", _parent, _BATCH),
}


def once(name: str, count: int) -> None:
    """Make ready, do it ``count`` times, and put away."""
    with tempfile.TemporaryDirectory(prefix="s3engine-guard-") as folder, contextlib.ExitStack() as stack:
        PATHS[name].prepare(folder, stack)(count)
