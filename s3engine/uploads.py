"""Multipart uploads that were begun and never ended: no listing shows them, and their parts are charged for."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from s3engine.control.estimator import OpClass
from s3engine.errors import ConfigError, ServerFault
from s3engine.pages import PageWatch
from s3engine.targets import seconds_of
from s3engine.transport import UploadInfo

__all__ = ["age_of", "seconds_from", "still_listed", "unfinished"]

Call = Callable[[OpClass, str, Callable[[Any, Any], Any]], Any]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_duration = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII).fullmatch


def unfinished(call: Call, bucket: str, prefix: str) -> Iterator[UploadInfo]:
    """The unfinished uploads below ``prefix``, page by page.

    Raises ServerFault, before any of that page comes out, when the store lists uploads that are not below ``prefix``;
    also for pages without end; else what the requests raise.
    """
    key_marker = upload_id_marker = ""
    watch = PageWatch(f"unfinished uploads in s3://{bucket}/{prefix}")
    while True:
        page = call(OpClass.LIST, bucket, functools.partial(_list, bucket, prefix, key_marker, upload_id_marker))
        # A store that ignores the prefix must not cost others their uploads.
        foreign = next((upload.key for upload in page.uploads if not upload.key.startswith(prefix)), None)
        if foreign is not None:
            text = f"asked for the unfinished uploads below {prefix!r} the store lists {foreign!r}"
            raise ServerFault(text, bucket=bucket)
        yield from page.uploads
        key_marker, upload_id_marker = page.next_key_marker, page.next_upload_id_marker
        if not key_marker:
            return
        watch.page(f"{key_marker}\0{upload_id_marker}", [f"{one.key}\0{one.upload_id}" for one in page.uploads])


def _list(bucket: str, prefix: str, key_marker: str, upload_id_marker: str, api: Any, timeouts: Any) -> Any:
    return api.list_multipart_uploads(
        bucket, prefix, key_marker=key_marker, upload_id_marker=upload_id_marker, timeouts=timeouts
    )


def age_of(upload: UploadInfo, now_s: float) -> float | None:
    """Seconds since it was begun; None when the store tells no time that can be read."""
    begun_s = seconds_of(upload.initiated) if upload.initiated else None
    return None if begun_s is None else now_s - begun_s


def still_listed(uploads: Iterable[UploadInfo], among: Iterable[UploadInfo]) -> list[UploadInfo]:
    """Those of ``among`` that the store still lists."""
    wanted = {(one.key, one.upload_id) for one in among}
    return [one for one in uploads if (one.key, one.upload_id) in wanted]


def seconds_from(text: str) -> int:
    """Seconds of a duration such as 90s, 15m, 12h, 7d or 2w; only 0 needs no unit. Raises ConfigError."""
    found = _duration(text)
    if found is None or (not found[2] and int(found[1])):  # 7 for 7d would abort what runs now
        raise ConfigError(f"a duration is a number with s, m, h, d or w (90s, 12h, 7d), not {text!r}")
    return int(found[1]) * _UNITS[found[2] or "s"]
