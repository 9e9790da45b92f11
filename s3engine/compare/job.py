"""What one fresh process of a comparison does: ``python -m s3engine.compare.job``, its order as JSON on standard input.

Upload, list, download, copy inside the store, delete; each step is timed on its own and then, with no clock running,
compared with what should be there. It writes a line of JSON when the workers are ready, one per step, and one at its
end, to what was its standard output when it was started: whatever a client prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import IO, Any

from s3engine.batch import Batch
from s3engine.compare import usage
from s3engine.compare.checks import COPIED, UPLOADED, differences, unlike, with_failed, with_wrong
from s3engine.compare.tally import Tally
from s3engine.compare.values import Order, Step
from s3engine.config import Config
from s3engine.engine import Engine
from s3engine.errors import S3EngineError, SourceChanged
from s3engine.sources import FileSource, files_recursive
from s3engine.transport import ListPage, ObjectInfo

__all__ = ["Job", "main"]

Tell = Callable[[dict[str, Any]], None]

_LOOK_S = 0.002
_ORPHAN_LOOK_S = 1.0


class Job:
    """The steps of one run. What a step found out is where the next one begins."""

    def __init__(self, order: Order, engine: Engine, tell: Tell) -> None:
        self._order = order
        self._engine = engine
        self._tell = tell
        self._files = {file.key: file.path for file in _files(order)}
        self._began_ns = time.time_ns()
        self._uploaded: dict[str, int] = {}
        self._maybe_there: set[str] = set()
        self._listed: list[ObjectInfo] = []

    def all(self) -> None:
        """Take all steps and tell each."""
        upload = self.upload()
        self._tell_step(upload)
        if upload.cannot:
            self._tell({"error": upload.cannot})
        if not self._uploaded:
            return
        for step in (self.list, self.download, self.copy, self.delete):
            self._tell_step(step())

    def _tell_step(self, step: Step) -> None:
        self._tell({"step": step.as_dict()})

    def upload(self) -> Step:
        """All files, from the disk."""
        bucket = self._order.bucket
        files = [FileSource(path, key) for key, path in self._files.items()]
        step, tally = self._measure("upload", lambda count: self._engine.upload(bucket, iter(files), progress=count))
        self._uploaded = tally.done
        # What failed may still be there: an answer that got lost says nothing about what the store did.
        self._maybe_there |= tally.failed_keys
        told = tally.done.keys() | tally.failed_keys
        missing = [] if tally.failed else self._files.keys() - told
        return with_wrong(step, differences(missing, told - self._files.keys(), "reported"))

    def list(self) -> Step:
        """All that was uploaded, page by page."""
        engine, order = self._engine, self._order
        tally = Tally()
        pages: list[ListPage] = []
        before = usage.cpu_so_far()
        started = at = time.perf_counter()
        try:
            for page in engine.list(order.bucket, order.prefix + UPLOADED).pages():
                now = time.perf_counter()
                tally.latency_us.append(round((now - at) * 1e6))
                at = now
                pages.append(page)
        except S3EngineError as error:
            tally.fail(error)
        wall_s = time.perf_counter() - started
        cpu_s = usage.cpu_since(before)
        found = [info for page in pages for info in page.objects]
        wrong = [] if tally.failed else unlike(found, self._uploaded, self._maybe_there, "listed")
        # What comes next must not depend on a listing that is false.
        all_uploaded = [ObjectInfo(key, size_bytes) for key, size_bytes in self._uploaded.items()]
        self._listed = all_uploaded if tally.failed or wrong else found
        step = tally.step("list", wall_s, cpu_s, objects=len(found), size_bytes=0, retries=None)
        return with_wrong(step, wrong)

    def download(self) -> Step:
        """All that was listed, into files, which are then compared with the sources."""
        order = self._order
        cut = len(order.prefix + UPLOADED)
        step, tally = self._measure(
            "download",
            lambda count: self._engine.download(
                order.bucket, iter(self._listed), order.folder, path=lambda info: info.key[cut:], progress=count
            ),
        )  # fmt: skip
        wrong: list[str] = []
        changed: list[S3EngineError] = []
        for key in tally.done:
            path = os.path.join(order.folder, key[cut:])
            source = self._files.get(key)
            if not os.path.isfile(path):
                wrong.append(f"{key[cut:]!r} was not written")
            elif source is not None and not filecmp.cmp(source, path, shallow=False):
                if os.stat(source).st_mtime_ns > self._began_ns:  # not the transport's doing
                    changed.append(SourceChanged(f"{source!r} was written to meanwhile; take a folder that rests"))
                else:
                    wrong.append(f"{key[cut:]!r} has other bytes than its source")
        return with_wrong(with_failed(step, changed), wrong)

    def copy(self) -> Step:
        """All that was listed, inside the store; then the copies are looked for."""
        order = self._order
        old, new = order.prefix + UPLOADED, order.prefix + COPIED
        step, tally = self._measure(
            "copy",
            lambda count: self._engine.copy(
                order.bucket, iter(self._listed), order.bucket, key=lambda info: new + info.key[len(old) :],
                progress=count,
            ),
        )  # fmt: skip
        self._maybe_there |= {new + key[len(old) :] for key in tally.failed_keys}
        if step.cannot or not tally.done:
            return step
        sizes = {info.key: info.size_bytes for info in self._listed}
        expected = {new + key[len(old) :]: sizes.get(key, -1) for key in tally.done}
        try:
            there = list(self._engine.list(order.bucket, new))
        except S3EngineError as error:
            return with_failed(step, [error])  # nobody knows whether they are there
        wrong = unlike(there, expected, self._maybe_there, "copied")
        self._listed += [ObjectInfo(key, size_bytes) for key, size_bytes in expected.items()]
        return with_wrong(step, wrong)

    def delete(self) -> Step:
        """Uploads and copies. The parent looks with another transport whether they are gone."""
        bucket = self._order.bucket
        step, _ = self._measure(
            "delete", lambda count: self._engine.delete(bucket, iter(self._listed), progress=count)
        )
        return step

    def _measure(self, name: str, begin: Callable[[Tally], Batch]) -> tuple[Step, Tally]:
        """Run one batch to its end between two looks at the clocks."""
        tally = Tally()
        before = usage.cpu_so_far()
        started = time.perf_counter()
        try:
            begin(tally).wait()
        except S3EngineError as error:
            tally.fail(error)
        wall_s = time.perf_counter() - started
        cpu_s = usage.cpu_since(before)
        objects, size_bytes = len(tally.done), sum(tally.done.values())
        return tally.step(name, wall_s, cpu_s, objects=objects, size_bytes=size_bytes, retries=tally.retries), tally


def _files(order: Order) -> Iterable[FileSource]:
    prefix = order.prefix + UPLOADED
    if not os.path.isdir(order.source):
        return [FileSource(order.source, prefix + os.path.basename(order.source))]
    return itertools.islice(files_recursive(order.source, prefix), order.limit or None)


def _carry_out(order: Order, tell: Tell) -> None:
    config = Config.from_mapping({**order.settings, "transport": order.transport}, "settings")
    with Engine(config) as engine:
        engine.start()
        # The main process has a client of its own, for listings, which is opened with the first of them.
        with contextlib.suppress(S3EngineError):  # if it cannot list, the step of that name will tell
            engine.list(order.bucket, order.prefix).count()
        while not engine.ready:
            time.sleep(_LOOK_S)
        startup_s = time.monotonic() - order.started_at_s
        tell({"startup_s": startup_s, "startup_cpu_s": usage.cpu_since({}), "workers": len(engine.worker_pids)})
        Job(order, engine, tell).all()
        peak = usage.peak()
        if peak is not None:
            tell({"peak_bytes": peak.all_bytes, "peak_main_bytes": peak.main_bytes})
    tell({"over": True})


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with(parent_pid: int) -> None:
    """Have this process end as by SIGTERM once its parent is gone, whatever ended that.

    A timer, not a thread: the engine forks its workers only from a process that has one thread.
    """

    def look(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent_pid:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _ORPHAN_LOOK_S, _ORPHAN_LOOK_S)


def main(order: IO[str], answers: IO[str]) -> int:
    """Carry one order out; 0 when it came to its end, whatever the transport did."""
    # So that the engine ends what it began: parts of large uploads would stay behind.
    signal.signal(signal.SIGTERM, _terminated)

    def tell(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    try:
        todo = Order(**json.load(order))
        _end_with(todo.parent_pid)
        _carry_out(todo, tell)
    except S3EngineError as error:
        tell({"error": f"{type(error).__name__}: {error}"})
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    own = os.dup(1)
    os.dup2(2, 1)
    with open(own, "w", encoding="utf-8") as stream:
        code = main(sys.stdin, stream)
    sys.exit(code)
