"""Every error of s3engine, sorted by what the caller can do about it.

One root, ``S3EngineError``. All context is in attributes (bucket, key, status ...), all classes survive pickling,
because most of them are made in a worker process and read in the parent. No error ever holds a secret.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccessDenied",
    "AttemptTimeout",
    "Cancelled",
    "ChecksumMismatch",
    "ClockSkewed",
    "ConfigError",
    "Conflict",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionLost",
    "CredentialsExpired",
    "DeleteLimitExceeded",
    "DuplicateKey",
    "EngineClosed",
    "FirstByteTimeout",
    "FunctionDied",
    "FunctionError",
    "FunctionRaised",
    "FunctionTimedOut",
    "FunctionUnusable",
    "InvalidRequest",
    "JournalError",
    "JournalInUse",
    "JournalMismatch",
    "MalformedRow",
    "NetworkError",
    "NoCredentials",
    "NotFound",
    "NotS3",
    "NotSupported",
    "PreconditionFailed",
    "RangeNotSatisfiable",
    "RequestError",
    "RequestTimeout",
    "S3EngineError",
    "ServerFault",
    "SinkError",
    "SourceChanged",
    "SourceError",
    "StallTimeout",
    "Throttled",
    "TooSlow",
    "TransferError",
    "TruncatedBody",
    "UnsafeKey",
    "WorkerCrashed",
    "WrongRegion",
]  # fmt: skip


def _rebuild(cls: type[S3EngineError], message: str, context: dict[str, Any]) -> S3EngineError:
    return cls(message, **context)


class S3EngineError(Exception):
    """Root of all errors raised or reported by s3engine. ``str()`` is one line for a person."""

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self._context = context
        for name, value in context.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default reduce calls cls(*args) and would lose the keywords.
        return _rebuild, (type(self), self.message, self._context)


class ConfigError(S3EngineError, ValueError):
    """A setting, argument, URI or name is wrong. Nothing was sent. The message names it and the way out."""


class NoCredentials(ConfigError):
    """No credentials were found in any place that was looked at."""


class DeleteLimitExceeded(S3EngineError):
    """More would be deleted than ``max_delete`` allows. Nothing was deleted (by this run, of a job with a journal).

    ``limit`` is the limit as it was given, ``count`` how many would be deleted, ``total`` how many there are below the
    prefix, before filters (-1: not known).
    """

    limit: str = ""
    count: int = 0
    total: int = -1


class JournalMismatch(ConfigError):
    """The journal belongs to another job. ``field`` differs: ``recorded`` in the journal, ``given`` now."""

    field: str = ""
    recorded: str = ""
    given: str = ""


class JournalInUse(ConfigError):
    """Another run is writing to this journal; ``pid`` is its process, 0 when that is not known."""

    pid: int = 0


class JournalError(S3EngineError):
    """The journal cannot be written or read: disk full, damaged. The batch ends; what has no record is done again."""


class EngineClosed(S3EngineError):
    """The engine was closed; make a new one."""


class TransferError(S3EngineError):
    """Something on this side of the network: a file, a folder, a key, a worker. Concerns one object.

    ``path`` and ``key`` are what it is about, as far as that is known, else "".
    """

    path: str = ""
    key: str = ""


class SourceError(TransferError):
    """A source cannot be read: missing, no permission, not a regular file."""


class SourceChanged(SourceError):
    """A source shrank, grew or was written to while it was sent. What the store holds is not to be trusted."""


class SinkError(TransferError):
    """A download cannot be written: no permission, disk full, a file where a folder is needed.

    ``errno`` is the system's number, None when it was not the system that refused.
    """

    errno: int | None = None


class UnsafeKey(TransferError):
    """A key has no safe place below the target folder (``..``, absolute, empty segment, NUL byte)."""


class DuplicateKey(TransferError):
    """Two sources of one batch have the same target."""


class MalformedRow(TransferError):
    """A row of an input file cannot be used. ``file`` and ``line`` (from 1) tell which; so does the message.

    ``key`` is the name that the row has, "" when it has none.
    """

    file: str = ""
    line: int = 0


class Cancelled(TransferError):
    """The batch was cancelled or interrupted before this object was done."""


class WorkerCrashed(TransferError):
    """The task killed every worker process that tried it."""


class FunctionError(TransferError):
    """A function of the caller's failed on one object. The object itself came; the function is not tried again."""


class FunctionRaised(FunctionError):
    """It raised, or returned what cannot travel.

    ``exception`` is the class of what it raised ("builtins.ValueError"), ``traceback`` the whole of it as text.
    """

    exception: str = ""
    traceback: str = ""


class FunctionTimedOut(FunctionError):
    """It took longer than ``timeout_s``, without the time in which it waited for the network, and was ended."""

    timeout_s: float = 0.0


class FunctionDied(FunctionError):
    """The process it ran in ended: a crash in C code, ``os._exit``, or killed, for want of memory mostly.

    ``exitcode`` as subprocess has it: below 0 it is a signal; None when it is not known.
    """

    exitcode: int | None = None


class FunctionUnusable(S3EngineError):
    """A function cannot be had in another process: an import fails there, or its initializer does. Ends the batch."""

    exception: str = ""
    traceback: str = ""


class RequestError(S3EngineError):
    """A request failed. Attributes say what is known; absent knowledge is 0, "" or None."""

    operation: str = ""
    bucket: str = ""
    key: str = ""
    status: int = 0
    code: str = ""
    request_id: str = ""
    retry_after_s: float | None = None


class NotFound(RequestError):
    """404: no such bucket, key or upload (``code`` tells which)."""


class AccessDenied(RequestError):
    """401 or 403: who you are is not allowed to do this, or the secret is wrong."""


class PreconditionFailed(RequestError):
    """412 (and 304): the object is not in the state that was asked for (If-Match, If-None-Match)."""


class RangeNotSatisfiable(RequestError):
    """416: the object is shorter than the range."""


class InvalidRequest(RequestError):
    """Any other final 4xx: repeating the same request gives the same answer."""


class NotSupported(RequestError):
    """405 or 501: the store does not have this operation or option."""


class Conflict(RequestError):
    """409 that may pass: another operation on the same key is under way."""


class Throttled(RequestError):
    """The store asks for fewer requests (503 SlowDown and relatives, 429). Retry slowly."""


class ServerFault(RequestError):
    """5xx, or an answer that is cut or contradicts itself. Retry."""


class ClockSkewed(RequestError):
    """The store finds our clock wrong. ``offset_s`` is to be added to this machine's clock, whatever is added now."""

    offset_s: float = 0.0


class CredentialsExpired(RequestError):
    """The session token ran out; fresh credentials are needed."""


class WrongRegion(RequestError):
    """The bucket lives elsewhere; ``region`` names the place when the answer told it."""

    region: str = ""


class NotS3(RequestError):
    """What answered does not speak S3 (not HTTP, or a page that is no S3 answer)."""


class NetworkError(RequestError):
    """No whole answer came: nothing is known about what the store did."""


class ConnectFailed(NetworkError):
    """No connection: refused, unreachable, name unknown, TLS refused. ``permanent``: a certificate is not trusted."""

    permanent: bool = False


class ConnectionLost(NetworkError):
    """The connection was reset or closed. ``stale`` is True when it was a reused one that had not answered yet."""

    stale: bool = False


class TruncatedBody(NetworkError):
    """The body ended before its announced length."""


class ChecksumMismatch(NetworkError):
    """Bytes that came, or that the store says it has, are not the ones that were sent. Retried like a lost answer.

    ``permanent``: the same wrong bytes came again, so it is not the network; not retried.
    """

    permanent: bool = False


class RequestTimeout(NetworkError):
    """One of our timers ended the attempt; ``timeout_s`` is its value."""

    timeout_s: float = 0.0


class ConnectTimeout(RequestTimeout):
    """Connecting (TCP, proxy, TLS) took too long."""


class StallTimeout(RequestTimeout):
    """No byte moved for the stall timeout while a body was under way."""


class FirstByteTimeout(RequestTimeout):
    """The request was sent whole and no answer began in time."""


class AttemptTimeout(RequestTimeout):
    """The attempt as a whole took too long."""


class TooSlow(RequestTimeout):
    """Bytes moved, but below the minimum rate for too long."""
