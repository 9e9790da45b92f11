"""A small S3 client for tests, independent of s3engine: urllib3 carries, botocore signs.

It says what a server really holds, so it must not share a fault with what is tested.
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """Status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class S3Probe:
    """Signed requests, one attempt each, paths sent exactly as given.

    The convenience methods take keys as ``str`` and raise AssertionError when the server does not do as asked.
    """

    def __init__(self, endpoint_url: str, access_key: str, secret_key: str, timeout_s: float = TIMEOUT_S) -> None:
        self.endpoint_url = endpoint_url
        self._signer = S3SigV4Auth(Credentials(access_key, secret_key), "s3", "us-east-1")
        # Not a PoolManager: that one takes dot segments out of paths.
        self._pool = urllib3.connection_from_url(endpoint_url, timeout=timeout_s, retries=False, maxsize=4)

    def __enter__(self) -> S3Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def request(
        self, method: str, path: str, query: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One signed request. ``path`` and ``query`` are percent-encoded already and sent as they are.

        Raises urllib3's errors when no whole answer comes.
        """
        target = f"{path}?{query}" if query else path
        signed = AWSRequest(method=method, url=self.endpoint_url + target, data=body, headers=dict(headers or {}))
        self._signer.add_auth(signed)
        answer = self._pool.urlopen(
            method, target, body=body or None, headers=dict(signed.headers.items()), retries=False, redirect=False
        )
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; one of one's own that exists already is no error."""
        self._expect((200, 409), "PUT", f"/{bucket}")

    def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Store an object; its ETag without quotes."""
        return self._expect((200,), "PUT", _path(bucket, key), body=body, headers=headers).headers["etag"].strip('"')

    def get(self, bucket: str, key: str) -> bytes | None:
        """The body of an object; None when there is none."""
        answer = self._expect((200, 404), "GET", _path(bucket, key))
        return answer.body if answer.status == 200 else None

    def head(self, bucket: str, key: str) -> dict[str, str] | None:
        """The headers of an object, names in lower case; None when there is none."""
        answer = self._expect((200, 404), "HEAD", _path(bucket, key))
        return answer.headers if answer.status == 200 else None

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        self._expect((200, 204, 404), "DELETE", _path(bucket, key))

    def list_keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys below a prefix, from all pages, in the order the server gives."""
        keys: list[str] = []
        token = ""
        while True:
            query = f"encoding-type=url&list-type=2&prefix={quote(prefix, safe='')}"
            if token:
                query = f"continuation-token={quote(token, safe='')}&{query}"
            page = _without_namespaces(self._expect((200,), "GET", f"/{bucket}", query=query).body)
            encoded = page.findtext("EncodingType") == "url"
            found = [item.findtext("Key") or "" for item in page.iter("Contents")]
            keys.extend(unquote_plus(key) if encoded else key for key in found)
            token = page.findtext("NextContinuationToken") or ""
            if page.findtext("IsTruncated") != "true":
                return keys
            assert token, "a truncated page without a token"

    def delete_all(self, bucket: str) -> None:
        """Delete every object, abort every multipart upload, and delete the bucket."""
        for key in self.list_keys(bucket):
            self.delete(bucket, key)
        answer = self.request("GET", f"/{bucket}", query="uploads=")
        # rclone has no such listing.
        if answer.status == 200:
            for upload in _without_namespaces(answer.body).iter("Upload"):
                upload_id = quote(upload.findtext("UploadId") or "", safe="")
                self._expect((204, 404), "DELETE", _path(bucket, upload.findtext("Key") or ""), f"uploadId={upload_id}")
        self._expect((200, 204, 404), "DELETE", f"/{bucket}")

    def _expect(
        self, wanted: tuple[int, ...], method: str, path: str, query: str = "", body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        answer = self.request(method, path, query, body, headers)
        assert answer.status in wanted, f"{method} {path}?{query}: {answer.status} {answer.body[:500]!r}"
        return answer


def eventually(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait for what another process or thread does. Raises AssertionError when it does not come true."""
    give_up_at_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at_s, f"not within {within_s} s"
        time.sleep(0.02)


def _path(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key, safe='/')}"


def _without_namespaces(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", xml, count=1))
