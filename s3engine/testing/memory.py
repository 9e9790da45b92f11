"""A transport that keeps objects in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from s3engine.config import TransportSettings
from s3engine.errors import InvalidRequest, NotSupported, PreconditionFailed, RangeNotSatisfiable, SourceError
from s3engine.testing.memory_store import Store, StoredBucket, StoredObject, StoredUpload, md5, now, stored_object
from s3engine.transport import (
    Body,
    Capabilities,
    CompletedPart,
    CopyResult,
    DeleteFailure,
    FilePart,
    GetResult,
    Headers,
    HeadResult,
    ListPage,
    ObjectInfo,
    PartsPage,
    PutResult,
    Sink,
    Timeouts,
    Transport,
    UploadInfo,
    UploadsPage,
)

__all__ = ["MemoryTransport"]

_PIECE_BYTES = 64 * 1024
_MAX_KEYS = 1000


_stores: dict[str, Store] = {}


def _refuse_trailer(trailer: str) -> None:
    if trailer:
        raise NotSupported("this transport computes no checksum while it sends")


class MemoryTransport:
    """A blocking transport that keeps buckets in the memory of its process, one store per ``endpoint_url``.

    Processes do not see each other's: an engine needs ``workers=1``, and what it lists is the parent's own, empty
    store. So a bucket is there as soon as it is named, except those whose names begin with ``missing``. Part sizes are
    not checked. Close keeps the store; ``MemoryTransport.forget()`` empties all of this process.
    """

    capabilities = Capabilities(timers=frozenset(), interruptible=True, reasons=(("timers", "nothing is waited for"),))

    def __init__(self, settings: TransportSettings) -> None:
        self._store = _stores.setdefault(settings.endpoint_url, Store())
        self.credentials: Any = settings.credentials
        """What ``set_credentials`` was called with last."""
        self.clock_offset_s = 0.0
        self.regions: dict[str, str] = {}

    @staticmethod
    def forget() -> None:
        """Forget all stores of this process."""
        _stores.clear()

    # ---- objects

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        """Store an object."""
        _refuse_trailer(trailer)
        made = stored_object(_read(body), headers)
        with self._store.lock:
            self._store.bucket(bucket, key).objects[key] = made
        return PutResult(made.etag)

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        """Give a range to the sink, in pieces."""
        found = self._store.find(bucket, key, if_match)
        total = len(found.body)
        if first >= total and first:
            raise RangeNotSatisfiable(f"byte {first} of {total}", bucket=bucket, key=key, status=416)
        part = found.body[first : last + 1 if last >= 0 else total]
        result = GetResult(
            len(part), found.etag, first, total, _value(found.headers, "content-type"), found.last_modified,
            status=206 if first or last >= 0 else 200, headers=found.headers,
        )  # fmt: skip
        sink.begin(result)
        view = memoryview(part)
        for start in range(0, len(part), _PIECE_BYTES):
            sink.write(view[start : start + _PIECE_BYTES])
        return result

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts
    ) -> HeadResult:
        """Metadata of an object."""
        found = self._store.find(bucket, key)
        kind = _value(found.headers, "content-type")
        return HeadResult(len(found.body), found.etag, kind, found.last_modified, headers=found.headers)

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        """Copy; headers replace those of the source when the metadata directive says so."""
        found = self._store.find(source_bucket, source_key, if_match)
        replace = _value(headers, "x-amz-metadata-directive") == "REPLACE"
        made = stored_object(found.body, headers if replace else (*found.headers, *headers))
        with self._store.lock:
            self._store.bucket(bucket, key).objects[key] = made
        return CopyResult(made.etag)

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        """Delete one key."""
        with self._store.lock:
            objects = self._store.bucket(bucket, key).objects
            if if_match and key in objects and objects[key].etag != if_match:
                raise PreconditionFailed(f"{key!r} has another ETag", bucket=bucket, key=key, status=412)
            objects.pop(key, None)

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        """Delete many."""
        if len(keys) > _MAX_KEYS:
            raise InvalidRequest(f"{len(keys)} keys in one request", bucket=bucket, status=400, code="MalformedXML")
        with self._store.lock:
            objects = self._store.bucket(bucket, "").objects
            failures = []
            for key, etag in zip_longest(keys, etags, fillvalue=""):
                if etag and key in objects and objects[key].etag != etag:
                    failures.append(DeleteFailure(key, "PreconditionFailed", "the object has another ETag"))
                else:
                    objects.pop(key, None)
        return failures

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", continuation_token: str = "",
        start_after: str = "", max_keys: int = 1000, timeouts: Timeouts,
    ) -> ListPage:  # fmt: skip
        """One page in byte order; the token is the last key (or prefix) of the page before."""
        with self._store.lock:
            held = dict(self._store.bucket(bucket, "").objects)
        after = continuation_token or start_after
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        last = ""
        for key in sorted(held, key=lambda key: key.encode()):
            if not key.startswith(prefix) or key <= after:
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            common = key[: cut + len(delimiter)] if cut >= 0 else ""
            if common and (common == after or (prefixes and prefixes[-1] == common)):
                continue
            if len(objects) + len(prefixes) >= max_keys:
                return ListPage(objects, prefixes, last)
            last = common or key
            if common:
                prefixes.append(common)
            else:
                one = held[key]
                objects.append(ObjectInfo(key, len(one.body), one.etag, one.last_modified, "STANDARD"))
        return ListPage(objects, prefixes, "")

    # ---- multipart

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        """Begin an upload."""
        with self._store.lock:
            self._store.uploads_made += 1
            upload_id = f"upload-{self._store.uploads_made}"
            self._store.bucket(bucket, key).uploads[upload_id] = StoredUpload(key, headers)
        return upload_id

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        """Keep a part."""
        _refuse_trailer(trailer)
        data = _read(body)
        with self._store.lock:
            self._store.upload(bucket, key, upload_id).parts[number] = data
        return PutResult(md5(data))

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int, bucket: str, key: str, upload_id: str,
        number: int, *, if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        """Keep a part that comes from another object."""
        data = self._store.find(source_bucket, source_key, if_match).body[first : last + 1]
        with self._store.lock:
            self._store.upload(bucket, key, upload_id).parts[number] = data
        return CopyResult(md5(data))

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        """Put the named parts together."""
        with self._store.lock:
            upload = self._store.upload(bucket, key, upload_id)
            bodies = [upload.parts.get(part.number, b"") for part in parts]
            if [md5(body) for body in bodies] != [part.etag for part in parts]:
                raise InvalidRequest("a part is not there", bucket=bucket, key=key, status=400, code="InvalidPart")
            digest = hashlib.md5(b"".join(hashlib.md5(body, usedforsecurity=False).digest() for body in bodies))
            etag = f"{digest.hexdigest()}-{len(parts)}"
            self._store.bucket(bucket, key).objects[key] = StoredObject(b"".join(bodies), etag, upload.headers, now())
            del self._store.bucket(bucket, key).uploads[upload_id]
        return PutResult(etag)

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts) -> None:
        """Forget an upload."""
        with self._store.lock:
            self._store.upload(bucket, key, upload_id)
            del self._store.bucket(bucket, key).uploads[upload_id]

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts
    ) -> PartsPage:
        """The parts that are there."""
        with self._store.lock:
            parts = self._store.upload(bucket, key, upload_id).parts
            return PartsPage([CompletedPart(n, md5(body), len(body)) for n, body in sorted(parts.items())], "")

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", *, key_marker: str = "", upload_id_marker: str = "", timeouts: Timeouts
    ) -> UploadsPage:
        """All uploads under way, on one page."""
        with self._store.lock:
            uploads = self._store.bucket(bucket, "").uploads
            found = [UploadInfo(one.key, name, one.initiated) for name, one in uploads.items()]
        return UploadsPage([one for one in found if one.key.startswith(prefix)], "", "")

    # ---- buckets and the rest

    def head_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        """Raises NotFound."""
        with self._store.lock:
            self._store.bucket(bucket, "")

    def create_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        """Make a bucket; one that is there is no error."""
        with self._store.lock:
            self._store.buckets.setdefault(bucket, StoredBucket())

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        """Delete an empty bucket."""
        with self._store.lock:
            if self._store.bucket(bucket, "").objects:
                raise InvalidRequest("the bucket is not empty", bucket=bucket, status=409, code="BucketNotEmpty")
            del self._store.buckets[bucket]

    def set_credentials(self, credentials: Any) -> None:
        """Kept in ``credentials``."""
        self.credentials = credentials

    def set_clock_offset(self, offset_s: float) -> None:
        """Kept in ``clock_offset_s``."""
        self.clock_offset_s = offset_s

    def set_region(self, bucket: str, region: str) -> None:
        """Kept in ``regions``."""
        self.regions[bucket] = region

    def close(self) -> None:
        """Does nothing: the store stays."""

def _read(body: Body) -> bytes:
    if not isinstance(body, FilePart):
        return bytes(body)
    try:
        with open(body.path, "rb") as file:
            file.seek(body.offset)
            return file.read(body.length)
    except OSError as error:
        raise SourceError(f"cannot read {body.path!r}: {error.strerror}", path=body.path) from None


def _value(headers: Headers, name: str) -> str:
    return next((value for found, value in reversed(headers) if found == name), "")


# A signature that drifts from the Protocol is a mypy error here.
_: Callable[[TransportSettings], Transport] = MemoryTransport
