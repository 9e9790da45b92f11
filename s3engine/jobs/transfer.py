"""What uploads, downloads and copies of large objects share: parts out, parts in, one report at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from s3engine.errors import Cancelled, NotFound, NotSupported, PreconditionFailed, S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.ledger import KeptPart, Recalled, passes
from s3engine.jobs.orphans import LostCreates
from s3engine.parts import PartPlan
from s3engine.pool.messages import Kind, Task
from s3engine.transport import Headers

__all__ = ["MultipartTransfer", "PartsTransfer", "combined_etag", "http_time"]

_CLOCKS_DIFFER_S = 5.0
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

    def undo(self) -> None:
        """It failed: remove what was made."""

    # ---- for another run

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
        error = outcome[11]
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
        if error is None and self._transfer and self.job.ledger is not None:
            self.job.ledger.forget(self._transfer)  # after its report: there is always one of the two on record

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


class MultipartTransfer(PartsTransfer):
    """CreateMultipartUpload, parts, CompleteMultipartUpload; AbortMultipartUpload when it fails."""

    __slots__ = (
        "_began_anew", "_etags", "_finished", "_lost_creates", "_relisted", "_wanted_headers", "asked_for",
        "conditions", "upload_id",
    )  # fmt: skip

    def __init__(
        self, job: Job, seq: int, key: str, plan: PartPlan, finished: Callable[[Any, tuple[Any, ...]], None]
    ) -> None:
        super().__init__(job, seq, key, plan)
        self._etags = [""] * plan.count
        self._finished = finished
        self._lost_creates: LostCreates | None = None
        self._relisted = False
        self._began_anew = False
        self._wanted_headers: Any = ()
        self.conditions: Headers = ()
        """If-Match or If-None-Match of the Complete, from what the engine decided: for a store that knows them."""
        self.asked_for: Headers = ()
        """The same from the caller, who wants no write without them."""
        self.upload_id = ""

    def create(self, headers: Any) -> None:
        """Ask for the upload id, or go on with an upload that an earlier run began; parts follow."""
        self._wanted_headers = headers
        self.started_at = self.started_at or self.job.clock()
        ledger = self.job.ledger
        recalled = ledger.recall(self.seq) if ledger is not None else None
        same = recalled is not None and recalled.source == self.state_of_source
        if recalled is not None and same and self.adopt(recalled.note, recalled.part_bytes):
            self.upload_id = recalled.name
            self._transfer = recalled.id
            state = (headers, recalled, dict[int, tuple[str, int]]())
            self.job.request(Kind.LIST_PARTS, self.key, 0, (self.upload_id, ""), self._recall_listed, state)
            return
        if recalled is not None:
            self.job.abort_upload(self.key, recalled.name, recalled.id)
        self.job.request(Kind.CREATE, self.key, 0, headers, self._created, None)

    @property
    def state_of_source(self) -> str:
        """What the source looks like: where this differs in another run, the upload begins anew."""
        raise NotImplementedError

    @property
    def choices(self) -> str:
        """What was settled when the upload was created."""
        return ""

    def adopt(self, choices: str, part_bytes: int) -> bool:
        """Be the transfer that made these choices; False when that cannot be."""
        size_bytes = self.plan.size_bytes
        self.plan = PartPlan(size_bytes, part_bytes, -(-size_bytes // part_bytes))
        self._etags = [""] * self.plan.count
        return True

    def _recall_listed(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        """What the store has of the upload; what the journal knows must be among it."""
        headers, recalled, found = state
        error = outcome[11]
        if isinstance(error, NotFound):
            self._gone(headers, recalled)
            return
        if error is not None:
            self.note(outcome)
            self.fail(error)
            return
        parts, marker = outcome[10]
        found.update({number: (etag, size_bytes) for number, etag, size_bytes, *_ in parts})
        if marker and marker.isdecimal() and int(task[5][1] or 0) < int(marker[:9]) <= self.plan.count:
            self.job.request(Kind.LIST_PARTS, self.key, 0, (self.upload_id, marker), self._recall_listed, state)
        elif all(found.get(index + 1) == (part.etag, part.size_bytes) for index, part in recalled.parts.items()):
            self._go_on(recalled)
        else:
            self.upload_id, self._transfer = "", 0
            self.job.abort_upload(self.key, recalled.name, recalled.id)
            self.job.request(Kind.CREATE, self.key, 0, headers, self._created, None)

    def _go_on(self, recalled: Recalled) -> None:
        if self.kept(recalled):
            self.job.composite_ready(self)
        else:
            self._completing = True
            self.all_parts_done()

    def _gone(self, headers: Any, recalled: Recalled) -> None:
        """The upload is not there any more: it was completed and nobody could note it, or somebody aborted it."""
        if len(recalled.parts) == self.plan.count:
            self.kept(recalled)
            self.job.request(Kind.HEAD, self.key, 0, None, self._perhaps_done, (headers, recalled))
        else:
            self._anew(headers, recalled)

    def _perhaps_done(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        headers, recalled = state
        found = outcome[10]
        if outcome[11] is not None and not isinstance(outcome[11], NotFound):
            self.fail(outcome[11])
        elif outcome[11] is None and (found.etag, found.size_bytes) == (
            combined_etag(self._etags), self.plan.size_bytes
        ):  # fmt: skip
            self.completing()  # for what it notes of how the parts were verified
            self.etag, self.status = found.etag, 200
            self.over(None)
        else:
            self._anew(headers, recalled)

    def _anew(self, headers: Any, recalled: Recalled) -> None:
        """Without what was left; nothing of it is at the store."""
        if self.job.ledger is not None:
            self.job.ledger.forget(recalled.id)
        self.upload_id, self._transfer, self._have, self._next = "", 0, frozenset(), 0
        self.job.request(Kind.CREATE, self.key, 0, headers, self._created, None)

    def fail(self, error: S3EngineError) -> None:
        """As the base; but an upload that vanished among its parts is begun anew, once.

        Some stores (rclone) drop the whole upload when one part does not have its checksum.
        """
        first = self.error or error
        vanished = getattr(first, "code", "") == "NoSuchUpload" and self.upload_id and not self._completing
        if vanished and not (self._in_flight or self._ended or self._began_anew or self.job.cancelled):
            self._began_anew = True
            self.error = None
            self.forget_parts()
            if self._transfer and self.job.ledger is not None:
                self.job.ledger.forget(self._transfer)
            self.upload_id, self._transfer, self._have, self._next, self._given = "", 0, frozenset(), 0, 0
            self.job.request(Kind.CREATE, self.key, 0, self._wanted_headers, self._created, None)
            return
        super().fail(error)

    def forget_parts(self) -> None:
        """What was kept of the parts does not count any more."""
        self._etags = [""] * self.plan.count

    def _created(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        self.status, self.request_id = outcome[6], outcome[7]
        if outcome[11] is not None:
            self.attempts += outcome[1]
            self.fail(outcome[11])
            return
        self.attempts += outcome[1] - 1  # one attempt is what it takes; more are retries of this object
        self.upload_id = outcome[10]
        if outcome[1] > 1:
            # An attempt may have begun an upload whose id never came. Looked for while ours is there to compare with.
            # A worker that died in the middle of it had its time too.
            lost_s = max(outcome[3], self.job.clock() - self.started_at)
            self._lost_creates = LostCreates(self.job, self.key, self.upload_id, outcome[1] - 1, lost_s)
            self._lost_creates.look()
        if self.job.ledger is not None:
            self._transfer = self.job.ledger.begin(
                self.seq, "upload", self.key, self.upload_id, self.state_of_source, self.plan.part_bytes, self.choices
            )
        self.job.composite_ready(self)

    def keep(self, index: int, outcome: tuple[Any, ...]) -> None:
        """The part's ETag is what Complete names it by."""
        self._etags[index] = outcome[9]

    def all_parts_done(self) -> None:
        """Put it together."""
        arg = self.completing()
        if self.conditions or self.asked_for:
            arg = (*arg[:2], len(arg) > 2 and arg[2], (*self.asked_for, *self.conditions))
        self.job.request(Kind.COMPLETE, self.key, 0, arg, self._completed, None)

    def completing(self) -> tuple[Any, ...]:
        """The argument of the task: see Kind.COMPLETE."""
        return (self.upload_id, [(index + 1, etag) for index, etag in enumerate(self._etags)])

    def settle(self, outcome: tuple[Any, ...]) -> None:
        """A Complete was answered well; ends in ``over``."""
        self.over(None)

    def disproves(self, index: int, etag: str) -> S3EngineError | None:
        """Why a part that is listed with another ETag than it was answered with cannot be the one that was sent."""
        return None

    def _completed(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        self.status, self.request_id = outcome[6], outcome[7]
        self.attempts += max(0, outcome[1] - 1)
        error = outcome[11]
        if error is None:
            self.etag = outcome[9]
            self.settle(outcome)
        elif type(error) is NotSupported and self.conditions:
            self.conditions = ()
            self.all_parts_done()
        elif getattr(error, "code", "") == "NoSuchUpload" or (
            outcome[1] > 1 and isinstance(error, PreconditionFailed)
        ):
            # An earlier Complete, whose answer was lost, may have done it: then the object is there. (Also that of a
            # worker that was killed, so NoSuchUpload may come to what looks like the first attempt.)
            self.job.request(Kind.HEAD, self.key, 0, None, self._looked, error)
        elif getattr(error, "code", "") == "InvalidPart" and not self._relisted:
            # A part that was sent twice may have landed twice, the lost attempt last, under another ETag. Both have the
            # same bytes, so what the store has will do, if it is all there.
            self._relisted = True
            self._list_parts("", error)
        else:
            self.fail(error)

    def _list_parts(self, marker: str, error: S3EngineError) -> None:
        self.job.request(Kind.LIST_PARTS, self.key, 0, (self.upload_id, marker), self._listed, error)

    def _listed(self, error: S3EngineError, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self.fail(error)
            return
        parts, marker = outcome[10]
        before = int(task[5][1] or 0)
        if marker and not (marker.isdecimal() and before < int(marker[:9]) <= self.plan.count):
            self.fail(error)  # a list of parts that does not come on has no end
            return
        for number, etag, size_bytes, *_ in parts:
            if not 0 < number <= self.plan.count:
                self.fail(error)
                return
            first, last = self.plan.span(number - 1)
            if size_bytes != last + 1 - first:
                self.fail(error)
                return
            wrong = self.disproves(number - 1, etag)
            if wrong is not None:
                self.fail(wrong)
                return
            self._etags[number - 1] = etag
        if marker:
            self._list_parts(marker, error)
        else:
            self.all_parts_done()

    def _looked(self, error: S3EngineError, task: Task, outcome: tuple[Any, ...]) -> None:
        found = outcome[10]
        if found is not None and self._is_ours(found):
            self.etag = found.etag
            self.status = 200
            self.over(None)
        else:
            if not isinstance(error, PreconditionFailed):
                self.upload_id = ""  # there is nothing left to abort
                if self._transfer and self.job.ledger is not None:
                    self.job.ledger.forget(self._transfer)
            self.fail(error)

    def _is_ours(self, found: Any) -> bool:
        """Whether the object is the one that was put together of these parts.

        Its ETag says so: the MD5 of the parts' MD5s. Where a store makes ETags in another way: an object of the same
        size and number of parts that was written since this transfer began.
        """
        if found.size_bytes != self.plan.size_bytes:
            return False
        if found.etag == combined_etag(self._etags):
            return True
        if not found.etag.endswith(f"-{self.plan.count}"):
            return False
        written_at = http_time(found.last_modified)
        began_at = time.time() - (self.job.clock() - self.started_at)
        return written_at is not None and written_at >= began_at - _CLOCKS_DIFFER_S

    def over(self, error: S3EngineError | None) -> None:
        """Orphans are ended when the object is over: by then another's upload of this key would have parts."""
        if self._lost_creates is not None and not self._ended:
            self._lost_creates.abort()
        super().over(error)

    def undo(self) -> None:
        """Leave no parts that cost money, unless another run can go on with them."""
        if self.upload_id and not (self._transfer and passes(self.error)):
            self.job.abort_upload(self.key, self.upload_id, self._transfer)

    def finished(self, outcome: tuple[Any, ...]) -> None:
        """Hand the outcome on."""
        self._finished(self, outcome)


def combined_etag(etags: list[str]) -> str:
    """What S3 makes of the ETags of parts; "" when one of them is no MD5."""
    try:
        parts = b"".join([bytes.fromhex(etag) for etag in etags])
    except ValueError:
        return ""
    if len(parts) != 16 * len(etags):
        return ""
    return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{len(etags)}"


def http_time(text: str) -> float | None:
    """Seconds since the epoch of a Last-Modified header; None when it is none."""
    from email.utils import parsedate_to_datetime  # lazy: only a lost answer needs it

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
