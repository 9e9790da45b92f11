"""What was decided about an item of the input before anything is written, and errors of targets that changed since."""

from __future__ import annotations

from typing import Any, NamedTuple

from s3engine.errors import NotFound, PreconditionFailed, S3EngineError
from s3engine.transport import Headers

__all__ = ["Decided", "late_error", "only_conditions", "without_conditions"]

_CONDITIONS = ("if-match", "if-none-match")


class Decided(NamedTuple):
    """An item of the input, and what was decided about it."""

    item: Any
    condition: Headers = ()
    """Goes with the request that writes: the target must still be what was found."""
    skip: str = ""
    """Why it is left out."""
    error: S3EngineError | None = None
    """Why nothing could be decided."""


def without_conditions(headers: Headers) -> Headers:
    """The headers that are no conditions."""
    return tuple(pair for pair in headers if pair[0] not in _CONDITIONS)


def only_conditions(headers: Headers) -> Headers:
    """The headers that are conditions. They hold for what writes the object, so not for CreateMultipartUpload."""
    return tuple(pair for pair in headers if pair[0] in _CONDITIONS)


def late_error(key: str, condition: Headers, error: S3EngineError, *, source: str = "") -> S3EngineError:
    """The error for a target that changed after it was looked at; any other error as it is.

    ``source`` is the key of a copy's source whose ETag was a condition too: the answer does not tell which one failed.
    """
    name = condition[0][0] if condition else ""
    if type(error) is NotFound and name == "if-match" and error.code == "NoSuchKey" and not source:
        happened = "was deleted"
    elif type(error) is PreconditionFailed and name == "if-none-match":
        happened = "was made by somebody else"
    elif type(error) is PreconditionFailed and name:
        happened = "was changed or deleted"
    else:
        return error
    other = f" (or source {source!r} was changed)" if source else ""
    text = f"target {key!r} {happened}{other} after it was looked at; it was left as it is"
    return PreconditionFailed(text, **error._context)
