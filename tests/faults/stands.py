"""Several stands at work side by side.

A cell that hangs, or takes its process with it, is killed and told as not run; the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence

from tests.faults.cell import Row
from tests.faults.stand import Task

CELL_S = 120.0
"""A cell that takes longer is killed. Longer than the watch inside a cell, which can say more."""
_LOOK_S = 0.5
Command = Callable[[str], Sequence[str]]
"""The command of a stand with this name: each process gets a name of its own."""


class Stand:
    """A process that runs one cell after the other; started when there is a cell, and again after it was killed."""

    def __init__(self, command: Command, number: int, cell_s: float = CELL_S) -> None:
        self._command, self._number, self._cell_s = command, number, cell_s
        self._started = 0
        self._process: subprocess.Popen[bytes] | None = None

    def row(self, task: Task) -> Row:
        """The row of a cell, whatever becomes of the process."""
        give_up_at_s = time.monotonic() + self._cell_s
        process = self._process or self._start()
        assert process.stdin is not None
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            answer = self._answer(process, give_up_at_s)
        if answer.endswith(b"\n"):
            return Row(**json.loads(answer))
        hung = process.poll() is None and time.monotonic() >= give_up_at_s
        if hung:
            process.send_signal(signal.SIGUSR1)  # prints where it hangs
            time.sleep(_LOOK_S)
        self.kill()
        why = f"killed after {self._cell_s:.0f} s: it hung" if hung else f"its process ended with {process.returncode}"
        return Row(task.fault, task.operation, task.objects, not_run=why)

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        # A session of its own: it is killed with all the processes that it started.
        self._process = subprocess.Popen(
            list(self._command(f"stand{self._number}-{self._started}")),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], give_up_at_s: float) -> bytes:
        """A line; without its end when the process is gone or the time is over."""
        assert process.stdout is not None
        found = b""
        while not found.endswith(b"\n") and time.monotonic() < give_up_at_s:
            # Whether the process lives, before the look: what it wrote last is still read.
            alive = process.poll() is None
            if select.select([process.stdout], [], [], _LOOK_S)[0]:
                chunk = os.read(process.stdout.fileno(), 65536)
                found += chunk
                alive = alive and bool(chunk)
            if not alive and not found.endswith(b"\n"):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
                return found
        return found

    def close(self) -> None:
        """Let it end by itself, within a few seconds."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
                self._process.stdin.close()
                self._process.wait(15)
        self.kill()

    def kill(self) -> None:
        """End it and all its processes at once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def run_all(
    tasks: Sequence[Task], command: Command, stands: int, *, cell_s: float = CELL_S, all_s: float = 3600.0
) -> Generator[tuple[int, Row], None, None]:
    """All cells by so many stands; gives the number of each task with its row, as they end.

    Cells that need a server of their own all go to the first stand. After ``all_s`` seconds what was not begun is told
    as not run, and so is all that is left when the iteration is closed: nothing runs on behind it.
    """
    give_up_at_s = time.monotonic() + all_s
    over = threading.Event()
    apart = deque(number for number, task in enumerate(tasks) if task.own_server)
    common = deque(number for number, task in enumerate(tasks) if not task.own_server)
    rows: queue.Queue[tuple[int, Row] | BaseException] = queue.Queue()
    team = [Stand(command, number, cell_s) for number in range(max(1, min(stands, len(tasks))))]

    def work(stand: Stand, queues: Sequence[deque[int]]) -> None:
        try:
            for mine in queues:
                while not over.is_set():
                    try:
                        number = mine.popleft()
                    except IndexError:
                        break
                    task = tasks[number]
                    late = time.monotonic() >= give_up_at_s
                    no_time = Row(task.fault, task.operation, task.objects, not_run=f"{all_s:.0f} s were over")
                    rows.put((number, no_time if late else stand.row(task)))
            stand.close()
        except BaseException as error:  # noqa: BLE001 - raised again below
            rows.put(error)

    threads = [
        threading.Thread(target=work, args=(stand, (common,) if number else (apart, common)), daemon=True)
        for number, stand in enumerate(team)
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            found = rows.get()
            if isinstance(found, BaseException):
                raise found
            yield found
        for thread in threads:
            thread.join()
    finally:
        over.set()
        for stand in team:
            stand.kill()
