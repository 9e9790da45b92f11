"""s3://bucket/key, taken apart exactly: nothing is decoded, ``//`` and ``..`` are part of the key."""

from __future__ import annotations

import re
from typing import NamedTuple

from s3engine.errors import ConfigError

__all__ = ["MAX_KEY_BYTES", "S3Uri", "check_bucket", "check_key"]

MAX_KEY_BYTES = 1024

# Wider than Amazon's rules today (upper case and _ were legal once and still are elsewhere), narrow enough for a typo.
_bucket = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]").fullmatch


def check_bucket(bucket: str) -> str:
    """The name itself. Raises ConfigError."""
    if not isinstance(bucket, str) or not _bucket(bucket):
        raise ConfigError(
            f"{bucket!r} is no bucket name: 3 to 63 letters, digits, dots and hyphens, as in s3://my-bucket/key"
        )
    return bucket


def check_key(key: str) -> None:
    """Raises ConfigError for what S3 does not take as a key."""
    if not isinstance(key, str) or not key:
        raise ConfigError(f"a key must be text of 1 to {MAX_KEY_BYTES} bytes, not {key!r}")
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        text = f"key {key!r} is not Unicode (a file name in another encoding?); give it another key"
        raise ConfigError(text) from None
    if size > MAX_KEY_BYTES:
        raise ConfigError(f"key {key[:40]!r}... has {size} bytes; S3 takes {MAX_KEY_BYTES}")


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
