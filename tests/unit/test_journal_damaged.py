"""A journal that is damaged is configuration: exit code 2, nothing is done, and the way out is named."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from s3engine.cli import main
from s3engine.errors import ConfigError, JournalError
from s3engine.journal import Journal
from s3engine.journal.rest import Rest
from tests.journal_inputs import files, never
from tests.journaled import Driver

WAY_OUT = "If it is damaged, name another one: it does the job anew"
OPTIONS = {"verb": "rm", "values": {"uri": "s3://bucket/in/", "recursive": True}}


def truncated(tmp_path: Path, size_bytes: int) -> str:
    """A journal of 300 objects, cut off behind so many bytes."""
    path = tmp_path / "j"
    Driver(Journal(path, options=OPTIONS), files(300)).run()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    assert len(whole) > size_bytes
    path.write_bytes(whole[:size_bytes])
    for more in ("j-wal", "j-shm"):
        (tmp_path / more).unlink(missing_ok=True)
    return str(path)


@pytest.mark.parametrize("size_bytes", [5000, 20_000, 30_000])
@pytest.mark.parametrize(
    "command", [["journal", "show"], ["journal", "failed"], ["retry", "--dry-run"], ["retry", "--no-sign-request"]]
)
def test_truncated_journal_is_an_error_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], size_bytes: int
) -> None:
    """Of show, failed and retry too; one line, which says what to do. What can be read of it may be shown."""
    path = truncated(tmp_path, size_bytes)
    code = main([*command, path])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) in ((2, 1), (0, 1 if command[0] == "retry" else 0)), err
    assert code == 0 or (f"cannot read the journal {path!r}: " in err and WAY_OUT in err)
    assert code == 2 or size_bytes > 5000


@pytest.mark.parametrize("size_bytes", [5000, 20_000, 30_000])
def test_truncated_journal_begins_nothing(tmp_path: Path, size_bytes: int) -> None:
    """A run and a dry run say so by an error of this package, and let go of the lock."""
    path = truncated(tmp_path, size_bytes)
    copy = str(tmp_path / "copy")
    shutil.copy(path, copy)
    with pytest.raises((ConfigError, JournalError), match="name another one"):
        Driver(Journal(path), files(300), never).run()
    assert not Path(f"{path}-lock").exists()
    with pytest.raises(ConfigError, match="name another one"):
        list(Rest(Journal(copy)).of(files(300)))


def test_meta_that_is_no_json(tmp_path: Path) -> None:
    """Told as the journal's damage by all that reads it."""
    path = tmp_path / "j"
    Driver(path, files(2)).run()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 'no JSON' WHERE name = 'identity'")
    for read in (lambda: Journal(path).about(), lambda: Rest(Journal(path)), lambda: Driver(path, files(2))):
        with pytest.raises(ConfigError, match="name another one"):
            read()
