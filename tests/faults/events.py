"""Faults that are none of the line: processes that die, stop or run out of memory, servers that restart, full disks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from s3engine import Engine
from s3engine.errors import (
    Cancelled,
    ConnectFailed,
    ConnectionLost,
    NotFound,
    RequestTimeout,
    S3EngineError,
    ServerFault,
    SinkError,
    Throttled,
    TransferError,
    TruncatedBody,
    WorkerCrashed,
)
from s3engine.testing import Fault as InWorker
from tests.faults.alone import specification
from tests.faults.cases import DOWN, Case
from tests.faults.cell import Around, Runner, Stage
from tests.faults.kinds import Latency
from tests.faults.operations import BY_NAME, Cell, Operation, Outcome
from tests.faults.plans import always
from tests.faults.proxy import FaultProxy

_BY_WORKERS = tuple(name for name in BY_NAME if name != "list")
"""Listings are asked for by the parent itself."""
_FIRST_S, _PAUSE_S = 0.3, 0.4


@contextmanager
def _beside(function: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run ``function(over)`` in a thread, and wait for its end."""
    over = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function(over)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    if failures:
        raise failures[0]


def _kill(engine: Engine, _proxy: FaultProxy, stage: Stage) -> AbstractContextManager[None]:
    """SIGKILL to a worker, three times."""

    def run(over: threading.Event) -> None:
        for number in range(3):
            over.wait(_PAUSE_S if number else _FIRST_S)
            pids = engine.worker_pids
            if over.is_set():
                return
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[number % len(pids)], signal.SIGKILL)
                    stage.strokes += 1

    return _beside(run)


def _stop(engine: Engine, _proxy: FaultProxy, stage: Stage) -> AbstractContextManager[None]:
    """SIGSTOP to a worker, and SIGCONT when every timer of what it had in flight is over."""

    def run(over: threading.Event) -> None:
        over.wait(_FIRST_S)
        pids = engine.worker_pids
        if over.is_set() or not pids:
            return
        os.kill(pids[0], signal.SIGSTOP)
        stage.strokes += 1
        time.sleep(2.0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGCONT)

    return _beside(run)


def _restart(_engine: Engine, _proxy: FaultProxy, stage: Stage) -> AbstractContextManager[None]:
    """Stop the server and start it again, same port, same folder."""

    def run(over: threading.Event) -> None:
        over.wait(_FIRST_S)
        stage.server.stop()
        stage.server.start()
        stage.strokes += 1

    return _beside(run)


def _full_disk(engine: Engine, cell: Cell, operation: Operation, stage: Stage) -> Iterator[Outcome]:
    """Download to a file system that holds half of it: a small tmpfs, or for who is not root a limit of file sizes."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    needed_bytes = sum(-(-len(operation.body(name)) // 4096) * 4096 for name in cell.names)
    command = ["mount", "-t", "tmpfs", "-o", f"size={needed_bytes // 2}", "tmpfs", str(cell.folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode == 0:
        cell.after.callback(subprocess.run, ["umount", str(cell.folder)], check=True)
    else:
        print(f"disk full: a limit of file sizes in place of a tmpfs: {mounted.stderr.strip()}", file=sys.stderr)
        for pid in engine.worker_pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    for name, error in operation.run(engine, cell):
        stage.strokes += error is not None
        yield name, error


def unmount_below(folder: Path) -> None:
    """Undo what a cell that was killed could not undo."""
    mounts = Path("/proc/self/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        if (place := line.split(" ")[1]).startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=False)


def _parent_killed(engine: Engine, cell: Cell, operation: Operation, stage: Stage) -> Iterator[Outcome]:
    """Run it in another process, kill that after a few outcomes, look at the truth, and do the rest."""
    command = [
        sys.executable, "-m", "tests.faults.alone", specification(cell, operation.name, engine.config.endpoint_url)
    ]  # fmt: skip
    told: dict[str, S3EngineError | None] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, _, error = line.rstrip("\n").partition("\t")
            if error:
                cell.findings.lost.append(f"{name} failed before the parent was killed: {error}")
            told[name] = None
            if len(told) >= len(cell.names) // 3:
                break
        process.kill()
        stage.strokes += 1
        # Whole lines that were printed before it died count as well. The workers hold the pipe until they are gone.
        told.update((line.partition("\t")[0], None) for line in process.stdout if line.endswith("\n"))
    time.sleep(0.3)  # the server may still be at requests that were under way
    unknown = Cancelled("the parent was killed")
    truth = operation.verify(cell, {name: told.get(name, unknown) for name in cell.names})
    cell.findings.lost += truth.lost
    cell.findings.wrong += truth.wrong
    yield from told.items()
    rest = dataclasses.replace(cell, names=[name for name in cell.names if name not in told])
    yield from operation.run(engine, rest)


def _slow(
    name: str, operations: tuple[str, ...], reasons: tuple[type[S3EngineError], ...], *inside: InWorker,
    latency_s: float = 0.2, own_server: bool = False, **settings: object,
) -> Case:  # fmt: skip
    """A case whose operations last long enough for something to happen."""
    return Case(
        name, lambda: always(Latency(latency_s)), operations, reasons, settings={"concurrency": 4, **settings},
        inside=inside, own_server=own_server,
    )  # fmt: skip


_CALLS = ("put_object", "upload_part", "get_object", "copy_object", "upload_part_copy", "delete_objects")
_OUT_OF_MEMORY = tuple(InWorker("memory", operation, times=2) for operation in _CALLS)
_LITTLE_MEMORY = InWorker("limit:2000000", "open")
_WENT = (ConnectFailed, ConnectionLost, TruncatedBody, RequestTimeout, ServerFault, Throttled)
EVENTS: tuple[tuple[Case, Around | None, Runner | None], ...] = (
    (_slow("worker killed", _BY_WORKERS, (WorkerCrashed,)), _kill, None),
    (_slow("worker stopped", _BY_WORKERS, (RequestTimeout, ConnectionLost)), _stop, None),
    # Without a look for checksums: for that the parent opens the transport too, and would be out of memory itself.
    (
        _slow("worker out of memory in a call", _BY_WORKERS, (TransferError,), *_OUT_OF_MEMORY, checksum="none"),
        None, None,
    ),
    (
        _slow("worker out of memory", _BY_WORKERS, (TransferError,), _LITTLE_MEMORY, checksum="none"),
        None, None,
    ),
    (_slow("parent killed", _BY_WORKERS, (NotFound,), concurrency=2), None, _parent_killed),
    (_slow("server restarted", tuple(BY_NAME), _WENT, latency_s=0.3, max_attempts=12, own_server=True), _restart, None),
    (Case("disk full", lambda: always(Latency(0.0)), DOWN, (SinkError,)), None, _full_disk),
)  # fmt: skip
