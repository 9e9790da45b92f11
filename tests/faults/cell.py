"""One cell of the table: an operation under a fault, and what became of every object."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s3engine import Engine
from s3engine.embedded import EmbeddedServer
from s3engine.errors import RequestTimeout, S3EngineError
from s3engine.testing import with_faults
from tests.faults.cases import Case
from tests.faults.operations import Cell, Operation, Outcome
from tests.faults.plans import Plan
from tests.faults.policy import ShortTimeouts
from tests.faults.proxy import FaultProxy
from tests.helpers import S3Probe, eventually

HANGS_AFTER_S = 60.0
NO_FAULT = "none"
"""The name of the case that the extra time is counted from."""
MIB = 1024 * 1024
_numbers = itertools.count(1)
Around = Callable[[Engine, FaultProxy, "Stage"], AbstractContextManager[Any]]
"""What happens beside the operation; leaving it ends that. Counts in ``Stage.strokes``."""
Runner = Callable[[Engine, Cell, Operation, "Stage"], Iterator[Outcome]]
"""In place of the operation's own ``run``. Counts as well."""


@dataclass
class Stage:
    """Where cells take place: a server, two buckets and a folder."""

    server: EmbeddedServer
    folder: Path
    bucket: str = "faults"
    victims_bucket: str = "victims"
    prefix: str = ""
    """Of all its keys: stages may share a server."""
    strokes: int = 0

    def __post_init__(self) -> None:
        """Make the buckets, and write to them: a server makes room at the first write, which takes it seconds."""
        with self.probe() as probe:
            for bucket in (self.bucket, self.victims_bucket):
                probe.create_bucket(bucket)
                for number in range(4):
                    probe.put(bucket, f"{self.prefix}first/{number}", b"first")
                probe.delete_below(bucket, f"{self.prefix}first/")

    def probe(self) -> S3Probe:
        """An independent client of the server itself."""
        return S3Probe(self.server.endpoint_url, self.server.access_key, self.server.secret_key)


@dataclass
class Row:
    """What one cell came to."""

    fault: str
    operation: str
    objects: int = 0
    done: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    false_reasons: list[str] = field(default_factory=list)
    """Failures with an error that does not tell the truth, in words."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    strokes: int = 0
    """How often the fault struck."""
    elapsed_s: float = 0.0
    extra_s: float = 0.0
    """Over the same operation without a fault."""
    only_slow: bool = False
    """All that is false are timeouts: the machine may have been slower than the table's short timers."""
    not_run: str = ""
    """Why the cell was not run to its end, if it was not."""

    @property
    def undecided(self) -> bool:
        """Whether nothing is wrong but what a busy machine can do: timeouts, or an end before the fault struck."""
        found = self.problems
        return bool(found) and not (self.lost or self.wrong or self.not_run) and (
            self.only_slow or not self.false_reasons
        )  # fmt: skip

    @property
    def problems(self) -> list[str]:
        """What must not be, in words."""
        found = [f"lost: {name}" for name in self.lost] + [f"wrong: {name}" for name in self.wrong]
        found += [f"false reason: {text}" for text in self.false_reasons]
        if self.not_run:
            return [f"not run: {self.not_run}", *found]
        return found if self.strokes or self.fault == NO_FAULT else [*found, "the fault never struck"]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def names_of(objects: int, *, victims: bool) -> list[str]:
    """Names of so many objects, with victims a third more."""
    healthy = [f"o-{number:03d}" for number in range(objects)]
    return healthy + [f"victim-{number:03d}" for number in range(max(1, objects // 3) if victims else 0)]


def engine_for(endpoint_url: str, **settings: Any) -> Engine:
    """An engine of the table: two workers, short timers, few and quick retries. Credentials are the environment's."""
    usual: dict[str, Any] = {
        "workers": 2, "concurrency": 8, "max_attempts": 4, "retry_base_s": 0.02, "retry_throttle_base_s": 0.1,
        "give_up_after_s": 10.0, "multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB,
        "copy_threshold_bytes": 5 * MIB, "copy_part_size_bytes": 5 * MIB, "timeout_policy": ShortTimeouts(),
        "region": "us-east-1",
    }  # fmt: skip
    return Engine(endpoint_url=endpoint_url, **{**usual, **settings})


def run_cell(
    stage: Stage, operation: Operation, case: Case, objects: int, *, around: Around | None = None,
    run: Runner | None = None,
) -> Row:  # fmt: skip
    """Prepare, run under the fault, compare with the truth, and clean up."""
    names = names_of(objects, victims=case.for_good)
    row = Row(case.name, operation.name, len(names))
    number = next(_numbers)
    with ExitStack() as stack:
        probe = stack.enter_context(stage.probe())
        folder = stage.folder / f"cell{number}"
        cell = Cell(probe, stage.bucket, stage.victims_bucket, f"{stage.prefix}cell{number}", folder, names)
        stack.callback(_clean, cell)
        operation.prepare(cell)
        proxy = stack.enter_context(FaultProxy("127.0.0.1", stage.server.port, case.plan()))
        before = stage.strokes
        stack.callback(cell.after.close)
        settings, endpoint_url = dict(case.settings), proxy.endpoint_url
        if case.inside:
            settings["transport"] = "s3engine.testing:FaultyTransport"
            endpoint_url = with_faults(endpoint_url, *case.inside)
        with engine_for(endpoint_url, **settings) as engine:
            engine.start()
            eventually(lambda: engine.ready)
            beside = around(engine, proxy, stage) if around else nullcontext()
            started_s = time.monotonic()
            with beside:
                outcomes = _outcomes(
                    row, cell, run(engine, cell, operation, stage) if run else operation.run(engine, cell)
                )
            row.elapsed_s = time.monotonic() - started_s
        row.strokes = stage.strokes - before
        if not (around or run or case.inside):
            row.strokes = sum(proxy.log.faults.values())
        _judge(row, case, outcomes)
        if case.inside:
            row.strokes = row.failed  # nothing else tells of it
        truth = operation.verify(cell, outcomes)
        row.lost += cell.findings.lost + truth.lost
        row.wrong += cell.findings.wrong + truth.wrong
    return row


def _outcomes(row: Row, cell: Cell, reported: Iterator[Outcome]) -> dict[str, S3EngineError | None]:
    """Read the reports to the end, under a watch; what is reported not just once is lost."""
    hung = threading.Event()

    def cancel() -> None:
        hung.set()
        for batch in cell.batches:
            batch.cancel()

    watch = threading.Timer(HANGS_AFTER_S, cancel)
    watch.daemon = True
    watch.start()
    found: list[Outcome] = []
    try:
        found.extend(reported)
    except Exception as error:  # noqa: BLE001  (a batch that ends by itself is a finding, not the end of the table)
        row.lost.append(f"the batch ended with {type(error).__name__}: {error}")
    finally:
        watch.cancel()
    if hung.is_set():
        row.lost.append(f"all that was not done after {HANGS_AFTER_S:.0f} s: it hung")
    counts = Counter(name for name, _ in found)
    row.lost += [f"{name} reported {counts[name]} times" for name in cell.names if counts[name] != 1]
    return dict(found)


def _judge(row: Row, case: Case, outcomes: dict[str, S3EngineError | None]) -> None:
    reasons: Counter[str] = Counter()
    slow = 0
    for name, error in outcomes.items():
        if error is None:
            row.done += 1
            continue
        row.failed += 1
        reasons[type(error).__name__] += 1
        untouched = case.for_good and "victim" not in name
        if untouched or not isinstance(error, case.reasons):
            row.false_reasons.append(f"{name}: {type(error).__name__}: {error}")
            slow += isinstance(error, RequestTimeout)
    row.only_slow = 0 < slow == len(row.false_reasons)
    row.reasons = dict(reasons)


def _clean(cell: Cell) -> None:
    for bucket in (cell.bucket, cell.victims_bucket):
        cell.probe.delete_below(bucket, cell.prefix + "/")
    shutil.rmtree(cell.folder, ignore_errors=True)


def no_fault() -> Case:
    """The case that the extra time is counted from."""
    plan: Plan = lambda _connection_no, _request_no, _head: None  # noqa: E731
    return Case(NO_FAULT, lambda: plan, (), ())
