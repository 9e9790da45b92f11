"""Between boto3's dictionaries and the values of the seam."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from s3engine.errors import InvalidRequest
from s3engine.transport import (
    CompletedPart,
    DeleteFailure,
    ListPage,
    ObjectInfo,
    PartsPage,
    UploadInfo,
    UploadsPage,
)
from s3engine_transports.common import Answer, quoted_etag
from s3engine_transports.raw.xml import is_xml_safe

__all__ = [
    "bare_etag", "check_key", "copy_source", "delete_failures", "list_page", "parts_page", "to_delete", "uploads_page",
]  # fmt: skip


def check_key(request: Answer) -> None:
    """Raises InvalidRequest for a key that no request can carry, before anything is sent."""
    where = request.where()
    if not request.key:
        # Without its key DeleteObject is DeleteBucket, and PutObject is CreateBucket.
        raise InvalidRequest(f"{request.operation} s3://{request.bucket}/: the key is empty", **where)
    try:
        request.key.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{request.operation}: the key {request.key!r} is not Unicode; give it another", **where
        ) from None


def copy_source(request: Answer, if_match: str) -> dict[str, Any]:
    """The parameters that name the source of a copy. Raises InvalidRequest."""
    check_key(request)
    # As a dictionary: in a string boto3 takes "?versionId=" for its own.
    source: dict[str, Any] = {"CopySource": {"Bucket": request.bucket, "Key": request.key}}
    if if_match:
        source["CopySourceIfMatch"] = quoted_etag(if_match)
    return source


def to_delete(bucket: str, keys: list[str]) -> dict[str, Any]:
    """The parameter of DeleteObjects, in its quiet form: only failures come back. Raises InvalidRequest."""
    for key in keys:
        request = Answer("DeleteObjects", bucket, key)
        check_key(request)
        if not is_xml_safe(key):
            why = "the key cannot stand in XML; delete it by itself"
            raise InvalidRequest(f"{request.describe()}: {why}", **request.where())
    return {"Objects": [{"Key": key} for key in keys], "Quiet": True}


def delete_failures(parsed: Mapping[str, Any]) -> list[DeleteFailure]:
    """Of DeleteObjects."""
    return [
        DeleteFailure(failed.get("Key", ""), failed.get("Code", ""), failed.get("Message", ""))
        for failed in parsed.get("Errors", ())
    ]


def bare_etag(parsed: Mapping[str, Any]) -> str:
    """The ETag without quotes, "" when there is none."""
    etag: str = parsed.get("ETag", "")
    return etag.strip('"')


def _iso(moment: datetime.datetime | None) -> str:
    """As S3 writes it; boto3 does not keep the store's text."""
    if moment is None:
        return ""
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def list_page(parsed: Mapping[str, Any]) -> ListPage | None:
    """Of ListObjectsV2, whose keys boto3 decodes by itself; None when more follows and no token says how."""
    objects = [
        ObjectInfo(
            found.get("Key", ""), found.get("Size", 0), bare_etag(found), _iso(found.get("LastModified")),
            found.get("StorageClass", ""),
        )
        for found in parsed.get("Contents", ())
    ]  # fmt: skip
    prefixes = [found.get("Prefix", "") for found in parsed.get("CommonPrefixes", ())]
    if not parsed.get("IsTruncated"):
        return ListPage(objects, prefixes, "")
    token = parsed.get("NextContinuationToken", "")
    return ListPage(objects, prefixes, token) if token else None


def parts_page(parsed: Mapping[str, Any]) -> PartsPage:
    """Of ListParts."""
    parts = [
        CompletedPart(part["PartNumber"], bare_etag(part), part.get("Size", 0)) for part in parsed.get("Parts", ())
    ]
    return PartsPage(parts, str(parsed.get("NextPartNumberMarker", "")) if parsed.get("IsTruncated") else "")


def uploads_page(parsed: Mapping[str, Any]) -> UploadsPage:
    """Of ListMultipartUploads, whose keys boto3 does not decode."""
    encoded = parsed.get("EncodingType") == "url"

    def plain(text: str) -> str:
        return unquote_plus(text) if encoded else text

    uploads = [
        UploadInfo(plain(found.get("Key", "")), found["UploadId"], _iso(found.get("Initiated")))
        for found in parsed.get("Uploads", ())
    ]
    if not parsed.get("IsTruncated"):
        return UploadsPage(uploads, "", "")
    return UploadsPage(uploads, plain(parsed.get("NextKeyMarker", "")), parsed.get("NextUploadIdMarker", ""))
