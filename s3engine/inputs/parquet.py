"""Tables as Parquet, by pyarrow, in batches of rows with only the columns that are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from s3engine.errors import ConfigError, SourceError
from s3engine.inputs.columns import Columns, field_of
from s3engine.inputs.files import InputFile
from s3engine.inputs.rows import Block, Place, Row

__all__ = ["ParquetReader"]

_BATCH_ROWS = 2000
_BUFFER_BYTES = 256 * 1024  # of a column: pyarrow would read all of it that a row group has


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        text = "Parquet is read by pyarrow, which is not installed: pip install 's3engine[parquet]'"
        raise ConfigError(text) from None
    return pyarrow


class ParquetReader:
    """Its places count rows; those of the row groups before a place are not read. Raises ConfigError."""

    def __init__(self, file: InputFile, *, local: bool = False) -> None:
        self._file = file
        self._local = local

    def blocks(self, start: Place) -> Iterator[Block]:
        """As in Reader."""
        pyarrow = _pyarrow()
        label = self._file.label
        stream = self._file.open_seekable()
        try:
            table = self._open(pyarrow, stream)
            names = [name for name in table.schema_arrow.names if field_of(name)]
            columns = Columns([field_of(name) for name in names], table.schema_arrow.names, label, local=self._local)
            done = 0
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                if done + count > start.offset:
                    yield from self._group(pyarrow, table, group, names, columns, done, start)
                done += count
        finally:
            stream.close()

    def _open(self, pyarrow: Any, stream: Any) -> Any:
        try:
            return pyarrow.parquet.ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{self._file.label!r} is no Parquet file: {reason}") from None

    def _group(
        self, pyarrow: Any, table: Any, group: int, names: list[str], columns: Columns, number: int, start: Place
    ) -> Iterator[Block]:
        label = self._file.label
        batches = table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=names, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pyarrow.ArrowException, OSError) as error:
                raise SourceError(f"cannot read {label!r} (Parquet): {error}", path=label) from None
            if batch is None:
                return
            begun = max(number, start.offset)
            if number + batch.num_rows <= start.offset:
                number += batch.num_rows
                continue
            found = [batch.column(name).to_pylist() for name in names]
            rows: list[Row] = []
            for values in zip(*found, strict=True):
                number += 1
                if number > start.offset:
                    name, details = columns.take(values) or ("", None)
                    rows.append((name, number, number, details))
            yield Block(label, Place(start.file, begun, begun), rows)

