"""Lists of names: lines, NUL, packed, pipes."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3engine.errors import ConfigError, SourceChanged, SourceError
from s3engine.inputs import lines as lines_module
from s3engine.inputs import objects_from
from s3engine.inputs.files import InputFile
from s3engine.inputs.lines import LineReader
from s3engine.inputs.rows import Bad, Place, Row
from s3engine.sources import Rejected


def rows_of(
    data: bytes, folder: Path, *, start: Place | None = None, nul: bool = False, local: bool = False
) -> list[Row]:
    path = folder / "names"
    path.write_bytes(data)
    reader = LineReader(InputFile(str(path)), nul=nul, local=local)
    return [row for block in reader.blocks(start or Place()) for row in block.rows]


def names_of(data: bytes, folder: Path, *, nul: bool = False, local: bool = False) -> list[str]:
    return [name for name, _, _, _ in rows_of(data, folder, nul=nul, local=local)]


def test_lines_of_all_kinds(tmp_path: Path) -> None:
    """Empty lines are skipped, \\r\\n is one end, the last line needs none, a byte order mark goes."""
    data = b"\xef\xbb\xbfa\r\n\n\r\nb c\nd\re\n  \nlast"
    assert [row[:2] for row in rows_of(data, tmp_path)] == [
        ("a", 1), ("b c", 4), ("d\re", 5), ("  ", 6), ("last", 7)
    ]  # fmt: skip


def test_nul_keeps_what_lines_cannot(tmp_path: Path) -> None:
    """With -0 newlines and carriage returns are part of a name."""
    assert names_of(b"a\nb\0c\r\0\0d", tmp_path, nul=True) == ["a\nb", "c\r", "d"]


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    """In a path they are kept; in a key they make a bad row, which is named."""
    data = b"ok\n\xff\xfe\n\xc3\xa9\n"
    assert names_of(data, tmp_path, local=True) == ["ok", "\udcff\udcfe", "é"]
    name, line, _, why = rows_of(data, tmp_path)[1]
    assert (name, line, type(why)) == ("\\xff\\xfe", 2, Bad)


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from([b"a", b"bb", b"", b"\r", b"x\r", "é".encode(), b"long" * 9, b"\xff"]), max_size=12
    ),
    ended=st.booleans(), block=st.integers(1, 9), cut=st.integers(0, 12),
)  # fmt: skip
def test_any_block_size_gives_the_lines_of_a_simple_model(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], ended: bool, block: int, cut: int
) -> None:
    """However the bytes come, rows and places are those of splitting the whole; any place can be gone on from."""
    data = b"\n".join(pieces) + (b"\n" if ended else b"")
    model = []
    place = 0
    for number, raw in enumerate(data.split(b"\n"), 1):
        place += len(raw) + 1
        line = raw[:-1] if raw.endswith(b"\r") else raw
        if line:
            model.append((line.decode("utf-8", "surrogateescape"), number, place))
    folder = tmp_path_factory.mktemp("lines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "_BLOCK_BYTES", block)
        found = [row[:3] for row in rows_of(data, folder, local=True)]
        assert [row[:2] for row in found] == [row[:2] for row in model]
        assert [row[2] for row in found[:-1]] == [row[2] for row in model[:-1]]
        if cut < len(found):
            start = Place(0, min(found[cut][2], len(data)), found[cut][1])
            rest = [row[:2] for row in rows_of(data, folder, local=True, start=start)]
            assert rest == [row[:2] for row in model[cut + 1 :]]


def test_endless_line_is_a_bad_row(tmp_path: Path) -> None:
    """A line longer than any key is one bad row and is not kept in memory; the rest goes on."""
    rows = rows_of(b"a\n" + b"x" * 500_000 + b"\nb\n" + b"y" * 200_000, tmp_path)
    assert [(row[0], row[1], type(row[3])) for row in rows] == [
        ("a", 1, type(None)), ("", 2, Bad), ("b", 3, type(None)), ("", 4, Bad)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"a\0b\0", "needs -0"), (b"PAR1xx", "Parquet"), (gzip.compress(b"x", mtime=0), "gzip"), (b"PK\x03\x04x", "zip")],
)
def test_what_is_no_list_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    """A binary is told by its first bytes, with what to do."""
    path = tmp_path / "names"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        objects_from(path, "bucket").check()


@pytest.mark.parametrize("name", ["missing", "folder"])
def test_missing_file_and_folder(tmp_path: Path, name: str) -> None:
    """They are refused at once, by name."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=name):
        objects_from(tmp_path / name, "bucket")


def test_packed_list_and_one_cut_short(tmp_path: Path) -> None:
    """.gz is unpacked, also from a place on; one that ends too early is an error and not a shorter list."""
    path = tmp_path / "names.gz"
    text = "".join(f"key-{number}\n" for number in range(50_000))
    path.write_bytes(gzip.compress(text.encode()))
    items = objects_from(path, "bucket")
    assert list(items) == text.split()
    marks = [mark for _, mark in items.marked()]
    assert [item for item, _ in items.marked(marks[40_000])] == text.split()[40_001:]
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(SourceError, match="no whole gzip file"):
        list(objects_from(path, "bucket"))


def test_pipe_is_read_once_and_duplicates_are_found(tmp_path: Path) -> None:
    """What came out of a pipe is kept for the second look; it cannot be begun in the middle."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    names = [f"k{number}" for number in range(30_000)] + ["k7"]

    def write() -> None:
        with open(pipe, "w") as file:
            file.write("\n".join(names))

    writer = threading.Thread(target=write)
    writer.start()
    items = objects_from(pipe, "bucket")
    found = list(items)
    writer.join()
    assert not items.positionable
    assert found[:-1] == names[:-1]
    assert isinstance(found[-1], Rejected)
    assert f"{pipe}:30001: 'k7' comes twice; {pipe}:8 had it first" in str(found[-1].error)


def test_changed_file_is_noticed(tmp_path: Path) -> None:
    """A file that was written to between the first and the second look is no ground for telling duplicates."""
    path = tmp_path / "names"
    path.write_text("a\na\n")
    items = objects_from(path, "bucket")
    reading = iter(items)
    assert next(reading) == "a"
    path.write_text("b\na\na\n")
    with pytest.raises(SourceChanged, match="was changed"):
        next(reading)
