"""Connections under deadlines: stale ones, early and interim answers, proxies, and ends from outside."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
import urllib3
from botocore.awsrequest import AWSHTTPConnection
from urllib3.exceptions import HTTPError

from s3engine import errors
from s3engine_transports.deadlines import DeadlineConnection, calling, pool_classes
from tests.deadline_server import HUGE, OK, PATIENT, Server, answer, call_, failing, read_body, read_head


def test_a_stale_connection(manager: urllib3.PoolManager, server: Server) -> None:
    """A used connection that is closed before it answers is stale; a new one that does the same is not."""

    def once(sock: socket.socket) -> None:
        answer()(sock)
        read_head(sock)

    server.serve(once, read_head)  # type: ignore[arg-type]  # what it returns is not looked at
    call_(manager, server, PATIENT)
    assert failing(errors.ConnectionLost, 5, manager, server, PATIENT).stale
    assert not failing(errors.ConnectionLost, 5, manager, server, PATIENT).stale


def test_a_connection_closed_while_idle(manager: urllib3.PoolManager, server: Server) -> None:
    """A connection that the store closed in the meantime is left alone: the request goes over a new one."""
    server.serve(answer(), answer())
    call_(manager, server, PATIENT)
    time.sleep(0.3)
    assert call_(manager, server, PATIENT) == b"ok"


def test_an_old_connection(manager: urllib3.PoolManager, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle too long is not used again."""
    server.serve(answer(2), answer())
    call_(manager, server, PATIENT)
    monkeypatch.setattr("s3engine_transports.deadlines.MAX_IDLE_S", -1.0)
    assert call_(manager, server, PATIENT) == b"ok"
    pool: Any = manager.connection_from_host("127.0.0.1", server.port)
    assert (pool.num_requests, pool.num_connections) == (2, 1)  # urllib3 connects the same object again


def test_a_refusal_before_the_body_is_read(manager: urllib3.PoolManager, server: Server) -> None:
    """What a store says before it closes on a body counts more than the reset."""

    def refuse(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK)
        sock.shutdown(socket.SHUT_WR)
        read_body(sock, 1024 * 1024)

    server.serve(refuse, answer())
    assert call_(manager, server, PATIENT, body=HUGE) == b"ok"
    assert call_(manager, server, PATIENT) == b"ok"


def test_a_refusal_in_place_of_reading(manager: urllib3.PoolManager, server: Server) -> None:
    """A store that answers, stops to read and keeps the connection open is heard; the connection is not used again."""

    def refuse(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK)
        server.over.wait(10)

    server.serve(refuse)
    began_at = time.monotonic()
    assert call_(manager, server, PATIENT, body=HUGE) == b"ok"
    assert time.monotonic() - began_at < 4
    pool: Any = manager.connection_from_host("127.0.0.1", server.port)
    assert not pool._get_conn().is_connected


def test_a_cut_head(manager: urllib3.PoolManager, server: Server) -> None:
    """An answer that ends inside its head is a lost connection, not an answer with fewer headers."""

    def cut(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-')

    server.serve(cut)
    error = failing(errors.ConnectionLost, 5, manager, server, PATIENT)
    assert "in the head" in str(error)
    assert not error.stale


def test_an_answer_up_to_the_close(manager: urllib3.PoolManager, server: Server) -> None:
    """An answer without a length is read to the end although its connection is closed for new requests."""

    def close(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        sock.sendall(b"x" * 300_000)

    server.serve(close)
    with calling(PATIENT) as call:
        answered = manager.request("GET", f"http://127.0.0.1:{server.port}/", preload_content=False)
        assert answered.read(200_000) == b"x" * 200_000
        assert answered.read() == b"x" * 100_000
    assert call.failure is None
    assert call.answered


def test_interim_answers(server: Server) -> None:
    """After 100 Continue the body is sent, and the wait for the answer proper begins when it has gone."""

    class Connection(DeadlineConnection, AWSHTTPConnection):  # type: ignore[misc]  # botocore has no types
        pass

    def hesitate(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_body(sock, 1024 * 1024, pause_s=0.05)
        sock.sendall(OK)
        read_head(sock)
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_body(sock, 10)
        server.over.wait(10)

    server.serve(hesitate)
    connection = Connection("127.0.0.1", server.port)
    with calling(PATIENT._replace(first_byte_s=0.4)) as call:
        connection.request("PUT", "/", body=b"x" * (1024 * 1024), headers={"Expect": b"100-continue"})
        assert connection.getresponse().data == b"ok"
        assert call.failure is None
    with calling(PATIENT._replace(first_byte_s=0.4)) as call:
        connection.request("PUT", "/", body=b"x" * 10, headers={"Expect": b"100-continue"})
        with pytest.raises(TimeoutError):
            connection.getresponse()
        assert type(call.failure) is errors.FirstByteTimeout
    connection.close()


def test_other_interim_answers(manager: urllib3.PoolManager, server: Server) -> None:
    """What comes before the answer proper is not taken for it: 102, 103 with headers, 100."""

    def hesitate(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        time.sleep(0.1)
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK)
        answer()(sock)

    server.serve(hesitate)
    assert call_(manager, server, PATIENT) == b"ok"
    assert call_(manager, server, PATIENT) == b"ok"


def test_nobody_listens(manager: urllib3.PoolManager, server: Server) -> None:
    """A refused connection and an unknown name are ConnectFailed and say which."""
    server.close()
    error = failing(errors.ConnectFailed, 5, manager, server, PATIENT)
    assert "refused" in str(error)
    with calling(PATIENT) as call, pytest.raises(HTTPError):
        manager.request("GET", "http://no-such-host.invalid/")
    assert type(call.failure) is errors.ConnectFailed
    assert "'no-such-host.invalid' is not known" in str(call.failure)


def test_no_connection(manager: urllib3.PoolManager, server: Server) -> None:
    """A host that does not answer at all is a ConnectTimeout."""
    # Linux drops what comes after the backlog is full.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        queued = [socket.socket() for _ in range(3)]
        for sock in queued:
            sock.setblocking(False)
            sock.connect_ex(address)
        time.sleep(0.1)
        with calling(PATIENT._replace(connect_s=0.4)) as call, pytest.raises(HTTPError):
            manager.request("GET", f"http://127.0.0.1:{address[1]}/")
        for sock in queued:
            sock.close()
    assert type(call.failure) is errors.ConnectTimeout
    assert call.failure.timeout_s == 0.4


@pytest.mark.parametrize(("connect_s", "attempt_s"), [(0.4, 9.0), (9.0, 0.4)])
def test_a_silent_handshake(manager: urllib3.PoolManager, server: Server, connect_s: float, attempt_s: float) -> None:
    """TLS that does not get going ends by the connect timer, or by the attempt's when that is shorter."""
    server.serve(server.idle)
    timeouts = PATIENT._replace(connect_s=connect_s, attempt_s=attempt_s)
    began_at = time.monotonic()
    with calling(timeouts) as call, pytest.raises(HTTPError):
        manager.request("GET", f"https://127.0.0.1:{server.port}/")
    assert time.monotonic() - began_at < 5
    assert type(call.failure) is (errors.ConnectTimeout if connect_s < attempt_s else errors.AttemptTimeout)


def test_proxies(server: Server) -> None:
    """A proxy that drips its answer to CONNECT for ever is a ConnectTimeout; one that refuses is ConnectFailed."""

    def drip(sock: socket.socket) -> None:
        read_head(sock)
        while not server.over.wait(0.05):
            sock.sendall(b"H")

    def refuse(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    server.serve(refuse, drip)
    manager = urllib3.ProxyManager(f"http://127.0.0.1:{server.port}", retries=False)
    manager.pool_classes_by_scheme = pool_classes
    for expected in (errors.ConnectFailed, errors.ConnectTimeout):
        with calling(PATIENT._replace(connect_s=0.5)) as call, pytest.raises(HTTPError):
            manager.request("GET", "https://store.invalid/")
        assert type(call.failure) is expected
        assert "https://store.invalid:443" in str(call.failure)
    manager.clear()
