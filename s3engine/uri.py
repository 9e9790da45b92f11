"""s3://bucket/key, taken apart exactly: nothing is decoded, ``//`` and ``..`` are part of the key."""

from __future__ import annotations

import re
from typing import NamedTuple

from s3engine.errors import ConfigError

__all__ = ["S3Uri", "check_bucket"]

# Wider than Amazon's rules today (upper case and _ were legal once and still are elsewhere), narrow enough for a typo.
_bucket = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]").fullmatch


def check_bucket(bucket: str) -> str:
    """The name itself. Raises ConfigError."""
    if not isinstance(bucket, str) or not _bucket(bucket):
        raise ConfigError(
            f"{bucket!r} is no bucket name: 3 to 63 letters, digits, dots and hyphens, as in s3://my-bucket/key"
        )
    return bucket


class S3Uri(NamedTuple):
    """A bucket and a key or prefix ("" for the whole bucket)."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Uri:
        """Raises ConfigError."""
        if not text.startswith("s3://"):
            raise ConfigError(f"{text!r} is no S3 URI; write s3://bucket/key")
        bucket, _, key = text[5:].partition("/")
        return cls(check_bucket(bucket), key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
