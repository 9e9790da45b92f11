"""Stores that mean it ill, at the level of one request: nothing hangs, grows without end, or follows them elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConnectFailed, RequestError, S3EngineError
from s3engine.pool.load import dotted_name, open_transport
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.answers import calls
from s3engine.testing.conformance.scripted import Say, Scripted, answer, list_answer, object_answer
from s3engine.transport import Timeouts
from tests.relays import Relay, behind_tls

TRANSPORTS = ["raw", "boto3", "minio"]
SECRET, TOKEN = "secret-of-the-test", "token-of-the-test"
T = Timeouts(connect_s=5.0, stall_s=5.0, first_byte_s=5.0, attempt_s=10.0)

_HEAD = (
    b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Type: text/plain\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n'
    b"x-amz-request-id: r\r\n"
)
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
_LAUGHS = "<!DOCTYPE l [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(n)} '{f'&{chr(n - 1)};' * 10}'>" for n in range(ord("b"), ord("k"))
)
_LIST = "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{}</ListBucketResult>"
_XML = ("Content-Type", "application/xml")

ENDLESS = {
    "chunk extension": Say(_CHUNKED + b"5;", endless=b"x=y;" * 1000),
    "chunk extensions": Say(_CHUNKED, endless=(b"1;" + b"x" * 4000 + b"\r\na\r\n") * 20),
    "trailers": Say(_CHUNKED + b"5\r\nabcde\r\n0\r\n", endless=b"x-a: b\r\n" * 1000),
    "empty lines": Say(_CHUNKED, endless=b"\r\n" * 1000),
    "interim answers": Say(endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "head": Say(b"HTTP/1.1 200 OK\r\n", endless=b"x-pad: " + b"y" * 1000 + b"\r\n"),
    "header line": Say(b"HTTP/1.1 200 OK\r\nx-pad: ", endless=b"y" * 1000),
    "head, drop by drop": Say(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000, piece_bytes=3, pause_s=0.05),
    "error body": Say(b"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n", endless=_CHUNK),
}  # fmt: skip
BOMBS = {
    "laughs": answer(200, (_LAUGHS + "]>" + _LIST.format("&j;")).encode(), _XML),
    "laughs in an error": answer(403, (_LAUGHS + "]><Error><Code>&j;</Code></Error>").encode(), _XML),
    "quadratic": answer(
        200, f"<!DOCTYPE q [<!ENTITY a '{'x' * 50_000}'>]>{_LIST.format('&a;' * 50_000)}".encode(), _XML
    ),
    "external": answer(200, f"<!DOCTYPE x SYSTEM 'file:///dev/zero'>{_LIST.format('')}".encode(), _XML),
    "elements": answer(200, _LIST.format("<a/>" * 3_000_000).encode(), _XML),
    "deep": answer(200, _LIST.format("<a>" * 200_000).encode(), _XML),
    "endless text": Say(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n<ListBucketResult>\n\r\n",
        endless=_CHUNK,
    ),
}  # fmt: skip


def _outcomes(transport: str, operations: list[str], steps: dict[str, Say], folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        urls = {name: stack.enter_context(Scripted(step)).endpoint_url for name, step in steps.items()}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parents[1] / "hostile.py"), transport, *operations], check=False,
            input=json.dumps(urls), capture_output=True, text=True, timeout=60, cwd=folder,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_endless_answers(transport: str, tmp_path: Path) -> None:
    """Heads, chunks, trailers and bodies without end: an error within the timers, and little memory."""
    pytest.importorskip({"raw": "s3engine"}.get(transport, transport))
    found = _outcomes(transport, ["get", "list"], ENDLESS, tmp_path)
    grown = found.pop("MiB")
    for name, (kind, text, took_s) in found.items():
        assert kind, f"{name} was taken for an answer"
        assert took_s < 15.0, name
        assert len(text) < 1000, name
    assert grown < 600, found  # boto3 takes 15 MiB for each of its eighteen clients


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_bombs(transport: str, tmp_path: Path) -> None:
    """XML that expands, nests, or names files: a list of it is an error, soon and in little memory."""
    pytest.importorskip({"raw": "s3engine"}.get(transport, transport))
    found = _outcomes(transport, ["list"], BOMBS, tmp_path)
    grown = found.pop("MiB")
    for name, (kind, text, took_s) in found.items():
        assert kind, f"{name} was taken for an answer"
        assert took_s < 15.0, name
        assert len(text) < 1000, name
    assert grown < 700, found


def _open(transport: str, url: str, **settings: Any) -> Any:
    pytest.importorskip({"raw": "s3engine"}.get(transport, transport))
    keys = Credentials("AKIDHOSTILE", SECRET, TOKEN)
    return open_transport(
        dotted_name(transport),
        TransportSettings(endpoint_url=url, credentials=keys, addressing_style="path", **settings),
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(transport: str, status: int) -> None:
    """Whatever a store says about another place, no request and no connection goes there, of any operation."""
    region = ("x-amz-bucket-region", "evil.example/")
    xml = b"<Error><Code>TemporaryRedirect</Code><Message>m</Message><Endpoint>%s</Endpoint></Error>"
    with Scripted(object_answer(b"stolen")) as other:
        there = f"localhost:{other.port}"
        to = ("Location", f"http://{there}/bucket/key")
        with Scripted(answer(status, xml % there.encode(), _XML, to, region)) as store:
            api = _open(transport, store.endpoint_url)
            for call in calls(api):
                with pytest.raises(RequestError) as caught:
                    call.run(api)
                assert getattr(caught.value, "region", "") == ""
            api.close()
            asked = len(store.requests)
        assert (other.connections, other.requests) == (0, [])
    assert asked


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_way_down_to_plain_http(transport: str, certificate: Path) -> None:
    """An https:// endpoint that points to http:// is not followed: nothing is sent in the clear."""
    with Scripted(object_answer(b"stolen")) as other:
        step = answer(307, b"", ("Location", f"http://127.0.0.1:{other.port}/bucket/key"))
        with Scripted(step) as store, Relay(behind_tls(certificate, store.port)) as tls:
            api = _open(transport, f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
            with pytest.raises(RequestError):
                api.list_objects_v2("bucket", timeouts=T)
            api.close()
            assert len(store.requests) >= 1
        assert other.connections == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates other.pem (of another host), and old.pem (expired); their keys beside them."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificates")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30, cwd=folder)

    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=other.example",
            "-addext", "subjectAltName=DNS:other.example", "-out", "other.pem", "-keyout", "other.key")  # fmt: skip
    openssl("req", *new_key, "-subj", "/CN=127.0.0.1", "-out", "old.csr", "-keyout", "old.key")
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
        "x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=IP:127.0.0.1\n"
    )
    openssl("ca", "-batch", "-config", "ca.cnf", "-selfsign", "-keyfile", "old.key", "-in", "old.csr", "-notext",
            "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-out", "old.pem")  # fmt: skip
    return folder


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("name", "trusted", "why"),
    [
        ("other", True, "is of another host .*127.0.0.1.*endpoint's name"),
        ("other", False, "is not trusted .*--ca-bundle"),
        ("old", True, "is not valid now .*expired.*clock"),
    ],
)
def test_wrong_certificates(certificates: Path, transport: str, name: str, trusted: bool, why: str) -> None:
    """A certificate of another host, a self-signed and an expired one: refused, nothing sent, the way out told."""
    path = certificates / f"{name}.pem"
    with Scripted(list_answer("a")) as store, Relay(behind_tls(path, store.port)) as tls:
        url = f"https://127.0.0.1:{tls.port}"
        api = _open(transport, url, ca_bundle=str(path) if trusted else "")
        with pytest.raises(ConnectFailed, match=f"{url}: its certificate {why}") as caught:
            api.list_objects_v2("bucket", timeouts=T)
        api.close()
        assert caught.value.permanent
        assert store.requests == []


@contextmanager
def _proxy(monkeypatch: pytest.MonkeyPatch, step: Say) -> Iterator[Scripted]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Scripted(step) as proxy:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.endpoint_url)
        yield proxy


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proxy_that_answers(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that answers in the place of an https:// store, or sends elsewhere, sees no request and no credential."""
    for step in (list_answer("a"), answer(302, b"", ("Location", "http://127.0.0.1:9/")), answer(407, b"<html>")):
        with _proxy(monkeypatch, step) as proxy:
            api = _open(transport, "https://store.example")
            with pytest.raises(S3EngineError) as caught:
                api.list_objects_v2("bucket", timeouts=T._replace(connect_s=1.0))
            api.close()
            assert {request.method for request in proxy.requests} <= {"CONNECT"}
            seen = repr(proxy.requests).lower()
            assert not any(word in seen for word in ("authorization", TOKEN, SECRET, "akidhostile"))
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answers_that_are_split(transport: str) -> None:
    """Bytes behind an answer, a second answer hidden in a header or behind the body, are nobody's answer."""
    hidden = object_answer(b"hidden").data
    steps: list[Callable[[], Say]] = [
        lambda: Say(object_answer(b"first").data + hidden),
        lambda: Say(_HEAD + b"x-a: b\r\r\nContent-Length: 5\r\n\r\nfirst" + hidden),
        lambda: Say(_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nfirst" + hidden),
        lambda: Say(_HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n" + hidden),
    ]
    for make in steps:
        with Scripted(make(), object_answer(b"second")) as store:
            api = _open(transport, store.endpoint_url)
            bodies = []
            for _ in range(3):
                sink = MemorySink()
                try:
                    api.get_object("bucket", "key", sink, timeouts=T)
                except S3EngineError:
                    continue
                bodies.append(sink.body())
            api.close()
        assert b"hidden" not in b"".join(bodies)
        assert b"second" in bodies
