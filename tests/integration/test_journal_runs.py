"""Jobs with a journal on a real server: killed, resumed, tried again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from s3engine import Engine, Journal
from s3engine.embedded import EmbeddedServer
from s3engine.errors import JournalMismatch
from tests.faults import FaultProxy
from tests.helpers import S3Probe
from tests.journaled import come_so_far

MIB = 1024 * 1024
LARGE_BYTES = 160 * MIB  # one part more, sent by a worker that has not seen the kill yet, is less than 5 % of it
PART_BYTES = 5 * MIB
Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module", autouse=True)
def python_path(environment: pytest.MonkeyPatch) -> None:
    """In other folders too."""
    environment.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(place) for place in sys.path if place))


class Counting:
    """A proxy that counts requests by method, and the body bytes that their heads announce."""

    def __init__(self, seaweed: EmbeddedServer) -> None:
        self.heads: list[bytes] = []
        self.proxy = FaultProxy("127.0.0.1", seaweed.port, self._see)

    def _see(self, connection_no: int, request_no: int, head: bytes) -> None:
        if request_no:
            self.heads.append(head)

    def count(self, text: bytes) -> int:
        return sum(head.startswith(text) for head in list(self.heads))

    def puts(self) -> Counter[bytes]:
        """How often each object was sent, by its path (what asks the store for its checksums are parts)."""
        paths = [head.split(b" ", 2)[1] for head in list(self.heads) if head.startswith(b"PUT")]
        return Counter(path for path in paths if b"?" not in path)

    def parts(self) -> int:
        """Whole parts that were begun to be sent (what asks the store for its checksums sends some bytes only)."""
        length = f"content-length: {PART_BYTES}\r\n".encode()
        return sum(b"partNumber=" in head and length in head.lower() for head in list(self.heads))

    def ranges(self) -> int:
        """Ranges that were asked for."""
        return sum(b"\r\nrange: bytes=" in head.lower() for head in list(self.heads))


@pytest.fixture
def counting(seaweed: EmbeddedServer) -> Iterator[Counting]:
    counting = Counting(seaweed)
    with counting.proxy:
        yield counting


def s3engine(*arguments: str) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "s3engine", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finished(*arguments: str) -> tuple[int, str, str]:
    """Exit code and what was printed."""
    with s3engine(*arguments) as process:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert "Traceback" not in err, err
    return process.returncode, out, err


def kill_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """SIGKILL for the parent alone, as soon as it has come so far; its workers have to notice."""
    with process:
        try:
            come_so_far(process, condition)
            process.kill()
            process.communicate()  # ends when the workers have let go of the pipes
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def states(path: Path) -> Counter[int]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT key, state FROM objects").fetchall()
    assert len({key for key, _ in rows}) == len(rows), "an object stands twice in the journal"
    return Counter(state for _, state in rows)


def parts_on_record(path: Path) -> int:
    """Of the large object under way."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM parts").fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return 0


def test_parent_killed_three_times(tmp_path: Path, counting: Counting, probe: S3Probe, bucket: str) -> None:
    """After three SIGKILLs of the parent each object is done once, equal, and only what was in flight is sent again."""
    source, journal = tmp_path / "src", tmp_path / "journal"
    bodies = {f"d{n % 7}/f{n}": f"body {n}".encode() * 20 for n in range(2000)}
    for name, body in bodies.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    command = (
        "cp", str(source), f"s3://{bucket}/p/", "--journal", str(journal), "--endpoint-url",
        counting.proxy.endpoint_url, "--workers", "2", "-n", "16", "--quiet",
    )  # fmt: skip
    for puts in (300, 800, 1400):
        kill_when(s3engine(*command), lambda puts=puts: counting.count(b"PUT") >= puts)  # type: ignore[misc]
    code, _, err = finished(*command)
    assert (code, err) == (0, "")
    assert states(journal) == {1: 2000}
    assert {key[2:]: probe.get(bucket, key) for key in probe.list_keys(bucket)} == bodies
    sent_again = sum(count - 1 for count in counting.puts().values())
    assert sent_again <= 3 * 16, f"{sent_again} objects were sent again; with -n 16 as many can be unrecorded at a kill"
    before = len(counting.heads)
    code, _, err = finished(*command[:-1])
    assert code == 0
    assert f"journal {journal}: all 2000 objects of this job are done; nothing is left to do" in err
    assert len(counting.heads) == before
    print(f"sent again after three kills: {sent_again}")


def test_command_tells_what_failed_and_tries_it_again(
    tmp_path: Path, seaweed: EmbeddedServer, probe: S3Probe, bucket: str
) -> None:
    """journal show counts, journal failed names, retry does just those: with the command's own options."""
    source, journal = tmp_path / "src", str(tmp_path / "journal")
    (source / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "c.skip"):
        (source / name).write_text(name)
    (source / "broken\nlink").symlink_to("/nowhere/at/all")
    command = ("cp", str(source), f"s3://{bucket}/p/", "--exclude", "*.skip", "--content-type", "x/y", "--quiet")
    assert finished(*command, "--journal", journal)[0] == 1
    code, out, _ = finished("journal", "show", journal)
    assert code == 0
    assert "done: 2 objects, 6 B\nfailed: 1 object\n    SourceError: 1\nplanned, not done: 0 objects\n" in out
    assert f"next: s3engine retry {journal}" in out
    shown = json.loads(finished("journal", "show", "--json", journal)[1])
    assert shown["identity"] == {
        "endpoint": seaweed.endpoint_url, "operation": "upload", "bucket": bucket, "headers": "content-type: x/y",
        "guess_content_type": "True", "verb": "cp", "src": str(source), "dst": f"s3://{bucket}/p/",
        "exclude": '["*.skip"]', "content_type": "x/y",
    }  # fmt: skip
    name = f"{source}/broken\nlink"
    assert finished("journal", "failed", "-0", journal)[1] == f"{name}\0"
    assert finished("journal", "failed", "-0", "--relative", journal)[1] == "broken\nlink\0"
    assert finished("journal", "failed", "--only", "NetworkError", journal)[1] == ""
    code, _, err = finished("journal", "failed", journal)
    assert code == 2
    assert "ask for names that end in NUL: -0" in err
    assert json.loads(finished("journal", "failed", "--json", journal)[1])["error"] == "SourceError"

    (source / "broken\nlink").unlink()
    (source / "broken\nlink").write_text("mended")
    (source / "new").write_text("not part of the job")
    code, out, err = finished("retry", journal, "--dry-run", "--only", "Throttled")
    assert (code, out, "nothing has failed with such an error; nothing is tried again" in err) == (0, "", True)
    told = finished("retry", journal, "--dry-run", "--json")[1]
    assert [json.loads(line)["target"] for line in told.splitlines()] == [f"s3://{bucket}/p/broken\nlink"]
    assert finished("retry", journal, "--only", "Throttled", "--quiet") == (0, "", "")
    assert probe.get(bucket, "p/broken\nlink") is None
    assert finished("retry", journal, "--quiet") == (0, "", "")
    head = probe.head(bucket, "p/broken\nlink")
    assert head is not None
    assert head["content-type"] == "x/y"
    assert probe.list_keys(bucket) == ["p/a", "p/broken\nlink", "p/sub/b"]
    assert "next: nothing; all is done" in finished("journal", "show", journal)[1]


def test_failed_rows_of_a_table_are_the_next_table(tmp_path: Path, bucket: str, probe: S3Probe) -> None:
    """journal failed --csv keeps the keys that a table gave, and is read by --from."""
    source, journal, table = tmp_path / "src", str(tmp_path / "journal"), tmp_path / "t.csv"
    source.mkdir()
    (source / "a").write_text("a")
    table.write_text('path,key\na,in/a\n"no,""ne",in/other\n,empty\nlate,"in/l,ate"\n')
    command = ("cp", str(source), f"s3://{bucket}/p", "--quiet", "--from")
    assert finished(*command, str(table), "--journal", journal)[0] == 1
    assert finished("journal", "failed", "--csv", "-0", journal)[0] == 2
    code, out, err = finished("journal", "failed", "--csv", journal)
    assert (code, out) == (0, 'path,key\n"no,""ne",in/other\nlate,"in/l,ate"\n')
    assert "1 object left out" in err
    (source / "late").write_text("late")
    (source / 'no,"ne').write_text("none")
    (tmp_path / "again.csv").write_text(out)
    assert finished(*command, str(tmp_path / "again.csv"))[0] == 0
    assert probe.list_keys(bucket) == ["p/in/a", "p/in/l,ate", "p/in/other"]


def test_finished_journal_is_not_told_as_an_empty_source(tmp_path: Path, bucket: str) -> None:
    """All is done, and that is all that is said: SRC is not empty. A slash after the folder's name changes no job."""
    source, journal, names = tmp_path / "src", str(tmp_path / "journal"), str(tmp_path / "names")
    source.mkdir()
    (source / "a").write_text("a")
    Path(names).write_text("a\n")
    for name, command in (
        ("up", ("cp", str(source), f"s3://{bucket}/p/")),
        ("up", ("cp", f"{source}/", f"s3://{bucket}/p/")),
        ("down", ("cp", f"s3://{bucket}/p/", str(tmp_path / "out"))),
        ("named", ("rm", f"s3://{bucket}/p/", "--from", names)),
        ("all", ("rm", "-r", f"s3://{bucket}/p/")),
    ):
        assert finished(*command, "--journal", journal + name)[0] == 0
        code, out, err = finished(*command, "--journal", journal + name)
        assert (code, out, "nothing is left to do" in err) == (0, "", True)
        assert "nothing below" not in err
        assert "no names" not in err
    code, _, err = finished("retry", journal + "up")
    assert (code, "nothing has failed; nothing is tried again" in err, "nothing below" in err) == (0, True, False)


def test_command_with_the_journal_of_another_is_refused(tmp_path: Path, bucket: str) -> None:
    """Exit code 2, the field that differs and its two values; nothing is done."""
    source, journal = tmp_path / "src", str(tmp_path / "journal")
    source.mkdir()
    assert finished("cp", str(source), f"s3://{bucket}/p/", "--journal", journal)[0] == 0
    for command, field in (
        (("cp", str(source), f"s3://{bucket}/q/"), f"dst was 's3://{bucket}/p/' and is 's3://{bucket}/q/' now"),
        (("cp", str(tmp_path), f"s3://{bucket}/p/"), f"src was {str(source)!r} and is {str(tmp_path)!r} now"),
        (("mv", str(source), f"s3://{bucket}/p/"), "operation was 'upload' and is 'move' now"),
        (("rm", "-r", f"s3://{bucket}/p/"), "operation was 'upload' and is 'delete' now"),
        (("cp", str(source), f"s3://{bucket}/p/", "--include", "x"), "include was '' and is '[\"x\"]' now"),
    ):
        code, _, err = finished(*command, "--journal", journal)
        assert code == 2
        assert field in err
    assert source.exists()


def test_another_input_or_policy_is_refused(tmp_path: Path, probe: S3Probe, bucket: str) -> None:
    """A journal of one list is not that of another, nor one that keeps what exists that of one that replaces it."""
    for key in "abcd":
        probe.put(bucket, key, b"x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("mine")
    with Engine(workers=1) as engine:
        engine.delete(bucket, ["b", "c"], journal=tmp_path / "j").wait()
        with pytest.raises(JournalMismatch, match="input"):
            engine.delete(bucket, ["a", "d"], journal=tmp_path / "j")
        engine.delete(bucket, ["b", "c"], journal=tmp_path / "j").wait()
        engine.delete(bucket, iter(["c"]), journal=tmp_path / "i").wait()
        with pytest.raises(JournalMismatch, match="no 'a' in that"):
            engine.delete(bucket, iter(["a"]), journal=tmp_path / "i").wait()
        engine.list(bucket).download(tmp_path / "out", existing="keep", journal=tmp_path / "k").wait()
        with pytest.raises(JournalMismatch, match="existing"):
            engine.list(bucket).download(tmp_path / "out", journal=tmp_path / "k")
    assert (tmp_path / "out" / "a").read_text() == "mine"
    assert probe.list_keys(bucket) == ["a", "d"]


def test_dry_run_leaves_out_what_is_done(tmp_path: Path, probe: S3Probe, bucket: str) -> None:
    """With a journal it tells what the next run would do: nothing, once all is done; and the job is not begun by it."""
    for key in ("p/a", "p/b"):
        probe.put(bucket, key, b"x")
    journal = tmp_path / "j"
    for command in (["rm", "-r", f"s3://{bucket}/p/"], ["cp", f"s3://{bucket}/p/", f"{tmp_path}/out"]):
        told = finished(*command, "--journal", str(journal), "--dry-run")
        assert told[0] == 0
        assert told[1].count("would") == 2
        assert not journal.exists()
    assert finished(*command, "--journal", str(journal))[0] == 0
    assert finished(*command, "--journal", str(journal), "--dry-run")[:2] == (0, "")
    code, _, err = finished("rm", "-r", f"s3://{bucket}/p/", "--journal", str(journal), "--dry-run")
    assert code == 2
    assert "belongs to another job" in err


@pytest.mark.parametrize("operation", ["download", "copy", "delete", "move"])
def test_job_from_a_listing_is_done_once(
    tmp_path: Path, counting: Counting, probe: S3Probe, bucket: str, operation: str
) -> None:
    """Each operation on a listing, run again with its journal, asks the store nothing."""
    journal = tmp_path / "journal"
    for n in range(30):
        probe.put(bucket, f"p/f{n:02}", b"x")

    def begin(engine: Engine, prefix: str = "p/") -> int:
        listing = engine.list(bucket, prefix)
        if operation == "download":
            return listing.download(tmp_path / "out", journal=journal).wait().objects
        if operation == "delete":
            return listing.delete(journal=journal).wait().objects
        act = listing.copy if operation == "copy" else listing.move
        return act(key=lambda info: "q/" + info.key[2:], journal=journal).wait().objects

    with Engine(workers=1, concurrency=4, endpoint_url=counting.proxy.endpoint_url) as engine:
        assert begin(engine) == 30
        asked = len(counting.heads)
        assert begin(engine) == 0
        assert len(counting.heads) == asked
        with pytest.raises(JournalMismatch, match=f"input was 's3://{bucket}/p/' and is 's3://{bucket}/p' now"):
            begin(engine, "p")
    assert Journal(journal).counts()[:3] == (30, 0, 0)


def test_large_upload_killed_at_half(
    tmp_path: Path, counting: Counting, probe: S3Probe, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run sends the parts that were not there: less than 55 % of the bytes, and the object is equal."""
    monkeypatch.setenv("S3ENGINE_PART_SIZE_BYTES", str(PART_BYTES))
    path, journal = tmp_path / "large", tmp_path / "journal"
    body = os.urandom(LARGE_BYTES)
    path.write_bytes(body)
    command = (
        "cp", str(path), f"s3://{bucket}/large", "--journal", str(journal), "--endpoint-url",
        counting.proxy.endpoint_url, "--workers", "2", "-n", "2", "--quiet",
    )  # fmt: skip
    parts = LARGE_BYTES // PART_BYTES
    kill_when(s3engine(*command), lambda: parts_on_record(journal) >= parts // 2)
    first = counting.parts()
    assert finished(*command) == (0, "", "")
    again = counting.parts() - first
    assert again < 0.55 * parts, f"{again} of {parts} parts after {first}"
    assert probe.get(bucket, "large") == body
    assert states(journal) == {1: 1}


def test_large_download_killed_at_half(
    tmp_path: Path, counting: Counting, probe: S3Probe, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run fetches the ranges that were not there: less than 55 % of the bytes, and the file is equal."""
    monkeypatch.setenv("S3ENGINE_PART_SIZE_BYTES", str(PART_BYTES))
    path, journal = tmp_path / "out" / "large", tmp_path / "journal"
    body = os.urandom(LARGE_BYTES)
    probe.put(bucket, "large", body)
    command = (
        "cp", f"s3://{bucket}/large", f"{path.parent}/", "--journal", str(journal), "--endpoint-url",
        counting.proxy.endpoint_url, "--workers", "2", "-n", "2", "--quiet",
    )  # fmt: skip
    parts = LARGE_BYTES // PART_BYTES
    kill_when(s3engine(*command), lambda: parts_on_record(journal) >= parts // 2)
    assert not path.exists()
    first = counting.ranges()
    assert finished(*command) == (0, "", "")
    again = counting.ranges() - first
    assert again < 0.55 * parts, f"{again} of {parts} ranges after {first}"
    assert path.read_bytes() == body
    assert os.listdir(path.parent) == ["large"]
    assert states(journal) == {1: 1}
