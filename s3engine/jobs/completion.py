"""The end of a multipart upload: CompleteMultipartUpload, until it is known what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3engine.errors import NotSupported, PreconditionFailed, S3EngineError
from s3engine.pool.messages import WITH_CHECKSUMS, Kind, Task
from s3engine.report import LENGTH_ONLY

if TYPE_CHECKING:
    from s3engine.jobs.multipart import MultipartTransfer

__all__ = ["Completion"]

_NODES_DIFFER_S = 5.0  # the clocks of the machines of one store; and its times are whole seconds


class Completion:
    """Puts an upload together whose parts are all there; ends in its transfer's ``settle``, ``over`` or ``fail``.

    A Complete whose answer was lost may have done it: then the object tells. And a part that was sent twice may lie
    there under another ETag than it was answered with: then the list of parts tells.
    """

    __slots__ = ("_doubtful", "_relisted", "_sent_again", "_transfer")

    def __init__(self, transfer: MultipartTransfer) -> None:
        self._transfer = transfer
        self._doubtful = False  # an attempt failed that may have done it
        self._relisted = False
        self._sent_again = False

    def ask(self) -> None:
        """Ask the store to put it together."""
        transfer = self._transfer
        arg = transfer.completing()
        if transfer.conditions or transfer.asked_for:
            arg = (*arg[:2], len(arg) > 2 and arg[2], (*transfer.asked_for, *transfer.conditions))
        transfer.job.request(Kind.COMPLETE, transfer.key, 0, arg, self._completed, None)

    def _completed(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        transfer = self._transfer
        transfer.status, transfer.request_id = outcome[6], outcome[7]
        transfer.attempts += max(0, outcome[1] - 1)
        self._doubtful = self._doubtful or outcome[1] > 1
        error = outcome[11]
        if error is None:
            transfer.etag = outcome[9]
            transfer.settle(outcome)
        elif type(error) is NotSupported and transfer.conditions:
            transfer.conditions = ()
            self.ask()
        elif getattr(error, "code", "") == "NoSuchUpload" or (
            outcome[1] > 1 and isinstance(error, PreconditionFailed)
        ):
            # An earlier Complete, whose answer was lost, may have done it: then the object is there. (Also that of a
            # worker that was killed, which counts as an attempt.)
            transfer.job.request(Kind.HEAD, transfer.key, 0, WITH_CHECKSUMS, self._looked, error)
        elif getattr(error, "code", "") == "MalformedXML" and not self._sent_again:
            # The XML is ours and well formed, so it was cut or changed on its way (a proxy whose own connection broke
            # passes on what the store says of half a body). Nothing was done with it; a store that means it says so
            # again.
            self._sent_again = True
            transfer.attempts += 1
            self.ask()
        elif getattr(error, "code", "") == "InvalidPart" and not self._relisted:
            # A part that was sent twice may have landed twice, the lost attempt last, under another ETag. Both have the
            # same bytes, so what the store has will do, if it is all there.
            self._relisted = True
            self._list_parts("", error)
        else:
            transfer.fail(error)

    def _list_parts(self, marker: str, error: S3EngineError) -> None:
        transfer = self._transfer
        transfer.job.request(Kind.LIST_PARTS, transfer.key, 0, (transfer.upload_id, marker), self._listed, error)

    def _listed(self, error: S3EngineError, task: Task, outcome: tuple[Any, ...]) -> None:
        transfer = self._transfer
        if outcome[11] is not None:
            transfer.fail(error)
            return
        parts, marker = outcome[10]
        before = int(task[5][1] or 0)
        if marker and not (marker.isdecimal() and before < int(marker[:9]) <= transfer.plan.count):
            transfer.fail(error)  # a list of parts that does not come on has no end
            return
        for number, etag, size_bytes, *_ in parts:
            if not 0 < number <= transfer.plan.count:
                transfer.fail(error)
                return
            first, last = transfer.plan.span(number - 1)
            if size_bytes != last + 1 - first:
                transfer.fail(error)
                return
            wrong = transfer.disproves(number - 1, etag)
            if wrong is not None:
                transfer.fail(wrong)
                return
            transfer.etags[number - 1] = etag
        if marker:
            self._list_parts(marker, error)
        else:
            self.ask()

    def _looked(self, error: S3EngineError, task: Task, outcome: tuple[Any, ...]) -> None:
        transfer, found = self._transfer, outcome[10]
        ours = self._is_ours(found) if found is not None else False
        if ours is None and self._doubtful and self._looks_like_ours(found):
            transfer.unproven = error
            transfer.verified = LENGTH_ONLY
            ours = True
        if ours:
            transfer.etag = found.etag
            transfer.status = 200
            transfer.over(None)
        else:
            if not isinstance(error, PreconditionFailed):
                transfer.upload_id = ""  # there is nothing left to abort
                transfer.forget_kept()
            transfer.fail(error)

    def _is_ours(self, found: Any) -> bool | None:
        """Whether the object is the one that was put together of these parts; None when that cannot be proven.

        Its ETag says so, the MD5 of the parts' MD5s, or a checksum that the store keeps of it.
        """
        transfer = self._transfer
        if found.size_bytes != transfer.plan.size_bytes:
            return False
        return transfer.is_made_of_these(found) or transfer.same_bytes(found.headers)

    def _looks_like_ours(self, found: Any) -> bool:
        """Written since this transfer began, in as many parts: what is left where a store makes ETags in another way.

        Enough only where an attempt may have done it, and never to delete a source. Both times are the store's: our own
        clock may be an hour slow, and then an object of half an hour ago would pass.
        """
        transfer = self._transfer
        if not found.etag.endswith(f"-{transfer.plan.count}"):
            return False
        headers = dict(found.headers)
        written_at, answered_at = _http_time(found.last_modified), _http_time(headers.get("date", ""))
        if written_at is None or answered_at is None:
            return False
        age = headers.get("age", "")  # of a cache's answer
        now = answered_at + (int(age[:9]) if age.isascii() and age.isdigit() else 0)
        began_at = now - (transfer.job.clock() - transfer.started_at)
        return written_at >= began_at - _NODES_DIFFER_S


def _http_time(text: str) -> float | None:
    """Seconds since the epoch of a Date or Last-Modified header; None when it is none."""
    from email.utils import parsedate_to_datetime  # lazy: only a lost answer needs it

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):  # a year of seventy digits, too
        return None
