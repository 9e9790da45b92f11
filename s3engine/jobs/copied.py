"""One object on its way in a copy or a move."""

from __future__ import annotations

from typing import Any

from s3engine.errors import S3EngineError
from s3engine.transport import Headers

__all__ = ["Copied"]


class Copied:
    """What is known of it; ``outcome`` is that of the copy, once it was tried."""

    __slots__ = (
        "condition", "etag", "headers", "in_parts", "key", "outcome", "seq", "size_bytes", "target", "unproven",
    )  # fmt: skip

    def __init__(self, seq: int, key: str, size_bytes: int, etag: str, target: str, condition: Headers) -> None:
        self.condition = condition
        self.seq = seq
        self.key = key
        self.size_bytes = size_bytes
        self.etag = etag
        self.target = target
        self.headers: Headers = ()  # of the source, from a HEAD that was needed anyway
        self.in_parts = False
        self.unproven: S3EngineError | None = None  # see MultipartTransfer
        self.outcome: tuple[Any, ...] = ()
