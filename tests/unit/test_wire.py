"""One exchange over a socket: each timer ends what it is there for, and files go out as they were planned."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from s3engine import errors
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.drive import drive
from s3engine.sinks import MemorySink
from s3engine.timers import MIN_RATE_WINDOW_S
from s3engine.transport import Body, CompletedPart, FilePart, Timeouts
from s3engine.wire import RECEIVE_BYTES, Wire
from s3engine_transports.raw import RawTransport
from tests.helpers import eventually

PATIENT = Timeouts(connect_s=5, stall_s=5, first_byte_s=5, attempt_s=10)
OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 46\r\n\r\n<Error><Code>EntityTooLarge</Code></Error>    "
BIG = 8 * 1024 * 1024
ops = RawTransport(
    TransportSettings(endpoint_url="http://127.0.0.1:9", credentials=Credentials("A", "S"), payload_signing="never")
).exchanges
_buffer = memoryview(bytearray(RECEIVE_BYTES))


class _Link:
    """A connection of this test, as a transport would hand it out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.sock.close()

    def park(self) -> None:
        raise AssertionError("a driver does not park")


class Pair:
    """Both ends of a TCP connection; ``serve`` runs a function on the far end in a thread."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            near = socket.socket()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            near.connect(listener.getsockname())
            self.far, _ = listener.accept()
        self.far.settimeout(10)
        self.link = _Link(near)
        self._threads: list[threading.Thread] = []

    def serve(self, work: Callable[[socket.socket], None]) -> None:
        thread = threading.Thread(target=work, args=(self.far,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self.far.close()
        self.link.sock.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def _put(body: Body = b"body") -> Any:
    return ops.put_object("bucket", "key", body, ())


def _get() -> Any:
    return ops.get_object("bucket", "key", MemorySink())


def _started(pair: Pair, exchange: Any, timeouts: Timeouts = PATIENT, now: float = 100.0) -> Wire:
    wire = Wire(pair.link)
    wire.start(exchange, timeouts, now)
    return wire


def _read(far: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = far.recv(size - len(data))
        assert piece, f"closed after {len(data)} of {size} bytes"
        data += piece
    return data


def _receive(pair: Pair, wire: Wire, data: bytes, now: float) -> bool:
    """Send from the far end and have it received at ``now``."""
    pair.far.sendall(data)
    wire.sock.settimeout(5)
    done = wire.on_readable(_buffer, now)
    wire.sock.setblocking(False)
    return done


def _reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


def test_head_and_small_body_in_one_piece(pair: Pair) -> None:
    """A small request is sent whole at once, its answer read, and the connection may be used again."""
    exchange = _put()
    wire = _started(pair, exchange)
    assert (wire.sent, wire.wants_write, wire.drained_at) == (True, False, 100.0)
    assert _read(pair.far, len(exchange.head) + 4) == exchange.head + b"body"
    assert _receive(pair, wire, OK, 101.0)
    assert wire.finish()
    assert (wire.first_byte_at, wire.used) == (101.0, 1)


def test_first_byte_timer(pair: Pair) -> None:
    """A request that was sent whole and gets no answer ends by first_byte_s, not by stall_s."""
    wire = _started(pair, _put(), Timeouts(stall_s=1.0, first_byte_s=3.0, attempt_s=60.0))
    assert wire.overdue(102.9) is None
    late = wire.overdue(103.1)
    assert type(late) is errors.FirstByteTimeout
    assert late.timeout_s == 3.0
    assert "PutObject s3://bucket/key" in str(late)


def test_stall_timer_of_an_answer(pair: Pair) -> None:
    """An answer whose body stops moving ends by stall_s, counted from the last byte."""
    wire = _started(pair, _get(), Timeouts(stall_s=2.0, first_byte_s=1.0, attempt_s=60.0))
    assert not _receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 100.5)
    assert not _receive(pair, wire, b"c", 102.0)
    assert wire.overdue(103.9) is None
    assert type(wire.overdue(104.1)) is errors.StallTimeout


def test_stall_timer_of_a_body(pair: Pair) -> None:
    """A body that nobody reads ends by stall_s, though nothing of the answer is due yet."""
    wire = _started(pair, _put(bytes(BIG)), Timeouts(stall_s=2.0, first_byte_s=1.0, attempt_s=60.0))
    assert wire.wants_write
    wire.on_writable(101.0)
    late = wire.overdue(wire.moved_at + 2.1)
    assert type(late) is errors.StallTimeout
    assert wire.overdue(wire.moved_at + 1.9) is None


def test_attempt_timer_goes_before_all(pair: Pair) -> None:
    """An attempt that moves all the time still ends by attempt_s."""
    wire = _started(pair, _get(), Timeouts(stall_s=2.0, first_byte_s=1.0, attempt_s=4.0))
    _receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 100.5)
    for step in range(7):
        assert not _receive(pair, wire, b"x", 101.0 + step / 2)
        late = wire.overdue(101.0 + step / 2)
        assert (late is None) == (step < 7)
    assert type(wire.overdue(104.1)) is errors.AttemptTimeout


def test_slow_but_moving_lives(pair: Pair) -> None:
    """A body above the minimum rate lives for minutes, longer than any other timer but the attempt's."""
    wire = _started(pair, _get(), Timeouts(stall_s=10.0, first_byte_s=5.0, attempt_s=1e6))
    _receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", 100.5)
    for second in range(0, 300, 5):
        assert not _receive(pair, wire, bytes(6 * 1024), 101.0 + second)
        assert wire.overdue(101.0 + second) is None


def test_drip_is_killed(pair: Pair) -> None:
    """A body that drips below the minimum rate ends after one window, though it never stalls."""
    wire = _started(pair, _get(), Timeouts(stall_s=10.0, first_byte_s=5.0, attempt_s=1e6))
    _receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", 100.5)
    late = None
    now = 101.0
    while late is None:
        assert now < 100.5 + 2 * MIN_RATE_WINDOW_S + 10
        assert not _receive(pair, wire, b"x", now)
        late = wire.overdue(now)
        now += 5.0
    assert type(late) is errors.TooSlow


def test_waiting_long_for_the_answer_is_not_slow(pair: Pair) -> None:
    """The minimum rate counts from the first byte: an answer that began late is not killed as it begins."""
    wire = _started(pair, _get(), Timeouts(stall_s=10.0, first_byte_s=60.0, attempt_s=1e6))
    assert not _receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 150.0)
    assert wire.overdue(150.1) is None
    assert not _receive(pair, wire, b"x", 155.0)
    assert wire.overdue(155.1) is None


def test_spaces_of_a_long_copy_are_progress(pair: Pair) -> None:
    """A store that sends a space now and then while it puts parts together is not too slow."""
    exchange = ops.complete_multipart_upload("bucket", "key", "U", [CompletedPart(1, "e")])
    wire = _started(pair, exchange, Timeouts(stall_s=10.0, first_byte_s=5.0, attempt_s=1e6))
    _receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", 100.5)
    for second in range(0, 200, 5):
        assert not _receive(pair, wire, b" ", 101.0 + second)
        assert wire.overdue(101.0 + second) is None


def test_drive_kills_a_stall_in_real_time(pair: Pair) -> None:
    """The blocking driver looks at its timers by itself and closes the link."""
    pair.serve(lambda far: far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"))
    with pytest.raises(errors.StallTimeout):
        drive(_get(), pair.link, Timeouts(stall_s=0.15, first_byte_s=5.0, attempt_s=5.0))
    assert pair.link.closed


def test_drive_kills_silence_in_real_time(pair: Pair) -> None:
    """Nothing at all in answer ends by the first-byte timer."""
    with pytest.raises(errors.FirstByteTimeout):
        drive(_put(), pair.link, Timeouts(stall_s=5.0, first_byte_s=0.15, attempt_s=5.0))


@pytest.mark.parametrize("used", [0, 3])
def test_closed_without_an_answer(pair: Pair, used: int) -> None:
    """A connection that was used before and closes before it answers is stale; a fresh one is not."""
    pair.far.close()
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(_put(), pair.link, PATIENT, used=used)
    assert caught.value.stale == bool(used)
    assert (caught.value.bucket, caught.value.key) == ("bucket", "key")


def test_reset_of_a_reused_connection(pair: Pair) -> None:
    """A reset before a byte of the answer, on a used connection, is stale as well."""
    _reset(pair.far)
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(_put(), pair.link, PATIENT, used=1)
    assert caught.value.stale


def test_closed_within_an_answer(pair: Pair) -> None:
    """Once a byte of the answer has come a lost connection is not stale: the store may have acted."""

    def work(far: socket.socket) -> None:
        far.sendall(b"HTTP/1.1 200 OK\r\nETag")
        far.shutdown(socket.SHUT_WR)

    pair.serve(work)
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(_put(), pair.link, PATIENT, used=1)
    assert not caught.value.stale


@pytest.mark.parametrize("from_file", [False, True])
def test_large_bodies_go_out_whole(pair: Pair, tmp_path: Path, from_file: bool) -> None:
    """Bodies larger than all buffers, from memory or by sendfile, arrive byte for byte and leave a good connection."""
    data = os.urandom(3 * 1024 * 1024)
    body: Body = data
    if from_file:
        path = tmp_path / "f"
        path.write_bytes(b"skipped" + data + b"rest")
        status = path.stat()
        body = FilePart(str(path), 7, len(data), status.st_mtime_ns, status.st_size)
    exchange = _put(body)
    got: list[bytes] = []

    def work(far: socket.socket) -> None:
        got.append(_read(far, len(exchange.head) + len(data)))
        far.sendall(OK)

    pair.serve(work)
    result, reusable = drive(exchange, pair.link, PATIENT)
    assert (result.etag, reusable) == ("e", True)
    assert got[0] == exchange.head + data


def test_empty_file(pair: Pair, tmp_path: Path) -> None:
    """An empty file is a head with length 0."""
    (tmp_path / "f").write_bytes(b"")
    exchange = _put(FilePart(str(tmp_path / "f"), 0, 0))

    def work(far: socket.socket) -> None:
        _read(far, len(exchange.head))
        far.sendall(OK)

    pair.serve(work)
    assert drive(exchange, pair.link, PATIENT)[0].etag == "e"


def _drain(far: socket.socket) -> None:
    try:
        while far.recv(65536):
            pass
    except OSError:
        pass


@pytest.mark.parametrize("change", ["shrunk", "grown", "touched"])
def test_a_file_that_changed(pair: Pair, tmp_path: Path, change: str) -> None:
    """A file that is shorter, longer or newer than planned raises SourceChanged with its name, never a success."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    status = path.stat()
    part = FilePart(str(path), 0, 1000, status.st_mtime_ns, 1000)
    if change == "shrunk":
        path.write_bytes(b"x" * 999)
    elif change == "grown":
        path.write_bytes(b"x" * 1001)
    else:
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns + 1))
    pair.serve(_drain)
    with pytest.raises(errors.SourceChanged, match=str(path)):
        drive(_put(part), pair.link, PATIENT)
    assert pair.link.closed


def test_a_file_that_changes_while_it_is_sent_never_leaves_whole(pair: Pair, tmp_path: Path) -> None:
    """A file that is written to in the middle of sending raises SourceChanged before its last byte has left."""
    path = tmp_path / "f"
    path.write_bytes(bytes(BIG))
    status = path.stat()
    wire = _started(pair, _put(FilePart(str(path), 0, BIG, status.st_mtime_ns, BIG)))
    assert wire.wants_write
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns + 1))
    got: list[int] = []

    def count(far: socket.socket) -> None:
        with suppress(ConnectionResetError):
            while data := far.recv(65536):
                got.append(len(data))

    def ends() -> bool:
        wire.on_writable(101.0)
        return wire.sent

    pair.serve(count)
    with pytest.raises(errors.SourceChanged, match=str(path)):
        eventually(ends)
    wire.close()
    pair.close()
    assert BIG / 2 < sum(got) < BIG


def test_a_file_that_shrinks_while_it_is_sent(pair: Pair, tmp_path: Path) -> None:
    """A file cut in the middle of sending raises SourceChanged."""
    path = tmp_path / "f"
    path.write_bytes(bytes(BIG))
    wire = _started(pair, _put(FilePart(str(path), 0, BIG)))
    assert wire.wants_write
    os.truncate(path, 1000)
    pair.serve(_drain)
    wire.sock.settimeout(5)
    with pytest.raises(errors.SourceChanged, match="shrank"):
        wire.on_writable(101.0)
    wire.close()


def test_files_that_cannot_be_read(pair: Pair, tmp_path: Path) -> None:
    """A missing file and a folder are named as what they are, not as a lost connection."""
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory|Invalid")):
        made = Pair()
        with pytest.raises(errors.SourceError, match=f"{path.name}.*({reason})"):
            drive(_put(FilePart(str(path), 0, 5)), made.link, PATIENT)
        assert made.link.closed
        made.close()


@pytest.mark.parametrize("from_file", [False, True])
def test_no_descriptor_is_left(tmp_path: Path, from_file: bool) -> None:
    """After a failed attempt neither socket nor file stays open."""
    path = tmp_path / "f"
    path.write_bytes(bytes(BIG))
    body: Body = FilePart(str(path), 0, BIG) if from_file else bytes(BIG)
    before = len(os.listdir("/proc/self/fd"))
    made = Pair()
    with pytest.raises(errors.StallTimeout):
        drive(_put(body), made.link, Timeouts(stall_s=0.1, first_byte_s=5, attempt_s=5))
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("from_file", [False, True])
def test_answer_before_the_body_was_sent(pair: Pair, tmp_path: Path, from_file: bool) -> None:
    """An early success is believed, but the connection, in the middle of a body, is not used again."""
    body: Body = bytes(BIG)
    if from_file:
        (tmp_path / "f").write_bytes(bytes(BIG))
        body = FilePart(str(tmp_path / "f"), 0, BIG)
    pair.far.sendall(OK)
    result, reusable = drive(_put(body), pair.link, PATIENT)
    assert (result.etag, reusable) == ("e", False)
    assert pair.link.closed


@pytest.mark.parametrize("pieces", [1, 3])
def test_early_refusal_is_read_instead_of_the_reset(pair: Pair, pieces: int) -> None:
    """A store that refuses a large body and closes: its reason is reported, not the broken connection."""

    def work(far: socket.socket) -> None:
        far.recv(1000)
        step = -(-len(REFUSED) // pieces)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(REFUSED), step):
            far.sendall(REFUSED[start : start + step])
        far.close()  # with unread bytes: a reset follows

    pair.serve(work)
    with pytest.raises(errors.InvalidRequest, match="EntityTooLarge"):
        drive(_put(bytes(BIG)), pair.link, PATIENT)


def test_refusal_that_was_there_before_the_body(pair: Pair) -> None:
    """The same where answer and reset came before the first byte of the body was written."""
    pair.far.sendall(REFUSED)
    pair.far.close()
    with pytest.raises(errors.InvalidRequest, match="EntityTooLarge"):
        drive(_put(bytes(BIG)), pair.link, PATIENT)


def test_reset_while_sending_without_a_word(pair: Pair) -> None:
    """A reset in the middle of a body without an answer is a lost connection, not stale on a fresh one."""

    def work(far: socket.socket) -> None:
        far.recv(1000)
        _reset(far)

    pair.serve(work)
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(_put(bytes(BIG)), pair.link, PATIENT)
    assert not caught.value.stale
