"""The framing of a body whose checksum follows it: ``aws-chunked`` with an unsigned trailer.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html. Chunks are of 1 MiB but for the last, as
the AWS SDKs make them: some stores refuse larger ones, Amazon refuses many small ones.
"""

from __future__ import annotations

from s3engine import checksums

__all__ = ["CHUNK_BYTES", "Framing", "framed", "framed_bytes"]

CHUNK_BYTES = 1024 * 1024


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

    def piece(self, data: bytes) -> bytes:
        """The next bytes of the body as they go out; with the last ones (b"" for an empty body) goes the trailer."""
        algorithm, digest = self._digest
        digest.update(data)
        out = []
        while data:
            if not self._in_chunk:
                self._in_chunk = min(CHUNK_BYTES, self._left)
                out.append(f"{self._in_chunk:x}\r\n".encode())
            fits = data if len(data) <= self._in_chunk else data[: self._in_chunk]
            out.append(fits)
            self._in_chunk -= len(fits)
            self._left -= len(fits)
            if not self._in_chunk:
                out.append(b"\r\n")
            data = data[len(fits) :]
        if not self._left:
            self.checksum = self._trailer or checksums.text(algorithm, digest.digest())
            out.append(_trailer(self.checksum))
        return b"".join(out)


def framed(body: bytes, trailer: str) -> tuple[bytes, str]:
    """A body in memory with its framing, and its checksum."""
    framing = Framing(len(body), trailer)
    return framing.piece(body), framing.checksum
