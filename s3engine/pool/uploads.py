"""How a worker sees to it that what the store has is what was in the file: checksums sent, and answers compared.

Small bodies are in memory anyway. A larger one is read from the disk once: its checksum (and the hash for its
signature) is computed before it goes, out of memory or out of the page cache, or piece by piece while it goes, with the
checksum behind it. Only a body larger than all the room for bodies, whose hash has to go ahead, may be read twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from s3engine import checksums
from s3engine.errors import ChecksumMismatch, SourceChanged
from s3engine.file_body import check_unchanged, source_error
from s3engine.integrity.choice import Checking
from s3engine.pool.room import HELD_BYTES, Room
from s3engine.report import LENGTH_ONLY
from s3engine.transport import CompletedPart, FilePart, Headers

if TYPE_CHECKING:
    from s3engine.pool.item import Item

__all__ = ["Checker", "checksum_of_parts", "confirmed", "contradiction", "read_part"]

_PIECE_BYTES = 1024 * 1024
_CACHED_BYTES = 256 * 1024  # fits into the second level of caches
_LARGE_BYTES = 256 * 1024  # from there on it is worth looking for a faster CRC32
_ETAG_BYTES = 16 * 1024 * 1024  # of a transport that sends no checksums: larger bodies get an ETag that is no MD5
_UNKNOWN, _MD5, _OTHER = range(3)
_ENOUGH_DOUBTS = 8  # objects in a row whose ETag is not their MD5, and none before: then ETags are something else here
_md5_form = re.compile(r"[0-9a-f]{32}").fullmatch
_md5_of_parts_form = re.compile(r"[0-9a-f]{32}-[0-9]+").fullmatch
_sha256, _md5 = hashlib.sha256, hashlib.md5


_BY_HEADER = {checksums.header_name(algorithm): algorithm for algorithm in checksums.ALGORITHMS}
_VALUE_BYTES = {"crc64nvme": 8, "crc32c": 4, "crc32": 4, "sha256": 32, "md5": 16}


def _is_value(algorithm: str, text: str) -> bool:
    try:
        return len(a2b_base64(text)) == _VALUE_BYTES[algorithm]
    except ValueError:
        return False


def _value(algorithm: str, data: Any) -> str:
    if algorithm == "sha256":
        raw = _sha256(data).digest()
    elif algorithm == "crc32" and len(data) < _LARGE_BYTES:
        raw = zlib.crc32(data).to_bytes(4, "big")
    elif algorithm == "md5":
        raw = _md5(data, usedforsecurity=False).digest()
    else:
        return checksums.compute(algorithm, data).partition(":")[2]
    return b2a_base64(raw, newline=False).decode("ascii")


class Checker:
    """A :class:`Checking` as a worker uses it for one batch. Its methods may run in several threads at once."""

    __slots__ = (
        "_bare", "_doubts", "_etags", "_from_file", "_room", "_sent", "_signed", "_trailers", "_verified", "whole",
    )  # fmt: skip

    def __init__(self, checking: Checking, room: Room, *, from_file: bool = False) -> None:
        """``from_file``: the transport sends bodies out of files by itself, so they need not lie in memory."""
        self._from_file = from_file
        self.whole = checking.whole
        """The algorithm for PutObject."""
        self._sent = checking.sent
        self._signed = checking.signed
        self._trailers = checking.trailers
        self._verified = frozenset(checking.verified)
        self._room = room
        self._doubts = 0
        self._bare: Headers = ()  # headers without a checksum, which most objects have in common
        self._etags = _UNKNOWN  # whether ETags are MD5s here; a bucket may encrypt by itself, and then none is

    # ---- before an attempt

    def hold(self, item: Item, part: FilePart, algorithm: str, *, whole: bool) -> None:
        """Make ``item.body`` out of a part of a file. Raises NoRoom, SourceError, SourceChanged."""
        item.body = part
        item.checksum = item.trailer = ""
        if not self._sent and part.length > _ETAG_BYTES:
            return
        if not algorithm and not self._signed:
            return
        held = part.length <= HELD_BYTES
        # Whole objects only when they cannot be held: some stores note the framing ("aws-chunked") as their encoding.
        if self._trailers and algorithm not in ("", "md5") and not (whole and held):
            item.trailer = algorithm
        elif held:
            self._room.take(part.length)
            item.held_bytes = part.length
            if self._from_file:
                item.body, item.checksum = _summed_up(part, algorithm, signed=self._signed)
            else:
                item.body = read_part(part)
        elif algorithm:
            item.checksum = _checksum_of_file(algorithm, part)

    def headers(self, item: Item, headers: Headers, algorithm: str) -> Headers:
        """``headers`` and the checksum of ``item.body``."""
        if not algorithm or item.trailer:
            return headers
        body = item.body
        if type(body) is bytes:
            value = _value(algorithm, body)
            item.checksum = f"{algorithm}:{value}"
        elif item.checksum:
            value = item.checksum[len(algorithm) + 1 :]
        else:
            return headers
        if not self._sent:
            return headers
        if headers is not self._bare:
            for name, given in headers:
                if name in _BY_HEADER:  # the caller's own: stores refuse a second one
                    item.checksum = f"{_BY_HEADER[name]}:{given}" if _is_value(_BY_HEADER[name], given) else ""
                    return headers
            self._bare = headers
        name = "content-md5" if algorithm == "md5" else f"x-amz-checksum-{algorithm}"
        return (*headers, (name, value))

    # ---- after it

    def proven(self, item: Item, result: Any) -> tuple[str, str]:
        """The checksum that was computed, and by what the bytes are known to be right. Raises ChecksumMismatch."""
        said: str = result.checksum
        checksum: str = said if item.trailer else item.checksum
        if not checksum:
            return "", LENGTH_ONLY
        if checksum.startswith("md5:"):
            return checksum, "md5" if self._agrees(item, result.etag, checksum) else LENGTH_ONLY
        algorithm = checksum[: checksum.index(":")]
        if said and said != checksum and said.startswith(algorithm):
            raise _mismatch(item, f"the store has {said}, {checksum} was sent")
        return checksum, algorithm if algorithm in self._verified else LENGTH_ONLY

    def _agrees(self, item: Item, etag: str, checksum: str) -> bool:
        """Whether an ETag, or the store's word, proves an MD5. Raises ChecksumMismatch when the ETag disproves it."""
        ours = a2b_base64(checksum[4:]).hex()
        if etag == ours:
            self._etags = _MD5
            return True
        verified = "md5" in self._verified
        if self._etags == _OTHER:
            return verified
        if not _md5_form(etag) or _is_encrypted(item):
            return verified
        if self._etags == _UNKNOWN and not verified and not item.doubted and self._doubts < _ENOUGH_DOUBTS:
            # Either the bytes were changed on their way or ETags are something else here. Sent again it will show. But
            # so many objects are not changed one after the other: the hundreds in flight need not all be sent again.
            item.doubted = True
            self._doubts += 1
            raise _mismatch(item, f"the store has an object of ETag {etag}, the MD5 of what was sent is {ours}")
        if self._etags == _MD5:
            raise _mismatch(item, f"the store has an object of ETag {etag}, the MD5 of what was sent is {ours}")
        self._etags = _OTHER
        return verified


def _mismatch(item: Item, text: str) -> ChecksumMismatch:
    bucket = item.context.bucket
    return ChecksumMismatch(f"s3://{bucket}/{item.key}: {text}", bucket=bucket, key=item.key)


def _is_encrypted(item: Item) -> bool:
    """Whether the request asked for an encryption by which an ETag is no MD5."""
    headers = item.context.headers
    own = item.arg[1] if isinstance(item.arg[1], tuple) else ()
    given = (*headers, *own)
    return any(name.startswith("x-amz-server-side-encryption") and value != "AES256" for name, value in given)


def read_part(part: FilePart) -> bytes:
    """The bytes, read once, of a file that is the planned one before and afterwards.

    Raises SourceError, SourceChanged.
    """
    try:
        descriptor = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            check_unchanged(part, descriptor)
            data = os.pread(descriptor, part.length, part.offset)
            while 0 < len(data) < part.length:
                more = os.pread(descriptor, part.length - len(data), part.offset + len(data))
                if not more:
                    break
                data += more
            check_unchanged(part, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise source_error(part.path, error) from None
    if len(data) != part.length:
        raise _shrank(part)
    return data


def _summed_up(part: FilePart, algorithm: str, *, signed: bool) -> tuple[FilePart, str]:
    """The part with its SHA-256 when that is ``signed``, and its checksum ("" for no algorithm).

    The file is the planned one before and afterwards. It is read in pieces that stay in the processor's cache for all
    that is computed of them; what follows sends the same bytes out of the page cache, by ``sendfile``, so that nothing
    of their size is held in memory. Raises SourceError, SourceChanged.
    """
    digest = checksums.new(algorithm) if algorithm else None
    sha256 = digest if algorithm == "sha256" else _sha256() if signed else None
    buffer = memoryview(bytearray(min(_CACHED_BYTES, max(part.length, 1))))
    try:
        descriptor = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            check_unchanged(part, descriptor)
            offset, end = part.offset, part.offset + part.length
            while offset < end:
                count = os.preadv(descriptor, (buffer[: end - offset],), offset)
                if not count:
                    raise _shrank(part)
                piece = buffer[:count]
                if digest is not None:
                    digest.update(piece)
                if sha256 is not None and sha256 is not digest:
                    sha256.update(piece)
                offset += count
            check_unchanged(part, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise source_error(part.path, error) from None
    if sha256 is not None:
        part = part._replace(sha256=sha256.digest().hex())
    return part, checksums.text(algorithm, digest.digest()) if digest is not None else ""


def _shrank(part: FilePart) -> SourceChanged:
    return SourceChanged(f"{part.path!r} shrank while it was sent; send it again when it is at rest", path=part.path)


def _checksum_of_file(algorithm: str, part: FilePart) -> str:
    digest = checksums.new(algorithm)
    try:
        descriptor = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            offset, end = part.offset, part.offset + part.length
            while offset < end:
                piece = os.pread(descriptor, min(_PIECE_BYTES, end - offset), offset)
                if not piece:
                    raise _shrank(part)
                digest.update(piece)
                offset += len(piece)
            check_unchanged(part, descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise source_error(part.path, error) from None
    return checksums.text(algorithm, digest.digest())


# ---- objects in parts


def checksum_of_parts(parts: Sequence[CompletedPart], *, full_object: bool) -> str:
    """What the store should say of an object made of these parts; "" when they have no checksums.

    ``"crc32:" + base64`` of the whole with ``full_object``, else the checksum of the checksums, with ``-N`` behind it.
    MD5 comes as the ETag that it makes: ``"md5:" + hex + "-N"``. Raises ValueError for checksums that do not belong
    together.
    """
    if not parts or not all(part.checksum for part in parts):
        return ""
    if full_object:
        return checksums.combine((part.checksum, part.size_bytes) for part in parts)
    algorithm = parts[0].checksum.partition(":")[0]
    digest = checksums.new(algorithm)
    for part in parts:
        name, value = checksums.parse(part.checksum)
        if name != algorithm:
            raise ValueError(f"a part has {name}, others {algorithm}")
        digest.update(value)
    if algorithm == "md5":
        return f"md5:{digest.digest().hex()}-{len(parts)}"
    return f"{checksums.text(algorithm, digest.digest())}-{len(parts)}"


def confirmed(parts: Sequence[CompletedPart], expected: str, etag: str, said: str) -> bool:
    """Whether the answer to CompleteMultipartUpload proves that the object is made of these parts, and of all of them.

    It does so by the checksum that is expected, or by the ETag that the ETags of the parts make, whatever those are.
    """
    if expected and said == expected:
        return True
    try:
        made = _md5(b"".join([bytes.fromhex(part.etag) for part in parts]), usedforsecurity=False).hexdigest()
    except ValueError:
        return False
    return etag == f"{made}-{len(parts)}"


def contradiction(parts: Sequence[CompletedPart], expected: str, etag: str, said: str) -> str:
    """What is wrong with the store's answer to CompleteMultipartUpload; "" when nothing is.

    An ETag counts only where those of the parts were their MD5s; ``said`` only in the form that is expected.
    """
    algorithm = expected.partition(":")[0]
    if algorithm == "md5":
        plain = all(a2b_base64(part.checksum[4:]).hex() == part.etag for part in parts)
        if plain and _md5_of_parts_form(etag) and f"md5:{etag}" != expected:
            return f"the store made an object of ETag {etag}, its parts make {expected[4:]}"
    elif expected and said.startswith(algorithm + ":") and ("-" in said) == ("-" in expected) and said != expected:
        return f"the store made an object of checksum {said}, its parts make {expected}"
    return ""
