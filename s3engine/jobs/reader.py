"""The input of a job: a thread pulls the caller's iterator (which may be slow, or ask the network) into a short queue.

The supervisor takes from the queue when workers have room, so memory stays flat however long the iterator is. An input
of our own that has ``chunks()``, lists of many items, is pulled by these: a lock and a look around for each item cost
more than finding it. One of somebody else gives items one by one, and none of them waits for the next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s3engine.sources import FileSource

if TYPE_CHECKING:
    from s3engine.jobs.base import Job

__all__ = ["InputReader", "chunks_of"]

_QUEUED_ITEMS = 2000
_HELD_BYTES = 64 * 1024 * 1024
_FILES = {FileSource}


def chunks_of(items: Any) -> Callable[[], Iterator[list[Any]]] | None:
    """Its ``chunks``, if its class has them itself.

    What inherits them, or passes them on from what it wraps, may leave some out when it is iterated, or give others:
    such an input is taken at its word, item by item.
    """
    return items.chunks if "chunks" in vars(type(items)) else None


class InputReader:
    """``queue`` has what came and was not taken yet; the supervisor takes from its left and calls :meth:`taken`."""

    __slots__ = (
        "_closed", "_items", "_lock", "_released_bytes", "_room", "_taken_bytes", "exhausted", "queue", "starving",
    )  # fmt: skip

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._closed = False
        self._taken_bytes = 0  # bodies in memory that came; the reader's
        self._released_bytes = 0  # and that went; the supervisor's: one writer each, so neither needs a lock
        self.queue: deque[Any] = deque()
        self.exhausted = False
        """Nothing more will come."""
        self.starving = True
        """The supervisor found too little: wake it when something comes."""

    def start(self, job: Job) -> None:
        """Begin to pull the input of ``job``."""
        threading.Thread(target=self.read, args=(job,), name="s3engine-input", daemon=True).start()

    def read(self, job: Job) -> None:
        """Pull it to its end, or until the reader is closed. The thread's own."""
        try:
            chunks = chunks_of(self._items)
            if chunks is None:
                self._read_items(job, self._items)
            else:
                self._read_chunks(job, chunks())
        except BaseException as error:  # noqa: BLE001  (it is the caller's own iterator: handed to the caller)
            job.input_failed(error)
        self.exhausted = True
        job.wake()

    def _read_items(self, job: Job, items: Iterable[Any]) -> bool:
        """False when the reader was closed."""
        body_bytes = job.body_bytes
        lock, queue = self._lock, self.queue
        for item in items:
            if type(item) is not FileSource:
                self._taken_bytes += body_bytes(item)
            with lock:  # so that nothing comes in after close()
                if self._closed:
                    return False
                queue.append(item)
            if self.starving:
                self.starving = False
                job.wake()
            # After the item is queued, not before: one in hand would be lost to a cancel.
            if len(queue) >= _QUEUED_ITEMS or self._held_bytes >= _HELD_BYTES:
                with self._room:
                    self._room.wait_for(self._may_read)
                if self._closed:
                    return False
        return True

    def _read_chunks(self, job: Job, chunks: Iterable[list[Any]]) -> None:
        lock, queue = self._lock, self.queue
        for chunk in chunks:
            if job.weighs and set(map(type, chunk)) != _FILES:  # bodies come one by one, so that few are held
                if not self._read_items(job, chunk):
                    return
                continue
            with lock:
                if self._closed:
                    return
                queue.extend(chunk)
            if self.starving:
                self.starving = False
                job.wake()
            if len(queue) >= _QUEUED_ITEMS:
                with self._room:
                    self._room.wait_for(self._may_read)
                if self._closed:
                    return

    def _may_read(self) -> bool:
        return self._closed or (len(self.queue) < _QUEUED_ITEMS // 2 and self._held_bytes < _HELD_BYTES)

    @property
    def _held_bytes(self) -> int:
        """Bodies in memory, queued and under way."""
        return self._taken_bytes - self._released_bytes

    # ---- the supervisor

    def taken(self) -> None:
        """Something may have left the queue."""
        if len(self.queue) < _QUEUED_ITEMS // 2:
            with self._room:
                self._room.notify()

    def release_bytes(self, count: int) -> None:
        """A body in memory is done with."""
        self._released_bytes += count
        if count and self._held_bytes < _HELD_BYTES:
            with self._room:
                self._room.notify()

    def close(self) -> None:
        """Pull no more; nothing comes into the queue after this."""
        with self._room:
            self._closed = True
            self._room.notify_all()
