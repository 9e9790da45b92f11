"""Heads of answers that look like ones before: the lines of a store's answers stand in the same places, mostly.

A head that was read once becomes a shape: its length, its names and line ends, and where its values lie. Another one of
that length is held to the shape in one comparison of long integers, and then only the values that are asked for are cut
out of it. What does not fit is read as if there were no shapes; either way comes out the same, which the tests hold it
to.
"""

from __future__ import annotations

__all__ = ["MOST_HEAD_BYTES", "Shape", "Shapes"]

MOST_HEAD_BYTES = 2048
"""Longer heads get no shape."""

_MOST_SHAPES = 64
_MOST_LEARNT = 2000  # 20 us each: a store whose heads are never alike is not learnt for ever
_GOOD = (b"HTTP/1.1 200", b"HTTP/1.1 206")
_TOLD = ("sha256", "crc32", "crc64nvme", "crc32c")

Span = tuple[int, int]


class Shape:
    """One shape of a head. Spans are where values begin and end, blanks included."""

    __slots__ = (
        "_fixed", "_lines", "_mask", "_spans", "checksum", "etag", "length", "request_id", "status", "version_id",
    )  # fmt: skip

    def __init__(self, head: bytes, spans: list[tuple[str, int, int]], fixed_spans: list[Span]) -> None:
        mask = bytearray(b"\xff" * len(head))
        for _, start, end in spans:
            mask[start:end] = bytes(end - start)
        for start, end in fixed_spans:
            mask[start:end] = b"\xff" * (end - start)
        self._mask = int.from_bytes(mask, "little")
        self._fixed = int.from_bytes(head, "little") & self._mask
        self._lines = head.count(b"\r\n")
        self._spans = spans
        found = {name: (start, end) for name, start, end in spans}
        self.status = int(head[9:12])
        self.length = found["content-length"]
        self.etag = found.get("etag")
        self.request_id = found.get("x-amz-request-id")
        self.version_id = found.get("x-amz-version-id")
        self.checksum: tuple[str, int, int] | None = None
        for algorithm in _TOLD:
            at = found.get("x-amz-checksum-" + algorithm)
            if at is not None:
                self.checksum = algorithm, *at
                break

    def fits(self, head: bytes) -> bool:
        """Whether a head of that length has this shape."""
        # The number of line ends: none may hide in a value.
        return int.from_bytes(head, "little") & self._mask == self._fixed and head.count(b"\r\n") == self._lines

    def headers(self, head: bytes) -> dict[str, str]:
        """All headers of a head of this shape, names in lower case."""
        text = head.decode("latin-1")
        return {name: text[start:end].strip() for name, start, end in self._spans}


class Shapes:
    """The shapes of the answers to several operations, by the head's length: the last one seen."""

    __slots__ = ("_learnt", "known")

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], Shape] = {}
        """By operation and length of the head without its end. Look with ``get``, and ask whether it ``fits``."""
        self._learnt = 0

    def learn(self, operation: str, head: bytes) -> None:
        """Keep the shape of a head that was read well (without its empty line), if it is a common one."""
        if len(head) > MOST_HEAD_BYTES or not head.startswith(_GOOD) or self._learnt >= _MOST_LEARNT:
            return
        shape = _shape(head)
        if shape is None:
            return
        self._learnt += 1
        if len(self.known) >= _MOST_SHAPES:
            self.known.clear()
        self.known[operation, len(head)] = shape


def _shape(head: bytes) -> Shape | None:
    text = head.decode("latin-1")
    spans: list[tuple[str, int, int]] = []
    fixed: list[Span] = []
    names = set()
    at = text.find("\r\n") + 2
    if at < 2:
        return None
    for line in text[at:].split("\r\n"):
        name, colon, _ = line.partition(":")
        start, end = at + len(name) + len(colon), at + len(line)
        name = name.lower()
        if name in names or not colon:
            return None
        names.add(name)
        spans.append((name, start, end))
        if name == "connection":
            if "close" in line.lower():
                return None
            fixed.append((start, end))
        at = end + 2
    if "content-length" not in names or "transfer-encoding" in names:
        return None
    return Shape(head, spans, fixed)
