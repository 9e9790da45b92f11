"""Multipart uploads that nobody knows: a CreateMultipartUpload whose answer was lost, and which was sent again.

The store may hold an upload for each lost answer. It has no parts, so it costs nothing but tidiness; still it is ours,
so when the object is over it is looked for and aborted. Ours is only what cannot be another's:

* its key is exactly ours, and it is not the upload that we worked with;
* it began before that one, by the store's own clock, and no earlier than our first attempt did;
* it has no parts: nobody has uploaded to it;
* there are no more of these than answers were lost. Otherwise all of them stay, for ``s3engine cleanup``.

When no CREATE was answered there is no upload of ours whose beginning, by the store's own clock, others could be
compared with. Nothing is looked for then: it could be another's that is aborted.

Failures in here are nobody's: the object is reported by then, and what stays is what would have stayed without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s3engine.integrity.lost import may_be_orphan
from s3engine.jobs.base import Job
from s3engine.pool.messages import Kind, Task

__all__ = ["LostCreates"]

_MOST_PAGES = 10


class LostCreates:
    """The search for one object's orphans; :meth:`look` starts it."""

    __slots__ = (
        "_candidates", "_found", "_job", "_key", "_known", "_lost", "_lost_s", "_pages", "_upload_id", "looked",
    )  # fmt: skip

    def __init__(self, job: Job, key: str, upload_id: str, lost: int, lost_s: float) -> None:
        self._job = job
        self._key = key
        self._upload_id = upload_id
        self._lost = lost
        self._lost_s = lost_s
        self._known = ""
        self._pages = 0
        self._found: list[tuple[str, str]] = []  # upload id, when it began
        self._candidates: list[str] = []
        self.looked: Callable[[], None] = _nothing
        """Called when the uploads are known that ``abort`` chooses among, or will not be."""

    def look(self) -> None:
        """Ask for the uploads under way; must be called while the upload that we know is among them."""
        self._ask("", "")

    def _ask(self, key_marker: str, id_marker: str) -> None:
        self._pages += 1
        self._job.request(Kind.LIST_UPLOADS, self._key, 0, (key_marker, id_marker), self._listed, None)

    def _listed(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self.looked()
            return
        uploads, key_marker, id_marker = outcome[10]
        for key, upload_id, initiated in uploads:
            if key != self._key:
                continue
            if upload_id == self._upload_id:
                self._known = initiated
            else:
                self._found.append((upload_id, initiated))
        if key_marker and self._pages < _MOST_PAGES and uploads and uploads[-1][0] <= self._key:
            self._ask(key_marker, id_marker)
        else:
            self.looked()

    def abort(self) -> None:
        """The object is over: end those that have no parts."""
        if not self._known:
            return
        self._candidates = [
            upload_id for upload_id, initiated in self._found if may_be_orphan(initiated, self._known, self._lost_s)
        ]
        if len(self._candidates) <= self._lost:
            for upload_id in self._candidates:
                self._job.request(Kind.LIST_PARTS, self._key, 0, (upload_id, ""), self._parts, upload_id)

    def _parts(self, upload_id: str, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is None and not outcome[10][0] and not outcome[10][1]:
            self._job.request(Kind.ABORT, self._key, 0, upload_id, _over, None)


def _nothing() -> None:
    """Nobody waits for that."""


def _over(state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
    """Aborted, or it was gone already."""
