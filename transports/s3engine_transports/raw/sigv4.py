"""AWS Signature Version 4 for S3, as pure functions: no clock, no network, no state but caches of derived keys.

Written by hand because it is the hot path: 5 us of CPU a request against 44 us of botocore's signer, which stays the
reference that the tests hold this file to, byte for byte. The rules:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html.
S3 differs from other services: the path is encoded once and never normalised (``//``, ``.`` and ``..`` stay).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from s3engine.credentials import Credentials

__all__ = [
    "EMPTY_SHA256", "UNSIGNED_PAYLOAD", "UNSIGNED_TRAILER", "Signed", "canonical_query", "canonical_value",
    "encode_key", "is_plain_key", "presign", "sha256_hex", "sign", "signing_key",
]  # fmt: skip

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_plain = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch
is_plain_key = re.compile(r"[A-Za-z0-9_.~/-]+").fullmatch
"""Keys that :func:`encode_key` leaves as they are."""
_sha256 = hashlib.sha256
_digest = hmac.digest


class Signed(NamedTuple):
    """The three texts of a signature, for use and for tests."""

    canonical_request: str
    string_to_sign: str
    authorization: str


def sha256_hex(data: bytes) -> str:
    """SHA-256 of ``data`` as SigV4 writes it."""
    return _sha256(data).hexdigest()


def encode_key(key: str) -> str:
    """A key as a path below its bucket: percent-encoded UTF-8, unreserved characters and ``/`` as they are."""
    return key if _plain(key) else quote(key, safe="/~")


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """A query string encoded and sorted as SigV4 wants it; good to be sent as well."""
    encoded = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs)
    return "&".join([f"{name}={value}" for name, value in encoded])


@lru_cache(maxsize=64)
def signing_key(secret_key: str, date: str, region: str, service: str = "s3") -> bytes:
    """The key of one day (``date``: YYYYMMDD) and region; kept, since it costs four HMACs."""
    key = ("AWS4" + secret_key).encode()
    for step in (date, region, service, "aws4_request"):
        key = _digest(key, step.encode(), "sha256")
    return key


def canonical_value(value: str) -> str:
    """A header's value as it is signed."""
    # Runs of spaces count as one (the "Trim" of the specification); rare, so looked for first.
    return " ".join(value.split()) if "  " in value else value.strip()


def sign(
    method: str, raw_path: str, query: str, headers: list[tuple[str, str]], payload_hash: str, amz_date: str,
    credentials: Credentials, region: str,
) -> Signed:  # fmt: skip
    """Sign a request with its headers.

    ``raw_path`` is the encoded path as it is sent, ``query`` comes from :func:`canonical_query`, ``headers`` are all
    headers to be signed (lower-case names, any order; ``host``, ``x-amz-date`` and ``x-amz-content-sha256`` among
    them), ``amz_date`` is YYYYMMDDTHHMMSSZ, ``payload_hash`` the hex SHA-256 of the body or UNSIGNED-PAYLOAD.
    """
    headers.sort()
    names = ";".join([name for name, _ in headers])
    lines = "\n".join([f"{name}:{canonical_value(value)}" for name, value in headers])
    canonical = f"{method}\n{raw_path}\n{query}\n{lines}\n\n{names}\n{payload_hash}"
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{_sha256(canonical.encode()).hexdigest()}"
    key = signing_key(credentials.secret_key, amz_date[:8], region)
    signature = _digest(key, to_sign.encode(), "sha256").hex()
    return Signed(
        canonical, to_sign,
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}",
    )  # fmt: skip


def presign(
    method: str, raw_path: str, pairs: Iterable[tuple[str, str]], host: str, amz_date: str, expires_s: int,
    credentials: Credentials, region: str,
) -> str:  # fmt: skip
    """The query string (with its signature) of a presigned request; only ``host`` is signed as a header.

    ``expires_s`` is 1 to 604 800 (a week, S3's bound).
    """
    if not 1 <= expires_s <= 604_800:
        raise ValueError(f"expires_s must be 1 to 604800 (a week), not {expires_s}")
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    signing = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", f"{credentials.access_key}/{scope}"),
        ("X-Amz-Date", amz_date),
        ("X-Amz-Expires", str(expires_s)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    if credentials.token:
        signing.append(("X-Amz-Security-Token", credentials.token))
    query = canonical_query([*pairs, *signing])
    canonical = f"{method}\n{raw_path}\n{query}\nhost:{host}\n\nhost\n{UNSIGNED_PAYLOAD}"
    to_sign = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{sha256_hex(canonical.encode())}"
    key = signing_key(credentials.secret_key, amz_date[:8], region)
    return f"{query}&X-Amz-Signature={_digest(key, to_sign.encode(), 'sha256').hex()}"
