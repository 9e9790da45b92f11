"""A batch that is cancelled while the store is asked what it compares ends what was begun for that, and counts it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3engine.control.estimator import OpClass
from s3engine.errors import AccessDenied, Cancelled, NetworkError, S3EngineError, TransferError
from s3engine.integrity.choice import Checking
from s3engine.integrity.probe import probe
from tests.helpers import eventually
from tests.tried_jobs import MIB, Bench, outcome, upload
from tests.unit.test_integrity_probe import ALL, Store


@pytest.mark.parametrize("requests", range(1, 8))
def test_what_was_begun_for_the_question_is_aborted(requests: int) -> None:
    """Whenever the question is stopped no upload is left, and Cancelled says so."""
    store = Store(ALL, trailers="compared")
    with pytest.raises(Cancelled):
        probe(store.call, "b", "k", signed=True, trailers=True, stopped=lambda: store.requests > requests)
    assert not store.uploads
    # Of each of four questions one that is under way, one that is not sent any more, an abort; and the first upload.
    assert store.requests <= requests + 3 * 4 + 1


def test_an_abort_that_fails_is_told() -> None:
    """When the upload cannot be aborted the error is not Cancelled: something is left."""

    class Stubborn(Store):
        def abort_multipart_upload(self, *args: Any, **given: Any) -> None:
            raise AccessDenied("no")

    store = Stubborn(ALL)
    with pytest.raises(AccessDenied):
        probe(store.call, "b", "k", signed=True, trailers=True, stopped=lambda: store.requests > 1)


def test_an_id_that_never_came_is_told_when_nobody_can_look() -> None:
    """The answer to Create was lost and the store lists no uploads: the error is not Cancelled."""

    class Silent(Store):
        def create_multipart_upload(self, *args: Any, **given: Any) -> str:
            raise NetworkError("no answer came")

    store = Silent(ALL)

    def call(op: OpClass, bucket: str, function: Callable[[Any, Any], Any]) -> Any:
        try:
            return store.call(op, bucket, function)
        except NetworkError:
            return store.call(op, bucket, function)  # as an engine does

    with pytest.raises(NetworkError):
        probe(call, "b", "k", signed=True, trailers=True, stopped=lambda: store.requests > 1)


class Asked:
    """Checks that are under way until they are stopped, and end as they are told."""

    def __init__(self, error: S3EngineError | None, *, ends: bool = True) -> None:
        self.error = error
        self.begun, self.may_end = threading.Event(), threading.Event()
        if ends:
            self.may_end.set()

    def known(self) -> Checking | None:
        return None

    def cautious(self) -> Checking:
        return Checking()

    def find(self, bucket: str, key: str, stopped: Callable[[], bool]) -> Checking:
        self.begun.set()
        eventually(stopped)
        self.may_end.wait(10)
        if self.error is not None:
            raise self.error
        return Checking()


def _cancelled_in(checks: Asked, folder: Path, *, grace_s: float = 2.0) -> list[S3EngineError | None]:
    (folder / "large").write_bytes(b"x" * MIB)
    bench = Bench(outcome)
    job = upload(bench, [(str(folder / "large"), "large")], checks=checks, threshold_bytes=1000, grace_s=grace_s)
    job.start_reading()
    assert checks.begun.wait(10)
    job.cancel()
    if not checks.may_end.is_set() and grace_s > 0:
        assert not job.finished
        checks.may_end.set()
    eventually(lambda: job.finished)
    checks.may_end.set()
    assert [report.key for report in bench.reports] == ["large"]
    return [report.error for report in bench.reports]


@pytest.mark.parametrize("error", [Cancelled("not asked any further"), None])
def test_the_object_in_hand_is_counted(tmp_path: Path, error: S3EngineError | None) -> None:
    """The batch is not over before the question is, and the object that it was for is reported as cancelled."""
    (told,) = _cancelled_in(Asked(error, ends=False), tmp_path)
    assert type(told) is Cancelled


@pytest.mark.parametrize(("error", "grace_s"), [(AccessDenied("no"), 2.0), (None, -60.0)])
def test_what_may_be_left_is_named(tmp_path: Path, error: S3EngineError | None, grace_s: float) -> None:
    """What could not be aborted, or not in time, is told with the command that finds it."""
    (told,) = _cancelled_in(Asked(error, ends=error is not None), tmp_path, grace_s=grace_s)
    assert type(told) is TransferError
    assert "s3engine cleanup 's3://b/large' --older-than 0" in str(told)
