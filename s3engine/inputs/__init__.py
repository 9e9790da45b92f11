"""Names from files, for batches: lists, CSV, Parquet, S3 Inventory. Ten million of them at flat memory.

    files (bytes, pipes kept) -> lines, csvrows, parquet, inventory (rows) -> shapes (items) -> items (each once)

:func:`objects_from` gives what ``Engine.download``, ``copy`` and ``delete`` take, :func:`files_from` what
``Engine.upload`` takes. A row that cannot be used, and one whose key came before, comes as a ``Rejected``: the batch
reports it, with MalformedRow or DuplicateKey and its line number, and does the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from s3engine.errors import ConfigError
from s3engine.inputs.csvrows import CsvReader
from s3engine.inputs.files import InputFile
from s3engine.inputs.inventory import Inventory, fetch_with
from s3engine.inputs.items import Item, Items, Part, Shape
from s3engine.inputs.lines import LineReader
from s3engine.inputs.parquet import ParquetReader
from s3engine.inputs.rows import Reader
from s3engine.inputs.shapes import Wanted, files_shape, objects_shape
from s3engine.sources import FileSource
from s3engine.transport import ObjectInfo
from s3engine.uri import check_bucket

if TYPE_CHECKING:
    from s3engine.engine import Engine

__all__ = ["FORMATS", "Item", "Items", "files_from", "format_of", "objects_from"]

FORMATS = ("lines", "csv", "parquet", "inventory")


def format_of(path: str) -> str:
    """By the end of the name: .csv and .csv.gz, .parquet, manifest.json; anything else is a list of lines."""
    if path.endswith((".csv", ".csv.gz")):
        return "csv"
    if path.endswith(".parquet"):
        return "parquet"
    return "inventory" if path.rsplit("/", 1)[-1] == "manifest.json" else "lines"


def objects_from(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], bucket: str, prefix: str = "", *,
    file_format: str = "", nul: bool = False, wanted: Wanted | None = None, engine: Engine | None = None,
    skip_prefix: bool = False,
) -> Items[str | ObjectInfo]:  # fmt: skip
    """Objects of ``bucket`` that the files name: keys, or ObjectInfo where size or ETag are told.

    ``paths``: a file or several; "-" is standard input. Names of a list follow ``prefix``; keys of a table are whole,
    and begin with it. ``file_format`` is one of FORMATS, for all files (default: by each name); ``nul``: names of lists
    end in NUL instead of newline. ``wanted`` gets the name without the prefix and says whether it is meant. ``engine``
    reads S3 Inventory. ``skip_prefix`` leaves the object out whose key is the prefix. Raises ConfigError.
    """
    check_bucket(bucket)

    def shape_of(kind: str) -> Shape:
        return objects_shape(
            bucket, prefix, wanted, whole_keys=kind != "lines", outside=kind == "inventory", no_marker=skip_prefix
        )

    return _items(paths, file_format, nul, engine, shape_of, bucket=bucket)


def files_from(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str],
    prefix: str = "", *, file_format: str = "", nul: bool = False, wanted: Wanted | None = None,
) -> Items[FileSource]:  # fmt: skip
    """FileSource for the files that ``paths`` name: paths below ``folder``, with keys below ``prefix``.

    A table has a column ``path`` and may have ``key``; S3 Inventory names no files. Else as :func:`objects_from`.
    Raises ConfigError.
    """
    shape = files_shape(os.fspath(folder), prefix, wanted)
    return _items(paths, file_format, nul, None, lambda kind: shape, bucket="")


class _File:
    """A local file as a part of an input."""

    def __init__(self, file: InputFile, reader: Reader) -> None:
        self.label = file.label
        self._reader = reader

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        yield self._reader


def _items(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], file_format: str, nul: bool,
    engine: Engine | None, shape_of: Callable[[str], Shape], *, bucket: str,
) -> Items[Any]:  # fmt: skip
    if file_format and file_format not in FORMATS:
        raise ConfigError(f"unknown format {file_format!r} of names; there are {', '.join(FORMATS)}")
    named = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not named:
        raise ConfigError("no file with names is given")
    parts: list[Part] = []
    shapes: list[Shape] = []
    identities: list[str] = []
    stamps: list[str] = []
    for path in named:
        kind = file_format or format_of(path)
        if nul and kind != "lines":
            raise ConfigError(f"-0 is for lists; {path!r} is taken for {kind} (--from-format lines makes it a list)")
        if kind == "inventory":
            if not bucket:
                raise ConfigError(f"{path!r} is an S3 Inventory, which names objects and no files to upload")
            inventory = Inventory(path, None if engine is None else fetch_with(engine))
            if (other := inventory.source_bucket) != bucket:
                raise ConfigError(f"the inventory {path!r} is of the bucket {other!r}, not {bucket!r}")
            parts.extend(inventory.files)
            shapes.extend([shape_of(kind)] * len(inventory.files))
            identities.append(f"inventory:{inventory.digest}")
            continue
        file = InputFile(path, packed=path.endswith(".gz"))
        parts.append(_File(file, _reader(file, kind, nul=nul, bucket=bucket)))
        shapes.append(shape_of(kind))
        identities.append(f"{kind}{'-0' if nul else ''}:{file.identity}" if file.positionable else "")
        stamps.append(file.stamp if file.positionable else "")
    positionable = all(identities)
    if not positionable:
        return Items(parts, shapes, positionable=False, identity="")
    return Items(parts, shapes, positionable=True, identity=" ".join(identities), stamp=" ".join(stamps))


def _reader(file: InputFile, kind: str, *, nul: bool, bucket: str) -> Reader:
    local = not bucket
    if kind == "csv":
        return CsvReader(file, local=local, bucket=bucket)
    if kind == "parquet":
        return ParquetReader(file, local=local)
    return LineReader(file, nul=nul, local=local)
