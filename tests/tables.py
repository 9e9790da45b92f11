"""Tables as inputs, and what is said of their bad rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import MalformedRow
from s3engine.sources import Rejected


def table(folder: Path, text: str | bytes, name: str = "names.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def why(found: list[Any]) -> list[str]:
    """The messages of bad rows, without the folder."""
    errors = [item.error for item in found if isinstance(item, Rejected)]
    assert all(type(error) is MalformedRow for error in errors)
    return [str(error).rpartition("/")[2] for error in errors]


def parquet(folder: Path, columns: dict[str, list[Any]], name: str = "names.parquet", rows: int = 1000) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = folder / name
    pq.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path
