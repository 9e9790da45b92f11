"""The operations of S3 through boto3's client."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from botocore import xform_name
from botocore.exceptions import BotoCoreError

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError
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
    PartsPage,
    PutResult,
    Sink,
    Timeouts,
    UploadsPage,
)
from s3engine_transports.bodies import PartReader, deliver
from s3engine_transports.clock import StoreClock
from s3engine_transports.common import Answer, check_asked_for, check_key, quoted_etag, refuse_trailer
from s3engine_transports.raw import answers
from s3engine_transports.via_boto3.asking import CLIENT_ERRORS, Asking
from s3engine_transports.via_boto3.http import Http
from s3engine_transports.via_boto3.session import Clients, CurrentCredentials
from s3engine_transports.via_boto3.values import (
    bare_etag,
    checksum_member,
    checksum_told,
    copy_source,
    delete_failures,
    list_page,
    parts_page,
    to_delete,
    uploads_page,
)

__all__ = ["Boto3Transport"]

P = TypeVar("P")

_FIRST_REGION = "us-east-1"  # the only one that CreateBucket must not name


class Boto3Transport:
    """See :class:`s3engine.transport.Transport`. Opened in the process that uses it; safe for several threads.

    What is sent is boto3's own work: the request, its signature, ``Expect: 100-continue`` before every body of an
    object. Headers go out as they are given, past boto3's parameters, so that none is lost or changed. How it comes to
    make one attempt and no look-ups: ``session.py``; how deadlines reach its sockets: ``http.py``. A store that ignores
    ``Expect`` is given a second by botocore before the body follows, which only the attempt's timer counts, afterwards.

    Behind a proxy for plain HTTP a key with ``.`` or ``..`` segments raises InvalidRequest: urllib3 would change it.
    """

    capabilities = Capabilities(
        interruptible=True, reasons=(("trailers", "boto3 does it over HTTPS only, by an algorithm of its choice"),)
    )

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._credentials = CurrentCredentials(settings.credentials)
        self._clock = StoreClock()
        self._regions: dict[str, str] = {}
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._maker = Clients(settings, self._credentials)
        self._http = Http(settings)
        self._asking = Asking(self._http, self._clock)
        self._client("")

    def _region(self, bucket: str) -> str:
        return self._regions.get(bucket) or self._settings.region

    def _client(self, bucket: str) -> Any:
        region = self._region(bucket)
        found = self._clients.get(region)
        if found is None:
            with self._lock:
                found = self._clients.get(region)
                if found is None:
                    try:
                        found = self._maker.make(region, self._asking.handlers)
                    except (BotoCoreError, ValueError) as error:
                        raise ConfigError(f"boto3 cannot make a client for region {region!r}: {error}") from error
                    self._clients[region] = found
        return found

    # ---- how each operation is asked for: boto3's reading of the answer, and the answer

    def _bucket(
        self, operation: str, bucket: str, timeouts: Timeouts, *, prefix: str = "", **parameters: Any
    ) -> tuple[Any, Answer]:
        if prefix:
            parameters["Prefix"] = prefix
        return self._ask(Answer(operation, bucket, ""), timeouts, (), parameters)

    def _object(
        self, operation: str, bucket: str, key: str, timeouts: Timeouts, headers: Headers = (), **parameters: Any
    ) -> tuple[Any, Answer]:
        check_key(operation, bucket, key)
        return self._ask(Answer(operation, bucket, key), timeouts, headers, {"Key": key, **parameters})

    def _send(
        self, operation: str, bucket: str, key: str, body: Body, timeouts: Timeouts, headers: Headers = (),
        **parameters: Any,
    ) -> PutResult:  # fmt: skip
        # boto3's reading of the answer has no more than the headers.
        with PartReader(body) if isinstance(body, FilePart) else nullcontext(body) as sent:
            _, answer = self._object(operation, bucket, key, timeouts, headers, Body=sent, **parameters)
        return answers.put(answer, self._clock)

    def _ask(
        self, request: Answer, timeouts: Timeouts, headers: Headers, parameters: dict[str, Any]
    ) -> tuple[Any, Answer]:
        method = getattr(self._client(request.bucket), xform_name(request.operation))
        with self._asking.asking(request, timeouts, headers) as asked:
            return self._asking.call(asked, method, {"Bucket": request.bucket, **parameters}), asked.answer

    # ---- objects

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        refuse_trailer("PutObject", bucket, key, trailer)
        return self._send("PutObject", bucket, key, body, timeouts, headers)

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        request = Answer("GetObject", bucket, key)
        check_key(*request[:3])
        parameters = {"Bucket": bucket, "Key": key}
        if first or last >= 0:
            parameters["Range"] = f"bytes={first}-{last if last >= 0 else ''}"
        if if_match:
            parameters["IfMatch"] = quoted_etag(if_match)
        method = self._client(bucket).get_object
        with self._asking.asking(request, timeouts, headers) as asked:
            body = self._asking.call(asked, method, parameters)["Body"]
            if asked.raw is None:  # boto3 takes any good status for an object
                raise answers.failure(asked.answer, self._clock)
            return deliver(
                asked.answer, body.read, sink, first=first, last=last, if_match=if_match, errors=CLIENT_ERRORS
            )

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts
    ) -> HeadResult:
        given: dict[str, Any] = {"PartNumber": part_number} if part_number else {}
        _, answer = self._object("HeadObject", bucket, key, timeouts, headers, **given)
        return answers.head(answer, self._clock)

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        source = copy_source("CopyObject", source_bucket, source_key, if_match)
        parsed, answer = self._object("CopyObject", bucket, key, timeouts, headers, **source)
        return self._copied(parsed.get("CopyObjectResult"), answer)

    def _copied(self, result: Mapping[str, str] | None, answer: Answer) -> CopyResult:
        if not result or not result.get("ETag"):
            return answers.copied(answer, self._clock)  # it knows the error
        return CopyResult(bare_etag(result), answer.headers.get("x-amz-request-id", ""), answer.status)

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        given: dict[str, Any] = {"IfMatch": quoted_etag(if_match)} if if_match else {}
        self._object("DeleteObject", bucket, key, timeouts, **given)

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        parsed, _ = self._bucket("DeleteObjects", bucket, timeouts, Delete=to_delete(bucket, keys, etags))
        return check_asked_for(bucket, keys, delete_failures(parsed))

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", continuation_token: str = "",
        start_after: str = "", max_keys: int = 1000, timeouts: Timeouts,
    ) -> ListPage:  # fmt: skip
        optional = {"Delimiter": delimiter, "ContinuationToken": continuation_token, "StartAfter": start_after}
        given = {name: value for name, value in optional.items() if value}
        parsed, answer = self._bucket("ListObjectsV2", bucket, timeouts, prefix=prefix, MaxKeys=max_keys, **given)
        return self._page(list_page(parsed), answer)

    def _page(self, page: P | None, answer: Answer) -> P:
        if page is None:
            raise self._asking.bad(answer)
        return page

    # ---- uploads in parts

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        parsed, answer = self._object("CreateMultipartUpload", bucket, key, timeouts, headers)
        upload_id: str = parsed.get("UploadId", "")
        if not upload_id:
            raise self._asking.bad(answer)
        return upload_id

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        refuse_trailer("UploadPart", bucket, key, trailer)
        return self._send("UploadPart", bucket, key, body, timeouts, headers, UploadId=upload_id, PartNumber=number)

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int, bucket: str, key: str, upload_id: str,
        number: int, *, if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        source = copy_source("UploadPartCopy", source_bucket, source_key, if_match)
        source["CopySourceRange"] = f"bytes={first}-{last}"
        parsed, answer = self._object(
            "UploadPartCopy", bucket, key, timeouts, UploadId=upload_id, PartNumber=number, **source
        )
        return self._copied(parsed.get("CopyPartResult"), answer)

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        listed = [
            {"PartNumber": part.number, "ETag": quoted_etag(part.etag), **checksum_member(part.checksum)}
            for part in sorted(parts)
        ]
        parsed, answer = self._object(
            "CompleteMultipartUpload", bucket, key, timeouts, headers, UploadId=upload_id,
            MultipartUpload={"Parts": listed},
        )  # fmt: skip
        if not parsed.get("ETag"):
            raise self._asking.bad(answer)
        request_id = answer.headers.get("x-amz-request-id", "")
        return PutResult(bare_etag(parsed), request_id, 200, parsed.get("VersionId", ""), checksum_told(parsed))

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts) -> None:
        self._object("AbortMultipartUpload", bucket, key, timeouts, UploadId=upload_id)

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts
    ) -> PartsPage:
        given: dict[str, Any] = {"PartNumberMarker": int(marker)} if marker else {}
        parsed, answer = self._object("ListParts", bucket, key, timeouts, UploadId=upload_id, **given)
        return self._page(parts_page(parsed), answer)

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", *, key_marker: str = "", upload_id_marker: str = "", timeouts: Timeouts
    ) -> UploadsPage:
        optional = {"KeyMarker": key_marker, "UploadIdMarker": upload_id_marker}
        given = {name: value for name, value in optional.items() if value}
        parsed, answer = self._bucket(
            "ListMultipartUploads", bucket, timeouts, prefix=prefix, EncodingType="url", **given
        )
        return self._page(uploads_page(parsed), answer)

    # ---- buckets

    def head_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        self._bucket("HeadBucket", bucket, timeouts)

    def create_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        region = self._region(bucket)
        elsewhere = not self._settings.endpoint_url and region != _FIRST_REGION
        given: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": region}} if elsewhere else {}
        self._bucket("CreateBucket", bucket, timeouts, **given)

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        self._bucket("DeleteBucket", bucket, timeouts)

    # ---- state

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Use other credentials from the next request on."""
        self._credentials.value = credentials

    def set_clock_offset(self, offset_s: float) -> None:
        """Add ``offset_s`` to the clock when signing."""
        self._clock.offset_s = offset_s

    def set_region(self, bucket: str, region: str) -> None:
        """Use a client for ``region`` for this bucket; on Amazon that one goes to the region's endpoint."""
        self._regions[bucket] = region

    def close(self) -> None:
        """Close all idle connections; later calls raise ConnectFailed."""
        self._http.close()

