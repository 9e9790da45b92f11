"""How the raw transport gets to a store: TLS, proxies, names with several addresses."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3engine import AdaptiveTimeouts, BytesSource, Engine
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, ConnectFailed, ConnectTimeout
from s3engine.transport import FilePart
from tests.helpers import S3Probe
from tests.integration.raw_common import MIB, T, got, open_raw
from tests.relays import ForwardProxy, Relay

pytestmark = pytest.mark.usefixtures("no_proxies")


# ---- TLS and proxies, all on loopback


def test_tls_with_its_own_ca(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, probe: S3Probe, tmp_path: Path
) -> None:
    """With the CA given, bodies from memory and from files go over TLS, unsigned, and connections are kept."""
    raw = open_raw(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
    data = os.urandom(2 * MIB)
    (tmp_path / "f").write_bytes(data)
    raw.put_object(bucket, "small", b"body", (), timeouts=T)
    raw.put_object(bucket, "file", FilePart(str(tmp_path / "f"), 0, len(data)), (), timeouts=T)
    raw.put_object(bucket, "bytes", data, (), timeouts=T)
    for key, body in (("small", b"body"), ("file", data), ("bytes", data)):
        assert probe.get(bucket, key) == body
        assert got(raw, bucket, key) == body
    assert tls.connections == 1
    raw.close()


def test_tls_that_nobody_vouches_for(seaweed: EmbeddedServer, tls: Relay) -> None:
    """Without its CA a certificate is refused, for good, and the error names the way out."""
    raw = open_raw(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}")
    with pytest.raises(ConnectFailed, match=r"not trusted.*--ca-bundle") as caught:
        raw.head_bucket("bucket", timeouts=T)
    assert caught.value.permanent


def test_tls_unverified(seaweed: EmbeddedServer, tls: Relay, bucket: str) -> None:
    """Who turns verification off gets through."""
    raw = open_raw(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", verify_tls=False)
    assert raw.list_objects_v2(bucket, timeouts=T).objects == []
    raw.close()


def test_tls_where_none_is_spoken(seaweed: EmbeddedServer) -> None:
    """https:// to a plain port says so; a CA bundle that does not exist is named."""
    raw = open_raw(seaweed, endpoint_url=f"https://127.0.0.1:{seaweed.port}")
    with pytest.raises(ConnectFailed, match="plain http"):
        raw.head_bucket("bucket", timeouts=T)
    missing = open_raw(seaweed, endpoint_url="https://127.0.0.1:9", ca_bundle="/nonexistent/ca.pem")
    with pytest.raises(ConfigError, match=r"/nonexistent/ca\.pem"):
        missing.head_bucket("bucket", timeouts=T)


@pytest.mark.parametrize("login", ["", "user:p@ss word"])
def test_http_proxy(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """Plain requests go through http_proxy in the absolute form, with the login of its URL."""
    with ForwardProxy(login) as proxy:
        user = "user:p%40ss%20word@" if login else ""
        monkeypatch.setenv("http_proxy", f"http://{user}127.0.0.1:{proxy.port}")
        raw = open_raw(seaweed)
        raw.put_object(bucket, "a b", b"through", (), timeouts=T)
        assert got(raw, bucket, "a b") == b"through"
        raw.close()
        assert probe.get(bucket, "a b") == b"through"
        assert proxy.connections == 1
        assert proxy.heads[0].startswith(f"PUT {seaweed.endpoint_url}/{bucket}/a%20b HTTP/1.1\r\n".encode())


def test_https_proxy(
    seaweed: EmbeddedServer, tls: Relay, certificate: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS goes through https_proxy by CONNECT; the proxy sees host and port and nothing else."""
    with ForwardProxy() as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        raw = open_raw(seaweed, endpoint_url=f"https://127.0.0.1:{tls.port}", ca_bundle=str(certificate))
        raw.put_object(bucket, "k", b"through", (), timeouts=T)
        assert got(raw, bucket, "k") == b"through"
        raw.close()
        assert [head.partition(b" HTTP/1.")[0] for head in proxy.heads] == [f"CONNECT 127.0.0.1:{tls.port}".encode()]
        assert b"authorization" not in proxy.heads[0].lower()


def test_no_proxy(seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts in no_proxy are reached directly."""
    with ForwardProxy() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1,other")
        raw = open_raw(seaweed)
        raw.head_bucket(bucket, timeouts=T)
        raw.close()
        assert proxy.connections == 0


def test_a_proxy_that_is_not_there(seaweed: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses connections is ConnectFailed, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectFailed, match="refused"):
        open_raw(seaweed).head_bucket("bucket", timeouts=T)


# ---- names with several addresses, and one timer for all of connecting


def _named(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> list[str]:
    """Make ``store.test`` a name of these addresses; returns the look-ups to come."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != "store.test":
            return real(host, port, *more, **named)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_next_address_of_a_name(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with two addresses whose first refuses: the second is used."""
    asked = _named(monkeypatch, ["127.0.0.77", "127.0.0.1"])
    raw = open_raw(seaweed, endpoint_url=f"http://store.test:{seaweed.port}")
    raw.put_object(bucket, "k", b"there", (), timeouts=T)
    raw.close()
    assert probe.get(bucket, "k") == b"there"
    assert asked == ["store.test"]


def test_silent_address_leaves_time_for_the_next(
    seaweed: EmbeddedServer, bucket: str, probe: S3Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that never answers takes its share of connect_s, not all of it."""
    with _deaf("127.0.0.88", seaweed.port):
        asked = _named(monkeypatch, ["127.0.0.88", "127.0.0.1"])
        raw = open_raw(seaweed, endpoint_url=f"http://store.test:{seaweed.port}")
        began = time.monotonic()
        raw.put_object(bucket, "k", b"there", (), timeouts=T._replace(connect_s=2.0))
        assert time.monotonic() - began > 0.5  # the silent one was waited for
        raw.close()
    assert probe.get(bucket, "k") == b"there"
    assert asked == ["store.test"]


@contextlib.contextmanager
def _deaf(host: str, port: int) -> Iterator[None]:
    """A listener whose queue is full: connections to it are never answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((host, port))
        time.sleep(0.1)
        yield


def test_silent_handshake_ends_with_connect_s(seaweed: EmbeddedServer) -> None:
    """Whoever accepts and drips nothing of TLS is left after connect_s."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = open_raw(seaweed, endpoint_url=f"https://127.0.0.1:{listener.getsockname()[1]}", verify_tls=False)
        began = time.monotonic()
        with pytest.raises(ConnectTimeout):
            raw.head_bucket("bucket", timeouts=T._replace(connect_s=0.5))
        assert 0.4 < time.monotonic() - began < 5
        raw.close()


FAILS_ONCE = """
import socket, sys
from s3engine import BytesSource, Engine

real, asked = socket.getaddrinfo, []

def look_up(host, port, *more, **named):
    if host != "store.test":
        return real(host, port, *more, **named)
    asked.append(host)
    if len(asked) == 1:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real("127.0.0.1", port, *more, **named)

socket.getaddrinfo = look_up  # forked workers have it too, and each counts for itself
url, bucket = sys.argv[1:]
with Engine(endpoint_url=url, workers=1, concurrency=1, start_method="fork", checksum="none") as engine:
    (report,) = engine.upload(bucket, [BytesSource(b"there", "k")])
    print(report.error, report.attempts)
"""


def test_connecting_goes_by_the_policy() -> None:
    """A store that takes no connection is given up after the policy's own time, and the error names that time."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # what the queue takes, and more
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        policy = AdaptiveTimeouts(connect_s=(0.2, 0.2))
        with Engine(
            endpoint_url=f"http://127.0.0.1:{full.getsockname()[1]}", anonymous=True, workers=1, checksum="none",
            max_attempts=2, timeout_policy=policy,
        ) as engine:  # fmt: skip
            (report,) = engine.upload("bucket", [BytesSource(b"x", "k")])
    assert isinstance(report.error, ConnectTimeout)
    assert "within 0.2 s" in str(report.error)


def test_look_up_that_fails_once(seaweed: EmbeddedServer, bucket: str, probe: S3Probe) -> None:
    """A name that is not known at first: asked again, and the object is done."""
    environment = {**os.environ, **seaweed.environment()}
    command = [sys.executable, "-c", FAILS_ONCE, f"http://store.test:{seaweed.port}", bucket]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None 2\n", done.stderr
    assert probe.get(bucket, "k") == b"there"
