"""S3 Inventory: a manifest.json, and the files of a bucket that it names."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from s3engine.errors import ChecksumMismatch, ConfigError
from s3engine.inputs.columns import inventory_fields
from s3engine.inputs.csvrows import CsvReader
from s3engine.inputs.files import InputFile
from s3engine.inputs.parquet import ParquetReader
from s3engine.inputs.rows import Reader
from s3engine.uri import S3Uri

if TYPE_CHECKING:
    from s3engine.engine import Engine

__all__ = ["DataFile", "Fetch", "Inventory", "fetch_with"]

Fetch = Callable[[str, str, str], str]
"""Bucket, key and folder: puts the object into a file of the folder and returns its path."""


def fetch_with(engine: Engine) -> Fetch:
    """Downloads with ``engine``. What it returns raises what the download failed with."""

    def fetch(bucket: str, key: str, folder: str) -> str:
        for report in engine.download(bucket, [key], folder, path=lambda info: "data"):
            if report.error is not None:
                raise report.error
        return os.path.join(folder, "data")

    return fetch


class DataFile(NamedTuple):
    """One file of an inventory."""

    label: str
    bucket: str
    key: str
    md5: str
    """Hexadecimal, "" when the manifest does not tell."""
    fields: list[str] | None
    """What its columns are; None for Parquet, which tells by itself."""
    fetch: Fetch

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Fetch it into a temporary file, check it, and read that. Raises what fetching raises, ChecksumMismatch."""
        with tempfile.TemporaryDirectory(prefix="s3engine-inventory-") as folder:
            path = self.fetch(self.bucket, self.key, folder)
            self._check(path)
            if self.fields is None:
                yield ParquetReader(InputFile(path, label=self.label))
            else:
                packed = self.key.endswith(".gz")
                yield CsvReader(InputFile(path, packed=packed, label=self.label), fields=self.fields)

    def _check(self, path: str) -> None:
        if not self.md5:
            return
        digest = hashlib.md5(usedforsecurity=False)
        with open(path, "rb") as file:
            while piece := file.read(1024 * 1024):
                digest.update(piece)
        if digest.hexdigest() != self.md5:
            text = f"{self.label} has another MD5 than its manifest says: {digest.hexdigest()}, not {self.md5}"
            raise ChecksumMismatch(text, bucket=self.bucket, key=self.key)


class Inventory:
    """What a manifest says. ``path`` is a local file, "-" or an S3 URI.

    Raises ConfigError, and what fetching raises.
    """

    def __init__(self, path: str, fetch: Fetch | None) -> None:
        if path.startswith("s3://"):
            if fetch is None:
                raise ConfigError(f"{path} is on S3: an engine is needed to read it")
            uri = S3Uri.parse(path)
            with tempfile.TemporaryDirectory(prefix="s3engine-inventory-") as folder:
                text = _content(InputFile(fetch(uri.bucket, uri.key, folder), label=path))
        else:
            text = _content(InputFile(path))
        self.label = path
        self.digest = hashlib.sha256(text).hexdigest()
        try:
            said = json.loads(text)
            kind = str(said["fileFormat"]).upper()
            target = str(said["destinationBucket"])
            schema = str(said.get("fileSchema", ""))
            listed = [(str(one["key"]), str(one.get("MD5checksum", ""))) for one in said["files"]]
            self.source_bucket = str(said["sourceBucket"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ConfigError(f"{path!r} is no manifest.json of S3 Inventory: {what}") from None
        if kind not in ("CSV", "PARQUET"):
            raise ConfigError(f"the inventory {path!r} is made of {kind} files; CSV and Parquet can be read")
        if fetch is None:
            raise ConfigError(f"the files of the inventory {path!r} are on S3: an engine is needed to read them")
        # An ARN (arn:aws:s3:::bucket) as a rule.
        bucket = target.rpartition(":")[2]
        fields = inventory_fields(schema) if kind == "CSV" else None
        self.files = [
            DataFile(f"s3://{bucket}/{key}", bucket, key, md5.lower(), fields, fetch) for key, md5 in listed
        ]  # fmt: skip


def _content(file: InputFile) -> bytes:
    stream: Any = file.open()
    try:
        pieces: list[bytes] = []
        while piece := stream.read(1024 * 1024):
            pieces.append(piece)
    finally:
        stream.close()
    return b"".join(pieces)
