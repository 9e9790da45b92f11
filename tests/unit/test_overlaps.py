"""Copies inside one bucket: targets that are sources too are found, in order, at flat memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from s3engine import distinct
from s3engine.decided import Decided
from s3engine.errors import ConfigError, MalformedRow
from s3engine.overlaps import Overlap, with_overlaps
from s3engine.sources import Rejected
from s3engine.transport import ObjectInfo


def below(info: ObjectInfo) -> str:
    return "to/" + info.key


def inputs() -> Iterator[Any]:
    """Items of all kinds, in disorder; a third of them has a target that is a source."""
    numbers = list(range(600))
    random.Random(4).shuffle(numbers)
    for number in numbers:
        key = f"{'to/' * (number % 3)}k{number // 6}-{number // 3 % 2}"
        info = ObjectInfo(key, number, "e", "2026-01-01T00:00:00Z", "STANDARD")
        yield (
            key, info, Decided(info, (("if-none-match", "*"),)), Decided(key, skip="exists"),
            Decided(info, error=ConfigError("why")), Rejected("to/" + key, MalformedRow(key, line=number)),
        )[number // 100]  # fmt: skip


def plain(item: Any) -> Any:
    """Without identities of errors, which differ by the way through a file."""
    if isinstance(item, (Decided, Rejected)):
        return (*item[:-1], type(item.error), str(item.error))
    return item


@pytest.mark.parametrize("memory_rows", [5, 100_000])
@pytest.mark.parametrize("at_once", [7, 50_000])
@pytest.mark.parametrize("words", [1 << 12, 2])
def test_what_is_found_does_not_depend_on_memory(
    monkeypatch: pytest.MonkeyPatch, memory_rows: int, at_once: int, words: int
) -> None:
    """The same as by a set of all sources, in the order of the input, however little is kept in memory."""
    monkeypatch.setattr(distinct, "_WORDS", words)
    given = list(inputs())
    sources = {getattr(one, "key", one) for one in (item.item if isinstance(item, Decided) else item for item in given
               if not isinstance(item, Rejected))}  # fmt: skip
    found = list(with_overlaps(iter(given), below, memory_rows=memory_rows, at_once=at_once))
    assert [plain(item.item if isinstance(item, Overlap) else item) for item in found] == list(map(plain, given))
    left_out = {item.item if isinstance(item.item, str) else item.item.key for item in given
                if isinstance(item, Decided) and (item.skip or item.error)}  # fmt: skip
    marked = {item.key for item in found if isinstance(item, Overlap)}
    assert marked == {key for key in sources if "to/" + key in sources} - left_out
    assert 50 < len(marked) < 400


def test_nothing_comes_out_before_the_input_has_ended() -> None:
    """An input that fails at its end has cost nothing by then."""

    def failing() -> Iterator[str]:
        yield "a"
        raise ConfigError("no more")

    with pytest.raises(ConfigError, match="no more"):
        next(with_overlaps(failing(), below))


def test_object_onto_itself_is_no_overlap() -> None:
    """What is wrong with it is told by another error."""
    assert list(with_overlaps(["a"], lambda info: info.key)) == ["a"]


def test_memory_is_flat() -> None:
    """Sixty thousand decided objects in less than 45 MB, of which the filter has 32 MiB."""
    tracemalloc.start()
    try:
        given = (Decided(ObjectInfo(f"p/{number:030}", 1, f"{number:032x}")) for number in range(60_000))
        assert sum(1 for item in with_overlaps(given, below, memory_rows=1000) if isinstance(item, Decided)) == 60_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 45_000_000


@pytest.mark.parametrize("memory_rows", [3, 100_000])
def test_keys_of_an_earlier_run_are_sources_too(memory_rows: int) -> None:
    """What is no item any more because it was done is still not written over."""
    earlier = [f"to/k{number}" for number in range(0, 40, 2)]
    items = [ObjectInfo(f"k{number}", 1) for number in range(40)]
    found = list(with_overlaps(items, below, also=lambda: earlier, memory_rows=memory_rows, at_once=7))
    assert [item.target for item in found if isinstance(item, Overlap)] == earlier
    assert [item.key for item in found] == [item.key for item in items]
