"""Connections, timers, settings and processes of the obstore transport."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="the obstore transport needs the package obstore")

from s3engine import Engine
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import (
    AttemptTimeout,
    ConfigError,
    ConnectFailed,
    FirstByteTimeout,
    InvalidRequest,
    RequestError,
    WrongRegion,
)
from s3engine.testing.conformance.scripted import Say, Scripted, error_answer, object_answer
from s3engine.transport import Timeouts
from s3engine_transports.via_obstore.stores import round_up
from tests.faults import Drip, FaultProxy, always
from tests.helpers import S3Probe, eventually
from tests.integration.obstore_common import MIB, T, get, no_proxies, open_obstore

__all__ = ["no_proxies"]


def test_connections_are_used_again(seaweed: EmbeddedServer, bucket: str) -> None:
    """Reads of any size, whole or in ranges, and uploads keep to few connections."""
    with FaultProxy("127.0.0.1", seaweed.port) as proxy:
        api = open_obstore(proxy.endpoint_url, seaweed)
        for size in (0, 1, 256 * 1024, 300_000, MIB):
            api.put_object(bucket, "k", bytes(size), (), timeouts=T)
            assert len(get(api, bucket, "k")) == size
            assert not size or len(get(api, bucket, "k", first=0, last=262_143)) == min(size, 262_144)
            api.head_object(bucket, "k", timeouts=T)
        # Two at least, one for uploads. A call that comes at once may be ahead of the connection's way into the pool.
        # An empty object is asked for twice.
        assert (proxy.log.requests, proxy.log.connections < 10) == (20, True)
        api.close()




def test_timers() -> None:
    """What is not answered ends by the read timer, an upload by that of the attempt; rounding is by a third at most."""
    assert [round_up(value) for value in (0.6, 1.0, 1.3, 3.1, 30.0, 61.0, 95.0)] == pytest.approx(
        [0.6, 1.0, 1.5, 3.1, 31.0, 80.0, 100.0]
    )
    with Scripted(Say(then="hang")) as server:
        api = open_obstore(server.endpoint_url)
        began = time.monotonic()
        with pytest.raises(FirstByteTimeout):
            api.head_object("bucket", "k", timeouts=Timeouts(0.2, 0.3, 0.3, 30.0))
        with pytest.raises(AttemptTimeout):
            api.put_object("bucket", "k", bytes(17 * MIB), (), timeouts=Timeouts(5.0, 5.0, 5.0, 1.0))
        assert time.monotonic() - began < 8
        api.close()


def test_close_ends_what_would_hang() -> None:
    """An upload in parts that is under way ends when the transport is closed; so do all calls after it."""
    with Scripted(Say(then="hang")) as server:
        api = open_obstore(server.endpoint_url)

        def close() -> None:
            eventually(lambda: len(server.requests) > 0)
            api.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(ConnectFailed, match="closed"):
            api.put_object("bucket", "k", bytes(17 * MIB), (), timeouts=T)
        closer.join(10)
        with pytest.raises(ConnectFailed, match="closed"):
            api.head_object("bucket", "k", timeouts=T)


def test_a_slow_upload_lives(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """An upload that moves is not ended by the stall and first-byte timers, which obstore cannot keep for it."""
    with FaultProxy("127.0.0.1", seaweed.port, always(Drip(200_000, "up"))) as proxy:
        api = open_obstore(proxy.endpoint_url, seaweed)
        api.put_object(bucket, "slow", bytes(400_000), (), timeouts=Timeouts(0.2, 0.3, 0.3, 30.0))
        api.close()
    assert probe.get(bucket, "slow") == bytes(400_000)


def test_the_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_* variables, which obstore reads by itself, change nothing; those that it cannot be kept from are refused."""
    for name, value in (
        ("ACCESS_KEY_ID", "EVIL"), ("SECRET_ACCESS_KEY", "evil"), ("SESSION_TOKEN", "evil"), ("TOKEN", "evil"),
        ("ENDPOINT", "http://127.0.0.1:1"), ("ENDPOINT_URL", "http://127.0.0.1:1"), ("REGION", "evil"),
        ("ENDPOINT_URL_S3", "http://127.0.0.1:1"), ("SKIP_SIGNATURE", "true"), ("S3_EXPRESS", "true"),
        ("REQUEST_PAYER", "requester"), ("VIRTUAL_HOSTED_STYLE_REQUEST", "true"), ("UNSIGNED_PAYLOAD", "true"),
        ("CONDITIONAL_PUT", "disabled"), ("DISABLE_TAGGING", "true"), ("PROXY_URL", "http://127.0.0.1:1"),
        ("DEFAULT_CONTENT_TYPE", "evil/evil"), ("USER_AGENT", "evil"), ("BUCKET", "evil"), ("TIMEOUT", "1ms"),
        ("ROLE_ARN", "evil"), ("WEB_IDENTITY_TOKEN_FILE", "/evil"), ("PROFILE", "evil"),
    ):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    with Scripted(object_answer(b"")) as server:
        api = open_obstore(server.endpoint_url, user_agent="mine/1")
        api.put_object("bucket", "k", b"x", (("x-amz-tagging", "a=b"), ("if-none-match", "*")), timeouts=T)
        sent = server.requests[0]
        assert "evil" not in str(sent).lower()
        assert sent.target == "/bucket/k"
        assert sent.headers["user-agent"] == "mine/1"
        assert "/us-east-1/s3/" in sent.headers["authorization"]
        assert sent.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
        assert "x-amz-tagging" in sent.headers
        api.set_region("bucket", "eu-west-3")
        api.head_object("bucket", "k", timeouts=T)
        assert "/eu-west-3/s3/" in server.requests[1].headers["authorization"]
        monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
        with pytest.raises(ConfigError, match="AWS_SERVER_SIDE_ENCRYPTION"):
            api.head_object("another", "k", timeouts=T)
        api.close()


def test_addresses_and_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual addressing has the bucket in the host, also on Amazon; proxies of the environment are used."""
    with Scripted(object_answer(b"body")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint_url)
        monkeypatch.setenv("https_proxy", proxy.endpoint_url)
        for style, target in (
            ("virtual", "http://bucket.s3.example:81/base/k"), ("path", "http://s3.example:81/base/bucket/k"),
        ):  # fmt: skip
            api = open_obstore("http://s3.example:81/base", addressing_style=style)
            assert get(api, "bucket", "k") == b"body"
            assert proxy.requests[-1].target == target
            api.close()
        api = open_obstore("", region="cn-north-1")
        with pytest.raises(RequestError):
            api.head_object("bucket", "k", timeouts=T._replace(connect_s=0.5))
        assert proxy.requests[-1].target == "bucket.s3.cn-north-1.amazonaws.com.cn:443"
        api.close()


def test_redirects_lead_to_no_other_host() -> None:
    """A redirect to another host is WrongRegion; obstore alone would go there, with the session token."""
    with Scripted(object_answer(b"theirs")) as other:
        there = f"http://localhost:{other.port}/bucket/k"
        with Scripted(error_answer(307, "TemporaryRedirect", ("Location", there))) as server:
            api = open_obstore(server.endpoint_url, credentials=Credentials("AKID", "secret", "token"))
            for call in (
                lambda: get(api, "bucket", "k"), lambda: api.list_objects_v2("bucket", timeouts=T),
                lambda: api.put_object("bucket", "k", b"", (), timeouts=T),
            ):  # fmt: skip
                with pytest.raises(WrongRegion):
                    call()
            api.close()
        assert other.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key, that is no CA: rustls takes no CA for a server."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", str(path), "-out", str(path) + ".crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("ab") as file:
        file.write(Path(str(path) + ".crt").read_bytes())
    return path


def test_tls(certificate: Path, tmp_path: Path) -> None:
    """With the CA given, as a file or in a folder, or unverified, TLS works; else ConnectFailed says it for good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    # Each connection serves one request, and says so: a client that keeps it would meet the end of it at any moment.
    said = object_answer(b"body").data.removesuffix(b"\r\n\r\nbody") + b"\r\nConnection: close\r\n\r\n"

    def serve() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += tls.recv(65536) or b"\r\n\r\n"
                    tls.sendall(said if head.startswith(b"HEAD ") else said + b"body")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    folder = tmp_path / "cas"
    folder.mkdir()
    (folder / "own.crt").write_bytes(Path(str(certificate) + ".crt").read_bytes())
    (folder / "README").write_text("no certificate")
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    for good in ({"ca_bundle": str(certificate) + ".crt"}, {"ca_bundle": str(folder)}, {"verify_tls": False}):
        api = open_obstore(url, **good)
        assert get(api, "bucket", "k") == b"body"
        api.close()
    api = open_obstore(url)
    with pytest.raises(ConnectFailed, match="not trusted") as caught:
        get(api, "bucket", "k")
    assert caught.value.permanent
    api.close()
    with pytest.raises(ConfigError, match="does not exist"):
        open_obstore(url, ca_bundle=str(tmp_path / "none"))
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


_FORKING = """
import os, sys
sys.path[:] = {path!r}
from s3engine.config import TransportSettings
from s3engine.errors import ConfigError, NotSupported
from s3engine.transport import Timeouts
from s3engine_transports.via_obstore import ObstoreTransport
settings = TransportSettings(endpoint_url={url!r})
ours = ObstoreTransport(settings)
ours.put_object("bucket", "k", b"", (), timeouts=Timeouts())
if os.fork() == 0:
    try:
        ours.put_object("bucket", "k", b"", (), timeouts=Timeouts())
    except NotSupported:
        try:
            ObstoreTransport(settings)
        except ConfigError as error:
            os._exit(7 if "forkserver" in str(error) else 1)
    os._exit(1)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_process_is_told() -> None:
    """In a child of a process that has it in use every call says why it cannot work, where obstore alone would hang."""
    with Scripted(object_answer(b"")) as server:
        script = _FORKING.format(path=sys.path, url=server.endpoint_url)
        done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, capture_output=True)
    assert done.returncode == 7, done.stderr.decode()


def test_under_the_engine(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads, listing, downloads, copies and deletes by worker processes; what cannot be done is refused by name."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
    bodies = {f"p/{number:02}": os.urandom(number * 100) for number in range(40)} | {"p/large": os.urandom(20 * MIB)}
    for key, body in bodies.items():
        (tmp_path / key.replace("/", "-")).write_bytes(body)
    sources = [(str(tmp_path / key.replace("/", "-")), key) for key in bodies]
    sources.append((sources[0][0], "p//odd"))
    with Engine(transport="obstore", endpoint_url=seaweed.endpoint_url, workers=2, concurrency=16) as engine:
        uploaded = {report.key: report for report in engine.upload(bucket, sources)}
        assert {key for key, report in uploaded.items() if report.error} == {"p//odd"}
        assert isinstance(uploaded["p//odd"].error, InvalidRequest)
        listed = list(engine.list(bucket, "p/"))
        assert {info.key: info.size_bytes for info in listed} == {key: len(body) for key, body in bodies.items()}
        folder = tmp_path / "down"
        folder.mkdir()
        assert all(report.ok for report in engine.list(bucket, "p/").download(folder))
        assert {f"p/{path.name}": path.read_bytes() for path in folder.iterdir()} == bodies
        assert all(report.ok for report in engine.copy(bucket, listed, bucket, key=lambda info: "q" + info.key[1:]))
        assert probe.get(bucket, "q/large") == bodies["p/large"]
        with pytest.raises(ConfigError, match=r"from one bucket to another.*transport='raw'"):
            engine.copy(bucket, listed, f"{bucket}-other")
        deleted = list(engine.delete(bucket, [*bodies, "p//odd", "p/none"]))
        assert [(report.key, report.attempts) for report in deleted if not report.ok] == [("p//odd", 1)]
        assert sorted(probe.list_keys(bucket)) == sorted("q" + key[1:] for key in bodies)
