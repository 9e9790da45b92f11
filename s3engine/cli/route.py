"""From SRC and DST to what goes where. Pure rules, no network; the file system is only asked what is a folder.

=====================  =====================================  ==============================================
SRC                    means                                  name of an object, relative to SRC
=====================  =====================================  ==============================================
a local folder         all files below it                     its path below the folder
any other local path   that file                              its last segment
``s3://b/p/``          all keys that begin with ``p/``        the key without ``p/``
``s3://b/p`` and -r    the same                               the same
``s3://b/`` or -r      all keys of the bucket                 the key
``s3://b/k``           that object                            its last segment
=====================  =====================================  ==============================================

Many go below DST, which is a folder with or without ``/`` at its end. One goes below DST where that ends in ``/``, is a
bucket or an existing local folder; else DST is its new name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from s3engine.errors import ConfigError
from s3engine.uri import S3Uri

__all__ = ["Route", "folder_prefix", "is_uri", "route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where objects come from and go to. ``kind`` is upload, download or copy."""

    kind: str
    source_bucket: str = ""
    source: str
    """A local path; or the key, or the prefix of all keys."""
    bucket: str = ""
    target: str
    """The prefix of all new keys; or the folder, "" for the current one."""
    only: str = ""
    """The new name, below ``target``, where one object goes; "" for many."""

    @property
    def name(self) -> str:
        """What a filter sees of a single object."""
        return self.source.rstrip("/").rsplit("/", 1)[-1]


def is_uri(text: str) -> bool:
    """Whether it is meant as an S3 URI, well-formed or not. A file of that name can be called ``./s3:...``."""
    return text[:3].lower() == "s3:"


def folder_prefix(uri: S3Uri, recursive: bool) -> str | None:
    """The prefix of all keys that ``uri`` means, None when it means one object. Raises ConfigError for a bucket."""
    if recursive:
        return uri.key if not uri.key or uri.key.endswith("/") else uri.key + "/"
    if uri.key.endswith("/"):
        return uri.key
    if uri.key:
        return None
    raise ConfigError(f"s3://{uri.bucket} is a bucket, no object; for all it holds write s3://{uri.bucket}/ and -r")


def route(source: str, target: str, *, recursive: bool) -> Route:
    """The way from ``source`` to ``target``. Raises ConfigError."""
    from_s3, to_s3 = is_uri(source), is_uri(target)
    if not source or not target:
        raise ConfigError("an empty name is neither a file nor an S3 URI")
    if "-" in (source, target):
        raise ConfigError("- is no stream here: bodies come from files and go to files (one of this name is ./-)")
    if not from_s3 and not to_s3:
        raise ConfigError(f"neither {source!r} nor {target!r} is on S3; write s3://bucket/key, or use cp of the system")
    if not from_s3:
        return _upload(source, S3Uri.parse(target))
    uri = S3Uri.parse(source)
    prefix = folder_prefix(uri, recursive or source.endswith("/"))
    if to_s3:
        return _copy(uri, prefix, S3Uri.parse(target))
    return _download(uri, prefix, target)


def _below(uri: S3Uri) -> str:
    return uri.key if not uri.key or uri.key.endswith("/") else uri.key + "/"


def _one(uri: S3Uri, name: str) -> tuple[str, str]:
    """Prefix and name of the one new key."""
    if not uri.key or uri.key.endswith("/"):
        return uri.key, name
    head, slash, tail = uri.key.rpartition("/")
    return head + slash, tail


def _upload(source: str, uri: S3Uri) -> Route:
    if os.path.isdir(source):
        return Route(kind="upload", source=source, bucket=uri.bucket, target=_below(uri))
    target, only = _one(uri, os.path.basename(source.rstrip("/")))
    return Route(kind="upload", source=source, bucket=uri.bucket, target=target, only=only)


def _copy(source: S3Uri, prefix: str | None, uri: S3Uri) -> Route:
    if prefix is not None:
        return Route(
            kind="copy", source_bucket=source.bucket, source=prefix, bucket=uri.bucket, target=_below(uri)
        )  # fmt: skip
    target, only = _one(uri, source.key.rsplit("/", 1)[-1])
    return Route(
        kind="copy", source_bucket=source.bucket, source=source.key, bucket=uri.bucket, target=target, only=only
    )


def _download(source: S3Uri, prefix: str | None, target: str) -> Route:
    is_folder = target.endswith("/") or os.path.isdir(target)
    if prefix is not None:
        if os.path.lexists(target) and not os.path.isdir(target):
            raise ConfigError(f"{target!r} is no folder; many objects need one to go to")
        return Route(kind="download", source_bucket=source.bucket, source=prefix, target=target)
    if is_folder:
        folder, only = target, source.key.rsplit("/", 1)[-1]
    else:
        folder, only = os.path.dirname(target), os.path.basename(target)
    return Route(kind="download", source_bucket=source.bucket, source=source.key, target=folder, only=only)
