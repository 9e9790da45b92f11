"""One exchange over a socket: each timer ends what it is there for, and an answer that is cut is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from s3engine import errors
from s3engine.drive import drive
from s3engine.timers import MIN_RATE_WINDOW_S
from s3engine.transport import CompletedPart, Timeouts
from tests.wires import BIG, OK, PATIENT, Pair, get, ops, put, read, receive, reset, started


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_head_and_small_body_in_one_piece(pair: Pair) -> None:
    """A small request is sent whole at once, its answer read, and the connection may be used again."""
    exchange = put()
    wire = started(pair, exchange)
    assert (wire.sent, wire.wants_write, wire.drained_at) == (True, False, 100.0)
    assert read(pair.far, len(exchange.head) + 4) == exchange.head + b"body"
    assert receive(pair, wire, OK, 101.0)
    assert wire.finish()
    assert (wire.first_byte_at, wire.used) == (101.0, 1)


def test_first_byte_timer(pair: Pair) -> None:
    """A request that was sent whole and gets no answer ends by first_byte_s, not by stall_s."""
    wire = started(pair, put(), Timeouts(stall_s=1.0, first_byte_s=3.0, attempt_s=60.0))
    assert wire.overdue(102.9) is None
    late = wire.overdue(103.1)
    assert type(late) is errors.FirstByteTimeout
    assert late.timeout_s == 3.0
    assert "PutObject s3://bucket/key" in str(late)


def test_stall_timer_of_an_answer(pair: Pair) -> None:
    """An answer whose body stops moving ends by stall_s, counted from the last byte."""
    wire = started(pair, get(), Timeouts(stall_s=2.0, first_byte_s=1.0, attempt_s=60.0))
    assert not receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 100.5)
    assert not receive(pair, wire, b"c", 102.0)
    assert wire.overdue(103.9) is None
    assert type(wire.overdue(104.1)) is errors.StallTimeout


def test_stall_timer_of_a_body(pair: Pair) -> None:
    """A body that nobody reads ends by stall_s, though nothing of the answer is due yet."""
    wire = started(pair, put(bytes(BIG)), Timeouts(stall_s=2.0, first_byte_s=1.0, attempt_s=60.0))
    assert wire.wants_write
    wire.on_writable(101.0)
    late = wire.overdue(wire.moved_at + 2.1)
    assert type(late) is errors.StallTimeout
    assert wire.overdue(wire.moved_at + 1.9) is None


def test_attempt_timer_goes_before_all(pair: Pair) -> None:
    """An attempt that moves all the time still ends by attempt_s."""
    wire = started(pair, get(), Timeouts(stall_s=2.0, first_byte_s=1.0, attempt_s=4.0))
    receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 100.5)
    for step in range(7):
        assert not receive(pair, wire, b"x", 101.0 + step / 2)
        late = wire.overdue(101.0 + step / 2)
        assert (late is None) == (step < 7)
    assert type(wire.overdue(104.1)) is errors.AttemptTimeout


def test_slow_but_moving_lives(pair: Pair) -> None:
    """A body above the minimum rate lives for minutes, longer than any other timer but the attempt's."""
    wire = started(pair, get(), Timeouts(stall_s=10.0, first_byte_s=5.0, attempt_s=1e6))
    receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", 100.5)
    for second in range(0, 300, 5):
        assert not receive(pair, wire, bytes(6 * 1024), 101.0 + second)
        assert wire.overdue(101.0 + second) is None


def test_drip_is_killed(pair: Pair) -> None:
    """A body that drips below the minimum rate ends after one window, though it never stalls."""
    wire = started(pair, get(), Timeouts(stall_s=10.0, first_byte_s=5.0, attempt_s=1e6))
    receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", 100.5)
    late = None
    now = 101.0
    while late is None:
        assert now < 100.5 + 2 * MIN_RATE_WINDOW_S + 10
        assert not receive(pair, wire, b"x", now)
        late = wire.overdue(now)
        now += 5.0
    assert type(late) is errors.TooSlow


def test_waiting_long_for_the_answer_is_not_slow(pair: Pair) -> None:
    """The minimum rate counts from the first byte: an answer that began late is not killed as it begins."""
    wire = started(pair, get(), Timeouts(stall_s=10.0, first_byte_s=60.0, attempt_s=1e6))
    assert not receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 150.0)
    assert wire.overdue(150.1) is None
    assert not receive(pair, wire, b"x", 155.0)
    assert wire.overdue(155.1) is None


def test_spaces_of_a_long_copy_are_progress(pair: Pair) -> None:
    """A store that sends a space now and then while it puts parts together is not too slow."""
    exchange = ops.complete_multipart_upload("bucket", "key", "U", [CompletedPart(1, "e")])
    wire = started(pair, exchange, Timeouts(stall_s=10.0, first_byte_s=5.0, attempt_s=1e6))
    receive(pair, wire, b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", 100.5)
    for second in range(0, 200, 5):
        assert not receive(pair, wire, b" ", 101.0 + second)
        assert wire.overdue(101.0 + second) is None


def test_drive_kills_a_stall_in_real_time(pair: Pair) -> None:
    """The blocking driver looks at its timers by itself and closes the link."""
    pair.serve(lambda far: far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"))
    with pytest.raises(errors.StallTimeout):
        drive(get(), pair.link, Timeouts(stall_s=0.15, first_byte_s=5.0, attempt_s=5.0))
    assert pair.link.closed


def test_drive_kills_silence_in_real_time(pair: Pair) -> None:
    """Nothing at all in answer ends by the first-byte timer."""
    with pytest.raises(errors.FirstByteTimeout):
        drive(put(), pair.link, Timeouts(stall_s=5.0, first_byte_s=0.15, attempt_s=5.0))


@pytest.mark.parametrize("used", [0, 3])
def test_closed_without_an_answer(pair: Pair, used: int) -> None:
    """A connection that was used before and closes before it answers is stale; a fresh one is not."""
    pair.far.close()
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(put(), pair.link, PATIENT, used=used)
    assert caught.value.stale == bool(used)
    assert (caught.value.bucket, caught.value.key) == ("bucket", "key")


def test_reset_of_a_reused_connection(pair: Pair) -> None:
    """A reset before a byte of the answer, on a used connection, is stale as well."""
    reset(pair.far)
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(put(), pair.link, PATIENT, used=1)
    assert caught.value.stale


def test_closed_within_an_answer(pair: Pair) -> None:
    """Once a byte of the answer has come a lost connection is not stale: the store may have acted."""

    def work(far: socket.socket) -> None:
        far.sendall(b"HTTP/1.1 200 OK\r\nETag")
        far.shutdown(socket.SHUT_WR)

    pair.serve(work)
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(put(), pair.link, PATIENT, used=1)
    assert not caught.value.stale
