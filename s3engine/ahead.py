"""Values drawn ahead of their use, in a thread: so that the next page is on its way while one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Iterates over ``values``, which are drawn in a thread of their own from now on; what they raise is raised here.

    One value is drawn ahead, and two once the second was taken: then the thread need not wait for the interpreter's
    lock, which the user of the values has, before it asks for the next. A context manager: leaving it ends the thread
    and waits for what it is drawing. A process that ends without leaving it does not wait.
    """

    def __init__(self, values: Iterator[T], name: str) -> None:
        self._values = values
        self._room = threading.Semaphore(1)
        self._drawn: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._draw, name=name, daemon=True)
        self._thread.start()

    def _draw(self) -> None:
        try:
            while True:
                self._room.acquire()
                if self._closed:
                    return
                self._drawn.put((next(self._values),))
        except StopIteration:
            self._drawn.put(None)
        except BaseException as error:  # noqa: BLE001  (it is the user's who iterates)
            self._drawn.put(error)

    def __iter__(self) -> Iterator[T]:
        """The values. Of one Ahead there is one iteration."""
        room = 2
        while True:
            found = self._drawn.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            self._room.release(room)
            room = 1
            yield found[0]

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._room.release()
        self._thread.join()
