"""Memory for bodies that a worker reads from files before it sends them."""

from __future__ import annotations

import threading

from s3engine.errors import S3EngineError

__all__ = ["HELD_BYTES", "NoRoom", "Room"]

HELD_BYTES = 64 * 1024 * 1024
"""Held at a time by one worker, and so the largest body that is read before it is sent."""


class NoRoom(S3EngineError):
    """Not an error to anybody outside: the task waits until another one has given its body back."""

    size_bytes: int = 0


class Room:
    """Counts the bytes of bodies in memory. Safe to use from several threads."""

    def __init__(self, room_bytes: int = HELD_BYTES) -> None:
        self._free_bytes = room_bytes
        self._lock = threading.Lock()

    @property
    def free_bytes(self) -> int:
        """What is left."""
        return self._free_bytes

    def take(self, size_bytes: int) -> None:
        """Count a body. Raises NoRoom."""
        with self._lock:
            if size_bytes > self._free_bytes:
                raise NoRoom("no room", size_bytes=size_bytes)
            self._free_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """The body is gone."""
        with self._lock:
            self._free_bytes += size_bytes
