"""Inputs at flat memory: lines without an end, and any number of duplicates."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s3engine import distinct
from s3engine.distinct import Aside
from s3engine.errors import SourceError
from s3engine.inputs import lines, objects_from
from s3engine.sources import Rejected

MIB = 1024 * 1024
LINE_MIB = 50


def peak_bytes(act: Callable[[], object]) -> int:
    """The most memory of Python objects while ``act`` ran, beyond what there was before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        act()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def with_endless_line(path: Path, end: bytes) -> None:
    with open(path, "wb") as file:
        file.write(b"a" + end)
        for _ in range(LINE_MIB):
            file.write(b"x" * MIB)
        file.write(end + b"b" + end)


@pytest.mark.parametrize("nul", [False, True])
def test_endless_line_is_not_kept(tmp_path: Path, nul: bool) -> None:
    """A line of 50 MiB is one bad row, told by its number, and never more than 1 MiB in memory."""
    path = tmp_path / "names"
    with_endless_line(path, b"\0" if nul else b"\n")
    found: list[object] = []
    used = peak_bytes(lambda: found.extend(objects_from(path, "bucket", nul=nul)))
    # The filter of keys that came before is there from the start, whatever comes.
    assert used - distinct._WORDS * 8 < MIB
    first, bad, last = found
    assert (first, last) == ("a", "b")
    assert isinstance(bad, Rejected)
    assert f"{path}:2: the line is longer than 65536 bytes" in str(bad.error)


def test_endless_line_of_a_table_is_not_kept(tmp_path: Path) -> None:
    """In a CSV it ends the input with an error, before it is in memory."""
    path = tmp_path / "names.csv"
    with_endless_line(path, b"\n")
    path.write_bytes(b"key\n" + path.read_bytes())

    def read() -> None:
        with pytest.raises(SourceError, match="a line of more than 262144 bytes"):
            list(objects_from(path, "bucket"))

    assert peak_bytes(read) - distinct._WORDS * 8 < 4 * MIB


def test_rows_set_aside_wait_on_disk() -> None:
    """A hundred chunks take the memory of two, on their way in and out, and come back in their order."""

    def fill_and_empty(count: int) -> None:
        aside = Aside(chunk=500)
        for number in range(count):
            aside.add((f"key-{number}", "label", number))
        assert aside.count == count
        expected = iter(range(count))
        for chunk in aside.chunks():
            assert len(chunk) <= 500
            for entry in chunk:
                assert entry[2] == next(expected)
        assert next(expected, None) is None

    fill_and_empty(1000)  # what is imported and cached by the first one
    assert peak_bytes(lambda: fill_and_empty(50_000)) < 2 * peak_bytes(lambda: fill_and_empty(1000))


def test_duplicates_at_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input of ten times the duplicates takes no more memory, and each of them is told."""
    monkeypatch.setattr(distinct, "_WORDS", 1 << 10)
    monkeypatch.setattr(Aside.__init__, "__defaults__", (200,))
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 4096)
    path = tmp_path / "names"

    def used(times: int) -> int:
        path.write_text("".join(f"k{number}\n" for number in range(100)) * times)
        kinds: Counter[type] = Counter()

        def read() -> None:
            items: Iterator[object] = iter(objects_from(path, "bucket"))
            kinds.update(map(type, items))

        peak = peak_bytes(read)
        assert kinds == {str: 100, Rejected: 100 * (times - 1)}
        return peak

    used(20)  # what is imported and cached by the first one
    assert used(200) < 1.5 * used(20)
