"""Objects that name their bucket themselves: listings, and URLs as fsspec writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from s3engine.errors import ConfigError
from s3engine.uri import S3Uri

__all__ = ["placed", "with_bucket"]


def with_bucket(bucket: str, objects: Any) -> tuple[str, Iterable[Any]]:
    """The bucket of ``objects``, and these. Takes the first of an iterator in advance where that must tell it.

    Raises ConfigError when nothing tells the bucket.
    """
    if isinstance(objects, str) or not hasattr(objects, "__iter__"):
        return bucket, objects  # refused where all inputs are looked at
    own = getattr(objects, "bucket", None)
    if isinstance(own, str):
        if bucket and bucket != own:
            raise ConfigError(f"the listing is of the bucket {own!r}, not {bucket!r}; leave bucket= out")
        return own, objects
    if not bucket:
        rest = iter(objects)
        first = list(itertools.islice(rest, 1))
        if first and not (isinstance(first[0], str) and first[0].startswith("s3://")):
            raise ConfigError("say bucket=: the first object does not (a listing does, and URLs s3://bucket/key do)")
        bucket = S3Uri.parse(first[0]).bucket if first else "empty"
        objects = itertools.chain(first, rest)
    return bucket, objects


def placed(bucket: str, item: Any) -> tuple[str, Any]:
    """The bucket of one object, and it by its key alone. Raises ConfigError when nothing tells the bucket."""
    if isinstance(item, str) and item.startswith("s3://"):
        found = S3Uri.parse(item)
        if bucket and bucket != found.bucket:
            raise ConfigError(f"{item} is not in the bucket {bucket!r}; leave bucket= out")
        return found.bucket, found.key
    if not bucket:
        raise ConfigError(f"say bucket=: {item!r} does not (a URL s3://bucket/key does)")
    return bucket, item
