"""CSV and Parquet."""

from __future__ import annotations

import builtins
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import ConfigError, SourceError
from s3engine.inputs import files_from, format_of, objects_from
from s3engine.sources import FileSource, Rejected
from s3engine.transport import ObjectInfo
from tests.tables import parquet, table, why


def test_header_names_the_columns(tmp_path: Path) -> None:
    """Keys under a header are plain text, sizes and ETags come along, other columns do not matter."""
    path = table(tmp_path, '\ufeffNote,Key,Size,ETag\r\nx,a%20b,5,"""e1"""\r\ny,"c,\nd",,\r\n')
    assert list(objects_from(path, "bbb")) == [ObjectInfo("a%20b", 5, "e1"), "c,\nd"]


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("a+b%2Bc\n", "a+b%2Bc"),
        ("bbb,a+b%2Bc\n", "a b+c"),
        ("bbb,k,null\n", "k"),
        ("bbb,key\n", "key"),
        ("bbb,k,7,2026-01-01T00:00:00.000Z,e\n", ObjectInfo("k", 7, "e", "2026-01-01T00:00:00.000Z")),
        ("bbb,k,v1,true,false,7,2026-01-01T00:00:00Z,e,x\n", ObjectInfo("k", 7, "e", "2026-01-01T00:00:00Z")),
        ("bbb,k,,7,2026-01-01T00:00:00Z,e\n", ObjectInfo("k", 7, "e", "2026-01-01T00:00:00Z")),
    ],
)
def test_tables_without_header_are_amazons(tmp_path: Path, text: str, item: Any) -> None:
    """The order of columns is told by the first row; keys with a bucket beside them are percent-encoded."""
    assert list(objects_from(table(tmp_path, text), "bbb")) == [item]


def test_bad_rows_are_told_by_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Another bucket, another prefix, a version, a size that is none, too few columns, an open quote: by its line."""
    text = (
        "bucket,key,size,version_id\nother,p/a,1,\nbbb,q/a,1,\nbbb,p/v,1,v17\nbbb,p/s,many,\nbbb,p/n,-1,\nbbb\nbbb,,1,\n"
        'bbb,"x"y,1,\nbbb,p/ok,1,\nbbb,"open,1,\nbbb,p/kept,1,\n'
    )
    found = list(objects_from(table(tmp_path, text), "bbb", "p/"))
    assert [item for item in found if not isinstance(item, Rejected)] == [
        ObjectInfo("p/ok", 1), ObjectInfo("p/kept", 1)
    ]  # fmt: skip
    assert why(found) == [
        "names.csv:2: it is of the bucket 'other', not 'bbb'",
        *why([item for item in found if "begin with" in str(getattr(item, "error", ""))]),
        "names.csv:4: it names a version, and only current versions can be worked on",
        "names.csv:5: its size is no number: 'many'",
        "names.csv:6: its size is below zero: -1",
        "names.csv:7: it has 1 column, and the table 4",
        "names.csv:8: its key is empty",
        "names.csv:9: no CSV: ',' expected after '\"'",
        "names.csv:11: no CSV: a quote opens in it, not closed by line 12 (unexpected end of data); "
        "read on below it",
    ]
    assert "names.csv:3: its key does not begin with 'p/'" in str(found[1].error)  # type: ignore[union-attr]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [6, 2000])
def test_stray_quote_costs_its_own_line(tmp_path: Path, count: int, packed: bool) -> None:
    """However many lines an open quote would swallow, it is one bad row; keys with newlines are as they were."""
    rows = [f"p/{'x' * 150}{number:05},{number}\n" for number in range(count)]  # 2000: more than the csv module takes
    rows[count // 2] = '"p/new\nline",7\n'
    data = ("key,size\n" + '"p/bad,1\n' + "".join(rows) + '"p/bad2,1\n' + "".join(rows[:9]) + '"p/bad3,1\n').encode()
    path = table(tmp_path, gzip.compress(data) if packed else data, "names.csv.gz" if packed else "names.csv")
    pairs = list(objects_from(path, "bbb").marked())
    found = [item for item, _ in pairs]
    lines = [int(text.split(":")[1]) for item in found if "no CSV" in (text := str(getattr(item, "error", "")))]
    assert lines == [number for number, line in enumerate(data.split(b"\n"), 1) if line.startswith(b'"p/bad')]
    keys = [item.key for item in found if isinstance(item, ObjectInfo)]
    assert sorted(keys) == sorted({row.rpartition(",")[0].strip('"') for row in rows})
    rest = [item for item, _ in objects_from(path, "bbb").marked(pairs[0][1])]
    assert sorted(map(str, rest)) == sorted(map(str, found[1:]))


def test_row_of_very_many_lines_is_an_open_quote(tmp_path: Path) -> None:
    """Lines that open and close quotes so that the row never ends are bad one by one, with a bound to what is kept."""
    found = list(objects_from(table(tmp_path, "key,size\n" + f'a",",{"c" * 400}\n' * 1500 + "ok,1\n"), "bbb"))
    assert found[-1] == ObjectInfo("ok", 1)
    assert "a row of more than 2048 bytes over" in str(found[20].error)  # type: ignore[union-attr]


def test_first_row_that_is_no_csv(tmp_path: Path) -> None:
    """Nothing tells what the columns are: the table is refused."""
    with pytest.raises(ConfigError, match=r"names.csv':1: it should tell what the columns are: no CSV"):
        list(objects_from(table(tmp_path, '"key,size\na,1\nb,2\n'), "bbb"))


@pytest.mark.parametrize(
    "text", ["bucket;key\nbbb;p/b\n", '"bucket";"key"\nbbb;p/b\n', "bbb;p/b\n", "Size\tObject Key\n5\tp/b\n"]
)
def test_other_separators_are_refused(tmp_path: Path, text: str) -> None:
    """Semicolons and tabs would make whole lines keys; the error says the way out, which works."""
    path = table(tmp_path, text)
    with pytest.raises(ConfigError, match=r"is parted by (semicolons|tabs), .* --from-format lines"):
        objects_from(path, "bbb").check()
    with pytest.raises(ConfigError, match="is parted by"):
        list(objects_from(path, "bbb"))
    assert next(iter(objects_from(path, "bbb", file_format="lines"))) == text.splitlines()[0]
    with pytest.raises(ConfigError, match=r"is parted by semicolons"):
        files_from(table(tmp_path, "path;key\na;b\n"), "/d").check()


def test_keys_with_semicolons_are_keys(tmp_path: Path) -> None:
    """One column without a header whose first key holds a semicolon is no table of another kind."""
    assert list(objects_from(table(tmp_path, "a;b\nc\n"), "bbb")) == ["a;b", "c"]


def test_keys_that_are_no_utf8(tmp_path: Path) -> None:
    """Neither raw nor percent-encoded bytes that are not UTF-8 make a key."""
    found = list(objects_from(table(tmp_path, b"bbb,ok\nbbb,\xff\nbbb,%ff\nbbb,%C3%A9\n"), "bbb"))
    assert [found[0], found[3]] == ["ok", "é"]
    assert why(found) == ["names.csv:2: its key is not UTF-8", "names.csv:3: its key is not percent-encoded UTF-8"]


def test_only_current_versions(tmp_path: Path) -> None:
    """Older versions and delete markers are passed over in silence."""
    text = "bbb,a,v2,true,false,1\nbbb,a,v1,false,false,1\nbbb,gone,v3,true,true,\nbbb,c,null,true,false,2\n"
    assert list(objects_from(table(tmp_path, text), "bbb")) == [ObjectInfo("a", 1), ObjectInfo("c", 2)]


def test_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    """For objects a key is needed, for files a path."""
    with pytest.raises(ConfigError, match=r"no column 'key'; its columns are 'bucket', 'name'"):
        objects_from(table(tmp_path, "bucket,name\nbbb,x\n"), "bbb").check()
    with pytest.raises(ConfigError, match=r"no column 'path'; its columns are 'key'"):
        files_from(table(tmp_path, "key\nx\n"), "/d").check()
    with pytest.raises(ConfigError, match="has no header"):
        files_from(table(tmp_path, "a,x\n"), "/d").check()


def test_files_with_keys_of_their_own(tmp_path: Path) -> None:
    """A table of files may say the key; else it is the path."""
    found = list(files_from(table(tmp_path, "path,key\na/b,x/y\n./c,\n"), "/d", "p/"))
    assert found == [FileSource("/d/a/b", "p/x/y"), FileSource("/d/c", "p/c")]


@pytest.mark.parametrize("text", ["", "\n\n", "key\n"])
def test_empty_table(tmp_path: Path, text: str) -> None:
    """No rows are no error."""
    items = objects_from(table(tmp_path, text), "bbb")
    items.check()
    assert list(items) == []
    assert items.rows == 0


def test_marks_of_csv(tmp_path: Path) -> None:
    """Behind each mark come exactly the rows that are left, with their line numbers."""
    rows = [f'"k{number}\n",{number}\n' for number in range(2500)] + ["bad\n"]
    path = table(tmp_path, "key,size\n" + "".join(rows))
    pairs = list(objects_from(path, "bbb").marked())
    assert [item for item, _ in pairs[:-1]] == [ObjectInfo(f"k{number}\n", number) for number in range(2500)]
    for index in (0, 1, 998, 1000, 2499):
        rest = list(objects_from(path, "bbb").marked(pairs[index][1]))
        assert [item for item, _ in rest[:-1]] == [item for item, _ in pairs[index + 1 : -1]]
    assert "names.csv:5002: it has 1 column" in str(rest[-1][0].error)  # type: ignore[union-attr]


def test_format_is_told_by_the_name() -> None:
    """Packed or not, local or on S3."""
    names = ["a.csv", "a.csv.gz", "a.parquet", "x/manifest.json", "s3://b/manifest.json", "-", "a.txt.gz", "a.json"]
    assert [format_of(name) for name in names] == [
        "csv", "csv", "parquet", "inventory", "inventory", "lines", "lines", "lines"
    ]  # fmt: skip


# ---- Parquet


def test_parquet_rows_and_marks(tmp_path: Path) -> None:
    """Only the columns that are needed; a bad row by its number; any place can be gone on from."""
    count = 5000
    columns: dict[str, list[Any]] = {
        "bucket": ["bbb"] * count, "key": [f"k{number}" for number in range(count)], "size": list(range(count)),
        "e_tag": ["e"] * count, "other": ["x" * 100] * count,
    }  # fmt: skip
    columns["bucket"][4321] = "c"
    path = parquet(tmp_path, columns)
    pairs = list(objects_from(path, "bbb").marked())
    assert [item for item, _ in pairs if not isinstance(item, Rejected)] == [
        ObjectInfo(f"k{number}", number, "e") for number in range(count) if number != 4321
    ]
    assert why([item for item, _ in pairs]) == ["names.parquet:4322: it is of the bucket 'c', not 'bbb'"]
    for index in (0, 999, 1000, 3500, 4999):
        assert list(objects_from(path, "bbb").marked(pairs[index][1]))[:5] == pairs[index + 1 :][:5]


def test_parquet_keys_that_are_no_text(tmp_path: Path) -> None:
    """Bytes are keys when they are UTF-8; two columns of one name are refused."""
    path = parquet(tmp_path, {"key": [b"a\xc3\xa9", b"b\xff", None]})
    found = list(objects_from(path, "bbb"))
    assert found[0] == "a\xe9"
    assert why(found) == ["names.parquet:2: its key is not UTF-8", "names.parquet:3: its key is empty"]
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["key", "key"]), path)
    with pytest.raises(ConfigError, match="two columns of one name"):
        list(objects_from(path, "bbb"))


def test_two_columns_that_mean_one(tmp_path: Path) -> None:
    """Names that differ only in how they are written are one name: which one is meant is not guessed."""
    columns: dict[str, list[Any]] = {"Key": ["a"], "size": [1], "key": ["b"]}
    for path in (parquet(tmp_path, columns), table(tmp_path, "Key,size,key\na,1,b\n")):
        with pytest.raises(ConfigError, match="two columns of one name for 'key': 'Key', 'key'"):
            list(objects_from(path, "bbb"))


def test_parquet_of_all_versions(tmp_path: Path) -> None:
    """Current versions only; a key that is missing is a bad row."""
    path = parquet(
        tmp_path,
        {"key": ["a", "a", "d", None], "is_latest": [True, False, True, True],
         "is_delete_marker": [False, None, True, None], "version_id": ["1", "2", "3", "4"]},
    )  # fmt: skip
    found = list(objects_from(path, "bbb"))
    assert found[0] == "a"
    assert why(found) == ["names.parquet:4: its key is empty"]


def test_what_is_no_parquet(tmp_path: Path) -> None:
    """Neither text nor nothing; and its columns are named when the right one is missing."""
    pytest.importorskip("pyarrow")
    for data in ("key\nx\n", ""):
        with pytest.raises(ConfigError, match="is no Parquet file"):
            objects_from(table(tmp_path, data, "x.parquet"), "bbb").check()
    with pytest.raises(ConfigError, match="no column 'key'; its columns are 'name', 'size'"):
        objects_from(parquet(tmp_path, {"name": ["a"], "size": [1]}), "bbb").check()


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    there = builtins.__import__

    def no_pyarrow(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(ConfigError, match=r"pip install 's3engine\[parquet\]'"):
        objects_from(table(tmp_path, b"PAR1", "x.parquet"), "bbb").check()


def test_truncated_csv_is_an_error(tmp_path: Path) -> None:
    """A packed table that ends too early is no shorter table."""
    data = gzip.compress(os.urandom(30_000).hex().encode().replace(b"a", b"\n"))
    with pytest.raises(SourceError, match="no whole gzip file"):
        list(objects_from(table(tmp_path, data[:-100], "x.csv.gz"), "bbb"))


def test_sizes_that_no_object_has(tmp_path: Path) -> None:
    """A size that does not fit 63 bits is a bad row, told by its line."""
    found = list(objects_from(table(tmp_path, f"key,size\na,{(1 << 63) - 1}\nb,{1 << 63}\nc,{'9' * 5000}\n"), "bbb"))
    assert found[0] == ObjectInfo("a", (1 << 63) - 1)
    assert why(found)[0] == f"names.csv:3: its size is more than any object has: {1 << 63}"
    assert why(found)[1].startswith("names.csv:4: its size is ")
