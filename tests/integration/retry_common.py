"""What the tests of docs/retries.md share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s3engine import Engine, ObjectHeaders
from s3engine.errors import S3EngineError
from s3engine.testing.conformance.scripted import Scripted

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]
ABSENT = ObjectHeaders(extra={"if-none-match": "*"})
SLOW_DOWN = b"<Error><Code>SlowDownWrite</Code><Message>Resource requested is unwritable</Message></Error>"


def to(server: Scripted, **settings: Any) -> Engine:
    """An engine of one worker and one connection, so that requests come in order."""
    fixed = {"workers": 1, "concurrency": 1, "retry_base_s": 0.01, "checksum": "none"}
    sizes = {"multipart_threshold_bytes": 5 * MIB, "part_size_bytes": 5 * MIB}
    return Engine(endpoint_url=server.endpoint_url, **{**fixed, **sizes, **settings})


def failures(batch: Any) -> list[S3EngineError]:
    return [report.error for report in batch if report.error is not None]


def xml(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()
