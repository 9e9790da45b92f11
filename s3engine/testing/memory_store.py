"""Buckets, objects and uploads in the memory of a process."""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime, timezone
from typing import NamedTuple

from s3engine.errors import NotFound, PreconditionFailed
from s3engine.transport import Headers

__all__ = ["Store", "StoredBucket", "StoredObject", "StoredUpload", "md5", "now", "stored_object"]


class StoredObject(NamedTuple):
    """An object as it lies there."""

    body: bytes
    etag: str
    headers: Headers
    last_modified: str


class StoredUpload:
    """A multipart upload under way."""

    def __init__(self, key: str, headers: Headers) -> None:
        self.key = key
        self.headers = headers
        self.initiated = now()
        self.parts: dict[int, bytes] = {}


class StoredBucket:
    """Objects by key, uploads by id."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, StoredUpload] = {}


class Store:
    """What all transports of one process with the same endpoint share. ``lock`` guards all but :meth:`find`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, StoredBucket] = {}
        self.uploads_made = 0

    def bucket(self, bucket: str, key: str) -> StoredBucket:
        """The bucket, made where it is not there. Raises NotFound for one whose name begins with ``missing``."""
        found = self.buckets.get(bucket)
        if found is None:
            if bucket.startswith("missing"):
                raise NotFound(f"no bucket {bucket!r}", bucket=bucket, key=key, status=404, code="NoSuchBucket")
            found = self.buckets[bucket] = StoredBucket()
        return found

    def find(self, bucket: str, key: str, if_match: str = "") -> StoredObject:
        """The object; takes the lock itself. Raises NotFound, PreconditionFailed."""
        with self.lock:
            found = self.bucket(bucket, key).objects.get(key)
        if found is None:
            raise NotFound(f"no object s3://{bucket}/{key}", bucket=bucket, key=key, status=404, code="NoSuchKey")
        if if_match and if_match.strip('"') != found.etag:
            raise PreconditionFailed(f"s3://{bucket}/{key} is another one", bucket=bucket, key=key, status=412)
        return found

    def upload(self, bucket: str, key: str, upload_id: str) -> StoredUpload:
        """The upload. Raises NotFound."""
        found = self.bucket(bucket, key).uploads.get(upload_id)
        if found is None or found.key != key:
            raise NotFound(f"no upload {upload_id!r}", bucket=bucket, key=key, status=404, code="NoSuchUpload")
        return found


def stored_object(body: bytes, headers: Headers) -> StoredObject:
    """A new one; what its headers only told the request is not kept."""
    return StoredObject(body, md5(body), tuple(pair for pair in headers if not pair[0].endswith("-directive")), now())


def md5(data: bytes) -> str:
    """As ETags have it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def now() -> str:
    """As listings have it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
