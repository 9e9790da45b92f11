"""What a store says of the bytes of an object, and what the bytes that came say: the evidence of a download.

A store can keep checksums (``x-amz-checksum-*``, shown to who asks for them), and the ETag of an object that came in
one piece is its MD5, unless it is encrypted with a key of KMS or the customer, or lies in a directory bucket
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). What came in parts has either a checksum of the whole
(type FULL_OBJECT), or one of the checksums of its parts, written with "-" and the number of parts, as its ETag is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from s3engine import checksums
from s3engine.errors import ChecksumMismatch, PreconditionFailed, S3EngineError
from s3engine.transport import Headers

__all__ = [
    "ASK", "NOTHING", "Stored", "combined_etag", "composite", "digest_of", "guess_part_bytes", "mismatch", "other_size",
    "same_bytes", "stored",
]  # fmt: skip

ASK: Headers = (("x-amz-checksum-mode", "ENABLED"),)
"""Asks a store to show the checksums it keeps."""

_SIZES = {"crc64nvme": 8, "crc32c": 4, "crc32": 4, "sha256": 32}
_HEADERS = {checksums.header_name(name): name for name in _SIZES}
_TYPE = "x-amz-checksum-type"
_ENCRYPTION = "x-amz-server-side-encryption"
_TELLING = frozenset((*_HEADERS, _TYPE, _ENCRYPTION, "x-amz-server-side-encryption-customer-algorithm"))
_etag = re.compile(r"([0-9a-fA-F]{32})(?:-([1-9][0-9]{0,4}))?").fullmatch
_number = re.compile(r"[1-9][0-9]{0,4}").fullmatch
_DIRECTORY_BUCKET = "--x-s3"
_MIB = 1024 * 1024
# What clients cut uploads into: the AWS SDKs 8 or 5, rclone 5, MinIO 16, s3cmd 15, others round numbers.
_COMMON_PART_BYTES = tuple(size * _MIB for size in (8, 5, 16, 15, 10, 20, 32, 50, 64, 100, 128, 256, 512))


class Stored(NamedTuple):
    """A checksum that the store has. ``parts`` 0: of the whole; else of the checksums of so many parts."""

    algorithm: str = ""
    value: bytes = b""
    parts: int = 0
    from_etag: bool = False


NOTHING = Stored()
"""The store says nothing that could be compared."""


def stored(headers: Headers, etag: str, bucket: str, can: Callable[[str], bool] = checksums.available) -> Stored:
    """The best evidence in the headers of an answer about a whole object, and its ETag without quotes.

    One of the whole goes before one of parts, and a checksum before the ETag. Only algorithms that ``can`` be computed.
    """
    etag_is_md5 = not bucket.endswith(_DIRECTORY_BUCKET)
    of_parts = NOTHING
    telling = [pair for pair in headers if pair[0] in _TELLING]
    if telling:
        found: dict[str, str] = {}
        composite_type = False
        for name, value in telling:
            if name in _HEADERS:
                found[_HEADERS[name]] = value
            elif name == _TYPE:
                composite_type = value == "COMPOSITE"
            elif name == _ENCRYPTION:
                etag_is_md5 = etag_is_md5 and value == "AES256"
            else:
                etag_is_md5 = False
        for algorithm in checksums.ALGORITHMS:
            if algorithm in found and can(algorithm):
                one = _parsed(algorithm, found[algorithm], composite_type)
                if one.algorithm and not one.parts:
                    return one
                of_parts = of_parts if of_parts.algorithm else one
    match = _etag(etag) if etag_is_md5 else None
    if match is None:
        return of_parts
    value, count = match.groups()
    parts = int(count) if count else 0
    if parts and of_parts.algorithm:
        return of_parts
    return Stored("md5", bytes.fromhex(value), parts, True)


def _parsed(algorithm: str, text: str, composite_type: bool) -> Stored:
    value, dash, parts = text.partition("-")
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:  # no base64, or not even ASCII
        return NOTHING
    if len(raw) != _SIZES[algorithm] or (dash and not _number(parts)):
        return NOTHING
    if composite_type and not dash:  # of parts nobody knows the number of
        return NOTHING
    return Stored(algorithm, raw, int(parts or 0))


def composite(algorithm: str, values: Iterable[bytes]) -> bytes:
    """The checksum of the checksums of the parts."""
    digest = checksums.new(algorithm)
    for value in values:
        digest.update(value)
    return digest.digest()


def combined_etag(etags: list[str]) -> str:
    """What S3 makes of the ETags of parts; "" when one of them is no MD5."""
    try:
        parts = b"".join([bytes.fromhex(etag) for etag in etags])
    except ValueError:
        return ""
    if len(parts) != 16 * len(etags):
        return ""
    return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{len(etags)}"


def guess_part_bytes(size_bytes: int, parts: int) -> int:
    """A common size of parts that makes ``parts`` of ``size_bytes``; 0 when there is none."""
    return next((size for size in _COMMON_PART_BYTES if -(-size_bytes // size) == parts), 0)


def other_size(bucket: str, key: str, size_bytes: int, listed_bytes: int) -> PreconditionFailed:
    """The error for an object of another size than a listing, or a table, said."""
    return PreconditionFailed(
        f"GetObject s3://{bucket}/{key}: {size_bytes} bytes came of an object that was listed with {listed_bytes}; it "
        "was written again, or the table is wrong",
        operation="GetObject", bucket=bucket, key=key,
    )  # fmt: skip


def same_bytes(one: Headers, other: Headers) -> tuple[bool, str]:
    """Whether two objects have the same bytes by the checksums that the store keeps of both, and by which one.

    ``(True, "crc32")``: by that; ``(False, "crc32")``: that one differs; ``(False, "")``: there is none to compare.
    """
    first, second = dict(one), dict(other)
    for header, algorithm in _HEADERS.items():
        ours, theirs = first.get(header, ""), second.get(header, "")
        if not ours or not theirs:
            continue
        values = (
            _parsed(algorithm, ours, first.get(_TYPE) == "COMPOSITE"),
            _parsed(algorithm, theirs, second.get(_TYPE) == "COMPOSITE"),
        )
        if ours == theirs and values[0].algorithm:
            return True, algorithm
        # Checksums of parts differ with the size of the parts, and say nothing then.
        if all(value.algorithm and not value.parts for value in values):
            return False, algorithm
    return False, ""


def digest_of(expected: Stored, body: bytes | memoryview) -> bytes:
    """What ``expected.value`` is for a body that is right and came in one piece (or was uploaded as one part)."""
    if expected.algorithm == "md5":  # as checksums.new, in half the time: most small objects come by here
        value = hashlib.md5(body, usedforsecurity=False).digest()
    else:
        digest = checksums.new(expected.algorithm)
        digest.update(body)
        value = digest.digest()
    return composite(expected.algorithm, (value,)) if expected.parts else value


def mismatch(
    bucket: str, key: str, expected: Stored, came: bytes, before: S3EngineError | None = None
) -> ChecksumMismatch:
    """The error for bytes that are not those the store speaks of.

    ``before`` is what the attempt before ended with: when the same bytes came twice, the error is ``permanent``, and
    says how to go on.
    """
    name = f"GetObject s3://{bucket}/{key}".encode("unicode_escape").decode("ascii")
    what = "ETag" if expected.from_etag else "stored checksum"
    text = (
        f"{name}: {expected.algorithm} of the bytes that came is {_shown(expected, came)}, by its {what} it should be "
        f"{_shown(expected, expected.value)}"
    )
    permanent = isinstance(before, ChecksumMismatch) and before.message == text
    if permanent:
        text += "; the same bytes came twice, so they are what the store has. "
        if expected.from_etag:
            text += "If the ETags of this store are no MD5s, switch the comparison off"
        else:
            text += "To have them as they are, switch the comparison off"
        text += ": --no-verify, verify_downloads=False"
    return ChecksumMismatch(text, operation="GetObject", bucket=bucket, key=key, permanent=permanent)


def _shown(expected: Stored, value: bytes) -> str:
    shown = value.hex() if expected.algorithm == "md5" else base64.b64encode(value).decode()
    return f"{shown}-{expected.parts}" if expected.parts else shown
