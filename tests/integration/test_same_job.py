"""Whichever transport does it, the same job ends in the same store state and the same reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from s3engine.embedded import EmbeddedServer
from tests.helpers import S3Probe, point_at
from tests.matrix import TRANSPORTS
from tests.same_job import Outcome, make_files, run_job

N_OBJECTS = 300


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The files of the job."""
    folder = tmp_path_factory.mktemp("job")
    make_files(str(folder), N_OBJECTS)
    return str(folder)


@pytest.fixture(scope="module")
def by_raw(seaweed: EmbeddedServer, probe: S3Probe, files: str) -> Iterator[Outcome]:
    """What the raw transport makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, seaweed)
        probe.create_bucket("same-job")
        yield run_job("raw", seaweed, "same-job", files)
        probe.delete_all("same-job")


@pytest.mark.slow
@pytest.mark.parametrize("transport", [name for name in TRANSPORTS if name != "raw"])
def test_same_job(
    transport: str, by_raw: Outcome, seaweed: EmbeddedServer, probe: S3Probe, files: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Upload, list, download, copy and delete give the same objects, listing and reports, but for times and ids."""
    point_at(monkeypatch, seaweed)
    bucket = "same-job"
    probe.delete_below(bucket, "")
    outcome = run_job(transport, seaweed, bucket, files)
    assert len(outcome.state) == N_OBJECTS
    assert outcome.state == by_raw.state
    assert outcome.listed == by_raw.listed
    assert {name: len(told) for name, told in outcome.reports.items()} == dict.fromkeys(outcome.reports, N_OBJECTS)
    assert outcome.reports == by_raw.reports
