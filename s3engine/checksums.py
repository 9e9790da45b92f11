"""Checksums as S3 knows them: computed in pieces, written as base64, put together out of those of parts.

A checksum crosses processes, journals and the seam as one text, ``"crc32:" + base64``; the name before the colon is the
end of its header (``x-amz-checksum-crc32``). Which algorithms S3 has, and which of them can describe an object that was
uploaded in parts as a whole: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html

SHA-256 and MD5 come from the standard library, CRC32 too, or from ``zlib-ng`` where that is installed,
which takes a tenth of the time. CRC32C and CRC64NVME come from ``awscrt`` when it is installed (extra ``crt``); without
it they are not ``available`` and never chosen.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Protocol

__all__ = [
    "ALGORITHMS", "COMBINABLE", "Digest", "available", "combine", "compute", "header_name", "new", "parse", "text",
]  # fmt: skip

ALGORITHMS = ("crc64nvme", "crc32c", "crc32", "sha256", "md5")
"""From the one that costs least (where ``awscrt`` is there) to the one that costs most. MD5 is no x-amz-checksum: it
goes as Content-MD5."""

_BITS = {"crc32": 32, "crc32c": 32, "crc64nvme": 64}
# Generator polynomials, bits reversed, as https://reveng.sourceforge.io/crc-catalogue/ lists them.
_POLYNOMIALS = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78, "crc64nvme": 0x9A6C9329AC4BC9B5}
COMBINABLE = frozenset(_BITS)
"""Those whose value for a whole follows from the values for its parts."""


class Digest(Protocol):
    """A checksum under way."""

    def update(self, data: Any) -> None:
        """Take the next bytes (anything with the buffer protocol)."""

    def digest(self) -> bytes:
        """The value so far, big-endian as S3 writes it."""


@cache
def _crc_function(algorithm: str) -> Callable[[Any, int], int] | None:
    if algorithm == "crc32":
        try:
            from zlib_ng import zlib_ng  # lazy: small bodies do not need it, and not every machine has it
        except ImportError:
            return zlib.crc32
        fast: Callable[[Any, int], int] = zlib_ng.crc32
        return fast
    try:
        from awscrt import checksums  # lazy: an extra, and it takes 60 ms to load
    except ImportError:
        return None
    found: Callable[[Any, int], int] | None = getattr(checksums, algorithm, None)
    return found


class _Crc:
    __slots__ = ("_bytes", "_function", "_value")

    def __init__(self, algorithm: str) -> None:
        function = _crc_function(algorithm)
        if function is None:
            raise ValueError(f"{algorithm} needs awscrt: pip install 's3engine[crt]'")
        self._function = function
        self._value = 0
        self._bytes = _BITS[algorithm] // 8

    def update(self, data: Any) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._bytes, "big")


def available(algorithm: str) -> bool:
    """Whether it can be computed here. Looks for ``awscrt`` at the first call."""
    return algorithm in ("sha256", "md5") or (algorithm in _BITS and _crc_function(algorithm) is not None)


def new(algorithm: str) -> Digest:
    """A checksum of nothing yet. Raises ValueError for one that is unknown or not available."""
    if algorithm == "sha256":
        return hashlib.sha256()
    if algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    if algorithm not in _BITS:
        raise ValueError(f"{algorithm!r} is none of {', '.join(ALGORITHMS)}")
    return _Crc(algorithm)


def compute(algorithm: str, data: Any) -> str:
    """The text of the checksum of ``data``."""
    digest = new(algorithm)
    digest.update(data)
    return text(algorithm, digest.digest())


def text(algorithm: str, value: bytes) -> str:
    """``"crc32:" + base64``."""
    return f"{algorithm}:{base64.b64encode(value).decode()}"


def parse(checksum: str) -> tuple[str, bytes]:
    """Algorithm and value of a text. Raises ValueError."""
    algorithm, _, value = checksum.partition(":")
    if algorithm not in ALGORITHMS or not value:
        raise ValueError(f"{checksum!r} is no checksum")
    return algorithm, base64.b64decode(value, validate=True)


def header_name(algorithm: str) -> str:
    """The header that carries it; its value is the base64 after the colon."""
    return "content-md5" if algorithm == "md5" else f"x-amz-checksum-{algorithm}"


# ---- the CRC of a whole out of those of its parts


def _times(matrix: list[int], vector: int) -> int:
    total = 0
    index = 0
    while vector:
        if vector & 1:
            total ^= matrix[index]
        vector >>= 1
        index += 1
    return total


@cache
def _zeros(algorithm: str, exponent: int) -> list[int]:
    """The matrix over GF(2) that a CRC's register goes through while 2**exponent zero bytes pass."""
    if exponent:
        half = _zeros(algorithm, exponent - 1)
        return [_times(half, row) for row in half]
    bits = _BITS[algorithm]
    one_bit = [_POLYNOMIALS[algorithm], *(1 << index for index in range(bits - 1))]
    matrix = one_bit
    for _ in range(3):
        matrix = [_times(matrix, row) for row in matrix]
    return matrix


def combine(parts: Iterable[tuple[str, int]]) -> str:
    """The checksum of a whole from ``(checksum, size in bytes)`` of its parts, in order; "" for no parts.

    Raises ValueError for algorithms not in COMBINABLE, or that differ. Costs some 0.1 ms a part.
    """
    name = ""
    total = 0
    for checksum, size_bytes in parts:
        algorithm, value = parse(checksum)
        if algorithm not in COMBINABLE or (name and name != algorithm):
            raise ValueError(f"cannot combine {name or algorithm} with {algorithm}")
        name = algorithm
        exponent = 0
        left = size_bytes
        while left:
            if left & 1:
                total = _times(_zeros(name, exponent), total)
            left >>= 1
            exponent += 1
        total ^= int.from_bytes(value, "big")
    return text(name, total.to_bytes(_BITS[name] // 8, "big")) if name else ""
