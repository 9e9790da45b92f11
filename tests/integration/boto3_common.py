"""The transport over boto3, opened for a server of the tests."""

from __future__ import annotations

from typing import Any

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.scripted import Scripted
from s3engine.transport import Timeouts
from s3engine_transports.via_boto3 import Boto3Transport

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024
KEYS = Credentials("AKID1", "not-a-secret")


def open_boto3(server: Any, **changes: Any) -> Boto3Transport:
    """A transport for a server of the tests; a Scripted one has no keys."""
    credentials = KEYS if isinstance(server, Scripted) else Credentials(server.access_key, server.secret_key)
    return Boto3Transport(
        TransportSettings(**{"endpoint_url": server.endpoint_url, "credentials": credentials, **changes})
    )


def got(transport: Boto3Transport, bucket: str, key: str) -> bytes:
    sink = MemorySink()
    transport.get_object(bucket, key, sink, timeouts=T)
    return sink.body()
