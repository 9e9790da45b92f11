"""The transport over minio, opened for a server of the tests."""

from __future__ import annotations

from typing import Any

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.sinks import MemorySink
from s3engine.transport import Timeouts, Transport
from s3engine_transports.via_minio import MinioTransport

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024


def settings_for(server: Any, **changes: Any) -> TransportSettings:
    """Settings for a server of the tests."""
    credentials = Credentials(server.access_key, server.secret_key)
    return TransportSettings(**{"endpoint_url": server.endpoint_url, "credentials": credentials, **changes})


def open_minio(server: Any, **changes: Any) -> MinioTransport:
    """A transport for a server of the tests."""
    return MinioTransport(settings_for(server, **changes))


def body_of(transport: Transport, bucket: str, key: str) -> bytes:
    """The bytes of an object."""
    sink = MemorySink()
    transport.get_object(bucket, key, sink, timeouts=T)
    return sink.body()
