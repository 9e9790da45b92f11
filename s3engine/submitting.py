"""A future for each object: what ``Engine.submit`` gives, for programs that are built around ``concurrent.futures``."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from s3engine.errors import EngineClosed

if TYPE_CHECKING:
    from s3engine.mapped import MappedBatch

__all__ = ["Submissions"]


class Submissions:
    """A batch of one function whose objects come one by one, from any thread, until :meth:`end`."""

    def __init__(self, begin: Callable[[Iterator[Any]], MappedBatch]) -> None:
        self._objects: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._futures: dict[int, Future[Any]] = {}
        self._count = 0
        self._ended = False
        self._batch = begin(self._input())
        self._thread = threading.Thread(target=self._resolve, name="s3engine-futures", daemon=True)
        self._thread.start()

    def submit(self, item: Any) -> Future[Any]:
        """The future of one object more. Raises EngineClosed."""
        future: Future[Any] = Future()
        with self._lock:
            if self._ended:
                raise EngineClosed("this engine was closed, or the batch of this function has ended; make a new engine")
            future.set_running_or_notify_cancel()  # it is on its way, and cannot be called back
            self._futures[self._count] = future
            self._count += 1
            self._objects.put(item)
        return future

    def end(self) -> None:
        """Nothing more will come; returns when all futures are done."""
        with self._lock:
            self._ended = True
            self._objects.put(None)
        self._thread.join()

    def cancel(self) -> None:
        """As for any batch; futures that are not done raise Cancelled."""
        self._batch.cancel()

    def _input(self) -> Iterator[Any]:
        while (item := self._objects.get()) is not None:
            yield item

    def _resolve(self) -> None:
        failure: BaseException = EngineClosed("the batch ended before this object was done")
        try:
            for report, result in self._batch:
                future = self._futures.pop(report.seq)
                if report.error is not None:
                    future.set_exception(report.error)
                else:
                    future.set_result(result)
        except BaseException as error:  # noqa: BLE001  (what ended the batch: each future raises it)
            failure = error
        with self._lock:
            self._ended = True
            left = list(self._futures.values())
            self._futures.clear()
        for future in left:  # without the lock: what is called then may submit more
            future.set_exception(failure)
