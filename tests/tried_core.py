"""The core of a worker without a store: a clock that stands, and a transport that only remembers."""

from __future__ import annotations

from typing import Any

from s3engine.control.estimator import OpClass
from s3engine.control.retry import RetryPolicy
from s3engine.control.shared import SharedBlock
from s3engine.control.timeouts import AdaptiveTimeouts
from s3engine.pool.core import Core
from s3engine.pool.item import Item
from s3engine.pool.messages import Context, Kind, Outcome


class Remedies:
    """A transport that only remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def set_clock_offset(self, offset_s: float) -> None:
        self.told.append(("clock", offset_s))

    def set_region(self, bucket: str, region: str) -> None:
        self.told.append(("region", bucket, region))


class Bench:
    """A core with its transport; each ``item()`` is a new task."""

    def __init__(self, block: SharedBlock, index: int = 0, **policy: Any) -> None:
        self.transport = Remedies()
        self.asked = 0
        self.core = Core(
            self.transport, block, index, AdaptiveTimeouts(), RetryPolicy(**policy), need_credentials=self._ask,
            clock=lambda: 0.0, rng=lambda: 0.5,
        )  # fmt: skip
        self.core.add_context(Context(id=1, bucket="b"))
        self._tasks = 0

    def _ask(self) -> None:
        self.asked += 1

    def item(self, kind: int = Kind.PUT_BYTES, arg: Any = (b"", None)) -> Item:
        self._tasks += 1
        item = self.core.item((self._tasks, 1, kind, "k", 10, arg))
        item.first_at = item.started_at = 1.0
        item.attempts = 1
        item.timeouts = self.core.deadlines.timeouts(OpClass.PUT, 10, 0)
        return item

    def outcomes(self) -> list[Outcome]:
        return [Outcome(*values) for values in self.core.take_outcomes()]
