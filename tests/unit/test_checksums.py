"""Checksums: values, texts, and the checksum of a whole out of its parts."""

from __future__ import annotations

import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import checksums

# The check values of "123456789": https://reveng.sourceforge.io/crc-catalogue/ for CRCs, RFC 1321, FIPS 180.
_KNOWN = {
    "crc64nvme": "crc64nvme:rosUhgp5mIg=", "crc32c": "crc32c:4waSgw==", "crc32": "crc32:y/Q5Jg==",
    "sha256": "sha256:FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=", "md5": "md5:JfnnlDI7RTiF9RgfG2JNCw==",
}  # fmt: skip


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
def test_the_published_check_values(algorithm: str) -> None:
    """Each algorithm gives the value that its catalogue lists."""
    assert checksums.compute(algorithm, b"123456789") == _KNOWN[algorithm]


@pytest.mark.parametrize("algorithm", sorted(checksums.COMBINABLE))
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_the_checksum_of_a_whole_follows_from_its_parts(algorithm: str, parts: list[bytes]) -> None:
    """combine() of the parts is compute() of the whole, empty parts included."""
    combined = checksums.combine((checksums.compute(algorithm, part), len(part)) for part in parts)
    assert combined == checksums.compute(algorithm, b"".join(parts))


def test_what_cannot_be_combined_is_refused() -> None:
    """SHA-256, and different algorithms, raise ValueError; no parts give no checksum."""
    assert checksums.combine([]) == ""
    with pytest.raises(ValueError, match="cannot combine"):
        checksums.combine([(checksums.compute("sha256", b"a"), 1)])
    with pytest.raises(ValueError, match="cannot combine"):
        checksums.combine([(checksums.compute("crc32", b"a"), 1), (checksums.compute("crc32c", b"a"), 1)])


@pytest.mark.parametrize("wrong", ["", "crc32", "crc16:AAA=", "crc32:not base64"])
def test_a_text_that_is_no_checksum_is_refused(wrong: str) -> None:
    """parse() raises ValueError for unknown names and for what is not base64."""
    with pytest.raises(ValueError, match=r"."):
        checksums.parse(wrong)


def test_a_text_is_parsed_into_what_it_was_made_of() -> None:
    """parse() is the inverse of text()."""
    assert checksums.parse(checksums.text("crc32", b"\0\1\2\3")) == ("crc32", b"\0\1\2\3")


@given(pieces=st.lists(st.binary(max_size=3000), max_size=6))
@pytest.mark.parametrize("fast", [True, False])
def test_crc32_is_that_of_the_standard_library(fast: bool, pieces: list[bytes]) -> None:
    """With zlib-ng and without: the same value, however the bytes are cut."""
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setitem(sys.modules, "zlib_ng", None)
        checksums._crc_function.cache_clear()
        digest = checksums.new("crc32")
        for piece in pieces:
            digest.update(memoryview(piece))
    checksums._crc_function.cache_clear()
    assert int.from_bytes(digest.digest(), "big") == zlib.crc32(b"".join(pieces))
