"""Which uploads under way may be ours although their ids never came. The rules are in s3engine/jobs/orphans.py."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from s3engine.control.estimator import OpClass
from s3engine.errors import NotFound

__all__ = ["abort_lost", "may_be_orphan"]

_CLOCK_S = 1.0  # some stores tell whole seconds only
_MOST_PAGES = 10


def may_be_orphan(initiated: str, ours: str, lost_s: float) -> bool:
    """Whether an upload that began at ``initiated`` can be one of ours whose answer was lost.

    Args:
        initiated: When it began, ISO 8601.
        ours: When the upload that we know began, by the same clock.
        lost_s: How long before that we asked for the first time, in seconds.
    """
    began, known = _seconds(initiated), _seconds(ours)
    if began is None or known is None:
        return False
    return known - lost_s - _CLOCK_S <= began <= known + _CLOCK_S


def _seconds(text: str) -> float | None:
    from datetime import datetime  # lazy: 2 ms that hardly any upload needs

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def abort_lost(
    call: Callable[[OpClass, str, Callable[[Any, Any], Any]], Any], bucket: str, key: str, ours: set[str], lost: int,
    lost_s: float,
) -> int:  # fmt: skip
    """Abort the uploads of ``key`` that ``lost`` unanswered requests may have begun; returns how many.

    Args:
        call: As for :func:`s3engine.integrity.probe.probe`.
        bucket: Where.
        key: Exactly this one.
        ours: Ids that are known, and over.
        lost: No more than so many can be ours; when more look like it none is aborted.
        lost_s: How long ago the first of these requests was made, in seconds.

    Raises the S3EngineError that kept it from looking.
    """
    # One more, whose beginning by the store's own clock is what the others are compared with.
    mark = call(OpClass.PUT, bucket, lambda api, t: api.create_multipart_upload(bucket, key, (), timeouts=t))
    try:
        found = _uploads(call, bucket, key)
        candidates = [
            upload_id for upload_id, initiated in found.items()
            if upload_id != mark and upload_id not in ours and may_be_orphan(initiated, found.get(mark, ""), lost_s)
        ]  # fmt: skip
        if len(candidates) > lost:
            return 0
        aborted = 0
        for upload_id in candidates:
            if _is_empty(call, bucket, key, upload_id):
                _abort(call, bucket, key, upload_id)
                aborted += 1
        return aborted
    finally:
        _abort(call, bucket, key, mark)


def _is_empty(call: Any, bucket: str, key: str, upload_id: str) -> bool:
    page = call(OpClass.LIST, bucket, lambda api, t: api.list_parts(bucket, key, upload_id, timeouts=t))
    return not page.parts and not page.next_marker


def _abort(call: Any, bucket: str, key: str, upload_id: str) -> None:
    with suppress(NotFound):
        call(OpClass.DELETE, bucket, lambda api, t: api.abort_multipart_upload(bucket, key, upload_id, timeouts=t))


def _uploads(call: Any, bucket: str, key: str) -> dict[str, str]:
    """When each upload of exactly this key began, by id."""
    found: dict[str, str] = {}
    key_marker = id_marker = ""
    for _ in range(_MOST_PAGES):
        page = call(
            OpClass.LIST, bucket,
            lambda api, t, marker=key_marker, id_=id_marker: api.list_multipart_uploads(
                bucket, key, key_marker=marker, upload_id_marker=id_, timeouts=t
            ),
        )  # fmt: skip
        found.update({upload.upload_id: upload.initiated for upload in page.uploads if upload.key == key})
        _, key_marker, id_marker = page
        if not key_marker or not page.uploads or page.uploads[-1].key > key:
            break
    return found
