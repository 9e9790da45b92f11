"""The same job with each transport: ``python -m tests.same_job [TRANSPORT ...]``.

2 000 files are uploaded, listed, downloaded, copied and the originals deleted, on SeaweedFS. Prints what each ended in.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from s3engine import Engine, files_recursive
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError
from s3engine.report import RequestReport
from s3engine.testing.witness import Witness
from tests.matrix import TRANSPORTS

N_OBJECTS = 2000
KIBI = 1024


class Outcome(NamedTuple):
    """What one transport made of the job."""

    state: dict[str, tuple[int, str]]
    """What the store holds in the end: size and MD5 of each object by key, as an independent client reads it."""
    reports: dict[str, list[tuple[object, ...]]]
    """By operation, what is the same whoever does it, sorted."""
    listed: list[tuple[object, ...]]
    """Key, size and ETag of each object, sorted. Not the storage class: obstore does not tell it."""
    summary: str


def make_files(folder: str, count: int = N_OBJECTS) -> None:
    """Files of 0 to 12 KiB, in folders, with some odd names that every transport and server takes."""
    for number in range(count):
        path = Path(folder, f"d{number % 7}", f"{number:04} ä+b&c%={number % 3}.bin")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(hashlib.shake_128(str(number).encode()).digest(number * 37 % (12 * KIBI)))


def run_job(transport: str, server: EmbeddedServer, bucket: str, files: str) -> Outcome:
    """The job, with this transport."""
    reports: dict[str, list[tuple[object, ...]]] = {}
    with (
        Engine(
            transport=transport, endpoint_url=server.endpoint_url, region="us-east-1", workers=2, concurrency=16
        ) as engine,
        tempfile.TemporaryDirectory(prefix="s3engine-same-job-") as target,
    ):
        reports["upload"] = [_told(one, files) for one in engine.upload(bucket, files_recursive(files, "from/"))]
        found = sorted(engine.list(bucket, "from/"))
        reports["download"] = [_told(one, target) for one in engine.list(bucket, "from/").download(target)]
        for path in Path(files).rglob("*.bin"):
            copy = Path(target, path.relative_to(files))
            assert copy.read_bytes() == path.read_bytes(), f"{copy} differs"
        copies = engine.list(bucket, "from/").copy(key=lambda info: "to/" + info.key.removeprefix("from/"))
        reports["copy"] = [_told(one, "") for one in copies]
        reports["delete"] = [_told(one, "") for one in engine.list(bucket, "from/").delete()]
        assert engine.list(bucket, "from/").count() == 0
    with Witness(server.endpoint_url, server.access_key, server.secret_key) as witness:
        state = {}
        for key in witness.list_keys(bucket):
            body = witness.get(bucket, key)
            assert body is not None
            state[key] = (len(body), hashlib.md5(body, usedforsecurity=False).hexdigest())
    listed: list[tuple[object, ...]] = [(info.key, info.size_bytes, info.etag) for info in found]
    reports = {name: sorted(told) for name, told in reports.items()}
    counts = ", ".join(f"{len(told)} {operation}" for operation, told in reports.items())
    summary = f"{counts}; store state {_digest(sorted(state.items()))}, reports {_digest(sorted(reports.items()))}, "
    summary += f"listing {_digest(listed)}"
    return Outcome(state, reports, listed, summary)


def _told(report: RequestReport, folder: str) -> tuple[object, ...]:
    # Not the times, nor what they follow from; nor the request's id, nor the order in which they finished.
    target = os.path.relpath(report.target, folder) if folder and report.target else report.target
    error = None if report.error is None else (type(report.error).__name__, str(report.error))
    return (
        report.operation, report.bucket, report.key, report.size_bytes, report.attempts, report.status, report.etag,
        target, error,
    )  # fmt: skip


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def main(transports: tuple[str, ...]) -> int:
    """Run with each, print, and say whether all are the same."""
    with EmbeddedServer() as server, tempfile.TemporaryDirectory(prefix="s3engine-same-job-") as files:
        os.environ.update(server.environment())
        make_files(files)
        outcomes = {}
        with Witness(server.endpoint_url, server.access_key, server.secret_key) as witness:
            for transport in transports:
                witness.create_bucket("job")
                outcomes[transport] = run_job(transport, server, "job", files)
                witness.delete_all("job")
                print(f"{transport:8} {outcomes[transport].summary}", flush=True)
    first = outcomes[transports[0]]
    same = all(one[:3] == first[:3] for one in outcomes.values())
    print("all the same" if same else "THEY DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit("name two transports at least, or none for all")
    try:
        sys.exit(main(tuple(sys.argv[1:]) or TRANSPORTS))
    except ConfigError as error:
        sys.exit(str(error))
