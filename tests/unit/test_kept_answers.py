"""What is kept of an answer that goes to no sink has the bounds that SECURITY.md names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from s3engine.errors import NotS3
from s3engine_transports.bodies import read_whole
from tests.exchanges import Make, feed, get, list_, put

MIB = 1024 * 1024
PIECE = b" " * MIB
CASES: list[tuple[Make, int, str, int]] = [
    (list_, 200, "ListObjectsV2", 64),
    (list_, 503, "ListObjectsV2", 1),
    (put, 200, "PutObject", 1),
    (get, 404, "GetObject", 1),
]
cases = pytest.mark.parametrize(("make", "status", "operation", "most_mib"), CASES)


@cases
def test_exchange_keeps_no_more(make: Make, status: int, operation: str, most_mib: int) -> None:
    """Raw: a list page of 64 MiB and any other answer of 1 MiB are taken, and with one byte more refused."""
    exchange = make()
    assert exchange.operation == operation
    assert not feed(exchange, b"HTTP/1.1 %d Reason\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (status, 1 << 40))
    for _ in range(most_mib):
        assert not exchange.feed(memoryview(PIECE))
    with pytest.raises(NotS3, match="larger than any S3 answer"):
        exchange.feed(memoryview(b" "))


@cases
def test_clients_keep_no_more(make: Make, status: int, operation: str, most_mib: int) -> None:
    """The transports over other clients: the same bounds; nothing is read behind the byte that is too many."""
    read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read
        for _ in range(most_mib):
            read += MIB
            yield PIECE
        read += 1
        yield b" "
        raise AssertionError("read on")

    with pytest.raises(NotS3, match="larger than any S3 answer"):
        read_whole(pieces(), status, operation)
    assert read == most_mib * MIB + 1
    assert len(read_whole([PIECE] * most_mib, status, operation)) == most_mib * MIB
