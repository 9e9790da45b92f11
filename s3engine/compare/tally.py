"""Adds up what the reports of one step say."""

from __future__ import annotations

from array import array

from s3engine.compare.values import Step
from s3engine.errors import ConfigError, NotSupported, S3EngineError
from s3engine.report import RequestReport

__all__ = ["Tally"]

_IMPOSSIBLE = {ConfigError.__name__, NotSupported.__name__}  # when all of a step fails with it


class Tally:
    """Adds the reports of one batch up. Called in the engine's thread."""

    def __init__(self) -> None:
        self.latency_us = array("q")
        self.done: dict[str, int] = {}  # size by key
        self.failed_keys: set[str] = set()
        self.failed: dict[str, int] = {}
        self.messages: dict[str, str] = {}
        self.retries = 0

    def __call__(self, report: RequestReport) -> None:
        """Count one report."""
        self.retries += report.retries
        if report.error is None:
            self.done[report.key] = report.size_bytes
            self.latency_us.append(round(report.total_s * 1e6))
        else:
            self.failed_keys.add(report.key)
            self.fail(report.error)

    def fail(self, error: S3EngineError) -> None:
        """Count an error."""
        kind = type(error).__name__
        self.failed[kind] = self.failed.get(kind, 0) + 1
        self.messages.setdefault(kind, str(error))

    def step(
        self, name: str, wall_s: float, cpu_s: float | None, *, objects: int, size_bytes: int, retries: int | None
    ) -> Step:
        """The step that these reports were of. One of which nothing is possible at all has only a reason."""
        if not objects and len(self.failed) == 1 and self.failed.keys() <= _IMPOSSIBLE:
            return Step(name=name, cannot=next(iter(self.messages.values())))
        return Step(
            name=name, wall_s=wall_s, cpu_s=cpu_s, objects=objects, size_bytes=size_bytes, retries=retries,
            failed=dict(self.failed), messages=dict(self.messages), latency_us=self.latency_us,
        )  # fmt: skip
