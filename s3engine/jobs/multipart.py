"""A multipart upload: created, or taken over from an earlier run, filled with parts, aborted when it fails.

How it is taken over is told in :mod:`s3engine.jobs.earlier`, how it ends in :mod:`s3engine.jobs.completion`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s3engine.errors import S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.completion import Completion
from s3engine.jobs.earlier import EarlierUpload
from s3engine.jobs.ledger import passes
from s3engine.jobs.orphans import LostCreates
from s3engine.jobs.transfer import PartsTransfer
from s3engine.parts import PartPlan
from s3engine.pool.messages import Kind, Task
from s3engine.stored import combined_etag
from s3engine.transport import Headers, HeadResult

__all__ = ["MultipartTransfer"]


class MultipartTransfer(PartsTransfer):
    """CreateMultipartUpload, parts, CompleteMultipartUpload; AbortMultipartUpload when it fails."""

    __slots__ = (
        "_began_anew", "_finished", "_lost_creates", "_wanted_headers", "asked_for", "conditions", "etags", "unproven",
        "upload_id",
    )  # fmt: skip

    def __init__(
        self, job: Job, seq: int, key: str, plan: PartPlan, finished: Callable[[Any, tuple[Any, ...]], None]
    ) -> None:
        super().__init__(job, seq, key, plan)
        self.etags = [""] * plan.count
        """Of the parts, as far as they are there."""
        self._finished = finished
        self._lost_creates: LostCreates | None = None
        self._began_anew = False
        self._wanted_headers: Any = ()
        self.conditions: Headers = ()
        """If-Match or If-None-Match of the Complete, from what the engine decided: for a store that knows them."""
        self.asked_for: Headers = ()
        """The same from the caller, who wants no write without them."""
        self.upload_id = ""
        self.unproven: S3EngineError | None = None
        """What Complete said of an object taken for ours by size and time alone: no source is deleted for it."""

    # ---- for subclasses

    @property
    def state_of_source(self) -> str:
        """What the source looks like: where this differs in another run, or is empty, the upload begins anew."""
        raise NotImplementedError

    @property
    def choices(self) -> str:
        """What was settled when the upload was created."""
        return ""

    def adopt(self, choices: str, part_bytes: int) -> bool:
        """Be the transfer that made these choices; False when that cannot be."""
        size_bytes = self.plan.size_bytes
        self.plan = PartPlan(size_bytes, part_bytes, -(-size_bytes // part_bytes))
        self.etags = [""] * self.plan.count
        return True

    def completing(self) -> tuple[Any, ...]:
        """The argument of the task: see Kind.COMPLETE."""
        return (self.upload_id, [(index + 1, etag) for index, etag in enumerate(self.etags)])

    def settle(self, outcome: tuple[Any, ...]) -> None:
        """A Complete was answered well; ends in ``over``."""
        self.over(None)

    def disproves(self, index: int, etag: str) -> S3EngineError | None:
        """Why a part that is listed with another ETag than it was answered with cannot be the one that was sent."""
        return None

    def same_bytes(self, headers: Headers) -> bool | None:
        """Whether an object with these headers has the bytes that were sent, by a checksum; None: there is none."""
        return None

    def is_made_of_these(self, found: HeadResult) -> bool:
        """Whether an object has the size, and the ETag that the ETags of the parts make."""
        made = combined_etag(self.etags)
        return bool(made) and (found.etag, found.size_bytes) == (made, self.plan.size_bytes)

    # ---- its beginning

    def create(self, headers: Any) -> None:
        """Ask for the upload id, or go on with an upload that an earlier run began; parts follow."""
        self._wanted_headers = headers
        self.started_at = self.started_at or self.job.clock()
        ledger = self.job.ledger
        recalled = ledger.recall(self.seq) if ledger is not None else None
        state = self.state_of_source
        same = recalled is not None and state != "" and recalled.source == state
        if recalled is not None and same and self.adopt(recalled.note, recalled.part_bytes):
            self.upload_id = recalled.name
            self._transfer = recalled.id
            EarlierUpload(self, recalled).look()
            return
        if recalled is not None:
            self.job.abort_upload(self.key, recalled.name, recalled.id)
        self._ask_for_upload()

    def begin_anew(self) -> None:
        """As if there had been no upload yet."""
        self.upload_id, self._transfer, self._have, self._next, self._given = "", 0, frozenset(), 0, 0
        self._ask_for_upload()

    def _ask_for_upload(self) -> None:
        self.job.request(Kind.CREATE, self.key, 0, self._wanted_headers, self._created, None)

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

    # ---- its parts

    def keep(self, index: int, outcome: tuple[Any, ...]) -> None:
        """The part's ETag is what Complete names it by."""
        self.etags[index] = outcome[9]

    def forget_parts(self) -> None:
        """What was kept of the parts does not count any more."""
        self.etags = [""] * self.plan.count

    # ---- its end

    def all_parts_done(self) -> None:
        """Put it together."""
        Completion(self).ask()

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
            self.forget_kept()
            self.begin_anew()
            return
        super().fail(error)

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
