"""The faults that break heads, stages and the listener do what their names say."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.faults import (
    CutHead,
    DripHead,
    DuplicateHeaders,
    FailedDeletes,
    Fault,
    FaultProxy,
    FlipBit,
    Garbage,
    HalfOpen,
    Plan,
    Refuse,
    ResetAt,
    StallHead,
    WrongEtag,
    WrongLength,
    always,
    error_answer,
    every,
    every_connection,
    first,
    on_accept,
)

BODY = b"0123456789"
HEAD = b'HTTP/1.1 200 OK\r\nETag: "00ff"\r\nContent-Length: 10\r\n\r\n'
GET = b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n"
PUT = b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n" + BODY


class Server:
    """Answers every request on every connection with HEAD and BODY; counts what it got whole."""

    def __init__(self) -> None:
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        with sock:
            data = b""
            try:
                while piece := sock.recv(4096):
                    data += piece
                    if data in (GET, PUT):
                        self.requests += 1
                        data = b""
                        sock.sendall(HEAD + BODY)
            except OSError:
                return


@contextmanager
def behind(plan: Plan) -> Iterator[tuple[FaultProxy, Server]]:
    with closing(Server()) as server, FaultProxy("127.0.0.1", server.port, plan) as proxy:
        yield proxy, server


def connect(proxy: FaultProxy, timeout_s: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_s)


def read(sock: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how it ends: FIN, RST or silence."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        return data, "RST"
    except TimeoutError:
        return data, "silence"
    return data, "FIN"


def exchange(proxy: FaultProxy) -> tuple[bytes, str]:
    """What comes of one request on a connection of its own: a reset may show while connecting or sending, too."""
    try:
        with connect(proxy, 0.4) as sock:
            sock.sendall(PUT)
            return read(sock)
    except (ConnectionResetError, BrokenPipeError):
        return b"", "RST"


@pytest.mark.parametrize(
    ("plan", "got", "end", "carried_out"),
    [
        (always(StallHead(7)), HEAD[:7], "silence", 1),
        (on_accept(9, StallHead(7, "up")), b"", "silence", 0),
        (always(CutHead(7)), HEAD[:7], "FIN", 1),
        (on_accept(9, ResetAt("accept")), b"", "RST", 0),
        (on_accept(9, ResetAt("request head", 7)), b"", "RST", 0),
        (always(ResetAt("request body", 3)), b"", "RST", 0),
        (always(ResetAt("request end")), b"", "RST", 1),
        (always(ResetAt("answer head", 7)), HEAD[:7], "RST", 1),
        (always(ResetAt("answer body", 7)), HEAD + BODY[:7], "RST", 1),
        (always(Garbage(b"\x00\x01")), b"\x00\x01", "FIN", 0),
        (always(WrongEtag()), HEAD.replace(b"00ff", b"1100") + BODY, "silence", 1),
        (always(WrongLength(3)), HEAD.replace(b"10", b"13") + BODY, "FIN", 1),
        (always(WrongLength(-3)), HEAD.replace(b"10", b"7") + BODY, "FIN", 1),
        (always(WrongLength(-11)), HEAD + BODY, "FIN", 1),
        (always(DuplicateHeaders((("A", "1"), ("A", "2")))), HEAD[:-2] + b"A: 1\r\nA: 2\r\n\r\n" + BODY, "silence", 1),
        (always(FlipBit(0)), HEAD + b"1" + BODY[1:], "silence", 1),
    ],
    ids=[
        "stall-in-answer-head", "stall-in-request-head", "cut-head", "reset-on-accept", "reset-in-request-head",
        "reset-in-request-body", "reset-after-request", "reset-in-answer-head", "reset-in-answer-body", "garbage",
        "wrong-etag", "too-long", "too-short", "negative-length", "duplicate-headers", "flipped-bit",
    ],
)  # fmt: skip
def test_what_the_client_gets(plan: Plan, got: bytes, end: str, carried_out: int) -> None:
    """The client gets just these bytes and this end, and the server had the request whole or not."""
    with behind(plan) as (proxy, server):
        assert exchange(proxy) == (got, end)
        assert server.requests == carried_out


def test_half_open_dies_after_a_good_answer() -> None:
    """The first answer is good; what follows on this connection is swallowed, a new connection works."""
    with behind(first(1, HalfOpen())) as (proxy, server):
        with connect(proxy, 0.4) as sock:
            sock.sendall(PUT)
            assert sock.recv(65536).startswith(HEAD)
            sock.sendall(PUT)
            assert read(sock)[1] == "silence"
        with connect(proxy, 0.4) as sock:
            sock.sendall(PUT)
            assert read(sock)[0] == HEAD + BODY
        assert server.requests == 2


def test_refuse_closes_the_listener_for_a_while() -> None:
    """Connections are reset, connecting is refused for so long, and then all is well on the same port."""
    with behind(first(1, Refuse(0.5))) as (proxy, server):
        port = proxy.port
        with connect(proxy) as sock:
            sock.sendall(PUT)
            assert read(sock) == (b"", "RST")
        started_s = time.monotonic()
        refused = 0
        while True:
            try:
                sock = connect(proxy, 0.4)
                break
            except ConnectionRefusedError:
                refused += 1
                time.sleep(0.02)
        with sock:
            assert refused
            assert 0.3 < time.monotonic() - started_s < 5
            sock.sendall(PUT)
            assert read(sock)[0] == HEAD + BODY
        assert (proxy.port, server.requests) == (port, 1)


def test_drip_of_a_head_takes_its_time() -> None:
    """The head comes at its rate, whole."""
    with behind(always(DripHead(200))) as (proxy, _), connect(proxy) as sock:
        started_s = time.monotonic()
        sock.sendall(PUT)
        data = b""
        while len(data) < len(HEAD + BODY):
            data += sock.recv(65536)
        assert data == HEAD + BODY
        assert time.monotonic() - started_s >= len(HEAD) / 200 * 0.9


def test_failed_deletes_name_every_key() -> None:
    """Each key of the request has its error in an answer of status 200, and the server never sees it."""
    body = b"<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>c</Key></Object></Delete>"
    with behind(always(FailedDeletes("AccessDenied"))) as (proxy, server), connect(proxy, 0.4) as sock:
        sock.sendall(b"POST /b?delete HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer, _ = read(sock)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b"<Code>AccessDenied</Code>") == 2
        assert b"<Key>a&amp;b</Key>" in answer
        assert server.requests == 0


def test_every_spreads_a_fault() -> None:
    """``every`` takes the last of each so many requests, ``every_connection`` the first of each so many connections."""
    fault: Fault = CutHead()
    plan = every(5, fault, burst=2)
    assert [number for number in range(12) if plan(1, number, b"")] == [4, 5, 9, 10]
    accept = ResetAt("accept")
    connections = every_connection(3, accept)
    assert [number for number in range(1, 8) if connections(number, 0, b"")] == [1, 4, 7]
    assert connections(1, 1, b"") is None


def test_an_error_in_a_good_answer() -> None:
    """The error's XML comes with the status that was asked for."""
    with behind(always(error_answer(200, "InternalError"))) as (proxy, _), connect(proxy, 0.4) as sock:
        sock.sendall(GET)
        answer, _ = read(sock)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"<Error><Code>InternalError</Code>" in answer
