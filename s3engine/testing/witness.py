"""An S3 client that shares nothing with s3engine: urllib3 carries, botocore's signer signs.

It says what a store really holds and what a store can do, so it must not share a fault with what is tested.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote_plus

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from s3engine.config import TransportSettings

__all__ = ["Answer", "Witness"]

TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """Status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Witness:
    """Signed requests, one attempt each, path style, paths sent exactly as given.

    The convenience methods take keys as ``str`` and raise AssertionError when the server does not do as asked. Without
    an access key nothing is signed.
    """

    def __init__(
        self, endpoint_url: str, access_key: str, secret_key: str, timeout_s: float = TIMEOUT_S, *, token: str = "",
        region: str = "us-east-1", **pool_settings: Any,
    ) -> None:  # fmt: skip
        self.endpoint_url = endpoint_url.rstrip("/")
        given = Credentials(access_key, secret_key, token or None)
        self._signer = S3SigV4Auth(given, "s3", region) if access_key else None
        # Not a PoolManager: that one takes dot segments out of paths.
        self._pool = urllib3.connection_from_url(
            endpoint_url, timeout=timeout_s, retries=False, maxsize=4, **pool_settings
        )

    @classmethod
    def from_settings(cls, settings: TransportSettings) -> Witness:
        """A witness of the store that a transport with these settings would use."""
        tls: dict[str, Any] = {}
        # A query is not the store's but for a transport that wraps another one.
        url = settings.endpoint_url.partition("?")[0] or f"https://s3.{settings.region}.amazonaws.com"
        if url.startswith("https") and not settings.verify_tls:
            tls = {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        elif url.startswith("https") and settings.ca_bundle:
            tls = {"ca_certs": settings.ca_bundle}
        signs = settings.credentials
        names = (signs.access_key, signs.secret_key) if signs else ("", "")
        return cls(url, *names, token=signs.token if signs else "", region=settings.region, **tls)

    def __enter__(self) -> Witness:
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
        if self._signer is not None:
            self._signer.add_auth(signed)
        answer = self._pool.urlopen(
            method, target, body=body or None, headers=dict(signed.headers.items()), retries=False, redirect=False,
            decode_content=False,
        )  # fmt: skip
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; one of one's own that exists already is no error."""
        self._expect((200, 409), "PUT", f"/{bucket}")

    def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Store an object; its ETag without quotes."""
        return self._expect((200,), "PUT", path_of(bucket, key), body=body, headers=headers).headers["etag"].strip('"')

    def get(self, bucket: str, key: str) -> bytes | None:
        """The body of an object as it is stored, never decoded; None when there is none."""
        answer = self._expect((200, 404), "GET", path_of(bucket, key))
        return answer.body if answer.status == 200 else None

    def head(self, bucket: str, key: str) -> dict[str, str] | None:
        """The headers of an object, names in lower case; None when there is none."""
        answer = self._expect((200, 404), "HEAD", path_of(bucket, key))
        return answer.headers if answer.status == 200 else None

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        self._expect((200, 204, 404), "DELETE", path_of(bucket, key))

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
            before, token = token, page.findtext("NextContinuationToken") or ""
            if page.findtext("IsTruncated") != "true":
                return keys
            assert token not in ("", before), "a truncated page without a token, or with the one before"

    def abort_uploads(self, bucket: str, prefix: str = "") -> list[str]:
        """Abort every multipart upload of a key below a prefix; returns what could not be done, in words.

        A store that has no list of uploads (rclone answers 404 or 501) is taken at its word.
        """
        problems: list[str] = []
        markers = ""
        for _ in range(1000):
            answer = self.request("GET", f"/{bucket}", query=f"{markers}prefix={quote(prefix, safe='')}&uploads=")
            if answer.status != 200:
                return problems
            page = _without_namespaces(answer.body)
            for upload in page.iter("Upload"):
                key, name = upload.findtext("Key") or "", upload.findtext("UploadId") or ""
                if not key.startswith(prefix):  # a store that does not heed the prefix
                    continue
                try:
                    self._expect((204, 404), "DELETE", path_of(bucket, key), query=f"uploadId={quote(name, safe='')}")
                except (AssertionError, HTTPError) as error:
                    problems.append(f"upload {name} of {key!r}: {error}")
            next_key, next_id = page.findtext("NextKeyMarker") or "", page.findtext("NextUploadIdMarker") or ""
            following = f"key-marker={quote(next_key, safe='')}&"
            if next_id:
                following += f"upload-id-marker={quote(next_id, safe='')}&"
            if page.findtext("IsTruncated") != "true" or not next_key or following == markers:
                return problems
            markers = following
        return problems

    def delete_below(self, bucket: str, prefix: str) -> list[str]:
        """Delete every object below a prefix and abort every multipart upload there.

        Goes on after a failure; returns what could not be done, in words. Touches nothing that is not below the prefix,
        even where the store lists it. In a bucket with versions the old ones stay, as with every client.
        """
        problems: list[str] = []
        try:
            keys = self.list_keys(bucket, prefix)
        except (AssertionError, HTTPError, SyntaxError) as error:
            problems.append(f"cannot list: {error}")
            keys = []
        for key in keys:
            if not key.startswith(prefix):
                continue
            try:
                self.delete(bucket, key)
            except (AssertionError, HTTPError) as error:
                problems.append(f"{key!r}: {error}")
        try:
            return problems + self.abort_uploads(bucket, prefix)
        except (HTTPError, SyntaxError) as error:
            return [*problems, f"cannot list uploads: {error}"]

    def delete_all(self, bucket: str) -> None:
        """Delete every object, abort every multipart upload, and delete the bucket."""
        self.delete_below(bucket, "")
        self._expect((200, 204, 404), "DELETE", f"/{bucket}")

    def _expect(
        self, statuses: tuple[int, ...], method: str, path: str, query: str = "", body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        answer = self.request(method, path, query, body, headers)
        if answer.status not in statuses:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer


def path_of(bucket: str, key: str) -> str:
    """The path of an object, percent-encoded as S3 signs it: ``.`` and ``..`` stay as they are."""
    return f"/{bucket}/{quote(key, safe='/~')}"


def _without_namespaces(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", xml))
