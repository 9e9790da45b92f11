"""The verbs of the command line, run as processes against SeaweedFS."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from s3engine.embedded import EmbeddedServer, free_ports
from tests.helpers import S3Probe, eventually

TIMEOUT_S = 60.0


class Done(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Of stdout."""
        return self.out.splitlines()


class Cli:
    """Runs ``python -m s3engine`` in a folder, with the variables of a server and none of the user's."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3ENGINE_"))}
        places = [os.path.abspath(place) for place in sys.path if place]
        self.environment = kept | {
            "PYTHONPATH": os.pathsep.join(places), "AWS_CONFIG_FILE": os.devnull, "S3ENGINE_WORKERS": "2",
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true", **variables,
        }  # fmt: skip

    def begin(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "s3engine", *arguments], cwd=self.folder, env=self.environment | variables,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            start_new_session=True,
        )  # fmt: skip

    def __call__(self, *arguments: str, **variables: str) -> Done:
        """Run a command to its end."""
        with self.begin(*arguments, **variables) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    def write(self, name: str, body: bytes = b"body") -> Path:
        """A file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path


def group_is_gone(process: subprocess.Popen[str]) -> bool:
    """Whether no process that ``process`` started is left."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def cli(tmp_path: Path, seaweed: EmbeddedServer) -> Cli:
    """The command line, pointed at ``seaweed``."""
    return Cli(tmp_path, seaweed.environment())


TREE = {"a/x": b"in a", "a/b/y": b"", "top.txt": b"t" * 5000, "odd name+%.log": b"odd", "ü/日本": b"unicode"}


@pytest.fixture
def tree(cli: Cli) -> dict[str, bytes]:
    """A folder ``src`` and what it holds."""
    for name, body in TREE.items():
        cli.write(f"src/{name}", body)
    return TREE


def _below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _stored(probe: S3Probe, bucket: str, prefix: str = "") -> dict[str, bytes]:
    return {key: probe.get(bucket, key) or b"" for key in probe.list_keys(bucket, prefix)}


# ---- cp


def test_folder_goes_up_and_down(cli: Cli, tree: dict[str, bytes], bucket: str, probe: S3Probe) -> None:
    """cp of a folder keeps the names relative to it, and cp of the prefix brings the same bytes back."""
    up = cli("cp", "./src", f"s3://{bucket}/p/")
    assert up.code == 0
    assert _stored(probe, bucket) == {f"p/{name}": body for name, body in tree.items()}
    assert sorted(up.lines) == sorted(f"upload ./src/{name} -> s3://{bucket}/p/{name}" for name in tree)
    assert "5 objects" in up.err
    down = cli("cp", f"s3://{bucket}/p/", "out")
    assert down.code == 0
    assert _below(cli.folder / "out") == tree
    assert f"download s3://{bucket}/p/a/x -> out/a/x" in down.lines


def test_prefix_is_copied_inside_the_store(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """cp -r s3 s3 takes the prefix as a folder: a neighbour whose name begins alike stays out."""
    for key in ("p/a", "p/b/c", "pq"):
        probe.put(bucket, key, key.encode())
    done = cli("cp", "-r", f"s3://{bucket}/p", f"s3://{bucket}/q")
    assert done.code == 0
    assert _stored(probe, bucket, "q") == {"q/a": b"p/a", "q/b/c": b"p/b/c"}
    assert f"copy s3://{bucket}/p/a -> s3://{bucket}/q/a" in done.lines


def test_single_files_and_objects(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """One file or object takes the name DST gives, or keeps its own below a folder."""
    cli.write("f", b"one")
    (cli.folder / "there").mkdir()
    for source, target in (
        ("f", f"s3://{bucket}/p/"), ("f", f"s3://{bucket}/key"), (f"s3://{bucket}/key", f"s3://{bucket}/c/"),
        (f"s3://{bucket}/key", "there"), (f"s3://{bucket}/key", "new/"), (f"s3://{bucket}/key", "name"),
    ):  # fmt: skip
        assert cli("cp", source, target, "--quiet") == (0, "", "")
    assert _stored(probe, bucket) == {"p/f": b"one", "key": b"one", "c/key": b"one"}
    assert _below(cli.folder) == dict.fromkeys(("f", "there/key", "new/key", "name"), b"one")


def test_filters_apply_in_all_directions(cli: Cli, tree: dict[str, bytes], bucket: str, probe: S3Probe) -> None:
    """--include and --exclude see names relative to the source, going up, inside, down, and in ls and rm."""
    chosen = ("--include", "a/*", "--include", "*.txt", "--exclude", "*/y")
    cli("cp", "src", f"s3://{bucket}/p/", "--quiet")
    cli("cp", "src", f"s3://{bucket}/up/", "--quiet", *chosen)
    cli("cp", f"s3://{bucket}/p/", f"s3://{bucket}/in/", "--quiet", *chosen)
    cli("cp", f"s3://{bucket}/p/", "down", "--quiet", *chosen)
    assert probe.list_keys(bucket, "up/") == ["up/a/x", "up/top.txt"]
    assert probe.list_keys(bucket, "in/") == ["in/a/x", "in/top.txt"]
    assert sorted(_below(cli.folder / "down")) == ["a/x", "top.txt"]
    assert [line.split()[-1] for line in cli("ls", "-r", f"s3://{bucket}/p/", *chosen).lines] == ["p/a/x", "p/top.txt"]
    cli("rm", "-r", f"s3://{bucket}/p/", "--quiet", *chosen)
    assert len(probe.list_keys(bucket, "p/")) == len(tree) - 2


def test_headers_are_set(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """Header options reach the object."""
    cli.write("f.txt")
    options = ("--content-type", "text/x-own", "--cache-control", "max-age=5", "--metadata", "a=1", "--metadata", "b=2")
    assert cli("cp", "f.txt", f"s3://{bucket}/f", *options).code == 0
    head = probe.head(bucket, "f") or {}
    assert (head["content-type"], head["cache-control"]) == ("text/x-own", "max-age=5")
    assert (head["x-amz-meta-a"], head["x-amz-meta-b"]) == ("1", "2")


def test_json_gives_every_report(cli: Cli, tree: dict[str, bytes], bucket: str) -> None:
    """--json prints one object per line with the report's fields, and keys exactly."""
    cli.write("src/new\nline", b"n")
    done = cli("cp", "src", f"s3://{bucket}/", "--json")
    reports = [json.loads(line) for line in done.lines]
    assert {report["key"] for report in reports} == {*tree, "new\nline"}
    assert {report["status"] for report in reports} == {200}
    assert {report["error"] for report in reports} == {None}


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_dry_run_changes_nothing(cli: Cli, bucket: str, probe: S3Probe, verb: str) -> None:
    """--dry-run prints each source with its target and touches neither side."""
    probe.put(bucket, "p/a", b"a")
    word = {"cp": "download", "mv": "move"}[verb]
    done = cli(verb, f"s3://{bucket}/p/", "out", "--dry-run")
    assert done == (0, f"would {word} s3://{bucket}/p/a -> out/a\n", "")
    assert not (cli.folder / "out").exists()
    done = cli(verb, f"s3://{bucket}/p/", f"s3://{bucket}/q/", "--dry-run")
    assert done.lines == [f"would {'copy' if verb == 'cp' else 'move'} s3://{bucket}/p/a -> s3://{bucket}/q/a"]
    assert probe.list_keys(bucket) == ["p/a"]


def test_folder_marker_is_no_file(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """The empty object "p/" that some tools make stands for the folder and does not fail the download."""
    probe.put(bucket, "p/", b"")
    probe.put(bucket, "p/a", b"a")
    assert cli("cp", f"s3://{bucket}/p/", "out").code == 0
    assert _below(cli.folder / "out") == {"a": b"a"}


# ---- mv


def test_mv_there_inside_and_back(cli: Cli, tree: dict[str, bytes], bucket: str, probe: S3Probe) -> None:
    """mv leaves nothing at its source, in every direction."""
    assert cli("mv", "src", f"s3://{bucket}/p/").code == 0
    assert _below(cli.folder / "src") == {}
    inside = cli("mv", f"s3://{bucket}/p/", f"s3://{bucket}/p/deeper/")
    assert inside.code == 0
    assert f"move s3://{bucket}/p/a/x -> s3://{bucket}/p/deeper/a/x" in inside.lines
    assert set(probe.list_keys(bucket)) == {f"p/deeper/{name}" for name in tree}
    assert cli("mv", f"s3://{bucket}/p/deeper/", "back").code == 0
    assert _below(cli.folder / "back") == tree
    assert probe.list_keys(bucket) == []


def test_mv_of_one_object(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """mv renames an object."""
    probe.put(bucket, "old", b"x")
    assert cli("mv", f"s3://{bucket}/old", f"s3://{bucket}/new").code == 0
    assert _stored(probe, bucket) == {"new": b"x"}


# ---- ls, rm, mb, rb


def test_ls_shows_a_level_or_all(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """Without -r one level with PRE lines; with -r every key; a line per object whatever its key."""
    for key in ("p/a", "p/b/c", "p/odd\nname", "top"):
        probe.put(bucket, key, b"12345")
    assert cli("ls", f"s3://{bucket}").lines[0].split() == ["PRE", "p/"]
    assert [line[36:] for line in cli("ls", f"s3://{bucket}/p/").lines] == ["p/b/", "p/a", "p/odd\\nname"]
    everything = cli("ls", "-r", f"s3://{bucket}").lines
    assert [line.split(maxsplit=2)[1:] for line in everything] == [
        ["5", "p/a"], ["5", "p/b/c"], ["5", "p/odd\\nname"], ["5", "top"],
    ]  # fmt: skip
    assert len({line.index(" 5 ") for line in everything}) == 1


def test_ls_json_is_exact(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """ls --json gives key, size, time and ETag of each object, one per line."""
    etag = probe.put(bucket, "odd\nname", b"12345")
    (line,) = cli("ls", "-r", "--json", f"s3://{bucket}/").lines
    found = json.loads(line)
    assert (found["key"], found["size_bytes"], found["etag"]) == ("odd\nname", 5, etag)
    assert found["last_modified"].startswith("20")


def test_ls_of_nothing(cli: Cli, bucket: str) -> None:
    """A prefix without objects is no error, lists nothing, and standard error says so."""
    for arguments, told in (
        (("-r", f"s3://{bucket}/none/"), f"nothing below s3://{bucket}/none/"),
        ((f"s3://{bucket}",), f"nothing below s3://{bucket}/"),
        ((f"s3://{bucket}/no", "--json"), f"nothing begins with s3://{bucket}/no"),
        ((f"s3://{bucket}/", "--include", "x"), f"nothing below s3://{bucket}/ that --include and --exclude leave"),
    ):
        assert cli("ls", *arguments) == (0, "", f"s3engine: {told}\n")


def test_rm_of_one_and_of_all(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """rm takes one key, rm -r all below a prefix and nothing beside it; a dry run takes none."""
    for key in ("one", "p/a", "p/b", "pq"):
        probe.put(bucket, key, b"x")
    assert cli("rm", f"s3://{bucket}/one").lines == [f"delete s3://{bucket}/one"]
    assert cli("rm", "-r", "--dry-run", f"s3://{bucket}/p").lines == [
        f"would delete s3://{bucket}/p/a", f"would delete s3://{bucket}/p/b",
    ]  # fmt: skip
    assert probe.list_keys(bucket) == ["p/a", "p/b", "pq"]
    assert cli("rm", "-r", f"s3://{bucket}/p").code == 0
    assert probe.list_keys(bucket) == ["pq"]


def test_rm_of_a_prefix_needs_r(cli: Cli, bucket: str, probe: S3Probe) -> None:
    """rm of what ends in / without -r is refused and deletes nothing."""
    probe.put(bucket, "p/a", b"x")
    assert cli("rm", f"s3://{bucket}/p/").code == 2
    assert probe.list_keys(bucket) == ["p/a"]


def test_mb_and_rb(cli: Cli, probe: S3Probe) -> None:
    """mb makes a bucket, rb removes it once it is empty and says how to empty it before."""
    name = f"made-{os.getpid()}"
    assert cli("mb", f"s3://{name}").out == f"make bucket s3://{name}\n"
    probe.put(name, "k", b"x")
    refused = cli("rb", f"s3://{name}")
    assert refused.code == 1
    assert f"s3engine rm -r s3://{name}/" in refused.err
    assert cli("rm", "-r", f"s3://{name}/", "--quiet").code == 0
    assert cli("rb", f"s3://{name}").code == 0
    assert probe.request("GET", f"/{name}", "list-type=2").status == 404


# ---- perf, demo, serve, progress bar


def test_perf_prints_the_table(cli: Cli, tree: dict[str, bytes], bucket: str, probe: S3Probe) -> None:
    """perf prints a head, a row of six columns of width 18 per file, and a summary; objects are at PREFIX/name."""
    done = cli("perf", "-n", "3", "./src", bucket, "lala")
    head, *rows, summary = done.lines
    assert head.split() == ["attempts", "bytes", "success_ms", "total_ms", "MBps", "MBps", "est"]
    assert {len(row) for row in rows} == {6 * 18}
    assert sorted(int(row.split()[1]) for row in rows) == sorted(map(len, tree.values()))
    assert summary.startswith("5 objects, ")
    assert set(probe.list_keys(bucket)) == {f"lala/{name}" for name in tree}


def test_demo_runs_to_its_end(cli: Cli, tree: dict[str, bytes]) -> None:
    """demo ends with 0 after every step, whatever account the environment names, and leaves no process."""
    with cli.begin("demo", "src", AWS_ENDPOINT_URL_S3="http://127.0.0.1:1", AWS_PROFILE="absent") as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    steps = [line.split(":")[0] for line in out.splitlines() if line[:1].isalpha()]
    assert steps == [
        "server", "make bucket", "upload", "list", "copy", "list", "move", "list", "list", "download", "compare",
        "delete", "list", "remove bucket", "server", "demo",
    ]  # fmt: skip
    assert f"compare: 5 files, {sum(map(len, tree.values()))} bytes: all equal" in out
    eventually(lambda: group_is_gone(process))


def test_serve_until_ctrl_c(cli: Cli) -> None:
    """serve prints variables that work when pasted, has test-bucket ready, and ends with 0 at Ctrl-C."""
    (port,) = free_ports(1)
    with cli.begin("serve", "--port", str(port)) as process:
        assert process.stdout is not None
        variables = {}
        for line in process.stdout:
            if line.startswith("#"):
                break
            name, _, value = line.removeprefix("export ").strip().partition("=")
            variables[name] = value
        assert Cli(cli.folder, variables)("ls", "s3://test-bucket/")[:2] == (0, "")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, "")
    eventually(lambda: group_is_gone(process))


def test_bar_is_drawn_on_a_terminal_only(cli: Cli, tree: dict[str, bytes], bucket: str) -> None:
    """With a terminal as stderr there is a bar with objects, rate and time left, gone at the end; lines stay whole."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "s3engine", "cp", "src", f"s3://{bucket}/"], cwd=cli.folder,
        env=cli.environment | {"TERM": "xterm", "COLUMNS": "120"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 65536):
            seen += data
    except OSError:  # the end of a terminal, on Linux
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert b"5 objects, " in seen
    assert b"100%" in seen
    assert b"\x1b" not in out
    last = seen.rsplit(b"\x1b[2K", 1)[1]
    assert last.startswith(b"5 objects, ")
    assert b"\x1b" not in cli("cp", "src", f"s3://{bucket}/").err.encode()
