"""The fault proxy does what the names of its faults say, and nothing when there is none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import urllib3

from s3engine.embedded import EmbeddedServer
from tests.faults import (
    CloseIdle,
    CutAnswer,
    Drip,
    Fault,
    FaultProxy,
    FlipBit,
    Latency,
    Plan,
    Reset,
    Respond,
    Stall,
    StallAnswer,
    always,
    first,
    matching,
    on_accept,
    script,
)
from tests.helpers import S3Probe, eventually

BODY = b"0123456789" * 100_000
Through = Callable[..., tuple[FaultProxy, S3Probe]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n"


@pytest.fixture
def through(seaweed: EmbeddedServer) -> Iterator[Through]:
    """Make a proxy with a plan in front of ``seaweed``, and a client that goes through it."""
    with ExitStack() as stack:

        def make(plan: Plan | None, timeout_s: float = 10.0) -> tuple[FaultProxy, S3Probe]:
            proxy = stack.enter_context(FaultProxy("127.0.0.1", seaweed.port, plan))
            probe = S3Probe(proxy.endpoint_url, seaweed.access_key, seaweed.secret_key, timeout_s)
            return proxy, stack.enter_context(probe)

        yield make


def test_without_a_fault_all_passes(through: Through, bucket: str) -> None:
    """Signed requests of every kind pass on one kept-alive connection and are counted."""
    proxy, probe = through(None)
    probe.put(bucket, "k", BODY)
    assert probe.get(bucket, "k") == BODY
    assert (probe.head(bucket, "k") or {})["content-length"] == str(len(BODY))
    assert probe.list_keys(bucket) == ["k"]
    probe.delete(bucket, "k")
    assert probe.get(bucket, "k") is None
    log = proxy.log
    assert (log.connections, log.requests, log.answers, dict(log.faults)) == (1, 6, 6, {})
    assert log.request_lines[0] == f"PUT /{bucket}/k HTTP/1.1"


def test_expect_continue_passes(through: Through, bucket: str) -> None:
    """An interim 100 answer reaches the client before it sends the body, and the final answer follows."""
    proxy, probe = through(None)
    probe.put(bucket, "k", BODY[:5], headers={"Expect": "100-continue"})
    assert probe.get(bucket, "k") == BODY[:5]
    assert proxy.log.answers == 2


def test_chunked_answer_passes_unchanged() -> None:
    """A chunked answer with extensions and trailers arrives byte for byte and leaves the connection usable."""
    with _Canned(CHUNKED) as port, FaultProxy("127.0.0.1", port) as proxy, _connect(proxy) as sock:
        for _ in range(2):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert _read(sock, len(CHUNKED)) == CHUNKED
    assert (proxy.log.connections, proxy.log.answers) == (1, 2)


def test_chunked_answer_is_broken_in_its_payload() -> None:
    """Offsets count bytes of the body, not the framing of chunks."""
    with (
        _Canned(CHUNKED) as port,
        FaultProxy("127.0.0.1", port, always(FlipBit(at=3))) as proxy,
        _connect(proxy) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert _read(sock, len(CHUNKED)) == CHUNKED.replace(b"de", b"ee")


def test_chunked_request_passes_unchanged() -> None:
    """A chunked request arrives whole, and the next request on the connection is found."""
    body = b"3\r\nabc\r\n0\r\n\r\n"
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    with _Canned(answer, end=b"0\r\n\r\n") as port, FaultProxy("127.0.0.1", port) as proxy, _connect(proxy) as sock:
        for _ in range(2):
            sock.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            assert _read(sock, len(answer)) == answer
    assert proxy.log.requests == 2


def test_respond_answers_without_the_server(through: Through, bucket: str) -> None:
    """The first n requests get the made-up answer on a connection that stays; the store never saw them."""
    proxy, probe = through(first(2, Respond(503, (("Retry-After", "7"),), b"<Error/>")))
    for _ in range(2):
        answer = probe.request("PUT", f"/{bucket}/k", body=BODY)
        assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "7", b"<Error/>")
    assert probe.list_keys(bucket) == []
    assert proxy.log.connections == 1
    assert proxy.log.faults["Respond"] == 2


def test_early_answer_comes_before_the_body(through: Through, bucket: str) -> None:
    """An early answer is there though the body was never sent, and the connection ends."""
    proxy, _ = through(always(Respond(400, early=True)))
    with _connect(proxy) as sock:
        sock.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        assert _read_to_end(sock).startswith(b"HTTP/1.1 400 ")


def test_stall_on_accept_is_silent(through: Through) -> None:
    """A connection stalled on accept opens, and no byte of an answer ever comes."""
    _, probe = through(on_accept(1, Stall()), timeout_s=0.3)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        probe.request("GET", "/")
    assert probe.request("GET", "/").status == 200


def test_stall_of_a_request_takes_no_more_of_it(through: Through, bucket: str) -> None:
    """A request stalled on its way up can be written only as far as buffers reach."""
    proxy, _ = through(always(Stall(after_bytes=1000)))
    with _connect(proxy) as sock:
        sock.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(100_000_000))


def test_stall_of_an_answer_stops_in_its_body() -> None:
    """An answer stalled on its way down gives its head and just so many bytes, and the connection stays open."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    stall = always(Stall(after_bytes=1234, direction="down"))
    with _Canned(head + BODY) as port, FaultProxy("127.0.0.1", port, stall) as proxy, _connect(proxy) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert _read(sock, len(head) + 1234) == head + BODY[:1234]
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    assert proxy.log.answers == 0


def test_stalled_answer_was_carried_out(through: Through, bucket: str, probe: S3Probe) -> None:
    """The store does what was asked, and no byte of the answer comes."""
    _, slow = through(always(StallAnswer()), timeout_s=0.5)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        slow.put(bucket, "k", b"v")
    assert probe.get(bucket, "k") == b"v"


def test_stalled_answer_without_the_server(through: Through, bucket: str, probe: S3Probe) -> None:
    """With forward=False the store never hears of the request."""
    _, slow = through(always(StallAnswer(forward=False)), timeout_s=0.5)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        slow.put(bucket, "k", b"v")
    assert probe.get(bucket, "k") is None


@pytest.mark.parametrize("plan", [always(Latency(0.4)), on_accept(1, Latency(0.4))])
def test_latency_delays_the_answer(through: Through, plan: Plan) -> None:
    """The answer is whole and good, and late."""
    _, probe = through(plan)
    started_s = time.monotonic()
    assert probe.request("GET", "/").status == 200
    assert time.monotonic() - started_s >= 0.4


def test_drip_slows_the_answer(through: Through, bucket: str, probe: S3Probe) -> None:
    """The body of the answer takes its size divided by the rate, and is whole."""
    probe.put(bucket, "k", BODY[:50_000])
    _, slow = through(always(Drip(100_000)))
    started_s = time.monotonic()
    assert slow.get(bucket, "k") == BODY[:50_000]
    assert time.monotonic() - started_s >= 0.45


def test_drip_slows_the_request(through: Through, bucket: str, probe: S3Probe) -> None:
    """The body of the request takes its size divided by the rate, and is stored whole."""
    _, slow = through(always(Drip(100_000, "up")))
    started_s = time.monotonic()
    slow.put(bucket, "k", BODY[:50_000])
    assert time.monotonic() - started_s >= 0.45
    assert probe.get(bucket, "k") == BODY[:50_000]


def test_cut_answer_ends_in_its_body(through: Through, bucket: str, probe: S3Probe) -> None:
    """The connection ends after just so many bytes of the body."""
    probe.put(bucket, "k", BODY)
    proxy, cut = through(always(CutAnswer(70_001)))
    with pytest.raises(urllib3.exceptions.ProtocolError, match="70001 bytes read"):
        cut.get(bucket, "k")
    assert proxy.log.answers == 0


def test_cut_answer_before_its_head(through: Through, bucket: str, probe: S3Probe) -> None:
    """The store does what was asked, and the connection ends without a byte of the answer."""
    _, cut = through(always(CutAnswer(head=False)))
    with pytest.raises(urllib3.exceptions.ProtocolError, match="without response"):
        cut.put(bucket, "k", b"v")
    assert probe.get(bucket, "k") == b"v"


@pytest.mark.parametrize("plan", [always(Reset()), on_accept(1, Reset())])
def test_reset_is_a_reset(through: Through, plan: Plan) -> None:
    """The client sees RST, not an end of the stream."""
    proxy, _ = through(plan)
    with pytest.raises(ConnectionResetError):
        _ask(proxy)


def test_reset_after_the_server_did_it(through: Through, bucket: str, probe: S3Probe) -> None:
    """With forward=True the store has carried the request out before the RST."""
    _, cut = through(always(Reset(forward=True)))
    with pytest.raises(urllib3.exceptions.ProtocolError, match="reset"):
        cut.put(bucket, "k", b"v")
    assert probe.get(bucket, "k") == b"v"


def test_flipped_bit_of_an_answer(through: Through, bucket: str, probe: S3Probe) -> None:
    """One bit of the body differs, at the place asked for, and nothing else."""
    probe.put(bucket, "k", BODY)
    _, bad = through(always(FlipBit(at=500_000)))
    got = bad.get(bucket, "k")
    assert got == BODY[:500_000] + b"1" + BODY[500_001:]


def test_flipped_bit_of_a_request(through: Through, bucket: str, probe: S3Probe) -> None:
    """One bit of what is stored differs from what was sent."""
    _, bad = through(always(FlipBit(at=2, direction="up")))
    bad.put(bucket, "k", b"0000")
    assert probe.get(bucket, "k") == b"0010"


def test_close_idle_closes_unannounced(through: Through) -> None:
    """Each answer is whole and promises to keep the connection; each request needs a new one."""
    proxy, probe = through(always(CloseIdle()))
    for _ in range(3):
        answer = probe.request("GET", "/")
        assert (answer.status, answer.headers.get("connection", "")) == (200, "")
        eventually(lambda: proxy.log.answers == proxy.log.requests)
        time.sleep(0.05)
    assert proxy.log.connections == 3


def test_script_and_matching_choose_requests(through: Through, bucket: str) -> None:
    """A script gives each request its fault in order; matching counts only the requests it means."""
    faults: list[Fault | None] = [Respond(500), None, Respond(503)]
    _, probe = through(matching(b"PUT ", script(faults)))
    statuses = []
    for _ in range(4):
        statuses.append(probe.request("PUT", f"/{bucket}/k", body=b"v").status)
        assert probe.request("GET", f"/{bucket}", "list-type=2").status == 200
    assert statuses == [500, 200, 503, 200]


def test_error_in_a_plan_is_raised(seaweed: EmbeddedServer) -> None:
    """A plan that fails makes the test fail, not hang."""

    def plan(_connection_no: int, _request_no: int, _head: bytes) -> Fault | None:
        raise LookupError("no such plan")

    with (
        pytest.raises(LookupError, match="no such plan"),
        FaultProxy("127.0.0.1", seaweed.port, plan) as proxy,
        _connect(proxy) as sock,
    ):
        assert _read_to_end(sock) == b""


def test_proxy_leaves_nothing(through: Through, seaweed: EmbeddedServer) -> None:
    """After the block port, thread and stalled connections are gone."""
    threads = threading.active_count()
    with FaultProxy("127.0.0.1", seaweed.port, on_accept(1, Stall())) as proxy:
        sock = _connect(proxy)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        eventually(lambda: proxy.log.faults["Stall"] == 1)
    with sock, suppress(ConnectionResetError):
        assert _read_to_end(sock) == b""
    assert threading.active_count() == threads
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", proxy.port)) != 0


def test_client_that_leaves_frees_the_server() -> None:
    """A client that goes in the middle of its body ends the connection to the server too."""
    canned = _Canned(b"", end=b"never")
    with canned as port, FaultProxy("127.0.0.1", port) as proxy:
        with _connect(proxy) as sock:
            sock.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc")
            eventually(lambda: canned.received.endswith(b"abc"))
        eventually(lambda: canned.left)
        assert canned.left


class _Canned:
    """A server for one connection that gives the same bytes in answer to everything that ends with ``end``."""

    def __init__(self, answer: bytes, end: bytes = b"\r\n\r\n") -> None:
        self.received = b""
        self.left = False
        self._answer = answer
        self._end = end
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        self._listener.settimeout(10)
        connection, _ = self._listener.accept()
        with connection, suppress(OSError):
            while data := connection.recv(4096):
                self.received += data
                if self.received.endswith(self._end):
                    connection.sendall(self._answer)
        self.left = True


def _ask(proxy: FaultProxy) -> bytes:
    with _connect(proxy) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        return _read_to_end(sock)


def _connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def _read(sock: socket.socket, size_bytes: int) -> bytes:
    data = b""
    while len(data) < size_bytes and (piece := sock.recv(size_bytes - len(data))):
        data += piece
    return data


def _read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(64 * 1024):
        data += piece
    return data
