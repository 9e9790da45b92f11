"""Tasks without a request, in a thread beside a lane that must not block: reading a large file takes seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from s3engine.errors import S3EngineError, TransferError
from s3engine.pool.actions import ACTIONS
from s3engine.pool.core import Core
from s3engine.pool.item import Item
from s3engine.transport import Timeouts

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["LocalWork"]

_TIMEOUTS = Timeouts()  # an action takes some; these bound nothing


class LocalWork:
    """Carries items out one after another; ``wake`` is called in its thread when something can be collected."""

    def __init__(self, core: Core, wake: Callable[[], None]) -> None:
        self._core = core
        self._wake = wake
        self._executor: ThreadPoolExecutor | None = None
        self._items: dict[Item, Future[Any]] = {}
        self._done: deque[tuple[Item, Future[Any]]] = deque()

    @property
    def under_way(self) -> int:
        """Items that were started and not collected."""
        return len(self._items)

    def start(self, item: Item) -> None:
        """Take an item."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # lazy: few batches need it

            self._executor = ThreadPoolExecutor(1, thread_name_prefix="s3engine-local")
        item.first_at = item.started_at = self._core.clock()
        future = self._executor.submit(ACTIONS[item.kind].begin, item, None, _TIMEOUTS)
        self._items[item] = future
        future.add_done_callback(lambda done: self._finished(item, done))

    def _finished(self, item: Item, future: Future[Any]) -> None:
        # In the thread that did it, or that cancelled it.
        self._done.append((item, future))
        self._wake()

    def collect(self) -> None:
        """Write the outcomes of what is done."""
        while self._done:
            item, future = self._done.popleft()
            del self._items[item]
            now = self._core.clock()
            if future.cancelled():
                self._core.cancelled(item, now)
                continue
            try:
                ended = ACTIONS[item.kind].end(item, future.result())
            except S3EngineError as error:
                self._core.local_failed(item, error, now)
            except Exception as error:  # noqa: BLE001  (whatever it is, it concerns this object alone)
                failure = TransferError(f"{item.key!r}: {type(error).__name__}: {error}", key=item.key)
                self._core.local_failed(item, failure, now)
            else:
                self._core.local_done(item, ended, now)

    def cancel(self, context_id: int) -> None:
        """End those of a batch soon; they are collected as cancelled."""
        for item, future in list(self._items.items()):
            if item.context.id == context_id:
                item.stopped = True
                future.cancel()

    def close(self) -> None:
        """Leave the thread to end by itself."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
