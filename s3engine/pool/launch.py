"""Starting worker processes under any start method, and what the parent knows of each."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from s3engine.channel import Channel
from s3engine.errors import ConfigError
from s3engine.pool.forked import ForkedProcess, wait_for_ends
from s3engine.pool.load import worker_modules
from s3engine.pool.messages import Task
from s3engine.pool.worker import WorkerSettings, descriptor, run

if TYPE_CHECKING:
    from s3engine.functions.process import FunctionProcessSettings

__all__ = ["FunctionProcessHandle", "WorkerHandle", "choose_start_method", "launch", "launch_function_process"]


def choose_start_method(wanted: str) -> str:
    """The start method for ``auto``: fork while this process has one thread (fastest), else forkserver.

    Raises ConfigError when ``fork`` is demanded after threads were made: a lock that another thread holds at that
    moment would stay locked in the child for ever.
    """
    try:
        threads = len(os.listdir("/proc/self/task"))
        can_fork = True
    except OSError:
        threads = threading.active_count()
        can_fork = False  # not Linux: system libraries may have threads that nobody counts
    if wanted == "fork" and threads > 1:
        raise ConfigError(
            f"start_method 'fork' needs a process with one thread, this one has {threads}; use 'forkserver' or 'spawn'"
        )
    if wanted != "auto":
        return wanted
    return "fork" if threads == 1 and can_fork else "forkserver"


_main_lock = threading.Lock()


@contextlib.contextmanager
def _without_main(needed: bool) -> Iterator[None]:
    """Keep multiprocessing from importing the caller's ``__main__`` in the child.

    Workers run code of ours alone. Without this a script with no ``if __name__ == "__main__"`` guard would run again
    in each worker and start workers of its own there. ``needed``: a policy that is defined in ``__main__`` must travel.
    """
    if needed:
        yield
        return
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@contextlib.contextmanager
def _not_interrupted(method: str) -> Iterator[None]:
    """Keep Ctrl-C from a spawned process until it ignores it (worker.run): it would die in its imports, in many lines.

    Not for a fork server: if it is started here, all that the application has it fork would never get one.
    """
    if method != "spawn":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # first: starting it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerHandle:
    """What the parent knows of a worker."""

    __slots__ = (
        "applying", "channel", "contexts", "function_process", "index", "large", "process", "ready", "solo", "tasks",
    )  # fmt: skip

    def __init__(self, index: int, process: Any, channel: Channel) -> None:
        self.index = index
        self.process = process
        self.channel = channel
        self.tasks: dict[int, Task] = {}
        self.large = 0
        self.applying: dict[int, int] = {}
        """Objects that it has for functions, by context."""
        self.contexts: set[int] = set()
        self.ready = False
        self.solo = False  # works on one suspect task alone
        self.function_process: FunctionProcessHandle | None = None


class FunctionProcessHandle:
    """What the parent knows of the function process of a worker: that speaks to it, the parent only mourns it."""

    __slots__ = ("life_fd", "process")

    def __init__(self, process: Any, life_fd: int) -> None:
        self.process = process
        self.life_fd = life_fd
        """It ends when this is closed."""

    def wait(self, most_s: float) -> None:
        """For its end, so long: its worker has said goodbye, and finalizers of the caller's may run."""
        wait_for_ends([self.process.sentinel], max(0.0, most_s))

    def bury(self) -> int | None:
        """End it, unless it has, and what its functions started; returns its exit code."""
        self.process.kill()
        with contextlib.suppress(OSError):  # while it is not waited for, nobody else has its number
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        code: int | None = self.process.exitcode
        self.process.close()
        os.close(self.life_fd)
        return code


@contextlib.contextmanager
def _from_a_daemon() -> Iterator[None]:
    """Let a process that multiprocessing started as a daemon (a worker of its Pool, of Dask) have children.

    Those that are started here end with it all the same: they see their channel end.
    """
    import multiprocessing

    config: Any = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # there is no other way
    daemon = config.pop("daemon", None)
    try:
        yield
    finally:
        if daemon is not None:
            config["daemon"] = daemon


def _preload(context: Any, settings: WorkerSettings) -> None:
    """Have the fork server import what a worker needs once, instead of every worker: 10 ms to start one, not 250.

    Takes effect when the server is started; a list that the application has set for itself is left alone.
    """
    from multiprocessing import forkserver

    server = getattr(forkserver, "_forkserver", None)
    if getattr(server, "_preload_modules", None) == ["__main__"]:
        modules = worker_modules(settings.transport, settings.transport_settings)
        context.set_forkserver_preload(["__main__", "s3engine.pool.worker", *modules])


def launch(settings: WorkerSettings, method: str, block_fd: int) -> WorkerHandle:
    """Start the worker that ``settings`` describe; ``block_fd`` is the shared memory's file."""
    ours, theirs = socket.socketpair()
    if method == "fork":
        settings = dataclasses.replace(settings, inherited=(*settings.inherited, ours.fileno()))
        forked = ForkedProcess(run, (settings, theirs, descriptor(block_fd)))
        theirs.close()
        return WorkerHandle(settings.index, forked, Channel(ours))
    import multiprocessing  # lazy: forked workers do without

    context: Any = multiprocessing.get_context(method)  # its type does not know Process
    if method == "forkserver":
        _preload(context, settings)
    process = context.Process(
        target=run, args=(settings, theirs, descriptor(block_fd)), name=f"s3engine-worker-{settings.index}", daemon=True
    )
    needs_main = type(settings.timeout_policy).__module__ == "__main__"
    with _without_main(needs_main), _not_interrupted(method), _from_a_daemon():
        process.start()
    theirs.close()
    return WorkerHandle(settings.index, process, Channel(ours))


def launch_function_process(settings: FunctionProcessSettings, method: str) -> tuple[FunctionProcessHandle, int]:
    """Start one; returns it, and the descriptor of its channel, which goes to its worker."""
    from s3engine.functions.process import run as run_functions  # lazy: few engines need it

    ours, theirs = socket.socketpair()
    life_read, life_write = os.pipe()
    try:
        if method == "fork":
            settings = dataclasses.replace(settings, inherited=(*settings.inherited, ours.fileno(), life_write))
            process: Any = ForkedProcess(run_functions, (settings, theirs, descriptor(life_read)))
        else:
            import multiprocessing

            context: Any = multiprocessing.get_context(method)
            process = context.Process(
                target=run_functions, args=(settings, theirs, descriptor(life_read)), name="s3engine-function",
                daemon=True,
            )  # fmt: skip
            with _without_main(False), _not_interrupted(method), _from_a_daemon():
                process.start()
    except BaseException:
        ours.close()
        os.close(life_write)
        raise
    finally:
        theirs.close()
        os.close(life_read)
    return FunctionProcessHandle(process, life_write), ours.detach()
