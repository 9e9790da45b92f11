"""What is found wrong with the objects of a cell."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Truth:
    """What is wrong with an object in the store or on the disk, compared with what the engine said of it; or nothing.

    ``lost``: not where it should be, or nowhere at all. ``wrong``: other bytes than it should have.
    """

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def compare(self, name: str, found: bytes | None, expected: bytes, *, done: bool) -> None:
        """What was reported done must be there, what failed may be; what is there is whole, whatever was said."""
        if found is None:
            if done:
                self.lost.append(name)
        elif found != expected:
            self.wrong.append(name if done else f"{name}, which failed, and is there with other bytes")
