"""The seam: what the engine asks of a client of S3, and the values that pass through it.

A transport is a class with the methods of :class:`Transport`, opened inside a worker process and never sent through a
pipe. Imports nothing of the engine but its errors. A transport that can also hand out :class:`Exchange` objects for the
same operations is *multiplexable*: one thread of a worker then drives hundreds of its connections.

Keys are exact: any ``str`` whose UTF-8 form has 1 to 1024 bytes, ``//``, ``.`` and ``..`` included. Headers are pairs
with lower-case names. Bodies are bytes or a :class:`FilePart`; a transport never sees a shared file object.
"""

from __future__ import annotations

from s3engine.transport.calls import Sink, Transport
from s3engine.transport.capabilities import TIMERS, Capabilities
from s3engine.transport.exchange import Exchange, Exchanges, Link, MultiplexableTransport
from s3engine.transport.values import (
    Body,
    CompletedPart,
    CopyResult,
    DeleteFailure,
    FilePart,
    GetResult,
    Headers,
    HeadResult,
    ListPage,
    ObjectInfo,
    PartsPage,
    PutResult,
    Timeouts,
    UploadInfo,
    UploadsPage,
)

__all__ = [
    "TIMERS", "Body", "Capabilities", "CompletedPart", "CopyResult", "DeleteFailure", "Exchange", "Exchanges",
    "FilePart", "GetResult", "HeadResult", "Headers", "Link", "ListPage", "MultiplexableTransport", "ObjectInfo",
    "PartsPage", "PutResult", "Sink", "Timeouts", "Transport", "UploadInfo", "UploadsPage",
]  # fmt: skip
