"""The arithmetic of parts: how a large object is cut. Bounds: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_PARTS", "PartPlan", "plan_parts"]

MAX_PARTS = 10_000
_ROUND_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PartPlan:
    """``count`` parts of ``part_bytes`` each, the last one as long as what is left."""

    size_bytes: int
    part_bytes: int
    count: int

    def span(self, index: int) -> tuple[int, int]:
        """First and last byte (inclusive) of part ``index``, counted from 0."""
        first = index * self.part_bytes
        return first, min(first + self.part_bytes, self.size_bytes) - 1


def plan_parts(size_bytes: int, part_bytes: int) -> PartPlan:
    """Cut ``size_bytes`` (1 or more) into parts of ``part_bytes``, larger ones where that would be more than 10 000."""
    if size_bytes < 1 or part_bytes < 1:
        raise ValueError(f"cannot cut {size_bytes} bytes into parts of {part_bytes}")
    if size_bytes > part_bytes * MAX_PARTS:
        least = -(-size_bytes // MAX_PARTS)
        part_bytes = -(-least // _ROUND_BYTES) * _ROUND_BYTES
    return PartPlan(size_bytes, part_bytes, -(-size_bytes // part_bytes))
