"""What the paths are measured by: a fixed piece of Python that no change of the project touches.

Two builds of one Python differ by a fifth in instructions. They differ alike in this and in the paths, so the
quotient tells the project's share.
"""

from __future__ import annotations

from collections import deque

__all__ = ["yardstick"]


class _Thing:
    __slots__ = ("name", "size", "state")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.state = 0

    def step(self, by: int) -> int:
        self.state += by
        return self.state


def yardstick(n: int) -> int:
    """Do the same ``n`` times: attributes, calls, dicts, text and bytes, as request handling has them."""
    total = 0
    things = deque(_Thing(f"prefix/{number:06}.bin", number) for number in range(64))
    seen: dict[str, int] = {}
    for number in range(n):
        thing = things.popleft()
        things.append(thing)
        head = b"%s /bucket/%s HTTP/1.1\r\nhost: store\r\ncontent-length: %d\r\n\r\n" % (
            b"PUT", thing.name.encode(), thing.size,
        )  # fmt: skip
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
        seen[thing.name] = seen.get(thing.name, 0) + thing.step(int(fields["content-length"]))
        try:
            total += seen[thing.name] if number % 8 else seen[""]
        except KeyError:
            total += 1
    return total
