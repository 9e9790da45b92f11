"""The operations of S3 by minio, one blocking call each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from urllib3.exceptions import HTTPError

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.transport import (
    Body,
    Capabilities,
    CompletedPart,
    CopyResult,
    DeleteFailure,
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
from s3engine_transports.bodies import deliver
from s3engine_transports.common import check_asked_for, check_deletes, copy_source, quoted_etag, refuse_trailer
from s3engine_transports.raw import answers, xml
from s3engine_transports.via_minio import values
from s3engine_transports.via_minio.asking import Asker

__all__ = ["MinioTransport"]


class MinioTransport:
    """See :class:`s3engine.transport.Transport`. Opened in the process that uses it; safe for several threads.

    Raises ConfigError for an ``endpoint_url`` with a path, and for what else minio does not take.
    """

    capabilities = Capabilities(
        interruptible=True, reasons=(("trailers", "minio-py computes none while it sends"),)
    )

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._asker = Asker(settings)
        self._ask = self._asker.ask
        self._clock = self._asker.clock

    def set_credentials(self, credentials: Credentials | None) -> None:
        """Use other credentials from the next request on."""
        self._asker.set_credentials(credentials)

    def set_clock_offset(self, offset_s: float) -> None:
        """Add ``offset_s`` to the clock when signing."""
        self._asker.set_clock_offset(offset_s)

    def set_region(self, bucket: str, region: str) -> None:
        """Sign for ``region`` for this bucket; on Amazon go to that region's endpoint."""
        self._asker.set_region(bucket, region)

    def close(self) -> None:
        """Close all idle connections."""
        self._asker.close()

    # ---- operations

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "", timeouts: Timeouts
    ) -> PutResult:
        refuse_trailer("PutObject", bucket, key, trailer)
        answer = self._ask("PutObject", "PUT", bucket, key, timeouts, headers=headers, body=body)
        return answers.put(answer, self._clock)

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts,
    ) -> GetResult:  # fmt: skip
        if first or last >= 0:
            headers = (*headers, ("range", f"bytes={first}-{last if last >= 0 else ''}"))
        if if_match:
            headers = (*headers, ("if-match", quoted_etag(if_match)))
        with self._asker.asking("GetObject", "GET", bucket, key, timeouts, headers) as (answer, response):
            if response.status not in (200, 206):
                raise answers.failure(answer._replace(content=response.data), self._clock)
            return deliver(
                answer, lambda size: response.read(size, decode_content=False), sink, first=first, last=last,
                if_match=if_match, errors=(HTTPError,),
            )  # fmt: skip

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts
    ) -> HeadResult:
        query = {"partNumber": str(part_number)} if part_number else {}
        answer = self._ask("HeadObject", "HEAD", bucket, key, timeouts, query=query, headers=headers)
        return answers.head(answer, self._clock)

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        extra = (*copy_source("CopyObject", source_bucket, source_key, if_match), *headers)
        return answers.copied(self._ask("CopyObject", "PUT", bucket, key, timeouts, headers=extra), self._clock)

    def delete_object(self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts) -> None:
        headers: Headers = (("if-match", quoted_etag(if_match)),) if if_match else ()
        answers.nothing(self._ask("DeleteObject", "DELETE", bucket, key, timeouts, headers=headers), self._clock)

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts
    ) -> list[DeleteFailure]:
        check_deletes(bucket, keys)
        body = xml.delete_body(keys, etags)
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = (("content-md5", md5), ("content-type", "application/xml"))
        answer = self._ask(
            "DeleteObjects", "POST", bucket, None, timeouts, query={"delete": ""}, headers=headers, body=body
        )
        return check_asked_for(bucket, keys, answers.from_xml(answer, self._clock, values.read_deleted))

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", continuation_token: str = "",
        start_after: str = "", max_keys: int = 1000, timeouts: Timeouts,
    ) -> ListPage:  # fmt: skip
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(max_keys)}
        optional = {
            "prefix": prefix, "delimiter": delimiter, "continuation-token": continuation_token,
            "start-after": start_after,
        }  # fmt: skip
        query.update({name: value for name, value in optional.items() if value})
        answer = self._ask("ListObjectsV2", "GET", bucket, None, timeouts, query=query)
        return answers.from_xml(answer, self._clock, values.read_list_page)

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts) -> str:
        answer = self._ask(
            "CreateMultipartUpload", "POST", bucket, key, timeouts, query={"uploads": ""}, headers=headers
        )
        return answers.from_xml(answer, self._clock, answers.upload_id)

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        refuse_trailer("UploadPart", bucket, key, trailer)
        query = {"partNumber": str(number), "uploadId": upload_id}
        return answers.put(
            self._ask("UploadPart", "PUT", bucket, key, timeouts, query=query, headers=headers, body=body), self._clock
        )

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int, bucket: str, key: str, upload_id: str,
        number: int, *, if_match: str = "", timeouts: Timeouts,
    ) -> CopyResult:  # fmt: skip
        query = {"partNumber": str(number), "uploadId": upload_id}
        source = copy_source("UploadPartCopy", source_bucket, source_key, if_match)
        headers = (*source, ("x-amz-copy-source-range", f"bytes={first}-{last}"))
        answer = self._ask("UploadPartCopy", "PUT", bucket, key, timeouts, query=query, headers=headers)
        return answers.copied(answer, self._clock)

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts,
    ) -> PutResult:  # fmt: skip
        answer = self._ask(
            "CompleteMultipartUpload", "POST", bucket, key, timeouts, query={"uploadId": upload_id},
            headers=(*headers, ("content-type", "application/xml")), body=xml.complete_body(parts),
        )  # fmt: skip
        return answers.completed(answer, self._clock)

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts) -> None:
        answer = self._ask(
            "AbortMultipartUpload", "DELETE", bucket, key, timeouts, query={"uploadId": upload_id}
        )
        answers.nothing(answer, self._clock)

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts
    ) -> PartsPage:
        query = {"uploadId": upload_id}
        if marker:
            query["part-number-marker"] = marker
        answer = self._ask("ListParts", "GET", bucket, key, timeouts, query=query)
        return answers.from_xml(answer, self._clock, xml.read_parts)

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", *, key_marker: str = "", upload_id_marker: str = "", timeouts: Timeouts
    ) -> UploadsPage:
        query = {"uploads": "", "encoding-type": "url"}
        optional = {"prefix": prefix, "key-marker": key_marker, "upload-id-marker": upload_id_marker}
        query.update({name: value for name, value in optional.items() if value})
        answer = self._ask("ListMultipartUploads", "GET", bucket, None, timeouts, query=query)
        return answers.from_xml(answer, self._clock, xml.read_uploads)

    def head_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        answers.nothing(self._ask("HeadBucket", "HEAD", bucket, None, timeouts), self._clock)

    def create_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        region = self._asker.region(bucket)
        somewhere = not self._settings.endpoint_url and region != "us-east-1"
        body = xml.location_body(region) if somewhere else b""
        answers.nothing(self._ask("CreateBucket", "PUT", bucket, None, timeouts, body=body), self._clock)

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts) -> None:
        answers.nothing(self._ask("DeleteBucket", "DELETE", bucket, None, timeouts), self._clock)
