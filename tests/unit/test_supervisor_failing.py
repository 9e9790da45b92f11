"""What ends the supervisor's thread ends every batch: nobody waits for ever."""

from __future__ import annotations

import threading

import pytest

from s3engine import BytesSource, Engine
from s3engine.jobs.base import Job


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_batches_that_cannot_begin_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, the batch that meets it ends by that error, and those behind it too."""
    all_there = threading.Event()

    def no_thread(_job: Job) -> None:
        assert all_there.wait(10)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Job, "start_reading", no_thread)
    engine = Engine(
        transport="s3engine.testing:MemoryTransport", workers=1, endpoint_url="http://memory", anonymous=True,
        checksum="none",
    )  # fmt: skip
    batches = [engine.upload("bucket", [BytesSource(b"x", f"k{number}")]) for number in range(3)]
    all_there.set()
    for batch in batches:
        with pytest.raises(RuntimeError, match="new thread"):
            batch.wait(timeout_s=20)
    engine.close()
