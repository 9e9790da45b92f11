"""What a comparison measures, as frozen values that become JSON and come back.

Times are seconds but for ``latency_us``: whole microseconds, since there is one for each object.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from s3engine.uri import S3Uri

__all__ = ["STEPS", "Order", "Plan", "Run", "Step"]

STEPS = ("upload", "list", "download", "copy", "delete")
"""In the order in which they are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What shall be compared, and how."""

    source: str
    """A folder or a file."""
    target: S3Uri
    """The bucket, and the prefix below which the comparison makes a prefix of its own."""
    transports: tuple[str, ...]
    """Names, or ``module:Class``."""
    rounds: int = 5
    warm_up: bool = True
    """One short run of each transport goes before, not counted."""
    timeout_s: float = 3600.0
    """What one run may take before it is ended."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of Config, for all transports alike, without ``transport``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one fresh process gets on its standard input. Holds no secret: those come by environment and files."""

    transport: str
    settings: Mapping[str, Any]
    source: str
    bucket: str
    prefix: str
    """Of this run alone; ends in ``/``."""
    folder: str
    """An empty folder to download to."""
    limit: int
    """Take so many files only; 0: all."""
    started_at_s: float
    """``time.monotonic()`` just before the process was started: one clock for all processes of a machine."""
    parent_pid: int
    """Who waits for it; when that is gone it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one run."""

    name: str
    """One of STEPS."""
    wall_s: float = 0.0
    cpu_s: float | None = None
    """User and system time of the process and its workers; None where the system does not tell."""
    objects: int = 0
    """Done without an error."""
    size_bytes: int = 0
    """Of those objects."""
    retries: int | None = 0
    """Requests beyond the first of each object; None for a listing, where they are not counted."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Objects that failed, by the class of their error."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """The first message of each class."""
    latency_us: Sequence[int] = ()
    """RequestReport.total_s of each object done; of a listing: the time of each page. An array, being long."""
    wrong: tuple[str, ...] = ()
    """What was found false although it was reported as done."""
    cannot: str = ""
    """Why this cannot be done at all with the transport (or the store): nothing of it was."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return _fields(self) | {"latency_us": list(self.latency_us), "wrong": list(self.wrong)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Step:
        """What ``as_dict`` made, also after it went through JSON."""
        return cls(**{**values, "latency_us": array("q", values["latency_us"]), "wrong": tuple(values["wrong"])})

    @property
    def failures(self) -> int:
        """Objects that failed."""
        return sum(self.failed.values())

    @property
    def done(self) -> bool:
        """Whether it was done wholly and rightly, so that its time means something."""
        return not (self.failed or self.wrong or self.cannot) and self.objects > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One transport in one round."""

    transport: str
    round: int
    """From 1; 0 is the warm-up."""
    place: int
    """Its place in the round, from 1."""
    wall_s: float = 0.0
    """Of the process from start to end, checks between the steps included."""
    startup_s: float | None = None
    """From the start of the process until all workers have opened the transport, and the main process has listed the
    empty prefix."""
    startup_cpu_s: float | None = None
    workers: int = 0
    peak_bytes: int | None = None
    """Peak resident memory of the process, its workers and their helpers, added up. A page that several share counts
    for each of them."""
    peak_main_bytes: int | None = None
    """Of that, the process itself: it reads the input, deals out, collects, and lists."""
    steps: tuple[Step, ...] = ()
    """Those that came to an end."""
    error: str = ""
    """Why it ended early: the process died, took too long, or could not begin."""
    hung: bool = False
    """It was ended since it took too long."""
    removed: int = 0
    """Objects that it left behind, which were deleted for it."""

    def step(self, name: str) -> Step | None:
        """The step of that name, if it came to an end."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def ok(self) -> bool:
        """Whether it came to its end and all was done and right; what cannot be done at all is no failure."""
        return not self.error and not any(step.failed or step.wrong for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return _fields(self) | {"steps": [step.as_dict() for step in self.steps]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Run:
        """What ``as_dict`` made, also after it went through JSON."""
        return cls(**{**values, "steps": tuple(map(Step.from_dict, values["steps"]))})


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, not copied."""
    return {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
