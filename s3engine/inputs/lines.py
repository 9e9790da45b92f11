"""Names one to a line, or with NUL between them."""

from __future__ import annotations

from collections.abc import Iterator

from s3engine.errors import ConfigError, SourceError
from s3engine.inputs.files import InputFile
from s3engine.inputs.rows import Bad, Block, Place, Row

__all__ = ["LineReader", "check_text"]

_BLOCK_BYTES = 128 * 1024
_LINE_BYTES = 64 * 1024  # no key and no path is nearly that long
_BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"PAR1": "Parquet (--from-format parquet)", b"\x1f\x8b": "packed by gzip (its name should end in .gz)",
    b"ORC": "ORC", b"PK\x03\x04": "a zip file",
}  # fmt: skip


def check_text(data: bytes, label: str) -> None:
    """Raises ConfigError when the first bytes of a file are not those of a text."""
    for magic, what in _MAGIC.items():
        if data.startswith(magic) and (magic != b"ORC" or b"\0" in data):
            raise ConfigError(f"{label!r} is no list of names: it is {what}")
    if b"\0" in data:
        raise ConfigError(f"{label!r} is no text: it holds NUL bytes; a list with NUL between its names needs -0")


class LineReader:
    """``local``: names are paths, so that bytes that are not UTF-8 are kept (surrogateescape); in keys they are bad.

    A line ends in \\n or \\r\\n; with ``nul`` it ends in NUL and nothing else is looked at. Empty lines are skipped,
    the last one needs no end, a byte order mark at the start is dropped.
    """

    def __init__(self, file: InputFile, *, nul: bool = False, local: bool = False) -> None:
        self._file = file
        self._nul = nul
        self._errors = "surrogateescape" if local else "strict"

    def blocks(self, start: Place) -> Iterator[Block]:
        """As in Reader."""
        stream = self._file.open(start.offset)
        label = self._file.label
        separator = b"\0" if self._nul else b"\n"
        number, place, line = start
        rest = b""
        overlong = False
        try:
            while True:
                data = _read(stream, label)
                begun = Place(number, place, line)
                rows: list[Row] = []
                if not data:
                    if rest or overlong:
                        self._rows([rest], line, place - 1, rows, overlong=overlong)
                        yield Block(label, begun, rows)
                    return
                if not place and not rest and not overlong:
                    # A pipe may give less than a mark at first.
                    while len(data) < len(_BOM) and _BOM.startswith(data) and (more := _read(stream, label)):
                        data += more
                    if not self._nul:
                        check_text(data, label)
                    if data.startswith(_BOM):
                        data = data[len(_BOM) :]
                        place = len(_BOM)
                head, found, tail = data.rpartition(separator)
                if found:
                    line, place = self._rows((rest + head).split(separator), line, place, rows, overlong=overlong)
                    overlong = False
                    rest = tail
                else:
                    rest += data
                if len(rest) > _LINE_BYTES:  # not kept, only counted
                    place += len(rest)
                    rest = b""
                    overlong = True
                if rows:
                    yield Block(label, begun, rows)
        finally:
            stream.close()

    def _rows(
        self, pieces: list[bytes], line: int, place: int, rows: list[Row], *, overlong: bool
    ) -> tuple[int, int]:
        """Append a row per piece that is not empty; the line and the place behind the last one."""
        crlf = not self._nul
        errors = self._errors
        for raw in pieces:
            line += 1
            place += len(raw) + 1
            if crlf and raw.endswith(b"\r"):
                raw = raw[:-1]  # noqa: PLW2901
            if overlong or len(raw) > _LINE_BYTES:
                overlong = False
                rows.append(("", line, place, Bad(f"the line is longer than {_LINE_BYTES} bytes")))
            elif raw:
                try:
                    rows.append((raw.decode("utf-8", errors), line, place, None))
                except UnicodeDecodeError:
                    text = raw.decode("utf-8", "backslashreplace")
                    rows.append((text, line, place, Bad("it is not UTF-8, and S3 has no other keys")))
        return line, place


def _read(stream: object, label: str) -> bytes:
    try:
        data: bytes = stream.read(_BLOCK_BYTES)  # type: ignore[attr-defined]  # Stream; SourceError comes through
    except OSError as error:
        raise SourceError(f"cannot read {label!r}: {error.strerror or error}", path=label) from None
    return data
