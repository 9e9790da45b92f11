"""What a job can have kept of large objects under way, so that another run goes on inside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from s3engine.errors import (
    AccessDenied,
    Cancelled,
    ChecksumMismatch,
    ClockSkewed,
    Conflict,
    CredentialsExpired,
    JournalError,
    NetworkError,
    NoCredentials,
    NotFound,
    S3EngineError,
    ServerFault,
    Throttled,
    WorkerCrashed,
)

__all__ = ["KeptPart", "Ledger", "Recalled", "is_gone", "passes", "state_of_file", "state_of_object"]

_PASSING = (
    AccessDenied, Cancelled, ClockSkewed, Conflict, CredentialsExpired, JournalError, NetworkError, NoCredentials,
    ServerFault, Throttled, WorkerCrashed,
)  # fmt: skip


def passes(error: S3EngineError | None) -> bool:
    """Whether another run may go on where this error ended: nothing is wrong with source or object."""
    return isinstance(error, _PASSING) and not isinstance(error, ChecksumMismatch)


def is_gone(error: S3EngineError | None) -> bool:
    """Whether the object is not there, and not for want of its bucket."""
    return isinstance(error, NotFound) and error.code != "NoSuchBucket"


def state_of_file(size_bytes: int, mtime_ns: int, inode: int, ctime_ns: int) -> str:
    """What a file looks like: size, time of the last write, and which file it is (builds give all files one time)."""
    return f"{size_bytes} bytes, {mtime_ns}, {(inode, ctime_ns)}"


def state_of_object(size_bytes: int, etag: str) -> str:
    """What an object looks like; "" when its ETag is not known, since nothing else tells it from another."""
    return f"{size_bytes} bytes, {etag}" if etag else ""


class KeptPart(NamedTuple):
    """A part that arrived. ``checksum`` is ``"crc32:" + base64`` or "", ``verified`` as in RequestReport."""

    etag: str
    checksum: str
    size_bytes: int
    verified: str


class Recalled(NamedTuple):
    """What an earlier run left of one object."""

    id: int
    name: str
    """The upload id, or the path of the temporary file."""
    source: str
    """What the source looked like; another text means another source, and an empty one that nothing told."""
    part_bytes: int
    note: str
    """What else the transfer wanted to be told."""
    parts: dict[int, KeptPart]
    """By index, from 0."""


class Ledger(Protocol):
    """Called in the supervisor's thread; nothing here waits."""

    def again(self, seq: int) -> bool:
        """Whether an earlier run may have begun this object."""

    def temporaries(self, seq: int) -> list[str]:
        """What the temporary file of an object is called: now, then what killed runs may have left and is of no use."""

    def stored(self, seq: int, size_bytes: int, etag: str, then: Callable[[JournalError | None], None]) -> None:
        """A move has made its target, so many bytes; ``then(failure)``: that is on record, or never will be.

        ``etag`` is that of the object that was made or, of a file, fetched; "" where none is known.
        """

    def was_stored(self, seq: int) -> tuple[int, str] | None:
        """Size and ETag of what an earlier run made of this object; known once."""

    def recall(self, seq: int) -> Recalled | None:
        """What there is of an object; the second call finds nothing."""

    def begin(self, seq: int, kind: str, key: str, name: str, source: str, part_bytes: int, note: str) -> int:
        """A transfer is under way (``kind``: upload, download); returns the number it has in what follows."""

    def part(self, transfer: int, index: int, part: KeptPart) -> None:
        """One of its parts is there."""

    def drop(self, transfer: int) -> None:
        """It is not needed any more, and what is left of it is still to be removed."""

    def forget(self, transfer: int) -> None:
        """Nothing is left of it."""
