"""Asking the store what it compares, in the thread that reads the input; and the end of that by a cancel.

The uploads that are begun for it are aborted before the batch is over. What the thread has in hand meanwhile counts as
taken from the input.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from s3engine.errors import Cancelled, S3EngineError, TransferError
from s3engine.integrity.choice import Checking

__all__ = ["Asking", "Checks"]

_PATIENCE_S = 6.0  # beyond the grace, as for deletes: so that it is known what is left


class Checks(Protocol):
    """What a job needs of :class:`s3engine.integrity.finding.UploadChecks`."""

    def known(self) -> Checking | None:
        """What to do, if that can be said without a request."""

    def cautious(self) -> Checking:
        """What to do until then."""

    def find(self, bucket: str, key: str, stopped: Callable[[], bool]) -> Checking:
        """What to do; may take some requests. Raises S3EngineError only once ``stopped()``."""


class Asking:
    """One question; ``ask`` is for the reader's thread, the rest for the supervisor's. ``grace_s``: of a cancel."""

    def __init__(
        self, checks: Checks, bucket: str, grace_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = checks
        self._bucket = bucket
        self._patience_s = grace_s + _PATIENCE_S
        self._clock = clock
        self._lock = threading.Lock()
        self._key = ""
        self._item: Any = None
        self._in_hand = False
        self._over = False
        self._error: S3EngineError | None = None
        self._until_s: float | None = None  # None: not stopped

    def ask(self, item: Any, key: str) -> Checking | None:
        """What to do; None when the batch was cancelled: then ``item`` comes out of ``undone``."""
        with self._lock:
            if self._stopped():
                return None
            self._item, self._key, self._in_hand = item, key, True
        error: S3EngineError | None = None
        checking = None
        try:
            checking = self._checks.find(self._bucket, key, self._stopped)
        except S3EngineError as failure:
            error = failure
        with self._lock:
            self._over = True
            self._error = error
            if not self._stopped():
                self._in_hand, self._item = False, None
                return checking
        return None

    def _stopped(self) -> bool:
        return self._until_s is not None

    def stop(self) -> None:
        """Ask no further. What was begun is still ended."""
        with self._lock:
            if self._until_s is None:
                self._until_s = self._clock() + self._patience_s

    @property
    def under_way(self) -> bool:
        """It was stopped, and something is in hand whose end nobody has taken yet."""
        return self._in_hand and self._until_s is not None

    def undone(self) -> tuple[Any, S3EngineError | None] | None:
        """What was in hand, once nothing more is waited for, and what may have been left; comes out once."""
        with self._lock:
            if not self.under_way or self._until_s is None or not (self._over or self._clock() >= self._until_s):
                return None
            self._in_hand = False
            item, self._item = self._item, None
            if self._over and (self._error is None or isinstance(self._error, Cancelled)):
                return item, None
            uri = f"s3://{self._bucket}/{self._key}"
            return item, TransferError(
                "cancelled while the store was asked what it compares; the unfinished upload that was begun for that "
                f"may be left: s3engine cleanup {uri!r} --older-than 0 (with --dry-run it only shows what is there)",
                key=self._key,
            )
