"""Deadlines below urllib3: each timer ends what it is there for and nothing else, and what went wrong is told apart."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from botocore.awsrequest import AWSHTTPConnection
from urllib3.exceptions import HTTPError

from s3engine import errors
from s3engine.errors import S3EngineError
from s3engine.interrupt import interrupt
from s3engine.transport import Timeouts
from s3engine_transports import timers
from s3engine_transports.deadlines import DeadlineConnection, calling, pool_classes
from s3engine_transports.timers import current_call

PATIENT = Timeouts(connect_s=5, stall_s=5, first_byte_s=5, attempt_s=10)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HUGE = b"x" * (16 * 1024 * 1024)
Work = Callable[[socket.socket], None]


class Server:
    """Does one piece of work for each connection in turn; ``port`` is where. Its receive buffers are small."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(5)
        self.port: int = self._listener.getsockname()[1]
        self.over = threading.Event()
        self._thread: threading.Thread | None = None

    def serve(self, *works: Work) -> None:
        self._thread = threading.Thread(target=self._run, args=works, daemon=True)
        self._thread.start()

    def _run(self, *works: Work) -> None:
        for work in works:
            try:
                sock, _ = self._listener.accept()
                sock.settimeout(10)
                with sock:
                    work(sock)
            except OSError:
                continue  # the client went away, as most of these tests have it do

    def idle(self, _: socket.socket) -> None:
        self.over.wait(10)

    def close(self) -> None:
        self.over.set()
        if self._thread is not None:
            self._thread.join(15)
            assert not self._thread.is_alive()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def manager() -> Iterator[urllib3.PoolManager]:
    made = urllib3.PoolManager(retries=False, maxsize=4)
    made.pool_classes_by_scheme = pool_classes
    yield made
    made.clear()


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(1)
        if not data:
            raise ConnectionResetError
        head += data
    return head


def read_body(sock: socket.socket, size: int, pause_s: float = 0.0) -> None:
    while size:
        size -= len(sock.recv(min(size, 65536))) or size
        time.sleep(pause_s)


def answer(times: int = 1) -> Work:
    def work(sock: socket.socket) -> None:
        for _ in range(times):
            read_head(sock)
            sock.sendall(OK)

    return work


def call_(manager: Any, server: Server, timeouts: Timeouts, **keywords: Any) -> bytes:
    """A request; raises what the call noted when urllib3 raises anything."""
    body = keywords.get("body")
    with calling(timeouts) as call:
        try:
            answered = manager.request("PUT" if body else "GET", f"http://127.0.0.1:{server.port}/", **keywords)
        except HTTPError:
            assert call.failure is not None
            raise call.failure from None
        assert call.failure is None
        data: bytes = answered.data
        return data


def failing(expected: type[S3EngineError], within_s: float, *args: Any, **keywords: Any) -> Any:
    began_at = time.monotonic()
    with pytest.raises(expected) as caught:
        call_(*args, **keywords)
    assert type(caught.value) is expected
    assert time.monotonic() - began_at < within_s
    return caught.value


def test_connections_are_used_again(manager: urllib3.PoolManager, server: Server) -> None:
    """Two requests go over one connection; the second is not taken for a lost one."""
    server.serve(answer(2))
    assert call_(manager, server, PATIENT) == b"ok"
    assert call_(manager, server, PATIENT) == b"ok"


def test_the_clients_timeouts_do_not_count(manager: urllib3.PoolManager, server: Server) -> None:
    """A client that gives its requests 50 ms gets its answer all the same."""

    def late(sock: socket.socket) -> None:
        read_head(sock)
        time.sleep(0.4)
        sock.sendall(OK)

    server.serve(late)
    assert call_(manager, server, PATIENT, timeout=0.05) == b"ok"


def test_a_body_that_does_not_move(manager: urllib3.PoolManager, server: Server) -> None:
    """A store that reads nothing of the body is a StallTimeout."""
    server.serve(server.idle)
    error = failing(errors.StallTimeout, 5, manager, server, PATIENT._replace(stall_s=0.3), body=HUGE)
    assert error.timeout_s == 0.3


def test_a_slow_body_lives(manager: urllib3.PoolManager, server: Server) -> None:
    """A body that takes much longer than the stall and first-byte timers goes through as long as bytes move."""

    def slow(sock: socket.socket) -> None:
        read_head(sock)
        read_body(sock, 4 * 1024 * 1024, pause_s=0.02)
        sock.sendall(OK)

    server.serve(slow)
    timeouts = PATIENT._replace(stall_s=0.5, first_byte_s=0.4)
    assert call_(manager, server, timeouts, body=b"x" * (4 * 1024 * 1024)) == b"ok"


def test_no_answer(manager: urllib3.PoolManager, server: Server) -> None:
    """A store that takes the request and says nothing is a FirstByteTimeout."""

    def silent(sock: socket.socket) -> None:
        read_head(sock)
        read_body(sock, 100_000)
        server.over.wait(10)

    server.serve(silent)
    failing(errors.FirstByteTimeout, 5, manager, server, PATIENT._replace(first_byte_s=0.3), body=b"x" * 100_000)


def test_an_answer_that_stalls(manager: urllib3.PoolManager, server: Server) -> None:
    """An answer that stops in the middle of its body is a StallTimeout."""

    def stall(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK[:-1])
        server.over.wait(10)

    server.serve(stall)
    failing(errors.StallTimeout, 5, manager, server, PATIENT._replace(stall_s=0.3))


def test_an_answer_that_drips(manager: urllib3.PoolManager, server: Server) -> None:
    """An answer that always moves, but never ends, is an AttemptTimeout."""

    def drip(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not server.over.wait(0.05):
            sock.sendall(b"x")

    server.serve(drip)
    timeouts = PATIENT._replace(stall_s=0.5, attempt_s=0.8)
    assert failing(errors.AttemptTimeout, 5, manager, server, timeouts).timeout_s == 0.8


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


def test_local_work_is_not_timed(manager: urllib3.PoolManager, server: Server) -> None:
    """Time that the client spends with its own files while it sends and receives is no stall."""

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            time.sleep(0.3)
            yield b"x" * 1000

    def work(sock: socket.socket) -> None:
        read_head(sock)
        read_body(sock, 3000)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)

    server.serve(work)
    with calling(PATIENT._replace(stall_s=0.2)) as call:
        answered = manager.request(
            "PUT", f"http://127.0.0.1:{server.port}/", body=pieces(), headers={"content-length": "3000"},
            preload_content=False,
        )  # fmt: skip
        received = 0
        while data := answered.read(50_000):
            received += len(data)
            time.sleep(0.3)
    assert received == 200_000
    assert call.failure is None


def test_calls_end(manager: urllib3.PoolManager, server: Server) -> None:
    """Outside of the block the thread has no call, and connections work by default timers."""
    with calling(PATIENT) as outer:
        with calling(PATIENT) as inner:
            assert current_call() is inner
        assert current_call() is outer
    assert current_call() is None
    server.serve(answer(2))
    for _ in range(2):
        assert manager.request("GET", f"http://127.0.0.1:{server.port}/").data == b"ok"


# ---- the minimum rate, and calls that are ended from outside


def drip(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(60):
        sock.sendall(b"x")
        time.sleep(0.05)


def test_drip_below_the_minimum_rate_ends(
    manager: urllib3.PoolManager, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that come so slowly that no other timer minds them end as TooSlow."""
    monkeypatch.setattr(timers, "MIN_RATE_WINDOW_S", 0.5)
    server.serve(drip)
    failing(errors.TooSlow, 2.5, manager, server, PATIENT)


def test_drip_by_design_is_waited_for(
    manager: urllib3.PoolManager, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minimum rate does not hold for the answers of COPY and COMPLETE."""
    monkeypatch.setattr(timers, "MIN_RATE_WINDOW_S", 0.3)

    def slow(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            sock.sendall(b" ")
            time.sleep(0.05)

    server.serve(slow)
    with calling(PATIENT, unhurried=True):
        assert manager.request("POST", f"http://127.0.0.1:{server.port}/").data == b" " * 20


@pytest.mark.parametrize("stage", ["waiting", "receiving"])
def test_call_is_ended_from_another_thread(manager: urllib3.PoolManager, server: Server, stage: str) -> None:
    """A thread that is blocked at its socket is woken at once, whatever its timers say."""

    def silent(sock: socket.socket) -> None:
        read_head(sock)
        if stage == "receiving":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        server.over.wait(10)

    server.serve(silent)
    me = threading.get_ident()
    waker = threading.Timer(0.3, lambda: interrupt([me]))
    waker.start()
    failing(errors.ConnectionLost, 3.0, manager, server, PATIENT)
    waker.join()
