"""What a store says of the bytes of an object is read rightly, or not taken for more than it is."""

from __future__ import annotations

import base64
import hashlib
import pickle
import zlib

import pytest

from s3engine.errors import ChecksumMismatch, ServerFault
from s3engine.stored import NOTHING, Stored, composite, digest_of, guess_part_bytes, mismatch, same_bytes, stored

MIB = 1024 * 1024
BODY = b"hello"
MD5 = hashlib.md5(BODY)
CRC32 = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
FULL = ("x-amz-checksum-type", "FULL_OBJECT")
COMPOSITE = ("x-amz-checksum-type", "COMPOSITE")


def _any(_algorithm: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("headers", "etag", "expected"),
    [
        ((), MD5.hexdigest(), Stored("md5", MD5.digest(), 0, True)),
        ((), MD5.hexdigest().upper(), Stored("md5", MD5.digest(), 0, True)),
        ((), MD5.hexdigest() + "-3", Stored("md5", MD5.digest(), 3, True)),
        ((), MD5.hexdigest() + "-0", NOTHING),
        ((), MD5.hexdigest() + "-x", NOTHING),
        ((), "0x8D1234567890", NOTHING),
        ((), "", NOTHING),
        ((("x-amz-checksum-crc32", CRC32),), MD5.hexdigest(), Stored("crc32", base64.b64decode(CRC32))),
        ((("x-amz-checksum-sha256", SHA256), FULL), "", Stored("sha256", base64.b64decode(SHA256))),
        ((("x-amz-checksum-crc32", CRC32 + "-2"), COMPOSITE), "", Stored("crc32", base64.b64decode(CRC32), 2)),
        ((("x-amz-checksum-crc32", CRC32), COMPOSITE), "", NOTHING),
        ((("x-amz-checksum-crc32", "no base64"),), "", NOTHING),
        ((("x-amz-checksum-crc32", SHA256),), "", NOTHING),
        ((("x-amz-checksum-sha1", SHA256),), "", NOTHING),
        ((("x-amz-server-side-encryption", "AES256"),), MD5.hexdigest(), Stored("md5", MD5.digest(), 0, True)),
        ((("x-amz-server-side-encryption", "aws:kms"),), MD5.hexdigest(), NOTHING),
        ((("x-amz-server-side-encryption", "aws:kms:dsse"),), MD5.hexdigest() + "-2", NOTHING),
        ((("x-amz-server-side-encryption-customer-algorithm", "AES256"),), MD5.hexdigest(), NOTHING),
    ],
)
def test_evidence(headers: tuple[tuple[str, str], ...], etag: str, expected: Stored) -> None:
    """A checksum goes before the ETag, and an ETag is an MD5 only where nothing says otherwise."""
    assert stored(headers, etag, "bucket", _any) == expected


def test_whole_goes_before_parts() -> None:
    """The MD5 of the whole goes before a checksum of checksums; among those of parts the checksum goes before."""
    of_parts = (("x-amz-checksum-crc32", CRC32 + "-2"), COMPOSITE)
    assert stored(of_parts, MD5.hexdigest(), "bucket", _any) == Stored("md5", MD5.digest(), 0, True)
    assert stored(of_parts, MD5.hexdigest() + "-2", "bucket", _any).algorithm == "crc32"


def test_cheapest_that_can_be_computed() -> None:
    """Of several checksums the cheapest is taken; one that cannot be computed here is passed over."""
    crc64 = ("x-amz-checksum-crc64nvme", base64.b64encode(bytes(8)).decode())
    both = (("x-amz-checksum-sha256", SHA256), crc64)
    assert stored(both, "", "bucket", _any).algorithm == "crc64nvme"
    assert stored(both, "", "bucket", lambda name: name != "crc64nvme").algorithm == "sha256"
    assert stored((crc64,), MD5.hexdigest(), "bucket", lambda name: name != "crc64nvme").algorithm == "md5"


def test_directory_buckets_have_other_etags() -> None:
    """The ETags of directory buckets are no MD5s, their checksums are good."""
    assert stored((), MD5.hexdigest(), "b--use1-az4--x-s3", _any) == NOTHING
    assert stored((("x-amz-checksum-crc32", CRC32),), "", "b--use1-az4--x-s3", _any).algorithm == "crc32"


def test_digest_of_a_body() -> None:
    """A body is compared as a whole, or as the one part that it came in."""
    assert digest_of(Stored("md5", b""), BODY) == MD5.digest()
    assert digest_of(Stored("md5", b"", 1), BODY) == hashlib.md5(MD5.digest()).digest()
    assert digest_of(Stored("crc32", b""), BODY) == zlib.crc32(BODY).to_bytes(4, "big")
    assert composite("md5", (MD5.digest(), MD5.digest())) == hashlib.md5(MD5.digest() * 2).digest()


def test_common_sizes_of_parts() -> None:
    """The number of parts tells how clients cut, where one of the common sizes makes as many."""
    assert guess_part_bytes(20 * MIB, 3) == 8 * MIB
    assert guess_part_bytes(20 * MIB, 4) == 5 * MIB
    assert guess_part_bytes(20 * MIB, 20) == 0


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((("x-amz-checksum-crc32", CRC32),), (("x-amz-checksum-crc32", CRC32), FULL), (True, "crc32")),
        ((("x-amz-checksum-crc32", CRC32),), (("x-amz-checksum-crc32", "AAAAAA=="),), (False, "crc32")),
        ((("x-amz-checksum-crc32", CRC32),), (("x-amz-checksum-sha256", SHA256),), (False, "")),
        ((("x-amz-checksum-crc32", CRC32 + "-2"), COMPOSITE), (("x-amz-checksum-crc32", CRC32), FULL), (False, "")),
        ((), (), (False, "")),
    ],
)
def test_checksums_of_two_objects(
    one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...], expected: tuple[bool, str]
) -> None:
    """Two objects are compared by a checksum that both have of the whole, and not by any other."""
    assert same_bytes(one, other) == expected


def test_second_mismatch_is_final() -> None:
    """The same wrong bytes twice running are told as what the store has, with the way out; nothing else is."""
    expected = Stored("md5", MD5.digest(), 0, True)
    first = mismatch("b", "k\n", expected, b"1" * 16)
    assert not first.permanent
    assert "\n" not in str(first)
    assert not mismatch("b", "k\n", expected, b"2" * 16, first).permanent
    assert not mismatch("b", "k\n", expected, b"1" * 16, ServerFault("x")).permanent
    second = mismatch("b", "k\n", expected, b"1" * 16, first)
    assert second.permanent
    assert "--no-verify" in str(second)
    again = pickle.loads(pickle.dumps(second))
    assert isinstance(again, ChecksumMismatch)
    assert (again.permanent, again.key) == (True, "k\n")


@pytest.mark.parametrize(
    "value", ["\xe9" * 8, "AAAAAA==-" + "1" * 5000, "AAAAAA==-0", "AAAAAA==-\u0663", "AAAA", "!!!", "AAAAAA=="[:-1]]
)
def test_a_checksum_that_is_none_says_nothing(value: str) -> None:
    """Whatever stands in the header: it is passed over, and the ETag counts."""
    headers = (("x-amz-checksum-crc32", value),)
    assert stored(headers, "0" * 32, "b", _any) == Stored("md5", bytes(16), 0, True)
    assert same_bytes(headers, headers) == (False, "")
