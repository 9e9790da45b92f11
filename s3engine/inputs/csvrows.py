"""Tables as comma-separated text, with a header or in Amazon's order."""

from __future__ import annotations

import csv
import urllib.parse
from collections.abc import Iterator

from s3engine.errors import ConfigError, SourceError
from s3engine.inputs.columns import Columns, field_of, without_header
from s3engine.inputs.files import InputFile, Stream
from s3engine.inputs.lines import check_text
from s3engine.inputs.rows import Bad, Block, Details, Place, Row

__all__ = ["CsvReader"]

_BLOCK_BYTES = 64 * 1024
_BLOCK_ROWS = 1000
_LINE_BYTES = 256 * 1024
# Of a row over several lines: what is longer is an open quote. Where one bad row follows another the limit is halved
# each time, down to the least, or each of them would read so much again.
_ROW_BYTES = 256 * 1024
_LEAST_ROW_BYTES = 2 * 1024
_BOM = b"\xef\xbb\xbf"


class CsvReader:
    """``fields``: what the columns hold, where something else than the file tells it (a manifest of S3 Inventory).

    A first row that names a column ``key``, ``path`` or ``bucket`` is a header, and keys are plain text; but one that
    begins with the name of ``bucket`` is of an object that happens to be called so. Without a header the table is as
    Amazon writes it: see ``without_header``; keys with a bucket beside them are percent-encoded. A row that goes over
    several lines is told by the last of them. Where an open quote swallows lines, the one that opens it is bad, and
    reading goes on with the next.
    """

    def __init__(
        self, file: InputFile, *, local: bool = False, fields: list[str] | None = None, bucket: str = ""
    ) -> None:
        self._file = file
        self._bucket = bucket
        self._local = local
        self._columns: Columns | None = None
        self._encoded = False
        self._header_line = 0
        if fields is not None:
            self._columns = Columns(fields, [field or "?" for field in fields], file.label, local=local)
            self._encoded = True

    def blocks(self, start: Place) -> Iterator[Block]:
        """As in Reader."""
        if start.offset and self._columns is None:
            for _ in self._blocks(Place()):  # the first row tells what the columns are
                break
        yield from self._blocks(start)

    def _blocks(self, start: Place) -> Iterator[Block]:
        label = self._file.label
        stream = self._file.open(start.offset)
        lines = _Lines(stream, label, start)
        table = csv.reader(lines, strict=True)
        rows: list[Row] = []
        begun = start
        try:
            while True:
                first = lines.begin_row()
                try:
                    cells = next(table, None)
                except csv.Error as error:
                    last = lines.line
                    text = lines.back_to_second()
                    why = f"no CSV: {error}"
                    if last > first:
                        why = f"no CSV: a quote opens in it, not closed by line {last} ({error}); read on below it"
                    if self._columns is None:
                        self._refuse_separator(text)
                        raise ConfigError(f"{label!r}:{first}: it should tell what the columns are: {why}") from None
                    rows.append(("", first, lines.place, Bad(why)))
                    cells = []
                if cells is None:
                    break
                if cells:
                    lines.row_bytes = _ROW_BYTES
                if cells and self._is_data(cells, first):
                    rows.append(self._row(cells, lines.line, lines.place))
                if rows and (len(rows) >= _BLOCK_ROWS or lines.dry):
                    yield Block(label, begun, rows)
                    begun = Place(start.file, lines.place, lines.line)
                    rows = []
            if rows:
                yield Block(label, begun, rows)
        finally:
            stream.close()

    def _is_data(self, cells: list[str], line: int) -> bool:
        """Finds the columns in the first row; False when it is a header."""
        if self._columns is None:
            if len(cells) == 1:
                self._refuse_separator(cells[0])
            fields = [field_of(cell) for cell in cells]
            label = self._file.label
            if {"key", "path", "bucket"} & set(fields) and not (self._bucket and cells[0] == self._bucket):
                self._header_line = line
                self._columns = Columns(fields, cells, label, local=self._local)
            elif self._local:
                raise ConfigError(
                    f"{label!r} has no header; a table of files needs one that names a column 'path' (and perhaps "
                    f"'key'); its first row is {', '.join(map(repr, cells[:8]))}"
                )
            else:
                fields = without_header(cells)
                self._columns = Columns(fields, cells, label, local=False)
                self._encoded = "bucket" in fields
        return line != self._header_line

    def _refuse_separator(self, first: str) -> None:
        """Raises ConfigError for a first row that other characters than commas part into columns known to us."""
        for separator, name, command in ((";", "semicolons", "';'"), ("\t", "tabs", "'\\t'")):
            names = [piece.strip().strip('"') for piece in first.split(separator)]
            if len(names) > 1 and ({"key", "path", "bucket"} & set(map(field_of, names)) or names[0] == self._bucket):
                raise ConfigError(
                    f"the first row of {self._file.label!r} is parted by {name}, and a table is read with commas: it "
                    f"would be one column. Write it with commas (tr {command} ',' where no key holds either), or, "
                    "where its lines are keys, say --from-format lines (file_format=\"lines\")"
                )

    def _row(self, cells: list[str], line: int, place: int) -> Row:
        assert self._columns is not None
        taken = self._columns.take(cells)
        if taken is None:
            return "", line, place, None
        name, details = taken
        if self._encoded and type(details) is Details and ("%" in name or "+" in name):
            try:
                name = urllib.parse.unquote_plus(name, errors="strict")
            except UnicodeDecodeError:
                details = Bad("its key is not percent-encoded UTF-8")
        return name, line, place, details


class _Lines:
    """Text lines with their ends for the csv module, and where we are behind the one it took last."""

    def __init__(self, stream: Stream, label: str, start: Place) -> None:
        self._stream = stream
        self._label = label
        self._pieces: list[bytes] = []
        self._rest = b""
        self._next = 0
        self._begun = start.offset > 0
        self._over = False
        self._row: list[bytes] = []
        self._taken_bytes = 0
        self.row_bytes = _ROW_BYTES
        self.place = start.offset
        self.line = start.line

    @property
    def dry(self) -> bool:
        """The next line has to be waited for."""
        return self._next >= len(self._pieces)

    def begin_row(self) -> int:
        """A row begins with the next line; its number."""
        self._row.clear()
        self._taken_bytes = 0
        return self.line + 1

    def back_to_second(self) -> str:
        """Give all lines of this row but the first again; the first."""
        first, *others = self._row
        if others:
            self.row_bytes = max(self.row_bytes // 2, _LEAST_ROW_BYTES)
        self._pieces = others + self._pieces[self._next :]
        self._next = 0
        self.place -= sum(map(len, others))
        self.line -= len(others)
        return first.decode("utf-8", "surrogateescape").rstrip("\r\n")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while self._next >= len(self._pieces):
            if self._over:
                raise StopIteration
            self._fill()
        raw = self._pieces[self._next]
        if self._row:
            self._taken_bytes += len(raw)
            if self._taken_bytes > self.row_bytes:
                raise csv.Error(f"a row of more than {self.row_bytes} bytes over {len(self._row)} lines")
        self._row.append(raw)
        self._next += 1
        self.place += len(raw)
        self.line += 1
        return raw.decode("utf-8", "surrogateescape")

    def _fill(self) -> None:
        data = self._read()
        if not self._begun:
            self._begun = True
            while 0 < len(data) < len(_BOM) and (more := self._read()):
                data += more
            check_text(data, self._label)
            if data.startswith(_BOM):
                data = data[len(_BOM) :]
                self.place = len(_BOM)
        self._over = not data
        pieces = (self._rest + data).split(b"\n")
        self._rest = b"" if self._over else pieces.pop()
        if self._over and not pieces[-1]:
            pieces.pop()
        last = len(pieces) - 1 if self._over else len(pieces)
        self._pieces = [piece + b"\n" if index < last else piece for index, piece in enumerate(pieces)]
        self._next = 0
        if len(self._rest) > _LINE_BYTES:
            raise SourceError(f"{self._label!r} has a line of more than {_LINE_BYTES} bytes; is it CSV?")

    def _read(self) -> bytes:
        try:
            return self._stream.read(_BLOCK_BYTES)
        except OSError as error:
            raise SourceError(f"cannot read {self._label!r}: {error.strerror or error}", path=self._label) from None
