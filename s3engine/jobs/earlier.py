"""A multipart upload that an earlier run began: is it still there, and has it what the journal knows?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3engine.errors import AccessDenied, NotFound, NotSupported
from s3engine.jobs.ledger import Recalled
from s3engine.pool.messages import Kind, Task

if TYPE_CHECKING:
    from s3engine.jobs.multipart import MultipartTransfer

__all__ = ["EarlierUpload"]


class EarlierUpload:
    """Compares it with the store. Its transfer then goes on with it, begins anew, is over, or fails.

    The transfer has adopted it already: its upload id, its size of parts, its number in the ledger.
    """

    __slots__ = ("_found", "_recalled", "_transfer")

    def __init__(self, transfer: MultipartTransfer, recalled: Recalled) -> None:
        self._transfer = transfer
        self._recalled = recalled
        self._found: dict[int, tuple[str, int]] = {}  # ETag and size by number of the part

    def look(self) -> None:
        """Ask for its parts."""
        self._list_parts("")

    def _list_parts(self, marker: str) -> None:
        transfer = self._transfer
        transfer.job.request(Kind.LIST_PARTS, transfer.key, 0, (transfer.upload_id, marker), self._listed, None)

    def _listed(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        """What the store has of the upload; what the journal knows must be among it."""
        transfer, recalled, found = self._transfer, self._recalled, self._found
        error = outcome[11]
        if isinstance(error, NotFound):
            self._gone()
            return
        if isinstance(error, (AccessDenied, NotSupported)):
            # Not for us to see, in no later run either. Complete names each part by its ETag, so the store compares.
            transfer.go_on(recalled)
            return
        if error is not None:
            transfer.note(outcome)
            transfer.fail(error)
            return
        parts, marker = outcome[10]
        found.update({number: (etag, size_bytes) for number, etag, size_bytes, *_ in parts})
        if marker and marker.isdecimal() and int(task[5][1] or 0) < int(marker[:9]) <= transfer.plan.count:
            self._list_parts(marker)
        elif all(found.get(index + 1) == (part.etag, part.size_bytes) for index, part in recalled.parts.items()):
            transfer.go_on(recalled)
        else:
            transfer.job.abort_upload(transfer.key, recalled.name, recalled.id)
            transfer.begin_anew()

    def _gone(self) -> None:
        """The upload is not there any more: it was completed and nobody could note it, or somebody aborted it."""
        transfer, recalled = self._transfer, self._recalled
        if len(recalled.parts) == transfer.plan.count:
            transfer.kept(recalled)
            transfer.job.request(Kind.HEAD, transfer.key, 0, None, self._perhaps_done, None)
        else:
            self._nothing_left()

    def _perhaps_done(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        transfer, found = self._transfer, outcome[10]
        if outcome[11] is not None and not isinstance(outcome[11], NotFound):
            transfer.fail(outcome[11])
        elif outcome[11] is None and transfer.is_made_of_these(found):
            transfer.completing()  # for what it notes of how the parts were verified
            transfer.etag, transfer.status = found.etag, 200
            transfer.over(None)
        else:
            self._nothing_left()

    def _nothing_left(self) -> None:
        """Nothing of it is at the store."""
        if self._transfer.job.ledger is not None:
            self._transfer.job.ledger.forget(self._recalled.id)
        self._transfer.begin_anew()
