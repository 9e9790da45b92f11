"""The raw transport, opened for a server of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.sinks import MemorySink
from s3engine.transport import Timeouts
from s3engine_transports.raw import RawTransport

T = Timeouts(connect_s=5, stall_s=10, first_byte_s=20, attempt_s=60)
MIB = 1024 * 1024


def open_raw(server: EmbeddedServer, *, clock: Callable[[], float] = time.time, **changes: Any) -> RawTransport:
    credentials = Credentials(server.access_key, server.secret_key)
    settings = {"endpoint_url": server.endpoint_url, "credentials": credentials, **changes}
    return RawTransport(TransportSettings(**settings), wall_clock=clock)


def got(raw: RawTransport, bucket: str, key: str, **keywords: Any) -> bytes:
    sink = MemorySink()
    raw.get_object(bucket, key, sink, timeouts=T, **keywords)
    return sink.body()
