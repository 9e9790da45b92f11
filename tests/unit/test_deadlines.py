"""Deadlines below urllib3: each timer ends what it is there for and nothing else, and what went wrong is told apart."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import urllib3

from s3engine import errors
from s3engine.interrupt import interrupt
from s3engine_transports import timers
from s3engine_transports.deadlines import calling
from s3engine_transports.timers import current_call
from tests.deadline_server import HUGE, OK, PATIENT, Server, answer, call_, failing, read_body, read_head


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
