"""Arrays and tables out of the memory that bodies are received into."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pandas as pd

from s3engine import BytesSource, Engine
from tests.integration import arrays_common as functions


def test_arrays_and_frames(engine: Engine, bucket: str) -> None:
    """NumPy, Arrow and pandas read a body where it lies, and what they make comes back in shared memory."""
    numbers: Any = np.arange(60_000, dtype=np.int64)
    rows = b"".join(b'{"n": %d}\n' % number for number in range(20_000))
    bodies = [BytesSource(numbers.tobytes(), "a/numbers"), BytesSource(rows, "a/rows")]
    assert engine.upload(bucket, bodies).wait().ok

    ((_, (array, copied)),) = engine.map(functions.as_numpy, ["a/numbers"], bucket=bucket)
    assert not copied
    assert np.array_equal(array, numbers * 2)
    assert not array.flags.owndata
    assert isinstance(functions.root_of(array), mmap.mmap)

    ((_, (total, frame)),) = engine.map(functions.as_frame, ["a/rows"], bucket=bucket)
    assert total == sum(range(20_000))
    assert frame.equals(pd.DataFrame({"n": np.arange(20_000) + 1}))
