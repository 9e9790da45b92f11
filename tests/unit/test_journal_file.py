"""The file of a journal: whose it is, who reads it, what a power cut and damage do to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import ConfigError, JournalError, JournalInUse, JournalMismatch
from s3engine.jobs.delete import DeleteJob
from s3engine.journal import Journal
from s3engine.journal.identity import described, endpoint_name
from s3engine.journal.run import JournalRun
from s3engine.operations import ObjectHeaders
from s3engine.pool.messages import Task
from s3engine.report import RequestReport
from s3engine.sources import BytesSource, FileSource
from s3engine.transport import ObjectInfo
from tests.helpers import eventually
from tests.journal_inputs import files, keys, never
from tests.journaled import Driver, outcome

SECRET = "c2VjcmV0"


@pytest.mark.parametrize(
    "name", ["x-amz-server-side-encryption-customer-key", "X-Amz-Server-Side-Encryption-Customer-Key"]
)
@pytest.mark.parametrize("key", ["k", None])
def test_key_of_the_customers_own_encryption_is_not_in_the_journal(tmp_path: Path, name: str, key: Any) -> None:
    """Secrets are written nowhere, neither those of one source nor those of the batch, however the header is spelled.

    Nor of a source that is none, since its key is no text; and no byte of a body.
    """
    secret = ObjectHeaders(extra={name: SECRET})
    path = tmp_path / "j"
    identity = {"operation": "upload", "headers": described(secret)}
    sources = [FileSource("/f", key, secret), ("/g", key, secret), BytesSource(SECRET.encode(), key)]
    driver = Driver(path, sources, identity=identity)
    reports = driver.run()
    assert len(reports) == 3
    assert Journal(path).counts().planned == 0
    for text in (path.read_bytes(), repr(reports).encode(), repr(secret).encode()):
        assert SECRET.encode() not in text
    assert endpoint_name(f"https://user:{SECRET}@host:1/", "") == "https://host:1"


@pytest.mark.parametrize(
    "given",
    [{"operation": "delete", "bucket": "b"}, {"operation": "upload", "bucket": "c"}, {"operation": "upload"},
     {"operation": "upload", "bucket": "b", "endpoint": "http://other"}],
)  # fmt: skip
def test_journal_of_another_job_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    """The error names the field and both values."""
    path = tmp_path / "j"
    recorded = {"operation": "upload", "bucket": "b"}
    Driver(path, files(1), identity=recorded).run()
    with pytest.raises(JournalMismatch, match="belongs to another job: ") as caught:
        Driver(path, files(1), identity=given)
    error = caught.value
    assert error.recorded == recorded.get(error.field, "") != error.given == given.get(error.field, "")
    Driver(path, files(1), never, identity=recorded).run()  # and it is as usable as before


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    """A file of another kind, a database of somebody else and a folder raise ConfigError, unchanged."""
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to look at" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    marked = tmp_path / "marked.db"
    numbered = tmp_path / "numbered.db"
    Driver(marked, files(1)).run()
    for path, pragma in ((marked, "user_version=0"), (numbered, "user_version=7"), (numbered, "application_id=7")):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA {pragma}")
            connection.execute("PRAGMA journal_mode=DELETE")
    for path, what in ((text, "not a journal of s3engine: it is another kind of file"),
                       (other, "not a journal of s3engine: it is a database of another program"),
                       (numbered, "it is a database of another program"),
                       (marked, "marked as one, but of format 0, which no s3engine writes"),
                       (tmp_path, "cannot open"), (tmp_path / "no" / "j", "cannot")):  # fmt: skip
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(ConfigError, match=what):
            Driver(path, files(1))
        assert (path.read_bytes() if path.is_file() else b"") == before
    with pytest.raises(ConfigError, match="cannot open"):
        Journal(tmp_path / "absent").counts()
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="it is empty, nothing was ever recorded in it"):
        Journal(tmp_path / "empty").counts()


def test_newer_format_is_refused(tmp_path: Path) -> None:
    """A journal that a later version wrote is not touched."""
    path = tmp_path / "j"
    Driver(path, files(1)).run()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(ConfigError, match="newer s3engine"):
        Driver(path, files(1))


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """A journal in use is refused, in the same process and in another, and free when its holder was killed."""
    path = tmp_path / "j"
    held = Driver(path, files(1))
    with pytest.raises(JournalInUse, match="in use by process"):
        Driver(path, files(1))
    script = (
        "import sys; from s3engine.journal.lock import JournalLock; JournalLock(sys.argv[1])\n"
        "print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    other = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert f"JournalInUse: journal {str(path)!r} is in use by process {os.getpid()}" in other.stderr
    held.run()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(JournalInUse) as caught:
            Driver(path, files(1))
        assert caught.value.pid == process.pid
        process.kill()
    Driver(path, files(1), never).run()
    assert sorted(os.listdir(tmp_path)) == ["j"]


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    """Names of objects are nobody else's business."""
    path = tmp_path / "j"
    driver = Driver(path, files(1))
    for one in tmp_path.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one
    driver.run()


def test_power_cut(tmp_path: Path) -> None:
    """From the files as they were at any moment, with or without the write-ahead log, the job comes to its end."""
    path = tmp_path / "j"
    copies: list[tuple[Path, set[str]]] = []

    def copy(task: Task) -> tuple[Any, ...]:
        if int(task[3][1:]) % 250 == 249:
            with driver.run_._writer.lock:  # as a snapshot: all files of one moment
                for suffix in ("", "-wal"):
                    target = tmp_path / f"copy{len(copies)}"
                    target.mkdir(exist_ok=True)
                    if Path(f"{path}{suffix}").exists():
                        shutil.copy(f"{path}{suffix}", target / f"j{suffix}")
                copies.append((target / "j", {report.key for report in driver.reports}))
        return outcome(task)

    driver = Driver(path, files(1000), copy)
    driver.run()
    assert len(copies) == 4
    for index, (copied, told) in enumerate(copies):
        if index % 2:
            Path(f"{copied}-wal").unlink()
        second = keys(Driver(copied, files(1000)).run())
        if index % 2 == 0:
            assert not told & set(second), "what was told is on record"
        assert Journal(copied).counts()[:4] == (1000, 0, 0, 1000)


def test_nothing_is_told_as_done_that_is_not_on_record(tmp_path: Path) -> None:
    """When the disk of the journal is full the batch ends with JournalError; what has no record says so."""
    path = tmp_path / "j"
    driver = Driver(path, files(20_000))
    with driver.run_._writer.lock:
        driver.run_._writer.connection.execute("PRAGMA max_page_count=200")
    with pytest.raises(JournalError, match="full"):
        driver.run()
    told = {report.key for report in driver.reports if report.ok}
    unrecorded = [report for report in driver.reports if isinstance(report.error, JournalError)]
    assert all("is not on record" in str(report.error) for report in unrecorded)
    connection = sqlite3.connect(path)
    recorded = {row[0] for row in connection.execute("SELECT key FROM objects WHERE state = 1")}
    connection.close()
    assert told == recorded
    second = keys(Driver(path, files(20_000)).run())
    assert len(second) + len(told) == 20_000


def test_reports_share_transactions(tmp_path: Path) -> None:
    """Thousands of reports that wait are written in a few transactions, thousands to each."""
    driver = Driver(tmp_path / "j", [])
    writer = driver.run_._writer
    reports = [
        RequestReport(n, "upload", "b", f"k{n}", 1, 1, 0.1, 0.1, 0.0, 1.0, 200, "", "e", None) for n in range(5000)
    ]
    commits: list[str] = []
    with writer.lock:  # nothing is written before all wait
        writer.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        for report in reports:
            writer.end(report.seq + 1, report)
    eventually(lambda: len(writer.released) == 5000)
    assert list(writer.released) == reports
    driver.crash()
    assert 1 <= len(commits) <= 10


def test_run_that_cannot_begin_leaves_the_journal_free(tmp_path: Path) -> None:
    """Whatever is refused, the lock is let go of."""
    path = tmp_path / "j"
    with pytest.raises(ConfigError, match="cannot open"):
        JournalRun(Journal(path).only_failed(), {"operation": "upload"}, [], lambda report: None)
    assert os.listdir(tmp_path) == []
    Driver(path, files(1)).run()


@pytest.mark.parametrize(
    "damage", ["UPDATE meta SET value = 'no JSON' WHERE name = 'identity'", "ALTER TABLE objects DROP COLUMN etag"]
)
def test_damaged_journal_is_an_error_of_its_own(tmp_path: Path, damage: str) -> None:
    """Not one of SQLite or JSON; nothing is sent."""
    Driver(tmp_path / "j", files(2)).run()
    with closing(sqlite3.connect(tmp_path / "j")) as connection, connection:
        connection.execute(damage)
    with pytest.raises((ConfigError, JournalError), match="cannot read the journal"):
        Driver(tmp_path / "j", files(2)).run()
    assert not (tmp_path / "j-lock").exists()


def deletes(emit: Any, items: Any) -> DeleteJob:
    return DeleteJob(items, "b", emit)


def test_what_sqlite_cannot_hold_ends_the_job(tmp_path: Path) -> None:
    """Whatever the writer fails with, the batch ends with JournalError; it does not wait for a thread that is gone."""
    objects = [ObjectInfo("a", 1), ObjectInfo("b", 1 << 63)]
    with pytest.raises(JournalError, match="OverflowError"):
        Driver(tmp_path / "j", objects, make=deletes, identity={"operation": "delete"}).run()
    assert not (tmp_path / "j-lock").exists()


def test_sizes_that_no_number_holds_together_are_counted(tmp_path: Path) -> None:
    """Nonsense in a table of sizes does not make the journal unreadable."""
    objects = [ObjectInfo(f"k{n}", 1 << 62) for n in range(8)]
    Driver(tmp_path / "j", objects, make=deletes, identity={"operation": "delete"}).run()
    assert Journal(tmp_path / "j").counts().done_bytes == (1 << 63) - 1
