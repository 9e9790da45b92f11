"""A target of a move that is there already: is it what an earlier run of the job wrote, and could not say so any more?

A policy for what exists would leave such a target out, and its source would stay for ever. Asked only where a journal
knows that an earlier run may have begun the object.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from s3engine.errors import S3EngineError, TransferError
from s3engine.file_body import source_error
from s3engine.jobs.base import Job
from s3engine.jobs.ledger import Recalled, state_of_file, state_of_object
from s3engine.parts import plan_parts
from s3engine.pool.messages import Kind, Task
from s3engine.stored import Stored, combined_etag, guess_part_bytes, same_bytes, stored
from s3engine.transport import HeadResult

__all__ = ["OwnCopy", "OwnFile"]

Then = Callable[[tuple[Any, ...], bool], None]
"""Called once with an outcome and whether the target is the source's; an error in the outcome: it is not known."""
AskSource = Callable[[int, str, Any, Any, Any], None]


def _put_together(recalled: Recalled | None, source: str) -> str:
    """The ETag of the object that an earlier run put together of a source that looks as ``source`` does now.

    "" when it looked otherwise, or when not all parts are on record: then that object is no proof of this source.
    """
    if recalled is None or not source or recalled.source != source:
        return ""
    if not recalled.parts or len(recalled.parts) != 1 + max(recalled.parts):
        return ""
    return combined_etag([part.etag for _, part in sorted(recalled.parts.items())])


def _unknown(target: str) -> TransferError:
    return TransferError(
        f"{target} is there, and nothing tells whether an earlier run of this job wrote it; the source was kept. "
        "Compare the two, and remove the one that is too much"
    )


def _with_error(outcome: tuple[Any, ...], error: S3EngineError) -> tuple[Any, ...]:
    return (*outcome[:10], None, error, "", "")


class OwnFile:
    """Object ``key`` of the job's bucket and file ``path``, whichever of them is the target.

    The good outcome has size and ETag of the object, what tells whether the file changes as its detail, and by what
    both are known to be the same. ``recalled``: an upload of the file in parts by an earlier run; it counts if the file
    is still the one that it was of.
    """

    __slots__ = (
        "_expected", "_found", "_job", "_key", "_part_bytes", "_path", "_recalled", "_status", "_target", "_then",
    )  # fmt: skip

    def __init__(
        self, job: Job, key: str, path: str, target: str, part_bytes: int, then: Then,
        recalled: Recalled | None = None,
    ) -> None:  # fmt: skip
        self._job = job
        self._key = key
        self._path = path
        self._target = target
        self._part_bytes = part_bytes
        self._then = then
        self._recalled = recalled

    def look(self) -> None:
        """Ask the store what it has."""
        self._job.request(Kind.HEAD, self._key, 0, 0, self._described, None)

    def _described(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self._then(outcome, False)
            return
        found: HeadResult = outcome[10]
        self._found = found
        try:
            self._status = os.stat(self._path)
        except OSError as error:
            self._then(_with_error(outcome, source_error(self._path, error)), False)
            return
        size_bytes = self._status.st_size
        if size_bytes != found.size_bytes:
            self._then(outcome, False)
            return
        status = self._status
        state = state_of_file(size_bytes, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        if found.etag and found.etag == _put_together(self._recalled, state):
            self._same(outcome, "etag")
            return
        expected = stored(found.headers, found.etag, self._job.context.bucket)
        part_bytes = _cut_into(expected, size_bytes, self._part_bytes)
        if not expected.algorithm or (expected.parts and not part_bytes):
            self._then(_with_error(outcome, _unknown(self._target)), False)
            return
        self._expected = expected
        arg = (self._path, expected.algorithm, part_bytes)
        self._job.request(Kind.READ_FILE, self._key, size_bytes, arg, self._was_read, outcome)

    def _was_read(self, described: tuple[Any, ...], task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self._then(_with_error(described, outcome[11]), False)
        elif outcome[10] == self._expected.value:
            self._same(described, self._expected.algorithm)
        elif self._expected.parts > 1:  # perhaps it was cut in another way
            self._then(_with_error(described, _unknown(self._target)), False)
        else:
            self._then(described, False)

    def _same(self, outcome: tuple[Any, ...], verified: str) -> None:
        found, status = self._found, self._status
        seen = (status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        self._then((*outcome[:8], found.size_bytes, found.etag, seen, None, "", verified), True)


def _cut_into(expected: Stored, size_bytes: int, part_bytes: int) -> int:
    """The size of the parts that ``expected`` is of, as far as that can be told; 0: of none."""
    if not expected.parts:
        return 0
    if expected.parts == 1:
        return size_bytes
    plan = plan_parts(size_bytes, part_bytes)
    return plan.part_bytes if plan.count == expected.parts else guess_part_bytes(size_bytes, expected.parts)


class OwnCopy:
    """A source and its copy: the good outcome is the HEAD of the source, with the ETag of the copy in its place.

    ``recalled``: a copy in parts by an earlier run, all pinned to one ETag; it counts if the source still has that.
    """

    __slots__ = ("_ask_source", "_copy", "_job", "_key", "_recalled", "_target", "_then")

    def __init__(
        self, job: Job, key: str, target: str, ask_source: AskSource, then: Then, recalled: Recalled | None = None
    ) -> None:
        self._job = job
        self._key = key
        self._target = target
        self._ask_source = ask_source
        self._then = then
        self._recalled = recalled

    def look(self) -> None:
        """Ask for both."""
        self._job.request(Kind.HEAD, self._target, 0, 0, self._described, None)

    def _described(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self._then(outcome, False)
        else:
            self._copy: HeadResult = outcome[10]
            self._ask_source(Kind.HEAD, self._key, 0, self._compare, None)

    def _compare(self, state: Any, task: Task, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is not None:
            self._then(outcome, False)
            return
        source: HeadResult = outcome[10]
        copy = self._copy
        same, algorithm = same_bytes(source.headers, copy.headers)
        made = _put_together(self._recalled, state_of_object(source.size_bytes, source.etag))
        if source.size_bytes != copy.size_bytes:
            self._then(outcome, False)
        elif same or (copy.etag and copy.etag in (source.etag, made)):
            self._then((*outcome[:9], copy.etag, *outcome[10:13], algorithm if same else "etag"), True)
        elif algorithm or self._both_whole(source, copy):
            self._then(outcome, False)
        else:
            self._then(_with_error(outcome, _unknown(f"s3://{self._job.context.bucket}/{self._target}")), False)

    def _both_whole(self, source: HeadResult, copy: HeadResult) -> bool:
        """Both ETags are MD5s of the whole, so that objects of which they differ differ."""
        context = self._job.context
        etags = (_of_etag(source, context.source_bucket), _of_etag(copy, context.bucket))
        return all(one.from_etag and not one.parts for one in etags)


def _of_etag(found: HeadResult, bucket: str) -> Stored:
    return stored(tuple(pair for pair in found.headers if not pair[0].startswith("x-amz-checksum")), found.etag, bucket)
