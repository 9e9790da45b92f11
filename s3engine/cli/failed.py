"""What failed in a journal as names or a table: what ``--from`` takes, and nothing that no input can name."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from s3engine.cli.route import folder_prefix, is_uri
from s3engine.cli.text import complain, json_line, write_bytes
from s3engine.errors import ConfigError
from s3engine.plain import number_of
from s3engine.uri import S3Uri

if TYPE_CHECKING:
    from s3engine.journal import Failed, Journal

__all__ = ["print_json", "print_names", "print_table"]

_BLOCK_BYTES = 64 * 1024
_BYTE_ORDER_MARK = "\ufeff"


class _Chosen:
    """The failed objects that can be named again; afterwards ``tell`` says how many cannot."""

    def __init__(self, journal: Journal, only: str) -> None:
        self._failed = journal.failed(only)
        self._rejected = 0
        self.outside = 0

    def __iter__(self) -> Iterator[Failed]:
        for one in self._failed:
            if one.rejected:  # its name may be that of a good object that nobody named
                self._rejected += 1
            else:
                yield one

    def tell(self) -> None:
        """On standard error, so that the names can go through a pipe."""
        for count, why in (
            (self._rejected, "rows of the input that could not be used, or whose key came before (--json shows them)"),
            (self.outside, "not below SRC (--json shows what)"),
        ):
            if count:
                complain(f"{number_of(count)} left out: {why}")


def print_json(journal: Journal, only: str) -> None:
    """An object per line; ``rejected`` says that it was never one of the input. Raises ConfigError, JournalError."""
    out = _Out()
    for one in journal.failed(only):
        out.add(json_line(**one._asdict()).encode() + b"\n")
    out.flush()


def print_names(journal: Journal, only: str, *, nul: bool, relative: bool) -> None:
    """A name per line, or with NUL behind each. Raises ConfigError for one that a list cannot hold, JournalError."""
    start = _source(journal) if relative else ""
    end = b"\0" if nul else b"\n"
    out = _Out()
    chosen = _Chosen(journal, only)
    for one in chosen:
        name = one.name[len(start) :] if one.name.startswith(start) else ""
        if not name:
            chosen.outside += 1
            continue
        if not nul and ("\n" in name or name.endswith("\r")):
            raise ConfigError(f"{one.name!r} has a newline in its name; ask for names that end in NUL: -0")
        if name.startswith(_BYTE_ORDER_MARK):
            raise ConfigError(f"{one.name!r} begins with a byte order mark, which a list loses; ask for a table: --csv")
        out.add(name.encode("utf-8", "surrogateescape") + end)
    out.flush()
    chosen.tell()


def print_table(journal: Journal, only: str) -> None:
    """Columns ``path`` (below SRC) and ``key`` (below DST) of uploads, else ``key`` (whole). Raises as print_names."""
    values = _values(journal)
    uploads = not is_uri(values.get("src") or values["uri"])
    start = _source(journal)
    prefix = folder_prefix(S3Uri.parse(values["dst"]), recursive=True) or "" if uploads else ""
    out = _Out()
    out.add(_row(("path", "key") if uploads else ("key",)))
    chosen = _Chosen(journal, only)
    for one in chosen:
        path, key = one.name[len(start) :], one.key[len(prefix) :]
        if not one.name.startswith(start) or not one.key.startswith(prefix) or not key or (uploads and not path):
            chosen.outside += 1
        else:
            out.add(_row((path, key) if uploads else (one.key,)))
    out.flush()
    chosen.tell()


_quoting = functools.partial(csv.writer, quoting=csv.QUOTE_ALL)


def _row(cells: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    # Some versions of the csv module write a carriage return without quotes, and read it back as an end of a line.
    writer = _quoting if any("\r" in cell for cell in cells) else csv.writer
    writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


class _Out:
    """Bytes to standard output, in blocks."""

    def __init__(self) -> None:
        self._block = bytearray()

    def add(self, data: bytes) -> None:
        self._block += data
        if len(self._block) >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        write_bytes(self._block)
        self._block = bytearray()


def _values(journal: Journal) -> dict[str, Any]:
    """The options of the command that made it. Raises ConfigError."""
    values: dict[str, Any] = journal.about()["options"].get("values", {})
    if not values.get("src") and not values.get("uri"):
        raise ConfigError(f"journal {journal.path!r} was not made by a command: names are relative to nothing")
    return values


def _source(journal: Journal) -> str:
    """What the names in a journal begin with that its command did not need to be told of each. Raises ConfigError."""
    values = _values(journal)
    source: str = values.get("src") or values["uri"]
    if is_uri(source):
        source = source.partition("://")[2].partition("/")[2]
    return f"{source.rstrip('/')}/" if source else ""
