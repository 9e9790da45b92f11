"""``--from`` without a server: what is refused, and what a dry run of an upload says."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3engine.cli import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _files(no_settings: None, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    (tmp_path / "names").write_text("a\n")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "x.parquet").write_bytes(b"")
    (tmp_path / "plain.gz").write_bytes(b"a\n")
    (tmp_path / "x.csv").write_text("name,bytes,key\n")


REFUSED = [
    (["rm", "s3://bucket/", "-0"], "there is no --from"),
    (["cp", "src", "s3://bucket/", "--from-format", "csv"], "there is no --from"),
    (["cp", "src", "s3://bucket/", "--from", "absent"], "cannot read names from 'absent': No such file or directory"),
    (["cp", "src", "s3://bucket/", "--from", "src"], "'src' is a folder"),
    (["cp", "src", "s3://bucket/", "--from", "binary"], "a list with NUL between its names needs -0"),
    (["cp", "src", "s3://bucket/", "--from", "plain.gz"], "'plain.gz' ends in .gz and is not packed by gzip"),
    (["cp", "src", "s3://bucket/", "--from", "x.csv"], "no column 'path'; its columns are 'name', 'bytes', 'key'"),
    (["cp", "src", "s3://bucket/", "--from", "x.csv", "-0"], "-0 is for lists; 'x.csv' is taken for csv"),
    (["cp", "src/a", "s3://bucket/", "--from", "names"], "SRC must be the folder that its names are relative to"),
    (["cp", "src", "s3://bucket/", "--from", "-", "--from", "-"], "give --from - once"),
    (["cp", "src", "s3://bucket/", "--from", "names", "--from-format", "xml"], "'xml' is not one of"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_wrong_use_is_told_in_one_line(arguments: list[str], message: str, capsys: Captured) -> None:
    """Exit code 2, one line, and nothing was begun."""
    assert main([*arguments, "--dry-run"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert message in told.err


def test_what_is_no_parquet_is_refused(capsys: Captured) -> None:
    """An empty file is no table."""
    pytest.importorskip("pyarrow")
    assert main(["cp", "src", "s3://bucket/", "--from", "x.parquet", "--dry-run"]) == 2
    assert "'x.parquet' is no Parquet file" in capsys.readouterr().err


def test_dry_run_tells_bad_rows_too(tmp_path: Path, capsys: Captured) -> None:
    """What would be sent stands on stdout, what would fail on stderr with its line; exit code 1. Filters hold."""
    (tmp_path / "names").write_text("a\n../b\nc.tmp\n./a\n")
    assert main(["cp", "src", "s3://bucket/p/", "--from", "names", "--exclude", "*.tmp", "--dry-run"]) == 1
    told = capsys.readouterr()
    assert told.out == "would upload src/a -> s3://bucket/p/a\n"
    assert "would fail: upload ../b: names:2: it leads out of 'src'\n" in told.err
    assert "names:4: 'p/a' comes twice; names:1 had it first" in told.err


def test_row_without_a_name_is_told_by_its_line(tmp_path: Path, capsys: Captured) -> None:
    """A row that names nothing has its file and line told once."""
    (tmp_path / "t.csv").write_text("path,key\n,k\n")
    assert main(["cp", "src", "s3://bucket/", "--from", "t.csv", "--dry-run"]) == 1
    assert capsys.readouterr().err == "s3engine: would fail: upload: t.csv:2: its path is empty\n"
