"""What a function made, on its way from its process to the store.

A body that goes in one request is put by this worker. Parts of larger ones go on to the parent, as memory: there the
multipart upload is begun, filled and ended, by the code that does it for files (jobs/outputs.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from s3engine.functions import messages as m
from s3engine.pool.applying import Applying
from s3engine.pool.messages import OUTPUT_END, OUTPUT_PART, Kind, path_of

if TYPE_CHECKING:
    from s3engine.pool.desk import Desk

__all__ = ["Outgoing"]


class Outgoing:
    """See the module."""

    def __init__(self, desk: Desk, channel: Any) -> None:
        self._desk = desk
        self._channel = channel

    def take(self, message: tuple[Any, ...]) -> None:
        """What the function process says of an output."""
        code, task_id = message[:2]
        applying = self._desk.under_way[task_id]
        if code == m.PUT:
            self._put(applying, *message[2:])
        elif code == m.PART:
            self._channel.send((OUTPUT_PART, *message[1:]), [self._desk.link.take_fd()])
        elif code == m.END:
            self._channel.send((OUTPUT_END, *message[1:]))
        elif code == m.WRITING:
            applying.temporary = message[2]

    def _put(self, applying: Applying, key: str, headers: Any, data: bytes | None, size_bytes: int) -> None:
        if data is not None:
            self._desk.request(
                applying, Kind.PUT_BYTES, key, (data, headers), size_bytes, self._was_put, (key, size_bytes, -1)
            )
        else:
            fd = self._desk.link.take_fd()
            self._desk.request(
                applying, Kind.PUT_FILE, key, (path_of(fd), headers), size_bytes, self._was_put, (key, size_bytes, fd)
            )

    def _was_put(self, applying: Applying, outcome: tuple[Any, ...], extra: Any, now: float) -> None:
        key, size_bytes, fd = extra
        if fd >= 0:
            os.close(fd)
        error = outcome[11]
        if error is None:
            applying.stored.append((key, size_bytes, outcome[9], outcome[13]))
        else:
            applying.error = applying.error or error
        self._desk.link.stored(applying.task_id, size_bytes, error is not None)
        self._desk.settle(applying, now)
