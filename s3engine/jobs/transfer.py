"""An object that moves in parts: parts out, parts in, one outcome at the end."""

from __future__ import annotations

from typing import Any

from s3engine.errors import Cancelled, S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.ledger import KeptPart, Recalled
from s3engine.parts import PartPlan
from s3engine.pool.messages import Task

__all__ = ["PartsTransfer"]

_SHARES = 32  # one of them is in flight
_LEAST_IN_FLIGHT = 4


class PartsTransfer:
    """An object on its way in parts. Subclasses say what a part's task is and what comes before and after.

    ``over(error)`` is called exactly once: when the last part in flight has come back and nothing more is to be done.
    """

    __slots__ = (
        "_completing", "_ended", "_given", "_have", "_in_flight", "_next", "_transfer", "attempts", "error",
        "estimate", "etag", "job", "key", "plan", "request_id", "seq", "started_at", "status", "timeout_s", "verified",
    )  # fmt: skip

    def __init__(self, job: Job, seq: int, key: str, plan: PartPlan) -> None:
        self.job = job
        self.seq = seq
        self.key = key
        self.plan = plan
        self.error: S3EngineError | None = None
        self.attempts = 0
        self.estimate = 0.0
        self.timeout_s = 0.0
        self.status = 0
        self.request_id = ""
        self.etag = ""
        self.started_at = 0.0
        self.verified = ""
        self._next = 0
        self._given = 0
        self._have: frozenset[int] = frozenset()  # parts that an earlier run left
        self._transfer = 0  # its number in the ledger
        self._in_flight = 0
        self._completing = False
        self._ended = False

    # ---- for subclasses

    def part_task(self, index: int) -> Task:
        """The task of part ``index``, counted from 0; its handler is ``self.part_done``."""
        raise NotImplementedError

    def all_parts_done(self) -> None:
        """Every part is there; ends in ``over``."""
        raise NotImplementedError

    def objection(self, outcome: tuple[Any, ...]) -> S3EngineError | None:
        """Why a part that came well does not belong to the others; it is not kept then."""
        return None

    def undo(self) -> None:
        """It failed: remove what was made."""

    # ---- for another run

    def go_on(self, recalled: Recalled) -> None:
        """With what an earlier run left; straight to the end when that is all of it."""
        if self.kept(recalled):
            self.job.composite_ready(self)
        else:
            self._completing = True
            self.all_parts_done()

    def kept(self, recalled: Recalled) -> bool:
        """Go on with what an earlier run left, all of it; False: nothing is left to be fetched or sent."""
        self._transfer = recalled.id
        self._have = frozenset(recalled.parts)
        for index, part in sorted(recalled.parts.items()):
            self.keep(
                index,
                (0, 0, 0.0, 0.0, 0.0, 0.0, 200, "", part.size_bytes, part.etag, None, None, part.checksum,
                 part.verified),
            )  # fmt: skip
        return self._more()

    def _more(self) -> bool:
        """Whether parts are left to be given out."""
        while self._next in self._have:
            self._next += 1
        return self._next < self.plan.count

    def forget_kept(self) -> None:
        """Nothing is left of it that another run could go on with."""
        if self._transfer and self.job.ledger is not None:
            self.job.ledger.forget(self._transfer)

    def _record(self, index: int, outcome: tuple[Any, ...]) -> None:
        if self._transfer and self.job.ledger is not None:
            part = KeptPart(outcome[9], outcome[12], outcome[8], outcome[13])
            self.job.ledger.part(self._transfer, index, part)

    # ---- Composite

    def begin(self) -> None:
        """Start at once; subclasses that must ask for something first do so here."""
        self.started_at = self.job.clock()
        self.job.composite_ready(self)

    @property
    def busy(self) -> bool:
        """With a journal a small share of the object is in flight at a time: that is what a crash can cost of it."""
        return self.job.ledger is not None and self._in_flight >= max(_LEAST_IN_FLIGHT, self.plan.count // _SHARES)

    def take(self) -> Task | None:
        """The next part."""
        if self.error is not None or not self._more():
            return None
        index = self._next
        self._next = index + 1
        self._in_flight += 1
        self._given += 1
        return self.part_task(index)

    def cancel(self) -> None:
        """Stop, unless it is being put together already: then its answer tells what became of it."""
        if not self._completing:
            self.fail(self._cut_short())

    def _cut_short(self) -> Cancelled:
        why = " after the listing (or what else gave the input) failed" if self.job.stopped else ""
        return Cancelled(f"cancelled{why} before {self.key!r} was done", key=self.key)

    # ---- events

    def note(self, outcome: tuple[Any, ...]) -> None:
        """Keep of a request what the report tells."""
        _, attempts, _, _, estimate, timeout_s, status, request_id, *_ = outcome
        self.attempts += attempts
        self.estimate = estimate or self.estimate
        self.timeout_s = timeout_s or self.timeout_s
        self.status = status
        self.request_id = request_id

    def part_done(self, index: int, task: Task, outcome: tuple[Any, ...]) -> None:
        """A part came back."""
        self._in_flight -= 1
        self.note(outcome)
        error = outcome[11] or self.objection(outcome)
        if error is None:
            self._record(index, outcome)
        if error is None and self.job.cancelled and self._more():
            error = self._cut_short()
        if error is not None:
            self.fail(error)
            return
        self.keep(index, outcome)
        if self.error is not None:
            self.fail(self.error)
        elif not self._in_flight and not self._more():
            self._completing = True
            self.all_parts_done()

    def keep(self, index: int, outcome: tuple[Any, ...]) -> None:
        """Remember what is needed of a finished part."""

    def fail(self, error: S3EngineError) -> None:
        """No more parts; ends when those in flight are back."""
        if self.error is None:
            self.error = error
        if not self._in_flight and not self._ended:
            self.undo()
            self.over(self.error)

    def over(self, error: S3EngineError | None) -> None:
        """The last word: report, and let the next large object in."""
        if self._ended:
            return
        self._ended = True
        self.job.composite_over()
        self.finished(self.outcome(error))
        if error is None:
            self.forget_kept()  # after its report: there is always one of the two on record

    def finished(self, outcome: tuple[Any, ...]) -> None:
        """Report, or go on to what follows."""
        raise NotImplementedError

    def outcome(self, error: S3EngineError | None) -> tuple[Any, ...]:
        """As one outcome: attempts beyond one per part count as retries of the object."""
        elapsed_s = self.job.clock() - (self.started_at or self.job.clock())
        retries = max(0, self.attempts - self._given)
        attempts = 1 + retries if self.attempts else 0
        return (
            0, attempts, elapsed_s, elapsed_s, self.estimate, self.timeout_s, self.status, self.request_id,
            self.plan.size_bytes, self.etag, None, error, "", self.verified,
        )  # fmt: skip
