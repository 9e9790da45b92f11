"""Connections that are idle or old carry no further request: in the loop lane, in threads, in the parent."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from s3engine.config import TransportSettings
from s3engine.pool.connections import Connections
from s3engine.wire import Wire
from s3engine_transports.raw.connection import Connections as RawConnections
from s3engine_transports.raw.connection import Endpoint
from tests.deadline_server import PATIENT, Server, answer, call_
from tests.wires import Pair


class Lane:
    """The connections of a loop lane to one endpoint, opened at 100 s of a clock that stands."""

    def __init__(self, rng: float) -> None:
        self._pair = Pair()
        self._opened = threading.Event()
        self.connections = Connections(self, select.poll(), self._opened.set, lambda: rng)
        self.connections.open("there", 1.0)
        assert self._opened.wait(10)
        assert list(self.connections.take_opened(100.0)) == []
        (self.wire,) = self.connections.idle["there"]

    def open_link(self, _endpoint: Any, _timeout_s: float) -> Any:
        return self._pair.link

    def used(self, now: float) -> list[Wire]:
        """Those that can carry the next request, after one that ended at ``now``."""
        wires = self.connections.idle["there"]
        wires.remove(self.wire)
        self.connections.release(self.wire, "there", True, now)
        return list(wires)

    def close(self) -> None:
        self.connections.close()
        self._pair.close()


@pytest.fixture
def lane() -> Iterator[Lane]:
    """One whose connection is to live for 90 s."""
    made = Lane(0.5)
    yield made
    made.close()


def test_idle_connection_is_closed_before_the_store_does(lane: Lane) -> None:
    """After 4 s without a request a connection of the loop lane is closed; one that was used meanwhile is not."""
    assert lane.used(103.0) == [lane.wire]
    for now, there in ((104.5, True), (106.9, True), (107.1, False)):
        lane.connections.drop_stale(now)
        assert bool(lane.connections.idle["there"]) == there
    assert lane.wire.link.closed  # type: ignore[attr-defined]
    assert lane.connections.wires == {}


def test_old_connection_carries_nothing_more(lane: Lane) -> None:
    """However busy it is, a connection of the loop lane is closed after the request with which it gets too old."""
    assert lane.used(189.9) == [lane.wire]
    assert lane.used(190.1) == []
    assert lane.wire.link.closed  # type: ignore[attr-defined]


@pytest.mark.parametrize(("rng", "retires_at"), [(0.0, 160.0), (1.0, 220.0)])
def test_connections_do_not_retire_together(rng: float, retires_at: float) -> None:
    """The age differs by chance, between one and two minutes."""
    lane = Lane(rng)
    lane.close()
    assert lane.wire.expires_at == retires_at


@pytest.mark.parametrize(("idle_s", "again"), [(2.0, True), (4.1, False)])
def test_idle_connection_of_a_thread(manager: urllib3.PoolManager, server: Server, idle_s: float, again: bool) -> None:
    """What a thread used for its last request is used again within 4 s, and not after that."""
    connection = _kept(manager, server)
    connection.sock.moved_at -= idle_s
    assert connection.is_connected == again


def test_old_connection_of_a_thread(manager: urllib3.PoolManager, server: Server) -> None:
    """It retires between one and two minutes after it was made."""
    connection = _kept(manager, server)
    sock = connection.sock
    assert 55.0 < sock.retires_at - sock.moved_at <= 120.0
    assert connection.is_connected
    sock.retires_at = sock.moved_at - 0.1
    assert not connection.is_connected


def _kept(manager: urllib3.PoolManager, server: Server) -> Any:
    """The connection that the pool keeps after a request."""

    def once(sock: socket.socket) -> None:
        answer()(sock)
        server.over.wait(10)

    server.serve(once)
    call_(manager, server, PATIENT)
    pool: Any = manager.connection_from_host("127.0.0.1", server.port)
    connection = pool.pool.get(block=False)
    pool.pool.put(connection)
    return connection


@pytest.mark.parametrize("single", [False, True], ids=["urllib3", "direct"])
def test_idle_and_old_connections_of_the_parent(single: bool) -> None:
    """Single calls of the raw transport go over the connection of the last one, unless that is idle or old."""
    now = [0.0]
    settings = TransportSettings(endpoint_url="http://127.0.0.1:9", single=single)
    made = RawConnections(settings, clock=lambda: now[0], rng=lambda: 0.5)
    ports = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("http", "127.0.0.1", listener.getsockname()[1])
        for now[0] in (100.0, 103.9, 108.0, *range(111, 199, 3), 200.0):  # made at 100 and 108: that one until 198
            link = made.open(endpoint, 5.0)
            ports.append(link.sock.getsockname()[1])
            link.park()
        made.close()
    assert ports[0] == ports[1] != ports[2]
    assert set(ports[2:-1]) == {ports[2]}
    assert ports[-1] != ports[2]
