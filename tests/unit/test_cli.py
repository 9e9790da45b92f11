"""The command line without a server: what is parsed, planned and printed, and what is not imported."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from s3engine.cli import main
from s3engine.cli.app import app
from s3engine.cli.options import name_filter, settings_from
from s3engine.cli.route import route
from s3engine.cli.sections import SECTIONS
from s3engine.cli.show import Failures
from s3engine.cli.text import human_bytes, one_line
from s3engine.errors import Cancelled, ConfigError, NotFound, S3EngineError
from s3engine.plain import number_of
from s3engine.report import RequestReport

HEAVY = ("click", "rich", "boto3", "botocore", "urllib3", "dask", "multiprocessing")
NOT_FOR_LS = (
    "concurrent.futures", "dataclasses", "email", "http.client", "inspect", "json", "locale", "logging", "random",
    "secrets", "ssl", "tempfile",
    "importlib.metadata", "encodings.idna", "s3engine.batch", "s3engine.operations", "s3engine.sources",
    "s3engine.pool.worker", "s3engine.jobs", "s3engine.journal",
)  # fmt: skip
VERBS = ("cp", "mv", "ls", "rm", "cleanup", "mb", "rb", "retry", "perf", "compare", "check", "demo", "serve")

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("no_settings")


def _environment(**extra: str) -> dict[str, str]:
    """This process's, with a PYTHONPATH that holds in other folders too."""
    places = [os.path.abspath(place) for place in sys.path if place]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), **extra}


# ---- start


def test_version_imports_nothing_heavy() -> None:
    """``s3engine --version`` answers before click, and everything behind it, is imported."""
    code = "import sys; from s3engine.cli import main; main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment(), check=True)
    first, modules = done.stdout.splitlines()
    assert first.startswith("s3engine ")
    assert not {module.split(".")[0] for module in modules.split()} & set(HEAVY)


def test_ls_does_not_import_rich_or_botocore() -> None:
    """Listing with keys from the environment pays for neither the progress bar nor botocore."""
    code = (
        "import sys; from s3engine.cli import main; main(['ls', 's3://bucket/', '--endpoint-url', 'http://127.0.0.1:9']);"
        "print(*sys.modules)"
    )
    environment = _environment(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", S3ENGINE_MAX_ATTEMPTS="1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert not {module.split(".")[0] for module in done.stdout.split()} & {"rich", "botocore", "boto3", "dask"}


def test_ls_over_plain_http_imports_little() -> None:
    """A listing of one page starts without what takes longer to import than the listing takes."""
    found = b"<IsTruncated>false</IsTruncated><Contents><Key>p/a</Key><Size>1</Size></Contents>"
    page = b"<ListBucketResult>%s</ListBucketResult>" % found
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
    run = "main(['ls', 's3://bucket/p/', '--endpoint-url', sys.argv[1]])"
    code = f"import sys; from s3engine.cli import main; {run}; print(*sys.modules)"
    environment = _environment(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-c", code, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            listener.settimeout(30)
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)
                printed, _ = process.communicate(timeout=30)
    line, modules = printed.splitlines()
    assert line.endswith("  p/a")
    assert not set(modules.split()) & {*HEAVY, *NOT_FOR_LS}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Captured) -> None:
    """``s3engine VERB --help`` prints a usage and exits 0."""
    assert main([verb, "--help"]) == 0
    assert f"Usage: s3engine {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["cp", "mv", "rm"])
def test_help_has_each_option_once_under_a_heading(verb: str, capsys: Captured) -> None:
    """All that a verb takes stands under a heading of SECTIONS, once; only --help is left over."""
    command = app.get_command(click.Context(app), verb)
    assert command is not None
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    options = [one for one in command.params if isinstance(one, click.Option)]
    for option in options:
        assert len(re.findall(rf"^  (-., )?{option.opts[-1]}(,| |$)", text, re.MULTILINE)) == 1, option.name
    assert {one.name for one in options} <= {name for _, names in SECTIONS for name in names}
    assert re.search(r"^Options:\n  -h, --help .*\n\Z", text, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["journal"]])
def test_no_verb_is_a_usage_error(arguments: list[str], capsys: Captured) -> None:
    """``s3engine`` alone, and ``s3engine journal``, print their help to stderr and exit 2."""
    assert main(arguments) == 2
    assert "Commands:" in capsys.readouterr().err


# ---- settings


def _settings(**options: object) -> dict[str, object]:
    return settings_from(options)


def test_option_goes_before_file_before_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Option > --config file > S3ENGINE_* > default, each setting by itself."""
    (tmp_path / "c.toml").write_text('workers = 3\nconcurrency = 30\nregion = "from-file"\n')
    monkeypatch.setenv("S3ENGINE_WORKERS", "2")
    monkeypatch.setenv("S3ENGINE_REGION", "from-variable")
    monkeypatch.setenv("S3ENGINE_MAX_ATTEMPTS", "5")
    settings = _settings(config_file="c.toml", concurrency=40)
    assert settings == {"workers": 3, "concurrency": 40, "region": "from-file", "max_attempts": 5}


def test_flags_become_settings() -> None:
    """--no-sign-request and --no-verify-ssl; a flag that is not given says nothing."""
    assert _settings(no_sign_request=True, no_verify_ssl=True) == {"anonymous": True, "verify_tls": False}
    assert _settings(no_sign_request=False, no_verify_ssl=False) == {}
    assert _settings(no_verify=True) == {"verify_downloads": False}


# ---- names


@pytest.mark.parametrize(
    ("source", "target", "recursive", "expected"),
    [
        ("folder", "s3://bkt/p/", False, ("upload", "", "folder", "bkt", "p/", "")),
        ("folder/", "s3://bkt/p", False, ("upload", "", "folder/", "bkt", "p/", "")),
        ("folder", "s3://bkt", False, ("upload", "", "folder", "bkt", "", "")),
        ("folder/f", "s3://bkt/p/", False, ("upload", "", "folder/f", "bkt", "p/", "f")),
        ("folder/f", "s3://bkt/p/k", False, ("upload", "", "folder/f", "bkt", "p/", "k")),
        ("folder/f", "s3://bkt", False, ("upload", "", "folder/f", "bkt", "", "f")),
        ("s3://bkt/p/", "out", False, ("download", "bkt", "p/", "", "out", "")),
        ("s3://bkt/p", "out", True, ("download", "bkt", "p/", "", "out", "")),
        ("s3://bkt/", "out", False, ("download", "bkt", "", "", "out", "")),
        ("s3://bkt", "out", True, ("download", "bkt", "", "", "out", "")),
        ("s3://bkt/p/k", "folder", False, ("download", "bkt", "p/k", "", "folder", "k")),
        ("s3://bkt/p/k", "new/", False, ("download", "bkt", "p/k", "", "new/", "k")),
        ("s3://bkt/p/k", "new", False, ("download", "bkt", "p/k", "", "", "new")),
        ("s3://bkt/p/k", "x/new", False, ("download", "bkt", "p/k", "", "x", "new")),
        ("s3://bkt/p/", "s3://two/q", False, ("copy", "bkt", "p/", "two", "q/", "")),
        ("s3://bkt/p/k", "s3://two/q", False, ("copy", "bkt", "p/k", "two", "", "q")),
        ("s3://bkt/p/k", "s3://two/q/", False, ("copy", "bkt", "p/k", "two", "q/", "k")),
        ("s3://bkt//k", "s3://two//", False, ("copy", "bkt", "/k", "two", "/", "k")),
    ],
)
def test_what_goes_where(
    source: str, target: str, recursive: bool, expected: tuple[str, ...], tmp_path: Path
) -> None:
    """SRC and DST as documented in ``s3engine.cli.route``."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "f").write_text("f")
    way = route(source, target, recursive=recursive)
    assert (way.kind, way.source_bucket, way.source, way.bucket, way.target, way.only) == expected


def test_many_do_not_go_into_a_file(tmp_path: Path) -> None:
    """A prefix cannot be downloaded onto a file."""
    (tmp_path / "f").write_text("f")
    with pytest.raises(ConfigError, match="'f' is no folder"):
        route("s3://bucket/p/", "f", recursive=False)


@pytest.mark.parametrize(
    ("include", "exclude", "taken"),
    [
        ((), (), ["a.txt", "a.log", "d/b.txt", "A.TXT"]),
        (("*.txt",), (), ["a.txt", "d/b.txt"]),
        ((), ("*.txt",), ["a.log", "A.TXT"]),
        (("*.txt", "*.log"), ("d/*",), ["a.txt", "a.log"]),
        (("[aA].*",), (), ["a.txt", "a.log", "A.TXT"]),
        (("*",), ("*",), []),
    ],
)
def test_filter(include: tuple[str, ...], exclude: tuple[str, ...], taken: list[str]) -> None:
    """With any include only what matches one; exclude wins; * matches / too; case counts."""
    wanted = name_filter(include, exclude)
    names = ["a.txt", "a.log", "d/b.txt", "A.TXT"]
    assert [name for name in names if wanted is None or wanted(name)] == taken


# ---- output


def test_names_stay_on_one_line() -> None:
    """Control characters, line separators and undecodable bytes are escaped, letters of all scripts are not."""
    assert one_line("a\nb\x1b[2Kc\u2028d\udcffe") == "a\\nb\\x1b[2Kc\\u2028d\\xffe"
    assert one_line("ü 日本 \u00a0") == "ü 日本 \u00a0"


def test_sizes_have_three_digits() -> None:
    """Decimal units."""
    sizes = [0, 999, 1000, 12_345, 123_456_789]
    assert [human_bytes(size) for size in sizes] == ["0 B", "999 B", "1.0 kB", "12.3 kB", "123 MB"]


def _failed(number: int, error: S3EngineError) -> RequestReport:
    return RequestReport(number, "upload", "b", f"key-{number}", 0, 1, 0.0, 0.0, 0.0, 0.0, 404, "", "", error)


def test_failures_alike_are_counted(capsys: Captured) -> None:
    """The first 20 of one kind get a line each, the rest one line together; what was cancelled is only counted."""
    failures = Failures()
    for number in range(1000):
        failures.add(_failed(number, NotFound(f"PutObject s3://b/key-{number}: NoSuchBucket")), f"upload f-{number}")
    failures.add(_failed(1, Cancelled("cancelled")), "upload x")
    failures.add(_failed(1, NotFound("something else")), "upload y")
    failures.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 22
    assert lines[20] == "s3engine: upload y: something else"
    assert lines[21].startswith("s3engine: and 980 more like these, the last one: upload f-999: ")
    assert failures.cancelled == 1


def test_dry_run_of_an_upload_asks_nobody(tmp_path: Path, capsys: Captured) -> None:
    """cp --dry-run of a folder prints each file and its key, filtered, and needs no credentials."""
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "x").write_text("12345")
    (tmp_path / "src" / "y.log").write_text("")
    assert main(["cp", "src", "s3://bucket/p", "--dry-run", "--exclude", "*.log"]) == 0
    assert capsys.readouterr().out == "would upload src/a/x -> s3://bucket/p/a/x\n"
    assert main(["mv", "src/a/x", "s3://bucket/p/", "--dry-run", "--json"]) == 0
    expected = {
        "dry_run": True, "operation": "move", "source": "src/a/x", "target": "s3://bucket/p/x", "size_bytes": 5,
    }  # fmt: skip
    assert json.loads(capsys.readouterr().out) == expected


def test_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    """Nothing on stderr and exit code 141 when the reader of the pipe goes away."""
    folder = tmp_path / "src"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:0100}").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "s3engine", "cp", "--dry-run", str(folder), "s3://bucket/"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 141


WRITER = """
import signal, sys
from s3engine.cli.text import write
signal.signal(signal.SIGUSR1, lambda *_: None)
print("ready", file=sys.stderr, flush=True)
for number in range(20):
    write("".join(f"{number:03} {line:05}\\n" for line in range(20000)))
"""


def test_signal_loses_no_output() -> None:
    """Lines survive a signal that cuts a blocked write short, also where Python's own streams would lose them."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=_environment(PYTHONUNBUFFERED="1"),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        process.stderr.readline()
        for _ in range(5):
            time.sleep(0.05)  # the pipe is full by then; nothing says so
            process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None
        assert process.stdout.read().count(b"\n") == 400_000
    assert process.returncode == 0


def test_counts_are_in_words_that_fit() -> None:
    """One of a thing is not "1 things"."""
    assert [number_of(count) for count in (0, 1, 2)] == ["0 objects", "1 object", "2 objects"]
    assert number_of(1, "byte") == "1 byte"
