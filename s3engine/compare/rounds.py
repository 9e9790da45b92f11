"""Runs a fresh process for each transport and round, in rotating order, and leaves nothing behind in the store.

Rounds are interleaved, so that what happens to the machine, the network or the store meanwhile hits all alike. A
process is alone in a session of its own, does its job, and ends; what it wrote is only read when it has ended, so that
this process does nothing while it measures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from s3engine.compare.cleanup import Ground
from s3engine.compare.values import Order, Plan, Run, Step
from s3engine.errors import S3EngineError

__all__ = ["Outcome", "compare", "orders"]

WARM_UP_FILES = 100
_LOOK_S = 0.2
_GRACE_S = 5.0  # for a process to cancel its batch when it is told to end
_STDERR_BYTES = 64 * 1024

Tell = Callable[[str], None]


class Outcome(NamedTuple):
    """All that was measured, and whether the store is as it was."""

    runs: tuple[Run, ...]
    stopped: bool
    left: str
    """What to do by hand; "" when nothing was left behind."""

    @property
    def ok(self) -> bool:
        """Whether every run came to its end, all was done and right, and nothing was left behind."""
        return not self.stopped and not self.left and all(run.ok for run in self.runs)


def orders(transports: Sequence[str], rounds: int, *, warm_up: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Rounds with their transports in the order of that round: each begins one further on. Round 0 is the warm-up."""
    if warm_up:
        yield 0, tuple(transports)
    for number in range(1, rounds + 1):
        first = (number - 1) % len(transports)
        yield number, (*transports[first:], *transports[:first])


def compare(plan: Plan, tell: Tell, warn: Tell, stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """Carry a plan out. ``tell`` gets a line for each run, ``warn`` what went wrong, to be told in any case.

    ``stopped()`` is asked a few times a second; once it is true the run under way is ended, and no other begun.

    What was made is deleted whatever happens. A transport that hung once is not run again. Raises S3EngineError when
    the store cannot be used at all, OSError when no process can be started.
    """
    ground = Ground(plan.target, plan.settings)
    ground.check()
    tell(f"working below {ground.uri}, which is empty again afterwards")
    names = _folder_names(plan.transports)
    runs: list[Run] = []
    hung: set[str] = set()
    left = ""
    try:
        for number, order in orders(plan.transports, plan.rounds, warm_up=plan.warm_up):
            for place, transport in enumerate(order, 1):
                if stopped() or transport in hung:
                    continue
                prefix = ground.below(f"{names[transport]}-{number}")
                run = _run(plan, Run(transport=transport, round=number, place=place), ground, prefix, stopped)
                if stopped():  # half a run says nothing
                    break
                run = _swept(run, ground, prefix, warn)
                runs.append(run)
                (warn if run.error else tell)(_line(run, plan))
                if run.hung:
                    hung.add(transport)
                    warn(f"{transport} is not run again")
    finally:
        try:
            if stopped():
                warn(f"stopped; deleting what is left (by hand: {ground.command})")
        finally:  # also when whoever reads the lines was ended by the same Ctrl-C
            left = _sweep_up(ground, warn, broken_off=stopped() or any(not run.ok for run in runs))
    return Outcome(tuple(runs), stopped(), left)


def _run(plan: Plan, run: Run, ground: Ground, prefix: str, stopped: Callable[[], bool]) -> Run:
    """Start a process, wait for it, and take in what it told."""
    with tempfile.TemporaryDirectory(prefix="s3engine-compare-") as scratch:
        folder = os.path.join(scratch, "down")
        os.mkdir(folder)
        with open(os.path.join(scratch, "stderr"), "w+b") as said:
            started_at_s = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "s3engine.compare.job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=said, env=_environment(), start_new_session=True,
            )  # fmt: skip
            order = Order(
                transport=run.transport, settings=plan.settings, source=os.path.abspath(plan.source),
                bucket=ground.uri.bucket, prefix=prefix, folder=folder, started_at_s=started_at_s,
                parent_pid=os.getpid(), limit=0 if run.round else WARM_UP_FILES,
            )  # fmt: skip
            child = _Child(process, json.dumps(dataclasses.asdict(order)).encode())
            why = child.wait(started_at_s + plan.timeout_s, stopped)
            run = dataclasses.replace(run, wall_s=time.monotonic() - started_at_s)
            run, over = _taken_in(run, child.output)
            if why == "late":
                return dataclasses.replace(run, hung=True, error=f"not done after {plan.timeout_s:g} s: ended")
            if why == "stopped":
                return dataclasses.replace(run, error="stopped by the user")
            if not over and not run.error:
                return dataclasses.replace(run, error=_epitaph(process.returncode, said))
            return run


class _Child:
    """A process under way: feeds it, collects what it writes, and ends it with all that it started."""

    def __init__(self, process: subprocess.Popen[bytes], order: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdout = process.stdout
        self.output = b""
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(order)

    def wait(self, give_up_at_s: float, stopped: Callable[[], bool]) -> str:
        """Until it has ended: "" by itself, "late" or "stopped" by us."""
        why = ""
        chunks: list[bytes] = []
        process = self._process
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._stdout, selectors.EVENT_READ)
                kill_at_s = 0.0
                while True:
                    if selector.select(_LOOK_S):
                        chunk = os.read(self._stdout.fileno(), 1 << 20)
                        if not chunk:
                            break
                        chunks.append(chunk)
                    now = time.monotonic()
                    if not why and (stopped() or now >= give_up_at_s):
                        why = "stopped" if stopped() else "late"
                        process.terminate()
                        kill_at_s = now + _GRACE_S
                    if (kill_at_s and now >= kill_at_s) or _has_ended(process.pid):
                        break
            _kill_session(process.pid, 0.0 if kill_at_s else _GRACE_S)
        except BaseException:
            _kill_session(process.pid, 0.0)
            raise
        finally:
            process.wait()
            chunks.append(_rest(self._stdout))
            self._stdout.close()
            self.output = b"".join(chunks)
        return why


def _has_ended(pid: int) -> bool:
    """Whether a child has ended. It is not reaped, so its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_session(pid: int, grace_s: float) -> None:
    """End a child that leads a session, and whatever it has left running. It may end by itself within ``grace_s``."""
    give_up_at_s = time.monotonic() + grace_s
    while not _has_ended(pid) and time.monotonic() < give_up_at_s:
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _rest(stream: IO[bytes]) -> bytes:
    """What is still in a pipe."""
    os.set_blocking(stream.fileno(), False)
    return stream.read() or b""


def _environment() -> dict[str, str]:
    """This process's, and modules from where this process has them: the same code, whatever is in the folder."""
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    return {**os.environ, "PYTHONPATH": places, "PYTHONSAFEPATH": "1"}


def _taken_in(run: Run, output: bytes) -> tuple[Run, bool]:
    """The run with all that its process told, and whether that was the whole story."""
    values: dict[str, Any] = {}
    steps = []
    for line in output.splitlines():
        try:
            told = json.loads(line)
        except ValueError:  # cut off in the middle
            break
        if "step" in told:
            steps.append(Step.from_dict(told["step"]))
        else:
            values |= told
    over = values.pop("over", False)
    return dataclasses.replace(run, steps=tuple(steps), **values), over


def _epitaph(code: int, said: IO[bytes]) -> str:
    """How a process ended, with the last line that it wrote to standard error."""
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _STDERR_BYTES))
    lines = said.read().decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
    return f"its process ended {how}: {last}"


def _swept(run: Run, ground: Ground, prefix: str, warn: Tell) -> Run:
    """Empty the prefix of a run. Something there although all was reported as done is WRONG."""
    try:
        removed = ground.clear(prefix, broken_off=bool(run.error))
    except S3EngineError as error:
        warn(f"cannot look after s3://{ground.uri.bucket}/{prefix}: {error}")
        return run
    delete = run.step("delete")
    if not removed or delete is None or not run.ok or delete.cannot:
        return dataclasses.replace(run, removed=removed)
    wrong = dataclasses.replace(delete, wrong=(*delete.wrong, f"{removed} objects were still there afterwards"))
    steps = tuple(wrong if step is delete else step for step in run.steps)
    return dataclasses.replace(run, removed=removed, steps=steps)


def _sweep_up(ground: Ground, warn: Tell, *, broken_off: bool) -> str:
    """At the very end: all below the prefix goes, unfinished uploads too. Returns what is left to do by hand."""
    try:
        try:
            # Also when all went well: a request that began an upload and was sent again has begun two.
            ground.abort_uploads(ground.uri.key)
        except S3EngineError as error:
            warn(f"unfinished uploads of large objects below {ground.uri} could not be looked for: {error}")
        ground.clear(ground.uri.key, broken_off=broken_off)
    except S3EngineError as error:
        return f"could not delete all below {ground.uri}: {error}; remove it with: {ground.command}"
    return ""


def _folder_names(transports: Sequence[str]) -> dict[str, str]:
    """A name for each that every store takes in a key and that is its alone."""
    names: dict[str, str] = {}
    for transport in transports:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", transport)
        names[transport] = name if name not in names.values() else f"{name}-{len(names)}"
    return names


def _line(run: Run, plan: Plan) -> str:
    """One run in one line."""
    number = f"round {run.round} of {plan.rounds}" if run.round else "warm-up"
    told = []
    for step in run.steps:
        if step.cannot:
            told.append(f"{step.name} not possible")
        elif step.wrong:
            told.append(f"{step.name} WRONG")
        else:
            rate = step.objects / step.wall_s if step.wall_s > 0 else 0.0
            told.append(f"{step.name} {rate:.0f}/s" + (f" with {step.failures} FAILED" if step.failures else ""))
    if run.error:
        told.append(f"FAILED: {run.error}")
    return f"{number}, {run.transport}: {', '.join(told)}"
