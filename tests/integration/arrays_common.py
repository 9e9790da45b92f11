"""Functions of test_map_arrays.py, in a module of their own: what it imports takes half a second in each process."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json

from s3engine import FetchedObject


def as_numpy(found: FetchedObject) -> tuple[Any, bool]:
    """Numbers, doubled, and whether NumPy had to copy to read them."""
    array = np.frombuffer(found.body, np.int64)
    return array * 2, not isinstance(root_of(array), mmap.mmap)


def root_of(array: Any) -> Any:
    """Whose memory it is."""
    while not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
        if array is None:
            break
    return array


def as_frame(found: FetchedObject) -> tuple[int, Any]:
    """By Arrow the sum of JSON lines, by pandas all of them plus one."""
    with pa.BufferReader(pa.py_buffer(found.body)) as file:
        total = sum(pyarrow.json.read_json(file)["n"].to_pylist())
    return total, pd.read_json(found.file(), lines=True) + 1
