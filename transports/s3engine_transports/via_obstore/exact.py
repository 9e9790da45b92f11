"""Questions about a listing that obstore itself does not answer: one or two small requests each."""

from __future__ import annotations

from typing import Any

import obstore

from s3engine.errors import InvalidRequest, NotFound, RequestError, ServerFault
from s3engine_transports.common import failure_of
from s3engine_transports.raw import xml
from s3engine_transports.via_obstore.attempt import Attempt
from s3engine_transports.via_obstore.paths import after_all_before_slash, after_all_names

__all__ = ["bucket_answers", "expect_none_before_slash", "expect_none_behind", "is_marker", "verify_empty"]

_PAGE_BYTES = 4 * 1024 * 1024  # no page of 1000 keys is larger
_TURNS = 3


def _first_path(store: Any, folder: str, offset: str) -> str:
    chunk = next(iter(obstore.list(store, folder or None, offset=offset or None, chunk_size=1)), None)
    return str(chunk[0]["path"]) if chunk else ""


def is_marker(attempt: Attempt, path: str) -> bool:
    """Whether there is a key ``path/``: it is the first of all that begin so, and the only one listed without it."""
    return attempt.ask(_first_path, path, "") == path


def expect_none_behind(attempt: Attempt, folder: str, last: str) -> None:
    """Raise ServerFault when a listing goes on behind the one that obstore took for its last, a path or ``folder/``."""
    behind = attempt.ask(_first_path, folder, last + after_all_names if last.endswith("/") else last)
    # One that is not behind it comes from a store that lists in another order or starts where it likes.
    if behind.encode() > last.encode() and not behind.startswith(last.rstrip("/") + "/"):
        raise ServerFault(
            f"{attempt.request.describe()}: the listing ended at {last!r}, and there are keys behind it",
            **attempt.request.where(),
        )  # fmt: skip


def expect_none_before_slash(attempt: Attempt, first_path: str) -> str:
    """Raise InvalidRequest when the bucket has keys that begin with ``/``.

    In S3's order they come behind all that begin with a lower character, and before all others. So either the first of
    those is there under the very key that obstore lists it by, or it is one of them. Stores that list in another order
    keep files in folders, and have no such keys.

    ``first_path`` is the first that was listed. Returns the one that was looked at: it must not be listed twice.
    """
    request = attempt.request
    path = first_path
    for _ in range(_TURNS):
        if path < "0":
            path = attempt.ask(_first_path, "", after_all_before_slash)
            if not path:
                return ""
        try:
            attempt.ask(obstore.head, path)
        except NotFound:
            if is_marker(attempt, path):
                return path
            again = attempt.ask(_first_path, "", after_all_before_slash)
            if again == path:
                break
            path = again  # it was deleted meanwhile
            continue
        return path
    raise InvalidRequest(
        f"{request.describe()}: there are keys that begin with '/', which obstore lists without it (such as "
        f"{'/' + path!r}); use another transport, e.g. raw",
        **request.where(),
    )  # fmt: skip


def verify_empty(attempt: Attempt, prefix: str) -> None:
    """Raise RequestError when an answer in which obstore found no keys was none of ListObjectsV2.

    To obstore any XML without keys is an empty listing, a web page or an ``<Error>`` too. What can be had is the text
    of ListObjects in its first version, as the "object" without a key; from stores that tell the length of an answer.
    """
    request = attempt.request
    try:
        body = attempt.ask(_bucket_text)
    except RequestError:
        return  # no length (Amazon), or only the second version of ListObjects
    code, message, fields = xml.read_error(body.lstrip())
    if code or body[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise failure_of(request._replace(status=200, content=body), code, message, fields)
    try:
        objects = xml.read_list_page(body).objects
    except (xml.BadXml, ValueError):
        return
    if any(info.key.startswith(prefix) for info in objects):
        raise ServerFault(
            f"{request.describe()}: a 200 without keys, of a bucket that has some", status=200, **request.where()
        )


def _bucket_text(store: Any) -> bytes:
    found = obstore.get(store, "")
    return bytes(found.bytes()) if found.meta["size"] <= _PAGE_BYTES else b""


def bucket_answers(attempt: Attempt) -> None:
    """Raise NotFound, AccessDenied ... when a bucket cannot be used; by a listing, since obstore has no HeadBucket."""
    try:
        if not attempt.ask(_first_path, "", ""):
            verify_empty(attempt, "")
    except InvalidRequest as error:
        if error.status:
            raise
        # It holds a key that obstore cannot represent, so it is there.
