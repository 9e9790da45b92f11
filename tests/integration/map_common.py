"""What the tests of functions on objects share: the functions. Module functions travel by their name."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import sys
import threading
import time
import warnings
from typing import Any

from s3engine import BytesSource, Engine, FetchedObject

MIB = 1024 * 1024


def fill(engine: Engine, bucket: str, count: int, prefix: str = "p/") -> dict[str, bytes]:
    """``count`` small objects; key to body."""
    bodies = {f"{prefix}{number:05d}": b"word " * (number % 7 + 1) for number in range(count)}
    assert engine.upload(bucket, [BytesSource(body, key) for key, body in bodies.items()]).wait().ok
    return bodies


def words(found: FetchedObject) -> int:
    """How many there are."""
    return len(bytes(found.body).split())


def number_of(found: FetchedObject) -> int:
    """The last five digits of its key."""
    return int(found.key[-5:])


def misbehaves(found: FetchedObject) -> int:
    """Each of some numbers does something else that no function should do."""
    number = number_of(found)
    if number in BAD:
        BAD[number]()
    return number


def _raise() -> None:
    raise ValueError("as it was told")


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(16 * MIB))


def _unpicklable() -> None:
    raise _Odd(lambda: 0)


class _Odd(Exception):
    pass


def _forever() -> None:
    while True:
        pass


def _close_all() -> None:
    os.closerange(3, 1000)


BAD: dict[int, Any] = {
    100: _raise, 200: lambda: sys.exit(1), 300: lambda: os._exit(7), 400: lambda: ctypes.string_at(0), 500: _eat,
    600: _forever, 700: lambda: time.sleep(1000), 800: _unpicklable, 900: _close_all, 950: os.abort,
}  # fmt: skip


_LEAKED: list[Any] = []


def few_descriptors() -> None:
    """As of a shell: this process may have 256."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def leaks_descriptors(found: FetchedObject) -> int:
    """Three of them; its process."""
    _LEAKED.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(3))
    return os.getpid()


def leaks_memory(found: FetchedObject) -> int:
    """Two MiB; its process."""
    _LEAKED.append(bytearray(2 * MIB))
    return os.getpid()


def leaks_threads(found: FetchedObject) -> int:
    """One that never ends; its process. Takes long enough for somebody to look."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    time.sleep(0.002)
    return os.getpid()


def opens_thousands_at_50(found: FetchedObject) -> None:
    """One object in a hundred."""
    if number_of(found) == 50:
        few_descriptors()
        files = [open(os.devnull) for _ in range(1000)]  # noqa: SIM115
        del files


def speaks(found: FetchedObject) -> None:
    """Logs, and warns."""
    logging.getLogger("a.function").warning("at number %d", number_of(found))
    logging.getLogger("a.function").debug("not this")
    warnings.warn("mind the gap", UserWarning, stacklevel=1)


class Counting:
    """State that is made once for each process."""

    def __init__(self) -> None:
        self.calls = 0


def next_call(found: FetchedObject) -> tuple[int, int]:
    """Process, and how many objects it has had."""
    found.state.calls += 1
    return os.getpid(), found.state.calls


def leave_mark(folder: str, state: Any) -> None:
    """A finalizer: a file that says that it ran."""
    with open(os.path.join(folder, str(os.getpid())), "w", encoding="ascii") as file:
        file.write(str(state.calls))


KEPT: list[Any] = []


def keeps(found: FetchedObject) -> int:
    """Never lets go of a body."""
    KEPT.append(found.body)
    return len(KEPT)


async def is_async(found: FetchedObject) -> None:
    """What has no place to run."""


def reads_nothing(found: FetchedObject) -> int:
    """Does not look at the body."""
    return found.size_bytes


def reads_one_chunk(found: FetchedObject) -> int:
    """Looks at its beginning."""
    return len(next(iter(found.chunks())))


def fails_early(found: FetchedObject) -> int:
    """Raises before it has read anything."""
    raise ValueError("not today")


def forks_and_dies(found: FetchedObject) -> int:
    """Leaves a child behind, and ends its process."""
    if number_of(found) == 13:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os._exit(7)
    return 1


def forks_and_leaves(found: FetchedObject) -> int:
    """Its child comes back out of it as if it were the function's process."""
    if number_of(found) == 13 and os.fork() == 0:
        sys.exit(0)
    return 1


def forks_a_pool(found: FetchedObject) -> int:
    """Waits for ever for children of its own."""
    if number_of(found) == 13:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(time.sleep, [1000, 1000])
    return 1
