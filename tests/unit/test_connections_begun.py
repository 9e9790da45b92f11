"""Connections that a loop lane begins without a thread: connected, failed, late, or not to be had in that way."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from s3engine.config import TransportSettings
from s3engine.errors import ConnectFailed, ConnectTimeout, S3EngineError
from s3engine.pool.connections import OUT, Connections
from s3engine_transports.raw.begun import begin
from s3engine_transports.raw.connection import Connections as RawConnections
from s3engine_transports.raw.connection import Endpoint

THERE = "there"


class Begun:
    """A link whose socket a test brings into each state."""

    def __init__(self, connected: bool) -> None:
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.connected = connected
        self.used = 0
        self.broken = False

    def failed(self) -> bool:
        return self.broken

    def too_late(self, timeout_s: float) -> S3EngineError:
        return ConnectTimeout(f"{timeout_s}")

    def close(self) -> None:
        self.sock.close()
        self.peer.close()


class Lane:
    """The connections of a loop lane; ``link`` is what the transport begins next, ``asked`` whom it asked to open."""

    def __init__(self) -> None:
        self.link: Begun | None = None
        self.woken = 0
        self.asked: list[float] = []
        self.poller = select.poll()
        self.connections = Connections(self, self.poller, self._wake, lambda: 0.0)
        self.connections.open = self._open  # type: ignore[method-assign]

    def begin_link(self, _endpoint: Any) -> Any:
        return self.link

    def _open(self, endpoint: Any, timeout_s: float) -> None:
        assert endpoint == THERE
        self.asked.append(timeout_s)

    def _wake(self) -> None:
        self.woken += 1

    def begin(self, connected: bool) -> Begun:
        self.link = Begun(connected)
        assert self.connections.begin(THERE, 2.0, 100.0)
        return self.link

    @property
    def idle(self) -> int:
        return len(self.connections.idle.get(THERE, ()))


@pytest.fixture
def lane() -> Iterator[Lane]:
    """One without connections."""
    made = Lane()
    yield made
    made.connections.close()


def test_connected_at_once(lane: Lane) -> None:
    """It may carry a request at once, and for as long as any other."""
    link = lane.begin(True)
    assert (lane.idle, lane.connections.opening) == (1, 0)
    (wire,) = lane.connections.idle[THERE]
    assert wire.expires_at == 160.0
    assert lane.connections.wires == {link.sock.fileno(): wire}


def test_connected_later(lane: Lane) -> None:
    """It counts as being opened until the socket is writable, and is waited for by the poller."""
    fd = lane.begin(False).sock.fileno()
    assert (lane.idle, lane.connections.opening) == (0, 1)
    assert lane.poller.poll(0) == [(fd, OUT)]
    lane.connections.on_begun(fd, 100.1)
    assert (lane.idle, lane.connections.opening) == (1, 0)
    assert lane.poller.poll(0) == []


def test_failure_is_told_by_a_thread(lane: Lane) -> None:
    """Another attempt that blocks finds out what is wrong."""
    link = lane.begin(False)
    link.broken = True
    fd = link.sock.fileno()
    lane.connections.on_begun(fd, 100.1)
    assert lane.asked == [2.0]
    assert (lane.idle, lane.connections.opening, link.sock.fileno()) == (0, 0, -1)
    lane.connections.on_begun(fd, 100.2)
    assert lane.asked == [2.0]


def test_refused_ones_are_not_begun_again(lane: Lane) -> None:
    """A store that went down gets no stream of connections: only threads try, until one of them gets through."""
    link = lane.begin(False)
    link.broken = True
    lane.connections.on_begun(link.sock.fileno(), 100.1)
    lane.link = Begun(True)
    assert not lane.connections.begin(THERE, 2.0, 100.2)
    lane.connections.opening += 1
    lane.connections._opened.append((THERE, Begun(True)))
    assert list(lane.connections.take_opened(100.3)) == []
    assert lane.connections.begin(THERE, 2.0, 100.4)
    assert lane.idle == 2


def test_late_ones_are_given_up(lane: Lane) -> None:
    """After its time an error takes the connection's place, once."""
    link = lane.begin(False)
    lane.connections.drop_late(101.9)
    assert list(lane.connections.take_opened(101.9)) == []
    lane.connections.drop_late(102.1)
    assert lane.woken == 1
    ((endpoint, error),) = lane.connections.take_opened(102.1)
    assert endpoint == THERE
    assert isinstance(error, ConnectTimeout)
    assert (lane.connections.opening, link.sock.fileno()) == (0, -1)


def test_close_closes_what_is_being_opened(lane: Lane) -> None:
    """No socket is left behind."""
    link = lane.begin(False)
    lane.connections.close()
    assert link.sock.fileno() == -1


def test_a_transport_that_cannot_is_not_asked(lane: Lane) -> None:
    """Nothing comes of it, and the caller opens a connection in a thread."""
    lane.link = None
    assert not lane.connections.begin(THERE, 2.0, 100.0)
    assert not Connections(object(), lane.poller, lane._wake).begin(THERE, 2.0, 100.0)
    assert lane.connections.opening == 0


def test_raw_begins_only_what_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP to an IP address without a proxy; TLS, names and proxies take the long way, as does a closed one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connections = RawConnections(TransportSettings())
        link = connections.begin(Endpoint("http", "127.0.0.1", port))
        assert link is not None
        peer, _ = server.accept()
        assert not link.failed()
        assert not link.sock.getblocking()
        assert link.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert isinstance(link.too_late(3.0), ConnectTimeout)
        link.close()
        peer.close()
        assert connections.begin(Endpoint("https", "127.0.0.1", port)) is None
        assert connections.begin(Endpoint("http", "localhost", port)) is None
        connections.close()
        assert connections.begin(Endpoint("http", "127.0.0.1", port)) is None
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert RawConnections(TransportSettings()).begin(Endpoint("http", "127.0.0.1", port)) is None


_ALONE = """
import socket, sys
from s3engine.config import TransportSettings
from s3engine_transports.raw import RawTransport
with socket.create_server(("127.0.0.1", 0)) as server:
    transport = RawTransport(TransportSettings(endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}"))
    exchange = transport.exchanges.put_object("bucket", "key", b"x", ())
    link = transport.begin_link(exchange.endpoint)
    link.close()
    transport.close()
print("urllib3" in sys.modules)
"""


def test_no_urllib3_without_need() -> None:
    """A worker that only begins plain connections does not import it: that takes longer than a thousand uploads."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", _ALONE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_closed_is_closed() -> None:
    """A transport that was closed opens nothing any more, to endpoints that it never saw too."""
    connections = RawConnections(TransportSettings())
    connections.close()
    with pytest.raises(ConnectFailed, match="closed"):
        connections.open(Endpoint("http", "127.0.0.1", 9), 1.0)


def test_refused() -> None:
    """A port where nobody listens: at once, or as soon as the socket tells."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        link = begin("127.0.0.1", sock.getsockname()[1], "http://127.0.0.1")
        if link is not None:
            select.select([], [link.sock], [], 10)
            assert link.failed()
            link.close()
        assert link is None or not link.connected
