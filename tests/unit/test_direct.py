"""Connections of single calls, which are made without urllib3: they are those of its pools, and fail as those do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from urllib3.connection import HTTPConnection
from urllib3.util.connection import allowed_gai_family

from s3engine.config import TransportSettings
from s3engine.errors import ConnectFailed, ConnectTimeout, RequestError
from s3engine_transports.network import socket_options
from s3engine_transports.raw import direct
from s3engine_transports.raw.connection import Connections, Endpoint, RawLink
from s3engine_transports.raw.direct import DirectPool
from s3engine_transports.raw.pooled import UrllibPool

SINGLE = TransportSettings(endpoint_url="http://127.0.0.1:9", single=True)
MANY = TransportSettings(endpoint_url="http://127.0.0.1:9")


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose queue of connections is full: it does not answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        yield listener.getsockname()[1]
        for sock in waiting:
            sock.close()


def test_which_connections_are_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP without a proxy, and single calls; all else goes through urllib3."""

    def kind(settings: TransportSettings, scheme: str = "http") -> type:
        return type(Connections(settings).pool(Endpoint(scheme, "127.0.0.1", 9))[0])

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert kind(SINGLE) is DirectPool
    assert kind(MANY) is kind(SINGLE, "https") is UrllibPool
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:8")
    assert kind(SINGLE) is UrllibPool


def test_options_and_addresses_are_those_of_urllib3(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket options begin with urllib3's own, and names are looked up for the same kinds of address."""
    default: Any = HTTPConnection.default_socket_options
    assert socket_options()[: len(default)] == default
    assert direct._family() == allowed_gai_family()
    monkeypatch.setattr(socket, "has_ipv6", False)
    assert direct._family() == socket.AF_INET


def _failure(settings: TransportSettings, host: str, port: int) -> RequestError:
    with pytest.raises((ConnectFailed, ConnectTimeout)) as caught:
        Connections(settings).open(Endpoint("http", host, port), 0.3)
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "name.invalid", "b\u00fccher.invalid", "a..b", "x" * 70 + ".invalid"])
def test_failures_are_those_of_urllib3(host: str) -> None:
    """Refused, and names that nobody knows or that are none: the same error with the same words."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ours, theirs = _failure(SINGLE, host, port), _failure(MANY, host, port)
    assert type(ours) is type(theirs) is ConnectFailed
    assert ours.message.startswith(f"cannot connect to http://{host}:{port}: ")
    if host in ("127.0.0.1", "name.invalid"):  # urllib3 encodes the others first
        assert (ours.message, ours._context) == (theirs.message, theirs._context)


def test_a_port_that_does_not_answer_times_out(full: int) -> None:
    """``timeout_s`` bounds connecting."""
    ours, theirs = _failure(SINGLE, "127.0.0.1", full), _failure(MANY, "127.0.0.1", full)
    assert type(ours) is type(theirs) is ConnectTimeout
    assert ours.message == theirs.message


def test_a_closed_pool_keeps_and_gives_nothing() -> None:
    """After close() no connection comes out, and one that is given back is closed."""
    connections = Connections(SINGLE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("http", "127.0.0.1", listener.getsockname()[1])
        link: RawLink = connections.open(endpoint, 5.0)
        connections.close()
        link.park()
        assert link.sock.fileno() == -1
        with pytest.raises(ConnectFailed, match="closed"):
            connections.open(endpoint, 5.0)
