"""What is known about latency and bandwidth, per class of operation, learnt by all workers together.

Runs in every worker; blocks nowhere. Each worker averages its own requests in plain lists, publishes the averages in
its slot of the shared block and mixes in those of the others, both in :meth:`Estimator.sync`. Latency (request sent to
first byte of the answer) and transfer (seconds per byte of a body) are measured apart, so that the latency of small
objects is not taken for a slow line; requests below ``minimum_bytes`` say nothing about transfer.

The averages are those of RFC 6298, section 2: the first sample x sets ``mean = x, dev = x/2``, every later one does
``dev += deviation_gain*(|x - mean| - dev)``, then ``mean += gain*(x - mean)``.

Never feed it answers that say nothing about the network: throttling, 5xx, aborted attempts.
"""

from __future__ import annotations

import enum
import math
from typing import Final, NamedTuple, cast

from s3engine.control.shared import CLASS_FIELDS, FIRST_CLASS, HEARTBEAT_S, MAX_CLASSES, SharedBlock

__all__ = ["Estimate", "Estimator", "OpClass"]


class OpClass(enum.IntEnum):
    """Operations that behave alike. The number is the place in shared memory."""

    GET = 0
    HEAD = 1
    PUT = 2
    """PutObject and UploadPart."""
    LIST = 3
    DELETE = 4
    COPY = 5
    COMPLETE = 6


class Estimate(NamedTuple):
    """What is known about one class. Counts are capped per worker (see ``WEIGHT_CAP``); 0: the averages say nothing."""

    latency_n: int
    latency_mean_s: float
    latency_dev_s: float
    transfer_n: int
    s_per_byte_mean: float
    s_per_byte_dev: float


# With gain 1/8 a sample is forgotten (below 1e-7) after 128 more, so a longer history is no better knowledge.
WEIGHT_CAP: Final = 128.0

_Averages = tuple[float, float, float]
_UNKNOWN: Final[_Averages] = (0.0, 0.0, 0.0)
_N_CLASSES: Final = len(OpClass)
assert _N_CLASSES <= MAX_CLASSES


def _merge(a: _Averages, b: _Averages) -> _Averages:
    """Two (weight, mean, deviation) as one.

    Weights add, means are weighted, deviations combine as standard deviations do in the law of total variance: the
    spread within plus the spread between the means. That rule is associative, so own averages may be merged with the
    sum of the others', which is kept, instead of with each of them.
    """
    weight_a, mean_a, dev_a = a
    weight_b, mean_b, dev_b = b
    if not weight_b:
        return a
    if not weight_a:
        return b
    weight = weight_a + weight_b
    share_a = weight_a / weight
    share_b = weight_b / weight
    mean = share_a * mean_a + share_b * mean_b
    between = mean_a - mean_b
    variance = share_a * dev_a * dev_a + share_b * dev_b * dev_b + share_a * share_b * between * between
    return weight, mean, math.sqrt(variance)


def _capped(row: list[float], at: int) -> _Averages:
    weight = row[at]
    return (weight if weight < WEIGHT_CAP else WEIGHT_CAP), row[at + 1], row[at + 2]


class Estimator:
    """Averages of one worker, live, merged with those of the others as of the last :meth:`sync`.

    ``op`` is an OpClass or its number. Not locked: two threads that observe at the same instant may lose one of the
    two samples, which an average can bear, and no more. The ``observe_*`` methods are called for every request.
    """

    __slots__ = ("_cache", "_deviation_gain", "_gain", "_index", "_minimum_bytes", "_others", "_rows", "_slots")

    def __init__(
        self, block: SharedBlock, worker_index: int, *,
        gain: float = 0.125, deviation_gain: float = 0.25, minimum_bytes: int = 262_144,
    ) -> None:  # fmt: skip
        """Start from what the slot holds: 0 samples, or the knowledge of the worker that had it before."""
        self._slots = block.slots
        self._index = worker_index
        self._gain = gain
        self._deviation_gain = deviation_gain
        self._minimum_bytes = minimum_bytes
        self._rows = self._read(worker_index)
        self._others = [(_UNKNOWN, _UNKNOWN)] * _N_CLASSES
        self._cache: list[Estimate | None] = [None] * _N_CLASSES
        self._read_others()

    def observe_latency(self, op: int, latency_s: float) -> None:
        """One answer began ``latency_s`` seconds after its request was sent whole."""
        # Written out twice (see observe_transfer): a shared helper would cost a third of the time of a call.
        row = self._rows[op]
        if row[0]:
            error = latency_s - row[1]
            row[2] += self._deviation_gain * ((error if error >= 0.0 else -error) - row[2])
            row[1] += self._gain * error
        else:
            row[1] = latency_s
            row[2] = latency_s / 2
        row[0] += 1.0
        self._cache[op] = None

    def observe_transfer(self, op: int, size_bytes: int, seconds: float) -> None:
        """A body of ``size_bytes`` moved in ``seconds``, latency not counted. Ignored below ``minimum_bytes``."""
        if size_bytes < self._minimum_bytes or size_bytes <= 0:
            return
        s_per_byte = seconds / size_bytes
        row = self._rows[op]
        if row[3]:
            error = s_per_byte - row[4]
            row[5] += self._deviation_gain * ((error if error >= 0.0 else -error) - row[5])
            row[4] += self._gain * error
        else:
            row[4] = s_per_byte
            row[5] = s_per_byte / 2
        row[3] += 1.0
        self._cache[op] = None

    def observe_timeout(self, op: int, timeout_s: float) -> None:
        """No answer began within ``timeout_s``: a sample of twice that, for all that is known is that it is longer.

        Ask ``TimeoutPolicy.learns_from_timeout`` first; it tells which timeouts may teach.
        """
        self.observe_latency(op, 2.0 * timeout_s)

    def sync(self, now: float) -> None:
        """Publish own averages and a heartbeat, read everybody else's. Called about ten times a second.

        Slots of dead workers are read like the others: what they learnt about the line still holds.
        """
        slot = self._slots[self._index]
        at = FIRST_CLASS
        for row in self._rows:
            # One by one, aligned: a copy of the whole row might be made of smaller pieces than a double.
            for value in row:
                slot[at] = value
                at += 1
        slot[HEARTBEAT_S] = now
        self._read_others()

    def estimate(self, op: int) -> Estimate:
        """What is known about ``op`` now. The same object is returned until something new is observed."""
        cached = self._cache[op]
        if cached is not None:
            return cached
        row = self._rows[op]
        latency, transfer = self._others[op]
        latency_n, latency_mean_s, latency_dev_s = _merge(_capped(row, 0), latency)
        transfer_n, s_per_byte_mean, s_per_byte_dev = _merge(_capped(row, 3), transfer)
        fresh = Estimate(
            int(latency_n), latency_mean_s, latency_dev_s, int(transfer_n), s_per_byte_mean, s_per_byte_dev
        )
        self._cache[op] = fresh
        return fresh

    def _read(self, worker: int) -> list[list[float]]:
        view = self._slots[worker][FIRST_CLASS : FIRST_CLASS + _N_CLASSES * CLASS_FIELDS]
        values = cast("list[float]", view.tolist())
        return [values[at : at + CLASS_FIELDS] for at in range(0, len(values), CLASS_FIELDS)]

    def _read_others(self) -> None:
        merged = [(_UNKNOWN, _UNKNOWN)] * _N_CLASSES
        for worker in range(len(self._slots)):
            if worker == self._index:
                continue
            for op, row in enumerate(self._read(worker)):
                if row[0] or row[3]:
                    latency, transfer = merged[op]
                    merged[op] = _merge(latency, _capped(row, 0)), _merge(transfer, _capped(row, 3))
        self._others = merged
        self._cache = [None] * _N_CLASSES
