"""Why PUTs were sent again: what a relay saw of them, beside what was done to the processes at both its sides.

An object that was sent k times was sent again k - 1 times, and each of these has one cause:

- **a worker was killed**: the earlier PUT had no answer, and its client ended the connection at the kill. Or it was
  answered within a quarter of a second before the kill: what a worker reads it tells the parent at the end of its turn,
  and a worker that dies before takes it along. The relay cannot see what was told; so how many these are is limited
  too, see below.
- **the parent was killed**: the earlier PUT belongs to a run that was killed, and its key was not on record in the
  journal when all processes of that run were gone.
- **the server was restarted**: the earlier PUT was open when the server went away, or was begun before it was back; it
  got no answer, or an error.

What has none of them was sent again for nothing. That says of each PUT whether it may have been in flight; how many may
be is asked at the strokes. With a journal, what is under way and what is not on record are together no more than the
requests in flight that are allowed, and so are the PUTs that are open at any stroke, those that are sent again for one
worker, and the keys that were begun and are not on record when a parent and all its workers are gone.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.putcount import Put

__all__ = ["PARENT", "SERVER", "WORKER", "Stroke", "blame", "on_record"]

WORKER, PARENT, SERVER = "worker killed", "parent killed", "server restarted"
LATE_S = 1.0
"""The relay may see so late what a process did before it was struck, and a server needs so long to work well again."""
TURN_S = 0.25
"""A turn of a worker is milliseconds; it may be put off on a machine that is busy."""


@dataclass
class Stroke:
    """One kill or restart."""

    kind: str
    run: int
    at_s: float
    open: int
    """PUTs without an answer, over all workers."""
    over_s: float = 0.0
    """When the server was back, or all processes of the killed parent were gone."""
    unrecorded: set[str] = field(default_factory=set)
    """Parent killed: paths begun in this run and not on record when it was gone."""
    again: list[Put] = field(default_factory=list)
    """What was sent again for it, as it was sent before; filled by :func:`blame`."""


def on_record(journal: Path) -> set[str]:
    """Keys that are done by a journal that nobody writes now. A copy is read: recovery is left to the next run."""
    with tempfile.TemporaryDirectory(prefix="s3engine-soak-journal-") as name:
        copy = Path(name, "copy")
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{journal}{suffix}", f"{copy}{suffix}")
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            return {key for (key,) in connection.execute("SELECT key FROM objects WHERE state = 1")}


def blame(sent: Iterable[Put], strokes: Sequence[Stroke]) -> list[Put]:
    """Give each PUT that was sent again later to the stroke that is its cause; returns those that have none."""
    stray: list[Put] = []
    before: dict[str, Put] = {}
    for put in sent:
        earlier = before.get(put.path)
        if earlier is not None:
            cause = next((stroke for stroke in reversed(strokes) if _explains(stroke, earlier, put)), None)
            (stray if cause is None else cause.again).append(earlier)
        before[put.path] = put
    return stray


def _explains(stroke: Stroke, earlier: Put, later: Put) -> bool:
    if stroke.run != earlier.run:
        return False
    if later.run != earlier.run:
        return stroke.kind == PARENT and earlier.path in stroke.unrecorded
    if stroke.at_s > later.begun_s:
        return False
    good = 200 <= earlier.status < 300
    if stroke.kind == WORKER:
        if good:
            return stroke.at_s <= earlier.answered_s + TURN_S
        # A server that is stopped answers 500 for a while: what got that had an answer, and is the restart's.
        return not earlier.status and earlier.cut_by == "client" and earlier.begun_s <= stroke.at_s + LATE_S
    return stroke.kind == SERVER and not good and earlier.begun_s <= stroke.over_s + LATE_S
