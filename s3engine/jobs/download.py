"""Download: GetObject into a file, ranges into one file for large objects; ``move`` deletes the objects afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from s3engine.decided import Decided
from s3engine.disk import ANOTHER_NAME, fold_of
from s3engine.errors import DuplicateKey, JournalError, S3EngineError
from s3engine.jobs.base import Job
from s3engine.jobs.delete import DeleteConditions, KeyDeleter, move_error
from s3engine.jobs.every_key import EveryKey
from s3engine.jobs.key_guard import KeyGuard
from s3engine.jobs.ledger import is_gone, passes
from s3engine.jobs.own_target import OwnFile
from s3engine.jobs.ranges import FileFromRanges
from s3engine.parts import plan_parts
from s3engine.paths import FolderGuard, normal_path, safe_relative
from s3engine.pool.messages import Kind, NeedsParts, Task
from s3engine.report import LENGTH_ONLY, RequestReport
from s3engine.sinks import temporary_path
from s3engine.stored import other_size
from s3engine.transport import Headers, ObjectInfo

__all__ = ["DownloadJob"]


class _Wanted:
    """One object on its way."""

    __slots__ = ("info", "outcome", "relative", "seq", "temporary")

    def __init__(self, seq: int, info: ObjectInfo, relative: str, temporary: str) -> None:
        self.temporary = temporary
        self.seq = seq
        self.info = info
        self.relative = relative
        self.outcome: tuple[Any, ...] = ()


class DownloadJob(Job):
    """``items`` are keys or ObjectInfo; ``path`` maps an ObjectInfo to its path relative to ``root``."""

    operation = "download"
    finishes = frozenset((Kind.ABORT, Kind.DELETE))

    def __init__(
        self, items: Iterable[Any], bucket: str, root: str, path: Callable[[ObjectInfo], str],
        emit: Callable[[RequestReport], None], *, threshold_bytes: int, part_bytes: int, move: bool = False,
        fsync: bool = False, fold: Callable[[str], Callable[[str], str]] = fold_of,
        conditions: DeleteConditions | None = None, verify: bool = False, ask_checksums: bool = False,
        sync_first: bool = False,
    ) -> None:  # fmt: skip
        root = normal_path(root)
        values = {
            "bucket": bucket, "root": root, "threshold_bytes": threshold_bytes, "fsync": fsync, "verify": verify,
            "ask_checksums": ask_checksums,
        }  # fmt: skip
        super().__init__(items, values, emit)
        self.sync_first = root if sync_first else ""
        self._path = path
        self._part_bytes = part_bytes
        self._threshold_bytes = threshold_bytes
        self._guard = EveryKey() if move else KeyGuard()
        self._folders = FolderGuard(root, sync=fsync)
        self._before = root.rstrip("/") + "/"  # before a relative path, which never begins with one
        self._fold_of = fold
        self._fold: Callable[[str], str] | None = None
        self._token = secrets.token_hex(4)
        self._deleter = KeyDeleter(self, self._deleted, conditions, finishes=True) if move else None
        self.destroys = move
        if move:
            self.operation = "move"

    def admit(self, seq: int, item: Any) -> None:
        """GetObject, or ranges when it is known to be large."""
        if type(item) is Decided:
            if item.skip and self._perhaps_own(seq, item):
                return
            if item.skip:
                self._leave(seq, item.item)
                self.report_skipped(seq, item.item.key, item.skip, item.item.size_bytes)
                return
            if item.error is not None:
                self.report_refused(seq, item.item.key, item.error)
                return
            item = item.item
        info = ObjectInfo(item, -1) if isinstance(item, str) else item
        try:
            relative = safe_relative(self._path(info))
            if self._fold is None:  # with the first object: a batch without any makes no folder
                self._fold = self._fold_of(self.context.root)
            if self._guard.seen(self._fold(relative)):
                raise self._taken(relative)
            error = self.wrong_target(self._before + relative, info.key)
            if error is not None:
                raise error
        except S3EngineError as error:
            self.report_refused(seq, info.key, error)
            return
        wanted = _Wanted(seq, info, relative, self._temporary_name(seq, relative))
        if info.size_bytes > self._threshold_bytes:
            self._in_parts(wanted, info, ())
        else:
            # The temporary name belongs to the object, not to the attempt: whoever takes over after the death of a
            # worker writes over what that one left.
            arg = (relative, info.etag, wanted.temporary)
            self.request(Kind.GET_FILE, info.key, info.size_bytes, arg, self._got, wanted)

    def _perhaps_own(self, seq: int, decided: Decided) -> bool:
        """An earlier run may have written the file that is there: look, and go on with the move if it did."""
        if self._deleter is None or self.ledger is None or not self.ledger.again(seq):
            return False
        info = ObjectInfo(decided.item, -1) if isinstance(decided.item, str) else decided.item
        wanted = _Wanted(seq, info, safe_relative(self._path(info)), "")
        path = os.path.join(self.context.root, wanted.relative)

        def then(outcome: tuple[Any, ...], same: bool) -> None:
            if outcome[11] is None:
                self._leave(seq, info)
            if same or outcome[11] is not None:
                self._over(wanted, outcome)
            else:
                self.report_skipped(seq, info.key, decided.skip, info.size_bytes)

        OwnFile(self, info.key, path, repr(path), self._part_bytes, then).look()
        return True

    def _leave(self, seq: int, info: Any) -> None:
        """Remove temporary files that earlier runs left of an object that is there: no later run goes on with them."""
        if self.ledger is None or not self.ledger.again(seq):
            return
        self._remove_recalled(seq)
        info = ObjectInfo(info, -1) if isinstance(info, str) else info
        self._temporary_name(seq, safe_relative(self._path(info)))

    def _remove_recalled(self, seq: int) -> None:
        recalled = self.ledger.recall(seq) if self.ledger is not None else None
        if recalled is not None and self.ledger is not None:
            with contextlib.suppress(OSError):
                os.unlink(recalled.name)
            self.ledger.forget(recalled.id)

    def _taken(self, relative: str) -> DuplicateKey:
        assert self._fold is not None
        if self._fold("aA") == "aA" and self._fold("e\u0301") == "e\u0301":
            return DuplicateKey(
                f"path {relative!r} comes twice in this batch; the first one stands; {ANOTHER_NAME}", key=relative
            )
        return DuplicateKey(
            f"path {relative!r} comes twice in this batch, or the file system of {self.context.root!r} takes it "
            f"for the same as another one (upper and lower case, accents); the first one stands; {ANOTHER_NAME}",
            key=relative,
        )

    def refuse(self, seq: int, item: Any, error: S3EngineError) -> None:
        """Report an object that was not begun."""
        item = item.item if type(item) is Decided else item
        self.report_refused(seq, item if isinstance(item, str) else getattr(item, "key", repr(item)), error)

    def remember(self, done: Iterable[tuple[str, str]]) -> None:
        """Targets are paths below the root."""
        for _, target in done:
            if self._fold is None:
                self._fold = self._fold_of(self.context.root)
            self._guard.seen(self._fold(target[len(self.context.root.rstrip("/")) + 1 :]))

    def flush(self) -> None:
        """Delete the objects that wait."""
        if self._deleter is not None:
            self._deleter.flush()

    def pending(self) -> bool:
        """Objects wait to be deleted."""
        return self._deleter is not None and self._deleter.held > 0

    def cancel(self) -> None:
        """Objects that are safely on disk are still deleted: a move is not left half-done, unless it was stopped."""
        if not self.cancelled:
            self.flush()
            super().cancel()
            if self._deleter is not None:
                self._deleter.flush()

    def temporary(self, wanted: _Wanted) -> tuple[str, str]:
        """Final and temporary path; makes the folder. Raises UnsafeKey, SinkError."""
        path = self._folders.ready(wanted.relative)
        return path, temporary_path(path, wanted.temporary)

    def _temporary_name(self, seq: int, relative: str) -> str:
        """Removes what was left by runs that were killed with all their workers."""
        if self.ledger is None:
            return f"{self._token}-{seq}"
        name, *left = self.ledger.temporaries(seq)
        path = os.path.join(self.context.root, relative)
        for other in left:
            with contextlib.suppress(OSError):
                os.unlink(temporary_path(path, other))
        return name

    def _in_parts(self, wanted: _Wanted, info: ObjectInfo, headers: Headers) -> None:
        plan = plan_parts(info.size_bytes, self._part_bytes)
        ready, over = partial(self.temporary, wanted), partial(self._over, wanted)
        self.add_composite(FileFromRanges(self, wanted.seq, info, plan, ready, over, headers))

    def _got(self, wanted: _Wanted, task: Task, outcome: tuple[Any, ...]) -> None:
        error = outcome[11]
        if type(error) is NeedsParts and 0 <= wanted.info.size_bytes != error.size_bytes:
            error = other_size(self.context.bucket, wanted.info.key, error.size_bytes, wanted.info.size_bytes)
            outcome = (*outcome[:11], error, *outcome[12:])
        if type(error) is NeedsParts:
            found = wanted.info._replace(size_bytes=error.size_bytes, etag=error.etag)
            self._in_parts(wanted, found, error.headers)
        else:
            if error is not None:
                # The worker removes what it wrote; one that was killed while it wrote could not.
                path = os.path.join(self.context.root, wanted.relative)
                with contextlib.suppress(OSError):
                    os.unlink(temporary_path(path, task[5][2]))
            if not passes(error):  # small now, or gone
                self._remove_recalled(wanted.seq)
            self._over(wanted, outcome)

    def _over(self, wanted: _Wanted, outcome: tuple[Any, ...]) -> None:
        if outcome[11] is None and self._deleter is not None:
            wanted.outcome = outcome
            if self.ledger is None:
                self._recorded(wanted, None)
            else:  # first on record: another run must know that what is gone was fetched
                self.ledger.stored(wanted.seq, outcome[8], outcome[9], partial(self._recorded, wanted))
            return
        before = self.ledger.was_stored(wanted.seq) if self.ledger is not None and is_gone(outcome[11]) else None
        if before is not None and self._is_there(wanted, before[0]):
            # An earlier run fetched it, deleted the object, and could not say so any more.
            self._report(wanted, (*outcome[:8], *before, None, None, "", LENGTH_ONLY), None)
        else:
            self._report(wanted, outcome, outcome[11])

    def _recorded(self, wanted: _Wanted, failure: JournalError | None) -> None:
        assert self._deleter is not None
        if failure is None:
            self._deleter.add(wanted.info.key, wanted, wanted.outcome[9])  # the ETag that came with the bytes
        else:
            self._deleted(wanted, wanted.outcome, failure)

    def _is_there(self, wanted: _Wanted, size_bytes: int) -> bool:
        try:
            return os.stat(os.path.join(self.context.root, wanted.relative)).st_size == size_bytes
        except OSError:
            return False

    def _deleted(self, wanted: _Wanted, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        if error is not None:
            error = move_error(f"downloaded to {os.path.join(self.context.root, wanted.relative)!r}", error)
        self._report(wanted, wanted.outcome, error)

    def _report(self, wanted: _Wanted, outcome: tuple[Any, ...], error: S3EngineError | None) -> None:
        target = self._before + wanted.relative
        self.report(wanted.seq, wanted.info.key, outcome, target=target, error=error)
