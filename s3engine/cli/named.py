"""``--from FILE``: what to do is named by files, nothing is listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from s3engine.cli.interrupts import interrupts
from s3engine.cli.journaled import is_retry
from s3engine.cli.options import NameFilter
from s3engine.cli.text import complain
from s3engine.errors import ConfigError, MalformedRow, S3EngineError

if TYPE_CHECKING:
    from s3engine.engine import Engine
    from s3engine.inputs import Items
    from s3engine.journal import Journal
    from s3engine.sources import FileSource
    from s3engine.transport import ObjectInfo

__all__ = ["is_named", "named_files", "named_objects", "names_or_record", "row_or", "sizes_of", "tell_if_empty"]


def is_named(values: Mapping[str, Any]) -> bool:
    """Whether ``--from`` was given. Raises ConfigError for its companions without it."""
    if values["from_files"]:
        if values["from_files"].count("-") > 1:
            raise ConfigError("standard input can be read once: give --from - once")
        return True
    if values["nul"] or values["from_format"]:
        raise ConfigError("-0 and --from-format say how the file of --from is to be read; there is no --from")
    return False


def named_objects(
    values: Mapping[str, Any], engine: Engine, bucket: str, prefix: str, wanted: NameFilter | None, *,
    skip_prefix: bool = False,
) -> Items[str | ObjectInfo]:  # fmt: skip
    """The objects below s3://bucket/prefix that the files name. Raises ConfigError."""
    from s3engine.inputs import objects_from

    items = objects_from(
        values["from_files"], bucket, prefix, file_format=values["from_format"] or "", nul=values["nul"], wanted=wanted,
        engine=engine, skip_prefix=skip_prefix,
    )  # fmt: skip
    items.check()
    return items


def named_files(values: Mapping[str, Any], folder: str, prefix: str, wanted: NameFilter | None) -> Items[FileSource]:
    """The files below ``folder`` that the files name, with keys below ``prefix``. Raises ConfigError."""
    from s3engine.inputs import files_from

    items = files_from(
        values["from_files"], folder, prefix, file_format=values["from_format"] or "", nul=values["nul"], wanted=wanted
    )
    items.check()
    return items


class OnRecord:
    """In the place of the names for a retry: the journal holds all that it needs, and the files may be gone."""

    positionable = False
    label = "the journal"
    rows = 0

    def __init__(self, journal: Journal) -> None:
        self.identity = str(journal.about()["identity"].get("input", ""))

    def __iter__(self) -> Iterator[Any]:
        """Nothing."""
        return iter(())


def names_or_record(journal: Journal | None, names: Callable[[], Items[Any]]) -> Items[Any]:
    """What ``names`` opens; for a retry nothing is opened. Raises ConfigError, JournalError."""
    if journal is not None and is_retry(journal):
        return cast("Items[Any]", OnRecord(journal))
    return names()


def sizes_of(items: Items[Any]) -> Iterator[int] | None:
    """For a progress bar: bytes of each item, 0 where they are not told; None where that would take the input away."""
    return (_size(item) for item in items.again()) if items.positionable else None


def _size(item: Any) -> int:
    return max(getattr(item, "size_bytes", 0), 0)


def row_or(name: str, verb: str, error: S3EngineError | None) -> str:
    """What a failed object is called: ``name``; of a bad row what the row says, since the message has its place."""
    if not isinstance(error, MalformedRow):
        return name
    return f"{verb} {error.key}" if error.key else verb


def tell_if_empty(items: Items[Any]) -> None:
    """After a batch that ended well, and took its input from the files: say why nothing was done."""
    if not items.rows and not interrupts.number:  # an interrupted one may not have come to the first
        complain(f"{items.label}: no names in it; nothing was done")
