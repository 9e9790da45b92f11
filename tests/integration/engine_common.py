"""What the tests of the engine on a real server share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from s3engine import BytesSource, Engine

MIB = 1024 * 1024
SETTINGS: dict[str, Any] = {
    "workers": 2, "concurrency": 32, "multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB,
    "copy_threshold_bytes": 5 * MIB, "copy_part_size_bytes": 5 * MIB,
}  # fmt: skip
LARGE = bytes(range(256)) * (12 * MIB // 256)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def fill(engine: Engine, bucket: str, keys: list[str]) -> None:
    """Store each key's own name under it."""
    assert engine.upload(bucket, [BytesSource(key.encode(), key) for key in keys]).wait().ok


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden and temporary ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
