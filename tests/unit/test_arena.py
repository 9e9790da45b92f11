"""The memory that a worker shares with its function process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.functions.arena import PAGE_BYTES, Arena


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena(8 * PAGE_BYTES)
    yield made
    made.close()


def test_pieces_do_not_overlap_and_begin_on_pages(arena: Arena) -> None:
    """Each piece is its own, and can be mapped by itself."""
    taken = [arena.take(size) for size in (1, PAGE_BYTES, PAGE_BYTES + 1)]
    assert taken == [0, PAGE_BYTES, 2 * PAGE_BYTES]
    assert arena.free_bytes == 4 * PAGE_BYTES


def test_full_gives_nothing(arena: Arena) -> None:
    """What has no room is told, and takes nothing."""
    assert arena.take(7 * PAGE_BYTES) == 0
    assert arena.take(PAGE_BYTES + 1) is None
    assert arena.take(1) == 7 * PAGE_BYTES


def test_what_is_written_is_in_the_file(arena: Arena) -> None:
    """Another process reads through the descriptor what is written into a view."""
    offset = arena.take(5)
    assert offset is not None
    arena.view(offset, 5)[:] = b"bytes"
    assert os.pread(arena.fd, 5, offset) == b"bytes"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5 * PAGE_BYTES)), max_size=60))
def test_all_comes_back(steps: list[tuple[bool, int]]) -> None:
    """However pieces come and go, none overlaps another, and in the end all room is one piece again."""
    arena = Arena(16 * PAGE_BYTES)
    try:
        taken: dict[int, int] = {}
        for give_back, size in steps:
            if give_back and taken:
                offset = sorted(taken)[size % len(taken)]
                del taken[offset]
                arena.give_back(offset)
                continue
            found = arena.take(size)
            if found is not None:
                end = found + max(size, 1)
                assert all(end <= other or other + length <= found for other, length in taken.items())
                taken[found] = max(size, 1)
        assert arena.empty is not bool(taken)
        for offset in taken:
            arena.give_back(offset)
        assert arena.take(arena.size_bytes) == 0
    finally:
        arena.close()
