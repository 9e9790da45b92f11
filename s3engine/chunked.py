"""The framing of a body whose checksum follows it: ``aws-chunked`` with an unsigned trailer.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html. Chunks are of 1 MiB but for the last, as
the AWS SDKs make them: some stores refuse larger ones, Amazon refuses many small ones.
"""

from __future__ import annotations

from s3engine import checksums

__all__ = ["CHUNK_BYTES", "MOST_FRAMING_BYTES", "Framing", "framed", "framed_bytes"]

CHUNK_BYTES = 1024 * 1024
MOST_FRAMING_BYTES = 256
"""More than stands ahead of a piece and behind it."""


def _trailer(checksum: str) -> bytes:
    algorithm, _, value = checksum.partition(":")
    return f"0\r\n{checksums.header_name(algorithm)}:{value}\r\n\r\n".encode()


def framed_bytes(size_bytes: int, trailer: str) -> int:
    """The length of a body of ``size_bytes`` with its framing; ``trailer`` is an algorithm or a checksum."""
    algorithm, _, value = trailer.partition(":")
    if not value:
        value = "=" * len(checksums.text(algorithm, checksums.new(algorithm).digest()).partition(":")[2])
    whole, rest = divmod(size_bytes, CHUNK_BYTES)
    total = whole * (len(f"{CHUNK_BYTES:x}") + CHUNK_BYTES + 4)
    if rest:
        total += len(f"{rest:x}") + rest + 4
    return total + len(_trailer(f"{algorithm}:{value}"))


class Framing:
    """Frames a body of known length, piece by piece, and computes its checksum on the way."""

    __slots__ = ("_digest", "_in_chunk", "_left", "_trailer", "checksum")

    def __init__(self, size_bytes: int, trailer: str) -> None:
        """``trailer`` is an algorithm, or a checksum that is sent as it is. Raises ValueError for an unknown one."""
        algorithm, _, value = trailer.partition(":")
        self._trailer = trailer if value else ""
        self._digest = (algorithm, checksums.new(algorithm))
        self._left = size_bytes
        self._in_chunk = 0
        self.checksum = ""
        """``"crc32:" + base64``, as it was sent, once the last piece was framed."""

    @property
    def fits(self) -> int:
        """How many bytes the next piece may have."""
        return self._in_chunk or min(CHUNK_BYTES, self._left)

    def ahead(self) -> bytes:
        """What goes out ahead of the next piece."""
        if self._in_chunk or not self._left:
            return b""
        self._in_chunk = min(CHUNK_BYTES, self._left)
        return b"%x\r\n" % self._in_chunk

    def behind(self, data: bytes | memoryview) -> bytes:
        """What goes out behind ``data``, which :attr:`fits`: with the last of the body that is the trailer."""
        algorithm, digest = self._digest
        digest.update(data)
        count = len(data)
        self._in_chunk -= count
        self._left -= count
        out = b"\r\n" if count and not self._in_chunk else b""
        if not self._left:
            self.checksum = self._trailer or checksums.text(algorithm, digest.digest())
            out += _trailer(self.checksum)
        return out


def framed(body: bytes, trailer: str) -> tuple[bytes, str]:
    """A body in memory with its framing, and its checksum."""
    framing = Framing(len(body), trailer)
    rest = memoryview(body)
    out: list[bytes | memoryview] = []
    while not framing.checksum:
        out.append(framing.ahead())
        piece, rest = rest[: framing.fits], rest[framing.fits :]
        out += (piece, framing.behind(piece))
    return b"".join(out), framing.checksum
