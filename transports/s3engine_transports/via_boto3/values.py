"""Between boto3's dictionaries and the values of the seam."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from s3engine.transport import (
    CompletedPart,
    DeleteFailure,
    ListPage,
    ObjectInfo,
    PartsPage,
    UploadInfo,
    UploadsPage,
)
from s3engine_transports.common import check_deletes, check_key, quoted_etag

__all__ = [
    "bare_etag", "checksum_member", "checksum_told", "copy_source", "delete_failures", "list_page", "parts_page",
    "to_delete", "uploads_page",
]  # fmt: skip


def copy_source(operation: str, bucket: str, key: str, if_match: str) -> dict[str, Any]:
    """The parameters that name the source of a copy. Raises InvalidRequest."""
    check_key(operation, bucket, key)
    # As a dictionary: in a string boto3 takes "?versionId=" for its own.
    source: dict[str, Any] = {"CopySource": {"Bucket": bucket, "Key": key}}
    if if_match:
        source["CopySourceIfMatch"] = quoted_etag(if_match)
    return source


def to_delete(bucket: str, keys: list[str], etags: Sequence[str] = ()) -> dict[str, Any]:
    """The parameter of DeleteObjects, in its quiet form: only failures come back. Raises InvalidRequest."""
    check_deletes(bucket, keys)
    objects: list[dict[str, str]] = [{"Key": key} for key in keys]
    for one, etag in zip(objects, etags, strict=False):
        if etag:
            one["ETag"] = quoted_etag(etag)
    return {"Objects": objects, "Quiet": True}


def checksum_member(checksum: str) -> dict[str, str]:
    """What a part's ``"crc32:" + base64`` is called in CompleteMultipartUpload; nothing for none."""
    algorithm, _, value = checksum.partition(":")
    return {f"Checksum{algorithm.upper()}": value} if value else {}


def checksum_told(parsed: Mapping[str, Any]) -> str:
    """The checksum in an answer as ``"crc32:" + base64``, "" without."""
    for algorithm in ("sha256", "crc32", "crc64nvme", "crc32c"):
        value = parsed.get(f"Checksum{algorithm.upper()}")
        if value:
            return f"{algorithm}:{value}"
    return ""


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
        return ListPage(objects, prefixes, "", "IsTruncated" in parsed)
    token = parsed.get("NextContinuationToken", "")
    return ListPage(objects, prefixes, token) if token else None


def parts_page(parsed: Mapping[str, Any]) -> PartsPage | None:
    """Of ListParts; None when more follows and no marker says how."""
    parts = [
        CompletedPart(part["PartNumber"], bare_etag(part), part.get("Size", 0)) for part in parsed.get("Parts", ())
    ]
    if not parsed.get("IsTruncated"):
        return PartsPage(parts, "")
    marker = parsed.get("NextPartNumberMarker", 0)
    return PartsPage(parts, str(marker)) if marker else None


def uploads_page(parsed: Mapping[str, Any]) -> UploadsPage | None:
    """Of ListMultipartUploads, whose keys boto3 does not decode; None when more follows and no marker says how."""
    encoded = parsed.get("EncodingType") == "url"

    def plain(text: str) -> str:
        return unquote_plus(text) if encoded else text

    uploads = [
        UploadInfo(plain(found.get("Key", "")), found["UploadId"], _iso(found.get("Initiated")))
        for found in parsed.get("Uploads", ())
    ]
    if not parsed.get("IsTruncated"):
        return UploadsPage(uploads, "", "")
    marker = plain(parsed.get("NextKeyMarker", ""))
    return UploadsPage(uploads, marker, parsed.get("NextUploadIdMarker", "")) if marker else None
