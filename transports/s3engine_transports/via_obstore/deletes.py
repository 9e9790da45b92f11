"""DeleteObjects, from a client that tells one failure at most."""

from __future__ import annotations

from typing import Any

import obstore

from s3engine.errors import NotFound, RequestError
from s3engine.transport import DeleteFailure
from s3engine_transports.common import Answer
from s3engine_transports.raw import xml
from s3engine_transports.via_obstore.attempt import Attempt
from s3engine_transports.via_obstore.failures import answered_body, delete_failure, text_of
from s3engine_transports.via_obstore.paths import is_exact

__all__ = ["delete_many"]

# Failures in a row, each by a request of its own for all keys that are left; then the keys go one by one.
_FAILURES_IN_A_ROW = 3


class _OneFailed(Exception):
    """A 200 of which obstore told less than there was: which key failed first, or not even that."""

    def __init__(self, failures: list[DeleteFailure], *, whole: bool) -> None:
        super().__init__(failures)
        self.failures = failures
        self.whole = whole
        """These are all that there are."""


def delete_many(attempt: Attempt, keys: list[str]) -> list[DeleteFailure]:
    """Delete keys; those that were not deleted. A key that obstore cannot address is one of them.

    DeleteObjects for all keys. When that names a key as failed, those before it are deleted, and another one is sent
    for those behind it; when that goes on, or the answer names none, one DeleteObject for each key. Keys that the
    attempt has no time for are returned with the code RequestTimeout, which calls for another attempt.
    """
    failures = [
        DeleteFailure(key, "InvalidURI", "obstore cannot address this key; use another transport, e.g. raw")
        for key in keys
        if not is_exact(key)
    ]
    left = [key for key in keys if is_exact(key)]
    in_a_row = 0
    while left and in_a_row < _FAILURES_IN_A_ROW:
        try:
            attempt.ask(_delete_objects, left)
        except _OneFailed as told:
            failures += told.failures
            if told.whole:
                return failures
            if not told.failures:
                break
            place = left.index(told.failures[0].key) + 1
            in_a_row = in_a_row + 1 if place == 1 else 1
            left = left[place:]
        else:
            return failures
    failures += _one_by_one(attempt, left)
    return failures


def _delete_objects(store: Any, keys: list[str]) -> None:
    try:
        obstore.delete(store, keys)
    except BaseException as error:
        told = _told(error, keys)
        if told is None:
            raise
        raise told from None


def _told(error: BaseException, keys: list[str]) -> _OneFailed | None:
    """What an exception says of single keys; None when it is about the request as a whole."""
    first = delete_failure(error)
    if first is not None:
        return _OneFailed([first], whole=False) if first.key in keys else _OneFailed([], whole=False)
    status, body = answered_body(error)
    if status == 200 and b"DeleteResult" in body:  # with a code that obstore takes for the request's own
        try:
            return _OneFailed(xml.read_deleted(body), whole=True)
        except xml.BadXml:
            return _OneFailed([], whole=False)
    # No key named, one named that was not asked for (that is a panic), or no message with the code.
    if "InvalidDeleteObjectsResponse" in text_of(error) or type(error).__name__ == "PanicException":
        return _OneFailed([], whole=False)
    return None


def _one_by_one(attempt: Attempt, keys: list[str]) -> list[DeleteFailure]:
    failures: list[DeleteFailure] = []
    for number, key in enumerate(keys):
        try:
            attempt.left_s()
        except RequestError as late:
            if not number:
                raise
            return failures + [DeleteFailure(one, "RequestTimeout", late.message) for one in keys[number:]]
        try:
            _single(attempt, key)
        except NotFound as error:
            if error.code == "NoSuchBucket":
                raise
        except RequestError as error:
            if not error.status:
                raise
            failures.append(DeleteFailure(key, error.code or str(error.status), error.message))
    return failures


def _single(attempt: Attempt, key: str) -> None:
    request = attempt.request
    attempt.request = Answer(request.operation, request.bucket, key)
    try:
        attempt.ask(obstore.delete, key, one_by_one=True)
    finally:
        attempt.request = request
