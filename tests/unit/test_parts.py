"""How large objects are cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3engine.parts import MAX_PARTS, plan_parts

TIB = 1024**4


@given(st.integers(1, 5 * TIB), st.integers(1, 5 * 1024**3))
@example(1, 1)
@example(MAX_PARTS, 1)
@example(MAX_PARTS + 1, 1)
@example(5 * TIB, 8 * 1024**2)
def test_parts_cover_every_byte_once(size_bytes: int, part_bytes: int) -> None:
    """Parts follow each other without gap or overlap from the first byte to the last; at most 10 000."""
    plan = plan_parts(size_bytes, part_bytes)
    assert 1 <= plan.count <= MAX_PARTS
    following = 0
    for index in range(plan.count):
        first, last = plan.span(index)
        assert first == following
        assert last >= first
        following = last + 1
    assert following == size_bytes


@given(st.integers(1, 5 * TIB), st.integers(5 * 1024**2, 5 * 1024**3))
def test_parts_are_as_long_as_asked_where_that_is_enough(size_bytes: int, part_bytes: int) -> None:
    """All parts but the last have one length: the asked one, or the least whole MiB that 10 000 parts need."""
    plan = plan_parts(size_bytes, part_bytes)
    if size_bytes <= part_bytes * MAX_PARTS:
        assert plan.part_bytes == part_bytes
    else:
        assert plan.part_bytes % 1024**2 == 0
        assert (plan.part_bytes - 1024**2) * MAX_PARTS < size_bytes
    assert plan.span(0)[1] + 1 == min(plan.part_bytes, size_bytes)


@pytest.mark.parametrize(("size_bytes", "part_bytes"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_nothing_cannot_be_cut(size_bytes: int, part_bytes: int) -> None:
    """Sizes below one are refused with the numbers."""
    with pytest.raises(ValueError, match=str(size_bytes)):
        plan_parts(size_bytes, part_bytes)
