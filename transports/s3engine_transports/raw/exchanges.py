"""The operations of S3 as exchanges: which request each makes, and how its answer is read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import partial

from s3engine.checksums import ALGORITHMS, header_name
from s3engine.errors import InvalidRequest
from s3engine.transport import (
    Body,
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
from s3engine_transports.common import check_asked_for, check_deletes, copy_source, quoted_etag
from s3engine_transports.raw import answers, xml
from s3engine_transports.raw.exchange import RawExchange
from s3engine_transports.raw.requests import Requests
from s3engine_transports.raw.routes import Routes
from s3engine_transports.raw.sigv4 import canonical_query

__all__ = ["RawExchanges"]

_CHECKSUM_HEADERS = frozenset(map(header_name, ALGORITHMS))


def _query(pairs: list[tuple[str, str]], bucket: str) -> str:
    try:
        return canonical_query(pairs)
    except UnicodeEncodeError:
        raise InvalidRequest(f"s3://{bucket}: a parameter is not Unicode: {pairs!r}", bucket=bucket) from None


class RawExchanges:
    """The operations of a RawTransport as exchanges. The ``timeouts`` keyword is the driver's and not looked at."""

    def __init__(self, requests: Requests, routes: Routes) -> None:
        self._routes = routes
        self._requests = requests
        self._build = requests.build
        self._clock = requests.clock

    def put_object(
        self, bucket: str, key: str, body: Body, headers: Headers, *, trailer: str = "",
        timeouts: Timeouts | None = None,
    ) -> RawExchange[PutResult]:  # fmt: skip
        # What varies is the checksum, which stands last (s3engine/pool/uploads.py).
        varying = 1 if headers and headers[-1][0] in _CHECKSUM_HEADERS else 0
        if not trailer:
            # Past build(), for what is called most: its twenty keywords take a microsecond.
            quick = self._requests.stencilled("PutObject", "PUT", bucket, key, headers, body, varying)
            if quick is not None:
                exchange = RawExchange(quick[0], "PutObject", bucket, key, quick[1], body, self._put)
                exchange.clock_offset_s = self._clock.offset_s
                return exchange
        return self._build("PutObject", "PUT", bucket, key, self._put, headers=headers, body=body, trailer=trailer)

    def get_object(
        self, bucket: str, key: str, sink: Sink, *, first: int = 0, last: int = -1, if_match: str = "",
        headers: Headers = (), timeouts: Timeouts | None = None,
    ) -> RawExchange[GetResult]:  # fmt: skip
        own = headers
        if if_match:
            own = (*own, ("if-match", quoted_etag(if_match)))
        if first or last >= 0:
            own = (*own, ("range", f"bytes={first}-{last if last >= 0 else ''}"))
        return self._build(
            "GetObject", "GET", bucket, key, self._get, headers=own, sink=sink, first=first, last=last,
            if_match=if_match, varying=len(own) - len(headers),
        )  # fmt: skip

    def head_object(
        self, bucket: str, key: str, *, part_number: int = 0, headers: Headers = (), timeouts: Timeouts | None = None
    ) -> RawExchange[HeadResult]:
        query = _query([("partNumber", str(part_number))], bucket) if part_number else ""
        return self._build("HeadObject", "HEAD", bucket, key, self._head, query=query, headers=headers, varying=0)

    def copy_object(
        self, source_bucket: str, source_key: str, bucket: str, key: str, headers: Headers, *, if_match: str = "",
        timeouts: Timeouts | None = None,
    ) -> RawExchange[CopyResult]:  # fmt: skip
        source = copy_source("CopyObject", source_bucket, source_key, if_match)
        return self._build(
            "CopyObject", "PUT", bucket, key, self._copy, headers=(*headers, *source), varying=len(source)
        )

    def delete_object(
        self, bucket: str, key: str, *, if_match: str = "", timeouts: Timeouts | None = None
    ) -> RawExchange[None]:
        headers: Headers = (("if-match", quoted_etag(if_match)),) if if_match else ()
        return self._build(
            "DeleteObject", "DELETE", bucket, key, self._nothing, headers=headers, varying=len(headers)
        )

    def delete_objects(
        self, bucket: str, keys: list[str], *, etags: Sequence[str] = (), timeouts: Timeouts | None = None
    ) -> RawExchange[list[DeleteFailure]]:
        check_deletes(bucket, keys)
        body = xml.delete_body(keys, etags)
        # Content-MD5 always: some stores refuse without, none minds it.
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = (("content-md5", md5), ("content-type", "application/xml"))
        return self._build(
            "DeleteObjects", "POST", bucket, "", partial(self._deleted, bucket, keys), query="delete=",
            headers=headers, body=body,
        )  # fmt: skip

    def list_objects_v2(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", continuation_token: str = "",
        start_after: str = "", max_keys: int = 1000, timeouts: Timeouts | None = None,
    ) -> RawExchange[ListPage]:  # fmt: skip
        pairs = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(max_keys))]
        optional = (
            ("prefix", prefix), ("delimiter", delimiter), ("continuation-token", continuation_token),
            ("start-after", start_after),
        )  # fmt: skip
        pairs.extend((name, value) for name, value in optional if value)
        return self._build("ListObjectsV2", "GET", bucket, "", self._listed, query=_query(pairs, bucket))

    def create_multipart_upload(
        self, bucket: str, key: str, headers: Headers, *, timeouts: Timeouts | None = None
    ) -> RawExchange[str]:
        return self._build(
            "CreateMultipartUpload", "POST", bucket, key, self._created, query="uploads=", headers=headers
        )

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: Body, *, headers: Headers = (),
        trailer: str = "", timeouts: Timeouts | None = None,
    ) -> RawExchange[PutResult]:  # fmt: skip
        query = _query([("partNumber", str(number)), ("uploadId", upload_id)], bucket)
        return self._build(
            "UploadPart", "PUT", bucket, key, self._put, query=query, headers=headers, body=body, trailer=trailer
        )

    def upload_part_copy(
        self, source_bucket: str, source_key: str, first: int, last: int, bucket: str, key: str, upload_id: str,
        number: int, *, if_match: str = "", timeouts: Timeouts | None = None,
    ) -> RawExchange[CopyResult]:  # fmt: skip
        query = _query([("partNumber", str(number)), ("uploadId", upload_id)], bucket)
        source = copy_source("UploadPartCopy", source_bucket, source_key, if_match)
        headers: Headers = (*source, ("x-amz-copy-source-range", f"bytes={first}-{last}"))
        return self._build("UploadPartCopy", "PUT", bucket, key, self._copy, query=query, headers=headers)

    def complete_multipart_upload(
        self, bucket: str, key: str, upload_id: str, parts: list[CompletedPart], *, headers: Headers = (),
        timeouts: Timeouts | None = None,
    ) -> RawExchange[PutResult]:  # fmt: skip
        query = _query([("uploadId", upload_id)], bucket)
        return self._build(
            "CompleteMultipartUpload", "POST", bucket, key, self._completed, query=query,
            headers=(*headers, ("content-type", "application/xml")), body=xml.complete_body(parts),
        )  # fmt: skip

    def abort_multipart_upload(
        self, bucket: str, key: str, upload_id: str, *, timeouts: Timeouts | None = None
    ) -> RawExchange[None]:
        query = _query([("uploadId", upload_id)], bucket)
        return self._build("AbortMultipartUpload", "DELETE", bucket, key, self._nothing, query=query)

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, marker: str = "", timeouts: Timeouts | None = None
    ) -> RawExchange[PartsPage]:
        pairs = [("uploadId", upload_id)]
        if marker:
            pairs.append(("part-number-marker", marker))
        return self._build("ListParts", "GET", bucket, key, self._parts, query=_query(pairs, bucket))

    def list_multipart_uploads(
        self, bucket: str, prefix: str = "", key_marker: str = "", upload_id_marker: str = "", *,
        timeouts: Timeouts | None = None,
    ) -> RawExchange[UploadsPage]:  # fmt: skip
        pairs = [("uploads", ""), ("encoding-type", "url")]
        optional = (("prefix", prefix), ("key-marker", key_marker), ("upload-id-marker", upload_id_marker))
        pairs.extend((name, value) for name, value in optional if value)
        return self._build("ListMultipartUploads", "GET", bucket, "", self._uploads, query=_query(pairs, bucket))

    def head_bucket(self, bucket: str, *, timeouts: Timeouts | None = None) -> RawExchange[None]:
        return self._build("HeadBucket", "HEAD", bucket, "", self._nothing)

    def create_bucket(self, bucket: str, *, timeouts: Timeouts | None = None) -> RawExchange[None]:
        region = self._routes.route(bucket).region
        body = b""
        if self._routes.on_amazon and region != "us-east-1":
            body = xml.location_body(region)
        return self._build("CreateBucket", "PUT", bucket, "", self._nothing, body=body)

    def delete_bucket(self, bucket: str, *, timeouts: Timeouts | None = None) -> RawExchange[None]:
        return self._build("DeleteBucket", "DELETE", bucket, "", self._nothing)

    # ---- from completed exchanges to results

    def _put(self, exchange: RawExchange[PutResult]) -> PutResult:
        if exchange.shape is not None:
            result = answers.put_of_shape(exchange, exchange.shape, self._clock)
        else:
            result = answers.put(exchange, self._clock)
        return answers.trailed(exchange, result) if exchange.trailer else result

    def _get(self, exchange: RawExchange[GetResult]) -> GetResult:
        return answers.get(exchange, self._clock)

    def _head(self, exchange: RawExchange[HeadResult]) -> HeadResult:
        return answers.head(exchange, self._clock)

    def _copy(self, exchange: RawExchange[CopyResult]) -> CopyResult:
        return answers.copied(exchange, self._clock)

    def _completed(self, exchange: RawExchange[PutResult]) -> PutResult:
        return answers.completed(exchange, self._clock)

    def _created(self, exchange: RawExchange[str]) -> str:
        return answers.from_xml(exchange, self._clock, answers.upload_id)

    def _listed(self, exchange: RawExchange[ListPage]) -> ListPage:
        return answers.from_xml(exchange, self._clock, xml.read_list_page, rooted=True)

    def _deleted(
        self, bucket: str, keys: list[str], exchange: RawExchange[list[DeleteFailure]]
    ) -> list[DeleteFailure]:
        return check_asked_for(bucket, keys, answers.from_xml(exchange, self._clock, xml.read_deleted, rooted=True))

    def _parts(self, exchange: RawExchange[PartsPage]) -> PartsPage:
        return answers.from_xml(exchange, self._clock, xml.read_parts, rooted=True)

    def _uploads(self, exchange: RawExchange[UploadsPage]) -> UploadsPage:
        return answers.from_xml(exchange, self._clock, xml.read_uploads, rooted=True)

    def _nothing(self, exchange: RawExchange[None]) -> None:
        answers.nothing(exchange, self._clock)
