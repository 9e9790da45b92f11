"""The checksum of a file on disk, for what only the whole file can tell."""

from __future__ import annotations

import os
from collections.abc import Callable

from s3engine import checksums
from s3engine.errors import Cancelled, SinkError
from s3engine.stored import composite

__all__ = ["checksum_of_file"]

_PIECE_BYTES = 1024 * 1024


def checksum_of_file(path: str, algorithm: str, part_bytes: int, stop: Callable[[], bool]) -> bytes:
    """Of the whole file, or of the checksums of its parts of ``part_bytes`` when that is not 0.

    Blocks for as long as it takes, but lets other threads run (hashing and reading do not hold the GIL). ``stop`` is
    asked once a MiB. Raises SinkError when the file cannot be read, Cancelled.
    """
    buffer = memoryview(bytearray(_PIECE_BYTES))
    values: list[bytes] = []
    digest = checksums.new(algorithm)
    left = part_bytes or -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while count := os.readv(fd, [buffer[:left] if 0 < left < _PIECE_BYTES else buffer]):
                if stop():
                    raise Cancelled(f"cancelled while {path!r} was read")
                digest.update(buffer[:count])
                if left > 0:
                    left -= count
                    if not left:
                        values.append(digest.digest())
                        digest = checksums.new(algorithm)
                        left = part_bytes
        finally:
            os.close(fd)
    except OSError as error:
        raise SinkError(f"cannot read {path!r} back: {error.strerror}", path=path) from None
    if not part_bytes:
        return digest.digest()
    if left != part_bytes:
        values.append(digest.digest())
    return composite(algorithm, values)
