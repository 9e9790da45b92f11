"""What ``journal failed`` gives can be fed back: it names what failed, and nothing else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from s3engine.cli import main
from s3engine.errors import AccessDenied, MalformedRow
from s3engine.inputs import files_from, objects_from
from s3engine.journal import Journal
from s3engine.sources import FileSource, Rejected
from tests.journaled import Driver, outcome

Captured = pytest.CaptureFixture[bytes]
FORMS: tuple[list[str], ...] = (["-0"], ["-0", "--relative"], ["--relative"], [], ["--csv"])


def denied(task: Any) -> Any:
    return outcome(task, error=AccessDenied("no"))


def fails(path: Path, values: dict[str, Any], items: Any) -> str:
    """A journal of a command in which every object fails."""
    Driver(Journal(path, options={"verb": "rm", "values": values}), items, denied).run()
    return str(path)


def told(capsysbinary: Captured, *arguments: str) -> tuple[bytes, str]:
    assert main(["journal", "failed", *arguments]) == 0
    out, err = capsysbinary.readouterr()
    return out, err.decode()


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_rows_that_were_refused_are_no_names(tmp_path: Path, capsysbinary: Captured, form: list[str]) -> None:
    """A bad row, one outside the prefix and a duplicate are in no form that is an input, and counted."""
    table = tmp_path / "k.csv"
    table.write_text("key,size\nin/b,x\n,1\nother/x,1\nin/a,1\nin/a,1\n")
    refused = [one for one in objects_from(table, "bucket", "in/") if isinstance(one, Rejected)]
    assert len(refused) == 4
    journal = fails(tmp_path / "j", {"uri": "s3://bucket/in/"}, refused)
    out, err = told(capsysbinary, *form, journal)
    assert out == (b"key\n" if form == ["--csv"] else b"")
    assert "4 objects left out: rows of the input that could not be used" in err


def test_refused_rows_are_marked_for_programs(tmp_path: Path, capsysbinary: Captured) -> None:
    """--json and Journal.failed() tell of them, and that they are no objects."""
    bad = Rejected("k.csv:3", MalformedRow("k.csv:3: it has 1 columns"))
    twice = [FileSource("/f/x", "in/a"), FileSource("/f/y", "in/a")]  # told apart by the job, not by the table
    journal = fails(tmp_path / "j", {"src": "/f", "dst": "s3://bucket/in/"}, [bad, *twice])
    expected = [("k.csv:3", True), ("/f/x", False), ("/f/y", True)]
    assert [(one.name, one.rejected) for one in Journal(journal).failed()] == expected
    lines = told(capsysbinary, "--json", journal)[0].splitlines()
    assert [(one["name"], one["rejected"]) for one in map(json.loads, lines)] == expected
    assert told(capsysbinary, "--relative", journal)[0] == b"x\n"


def test_names_outside_the_source_are_left_out(tmp_path: Path, capsysbinary: Captured) -> None:
    """--from would take them for names below SRC."""
    items = [FileSource("/src/sub/a", "p/sub/a"), FileSource("/elsewhere/b", "p/b")]
    journal = fails(tmp_path / "j", {"src": "/src", "dst": "s3://bucket/p"}, items)
    for form, expected in ((["-0", "--relative"], b"sub/a\0"), (["--csv"], b"path,key\nsub/a,sub/a\n")):
        out, err = told(capsysbinary, *form, journal)
        assert out == expected
        assert "1 object left out: not below SRC" in err


def test_carriage_returns_come_back(tmp_path: Path, capsysbinary: Captured) -> None:
    """A name that ends in one is not the name without it: a table quotes it, a list of lines is refused."""
    names = ["a\r", "a\rb", "plain"]
    journal = fails(
        tmp_path / "j",
        {"src": "/src", "dst": "s3://bucket/p"},
        [FileSource(f"/src/{one}", f"p/{one}") for one in names],
    )
    out, _ = told(capsysbinary, "--csv", journal)
    assert [row[0] for row in csv.reader(io.StringIO(out.decode(), newline=""))] == ["path", *names]
    (tmp_path / "again.csv").write_bytes(out)
    again = files_from(tmp_path / "again.csv", "/src", "p/")
    assert [one.key for one in again] == [f"p/{one}" for one in names]
    out, _ = told(capsysbinary, "-0", "--relative", journal)
    assert out.split(b"\0") == [b"a\r", b"a\rb", b"plain", b""]
    assert main(["journal", "failed", "--relative", journal]) == 2
    assert b"ask for names that end in NUL" in capsysbinary.readouterr().err


def test_byte_order_mark_in_a_name_is_not_lost(tmp_path: Path, capsysbinary: Captured) -> None:
    """A list loses it at its beginning, and would name another object: only a table has it."""
    items = [FileSource("/src/\ufeffa", "p/\ufeffa")]
    journal = fails(tmp_path / "j", {"src": "/src", "dst": "s3://bucket/p"}, items)
    assert main(["journal", "failed", "-0", "--relative", journal]) == 2
    assert b"ask for a table: --csv" in capsysbinary.readouterr().err
    (tmp_path / "again.csv").write_bytes(told(capsysbinary, "--csv", journal)[0])
    assert [one.key for one in files_from(tmp_path / "again.csv", "/src", "p/")] == ["p/\ufeffa"]
