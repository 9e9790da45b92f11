"""One call of the transport: the requests it makes of obstore, the time it has left, and errors as ours."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from obstore.exceptions import BaseError

from s3engine.errors import AttemptTimeout, ConnectFailed, RequestError
from s3engine.transport import Timeouts
from s3engine_transports.common import Answer
from s3engine_transports.via_obstore.failures import failure
from s3engine_transports.via_obstore.stores import Limits, Stores

__all__ = ["Attempt", "Background"]

R = TypeVar("R")

_ERRORS = (BaseError, ValueError, OSError, NotImplementedError)
"""What obstore raises. Not-found is the built-in FileNotFoundError."""


class Background:
    """An event loop in a thread of its own, started when it is first needed, for calls that must end in time.

    Obstore's blocking calls know no time limit but those of single requests; its coroutines can be cancelled.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, make: Callable[[], Awaitable[Any]], limit_s: float) -> Any:
        """The result of the awaitable that ``make`` gives. Raises asyncio.TimeoutError, and what it raises."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._serve, args=(self._loop,), name="s3engine-obstore", daemon=True).start()
            loop = self._loop

        async def limited() -> Any:
            return await asyncio.wait_for(make(), limit_s)

        future = asyncio.run_coroutine_threadsafe(limited(), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()

    def close(self) -> None:
        """End the thread; calls under way raise CancelledError (of concurrent.futures)."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_end(), loop)


async def _end() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # One more turn of the loop, in which the last of them tells its caller.
    asyncio.get_running_loop().call_later(0.0, asyncio.get_running_loop().stop)


class Attempt:
    """What is asked for, under which timeouts, since when. For one thread."""

    def __init__(self, stores: Stores, background: Background, request: Answer, timeouts: Timeouts) -> None:
        self.request = request
        self.timeouts = timeouts
        self._stores = stores
        self._background = background
        self._began_at = time.monotonic()
        self._asked_at = self._began_at
        self.limits = Limits(0.0, 0.0, 0.0)
        """The timers of the store that was given last."""

    def left_s(self) -> float:
        """Seconds until the attempt is over. Raises AttemptTimeout when it is."""
        left_s = self.timeouts.attempt_s - (time.monotonic() - self._began_at)
        if left_s <= 0:
            raise self.late()
        return left_s

    def late(self) -> AttemptTimeout:
        """The error of an attempt that took too long."""
        return AttemptTimeout(
            f"{self.request.describe()}: the attempt took longer than {self.timeouts.attempt_s:.3g} s",
            timeout_s=self.timeouts.attempt_s, **self.request.where(),
        )  # fmt: skip

    def store(self, *, uploads: bool = False, one_by_one: bool = False) -> Any:
        """A store whose timers fit what is left of the attempt."""
        left = self.timeouts._replace(attempt_s=self.left_s())
        self._asked_at = time.monotonic()
        self.limits = Limits.of(left, uploads=uploads)
        return self._stores.get(self.request, self.limits, one_by_one=one_by_one)

    def ask(self, function: Callable[..., R], *args: Any, **keywords: Any) -> R:
        """``function(*args)``, of obstore, with a store before them; ``uploads`` and ``one_by_one`` as for it.

        Raises RequestError.
        """
        chosen = {name: keywords.pop(name) for name in ("uploads", "one_by_one") if name in keywords}
        store = self.store(**chosen)
        return self.go_on(function, store, *args, **keywords)

    def go_on(self, function: Callable[..., R], *args: Any, **keywords: Any) -> R:
        """``function(*args)``, as part of the request that was made last. Raises RequestError."""
        try:
            return function(*args, **keywords)
        except _ERRORS as error:
            raise self.failure(error) from None
        except BaseException as error:
            # A panic in Rust is a BaseException, and its class cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise self.failure(error) from None

    def in_time(self, make: Callable[[Any], Awaitable[Any]], *, uploads: bool = False) -> Any:
        """The result of a coroutine of obstore that makes many requests, all of them within the attempt."""
        store = self.store(uploads=uploads)
        try:
            return self.go_on(self._background.run, lambda: make(store), self.left_s())
        except (TimeoutError, asyncio.TimeoutError):
            raise self.late() from None
        except CancelledError:
            raise ConnectFailed(
                f"{self.request.describe()}: the transport was closed", **self.request.where()
            ) from None

    def failure(self, error: BaseException) -> RequestError:
        """An exception of obstore as one of ours."""
        if isinstance(error, TimeoutError) and not isinstance(error, BaseError) and not str(error):
            return self.late()  # Background's own
        asked_s = time.monotonic() - self._asked_at
        return failure(
            error, self.request, connect_s=self.timeouts.connect_s, attempt_s=self.timeouts.attempt_s,
            attempt_over=asked_s >= self.limits.attempt_s * 0.99, read_s=self.limits.read_s,
        )  # fmt: skip
