"""A store that means it ill, at the command line: no endless listing, no orders to the terminal, no secret shown."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from s3engine import Engine
from s3engine.embedded import free_ports
from s3engine.errors import S3EngineError, ServerFault
from s3engine.testing.conformance.scripted import Scripted, answer
from tests.integration.test_cli_verbs import Cli
from tests.web import Headers, web_server

ACCESS, SECRET, TOKEN = "AKIDOFTHETEST", "wJalrXUtnFEMI-secret-of-the-test", "FwoGZXIvYXdzEBYa-token-of-the-test"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN, "AWS_REGION": "us-east-1",
    "S3ENGINE_MAX_ATTEMPTS": "1",
}  # fmt: skip
NASTY = [
    "p/../../outside", "/etc/passwd", "p/nul\0", "p/new\nline", "p/\x1b[2J\x1b]0;owned\x07", "p/\x9b31mred",
    "p/\u202egpj.exe", "p/\u2066hidden\u2069", "p/zero\u200bwidth", "p/cr\rx", "p/good",
]  # fmt: skip
# What a terminal obeys, or what hides a name: nothing of it may come out, on either stream.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")


def _store(respond: Callable[[str, dict[str, str]], tuple[int, bytes]]) -> AbstractContextManager[str]:
    """A server that answers each GET by path and query; other methods with 204. Its URL."""
    headers = (("ETag", '"e"'), ("x-amz-request-id", "r\x1b[2J\u00ff"))

    def answer_to(method: str, target: str) -> tuple[int, Headers, bytes]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        status, body = respond(parts.path, query) if method == "GET" else (204, b"")
        return status, headers, body

    return web_server(answer_to)


def _page(keys: list[str], token: str = "") -> bytes:
    entries = "".join(f"<Contents><Key>{quote(key)}</Key><Size>4</Size><ETag>e</ETag></Contents>" for key in keys)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return f"<ListBucketResult><EncodingType>url</EncodingType>{more}{entries}</ListBucketResult>".encode()


def _engine(url: str) -> Engine:
    return Engine(endpoint_url=url, anonymous=True, max_attempts=1)


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("a cycle of two", lambda n: _page([f"k{n:09}"], "AB"[n % 2])),
        ("one token", lambda n: _page([f"k{n:09}"], "A")),
        ("new tokens, empty pages", lambda n: _page([], f"t{n}")),
        ("new tokens, the same keys", lambda n: _page(["a", "b", "c"], f"t{n}")),
    ],
)
def test_endless_listings(name: str, page: Callable[[int], bytes]) -> None:
    """A listing without end raises ServerFault within a thousand pages, whatever its tokens are."""
    asked: list[str] = []

    def respond(path: str, query: dict[str, str]) -> tuple[int, bytes]:
        asked.append(path)
        return 200, page(len(asked))

    with _store(respond) as url, _engine(url) as engine, pytest.raises(ServerFault, match=r"again|nothing new"):
        engine.list("bucket").count()
    assert len(asked) <= 1100


def test_endless_lists_of_uploads() -> None:
    """Unfinished uploads without end, ever new markers with nothing on the pages: ServerFault."""
    asked: list[str] = []

    def respond(path: str, query: dict[str, str]) -> tuple[int, bytes]:
        asked.append(path)
        marker = f"<IsTruncated>true</IsTruncated><NextKeyMarker>m{len(asked)}</NextKeyMarker>"
        return 200, f"<ListMultipartUploadsResult>{marker}</ListMultipartUploadsResult>".encode()

    with _store(respond) as url, _engine(url) as engine, pytest.raises(ServerFault, match="nothing new"):
        engine.abort_uploads("bucket", "p/")
    assert len(asked) <= 1100


def _nasty(path: str, query: dict[str, str]) -> tuple[int, bytes]:
    if "list-type" in query:
        return 200, _page(NASTY)
    if path.endswith("/good"):
        return 200, b"good"
    return 403, f"<Error><Code>Acc\u009bess</Code><Message>{'m' * 3_000_000}\u202e\u0085</Message></Error>".encode()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line with known secrets, in a folder of its own."""
    return Cli(tmp_path, ENVIRONMENT)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "-r", "s3://bucket/"), ("ls", "-r", "--json", "s3://bucket/"), ("cp", "-r", "s3://bucket/", "out"),
        ("cp", "-r", "--json", "s3://bucket/", "out"), ("cp", "-r", "--dry-run", "s3://bucket/", "out"),
        ("rm", "-r", "--dry-run", "s3://bucket/"), ("rm", "-r", "s3://bucket/"), ("rm", "-r", "--json", "s3://bucket/"),
        ("mv", "-r", "s3://bucket/", "s3://bucket/q/"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_hostile_keys_and_messages(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Keys and messages with orders for a terminal, turned around or megabytes long come out escaped and short."""
    with _store(_nasty) as url:
        done = cli(*arguments, "--endpoint-url", url)
    for text in (done.out, done.err):
        assert not _FORBIDDEN.search(text), _FORBIDDEN.search(text)
        assert len(text) < 100_000
        assert all(len(line) < 8000 for line in text.splitlines())
    assert "--json" not in arguments or all(json.loads(line) for line in done.out.splitlines())
    made = sorted(str(path.relative_to(cli.folder)) for path in cli.folder.rglob("*") if path.is_file())
    assert made == (["out/p/good"] if arguments[0] == "cp" and "--dry-run" not in arguments else [])
    assert not (cli.folder.parent / "outside").exists()


def _commands(folder: Path) -> list[tuple[str, ...]]:
    (folder / "f").write_bytes(b"body")
    return [
        ("ls", "s3://bucket/"), ("cp", "f", "s3://bucket/k"), ("cp", "s3://bucket/k", "out"), ("rm", "s3://bucket/k"),
        ("cp", "--json", "f", "s3://bucket/k"), ("mb", "s3://bucket"), ("rb", "s3://bucket"),
        ("perf", "f", "bucket", "p"), ("cp", "s3://bucket/k", "s3://other/k"), ("rm", "-r", "s3://bucket/p/"),
    ]  # fmt: skip


@pytest.mark.parametrize("transport", ["raw", "boto3", "minio"])
def test_no_secret_comes_out(cli: Cli, transport: str, tmp_path: Path) -> None:
    """Whatever fails, refused, garbled or echoed by the store: neither stream ever has the secret key or the token."""
    pytest.importorskip({"raw": "s3engine"}.get(transport, transport))
    echo = f"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><Signed>{SECRET}</Signed></Error>"
    shown = ""
    with Scripted(answer(403, echo.encode())) as refusing, Scripted(answer(200, b"<html>")) as garbled:
        urls = [refusing.endpoint_url, garbled.endpoint_url, f"http://127.0.0.1:{free_ports(1)[0]}"]
        for number, arguments in enumerate(_commands(cli.folder)[:: 1 if transport == "raw" else 2]):
            done = cli(*arguments, "--transport", transport, "--endpoint-url", urls[number % 3])
            assert done.code in (0, 1, 2), done.err
            shown += done.out + done.err
    assert "s3engine" in shown
    for secret in (SECRET, TOKEN, quote(SECRET, safe=""), quote(TOKEN, safe="")):
        assert secret not in shown


def test_no_secret_in_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No repr, string or pickle of an error, a report or the engine has the secret key or the token in it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    found: list[object] = []
    for step in (answer(403, b"<Error><Code>AccessDenied</Code></Error>"), answer(200, b"<html>"), answer(500, b"")):
        with Scripted(step) as store, Engine(endpoint_url=store.endpoint_url, max_attempts=1, workers=1) as engine:
            found += [engine, engine.config, engine._runtime._transport_settings, engine._runtime._credentials]
            found += list(engine.download("bucket", ["k"], tmp_path))
            with pytest.raises(S3EngineError) as caught:
                engine.list("bucket").count()
            found += [caught.value, *vars(caught.value).values()]
    errors = [one for one in found if isinstance(one, S3EngineError)]
    assert len(errors) >= 3
    texts = [repr(one) + str(one) for one in found] + [repr(pickle.dumps(error)) for error in errors]
    for text in texts:
        assert SECRET not in text
        assert TOKEN not in text


def test_globs_are_told_of(cli: Cli) -> None:
    """A pattern in a URI means itself: rm, cp and ls say so, with what to write; nothing below a prefix is told too."""
    (cli.folder / "f").write_bytes(b"")

    def respond(path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if "list-type" in query:
            return 200, _page([])
        return 404, b"<Error><Code>NoSuchKey</Code></Error>"

    with _store(respond) as url:
        for arguments, code, said in (
            (("rm", "s3://bucket/p/*.txt"), 0, "rm -r 's3://bucket/p/' --include '*.txt'"),
            (("cp", "s3://bucket/p/*.txt", "out"), 1, "-r 's3://bucket/p/' --include '*.txt'"),
            (("ls", "s3://bucket/p*"), 0, "-r 's3://bucket/' --include 'p*'"),
            (("rm", "-r", "s3://bucket/p*"), 0, "nothing below s3://bucket/p*/"),
            (("cp", "s3://bucket/p/", "out"), 0, "nothing below s3://bucket/p/"),
            (("cp", "-r", "s3://bucket/p", "s3://bucket/q"), 0, "nothing below s3://bucket/p/"),
            (("cp", "s3://bucket/p", "out"), 1, "for all below it write -r"),
            (("cp", "f", "s3://bucket/", "--exclude", "*"), 0, "f is not among those"),
        ):
            done = cli(*arguments, "--endpoint-url", url)
            assert (done.code, said in done.err) == (code, True), (arguments, done.err)
        assert cli("rm", "--quiet", "s3://bucket/p/*.txt", "--endpoint-url", url).err == ""


def test_one_rule_for_exit_codes(cli: Cli) -> None:
    """A SRC, bucket or endpoint that is not there is 1 for every verb; what is wrong on the command line is 2."""
    (cli.folder / "f").write_bytes(b"")
    gone = b"<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>"
    with Scripted(answer(404, gone)) as store:
        url = ("--endpoint-url", store.endpoint_url)
        for line in (
            "ls s3://absent/", "cp s3://absent/p/ out", "cp s3://absent/k out", "cp f s3://absent/", "mv f s3://absent/",
            "rm s3://absent/k", "rm -r s3://absent/", "rb s3://absent", "perf f absent p", "check s3://absent/p/",
            "compare f s3://absent/p/ --transports raw", "cp s3://absent/k s3://absent/q", "cp nofile s3://bucket/",
            "cp nofolder/ s3://bucket/", "mv nofile s3://bucket/", "perf nofile bucket p", "compare nofile s3://bucket/",
        ):  # fmt: skip
            assert (line, cli(*line.split(), *url).code) == (line, 1)
        for line in (
            "ls", "ls http://x", "cp f g", "rm s3://bucket", "rb s3://bucket/key", "cp f s3://",
            "ls s3://b/ --nonsense",
        ):  # fmt: skip
            assert (line, cli(*line.split(), *url).code) == (line, 2)
    assert os.listdir(cli.folder) == ["f"]
