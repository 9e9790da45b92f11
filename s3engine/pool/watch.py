"""Workers that do not go on: stopped by somebody, held by a disk that does not answer, or broken.

Each worker leaves a heartbeat in the shared memory, ten times a second, at least once while it waits for nothing. One
that has tasks and leaves none is reported by ``logging`` (``s3engine``, a warning: on stderr unless the application
says otherwise), so that no batch hangs in silence. One that is stopped (SIGSTOP) is ended after five minutes; another
worker does its tasks. What a disk holds up nobody can end, and it may come back.

Time in which the parent itself was away (Ctrl-Z stops the whole group, a laptop sleeps) does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from s3engine.control.shared import HEARTBEAT_S, SharedBlock

__all__ = ["Watch", "process_state"]

_LOOK_EVERY_S = 2.0
_LATE_S = 10.0  # a worker that reads a large body or syncs a file is away for a second or two
_REPORT_AFTER_S = 30.0
_REPORT_AGAIN_S = 600.0
_END_STOPPED_AFTER_S = 300.0
_STATES = {
    "T": "it is stopped (SIGSTOP?)", "t": "a debugger holds it", "D": "it waits for a disk",
    "Z": "it is dead", "": "nothing is known of it",
}  # fmt: skip


class Watch:
    """Looks after the workers of one pool."""

    def __init__(self, block: SharedBlock) -> None:
        self._block = block
        self._looked_at = 0.0
        self._late: dict[int, tuple[float, float]] = {}  # by pid: since when, last reported

    def look(self, workers: Iterable[Any], now: float) -> list[Any]:
        """Call about ten times a second; returns the workers (pool/launch.py) that are to be killed."""
        if now - self._looked_at < _LOOK_EVERY_S:
            return []
        if now - self._looked_at > 2 * _LOOK_EVERY_S:
            self._late.clear()
        self._looked_at = now
        ending = []
        for worker in workers:
            pid = worker.process.pid
            if not (worker.ready and worker.tasks) or now - self._block.slots[worker.index][HEARTBEAT_S] < _LATE_S:
                self._late.pop(pid, None)
                continue
            since, reported = self._late.setdefault(pid, (now, 0.0))
            state = process_state(pid)
            if state == "T" and now - since >= _END_STOPPED_AFTER_S:
                ending.append(worker)
                _say(f"worker process {pid} was stopped for {now - since:.0f} s and is ended; another does its work")
            elif now - since >= _REPORT_AFTER_S and (not reported or now - reported >= _REPORT_AGAIN_S):
                self._late[pid] = since, now
                why = _STATES.get(state, f"state {state}")
                _say(f"worker process {pid} has not gone on for {now - since + _LATE_S:.0f} s with {len(worker.tasks)} "
                     f"objects or parts in hand: {why}")  # fmt: skip
        return ending


def process_state(pid: int) -> str:
    """The letter of proc(5): R, S, D (disk), T (stopped), t (traced), Z; "" where that cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _say(text: str) -> None:
    import logging  # lazy: hardly ever needed

    logging.getLogger("s3engine").warning(text)
