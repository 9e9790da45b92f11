"""From minio's own readers of answers to the values of the seam.

Its readers are used where they keep all that the seam tells: for list pages and for what DeleteObjects did.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError, fromstring

from minio.datatypes import parse_list_objects
from minio.deleteobjects import DeleteResult

from s3engine.transport import DeleteFailure, ListPage, ObjectInfo
from s3engine_transports.raw.xml import BadXml, check_harmless

__all__ = ["read_deleted", "read_list_page"]


class _Response(NamedTuple):
    """As much of urllib3's answer as minio's reader asks for."""

    data: bytes


def read_list_page(body: bytes) -> ListPage:
    """A page of ListObjectsV2. Raises BadXml."""
    response: Any = _Response(body)
    check_harmless(body)
    try:
        found, truncated, token, _ = parse_list_objects(response)
    except (ParseError, ValueError) as error:
        raise BadXml(str(error)) from None
    objects = []
    prefixes = []
    for one in found:
        name = one.object_name or ""
        if one.last_modified is None and one.size is None:  # all that minio tells of a prefix is its name
            prefixes.append(name)
            continue
        when = one.last_modified
        stamp = f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z" if when else ""
        if one.size is not None and not 0 <= one.size < 1 << 63:
            raise BadXml(f"{str(one.size)[:24]} is no size of an object")
        objects.append(ObjectInfo(name, one.size or 0, one.etag or "", stamp, one.storage_class or ""))
    if truncated and b"NextContinuationToken" not in body:  # minio takes the last key for one, as for ListObjects
        raise BadXml("the page says that more follows, but has no NextContinuationToken")
    return ListPage(objects, prefixes, token or "" if truncated else "", b"IsTruncated>" in body)


def read_deleted(body: bytes) -> list[DeleteFailure]:
    """The failures of DeleteObjects. Raises BadXml."""
    check_harmless(body)
    try:
        root = fromstring(body)
        if not root.tag.endswith("DeleteResult"):  # minio takes any page for one where all was deleted
            raise BadXml(f"a {root.tag} where a DeleteResult is due")
        result = DeleteResult.fromxml(root)
    except (ParseError, ValueError, LookupError) as error:  # the last: an encoding that Python does not know
        raise BadXml(str(error)) from None
    return [DeleteFailure(one.name or "", one.code, one.message or "") for one in result.error_list]
