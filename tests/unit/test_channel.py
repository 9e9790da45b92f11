"""The pipe between parent and worker: whole messages in order, no deadlock, and the end of a peer is noticed."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3engine.channel import Channel, ChannelClosed

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends."""
    one, other = socket.socketpair()
    ends = Channel(one), Channel(other)
    yield ends
    for end in ends:
        end.close()


def pump(ends: Pair, wanted: int) -> tuple[list[Any], list[Any]]:
    """Drive both ends in one thread until each has ``wanted`` messages: whoever blocks would hang here."""
    got: tuple[list[Any], list[Any]] = ([], [])
    selector = selectors.DefaultSelector()
    for number, end in enumerate(ends):
        selector.register(end, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
    while min(len(got[0]), len(got[1])) < wanted:
        for key, mask in selector.select(1):
            if mask & selectors.EVENT_READ:
                got[key.data].extend(ends[key.data].receive())
            if mask & selectors.EVENT_WRITE and ends[key.data].wants_write:
                ends[key.data].flush()
    return got


def test_both_may_write_megabytes(pair: Pair) -> None:
    """Two ends that write 20 MB to each other before either reads lock nobody up and lose nothing."""
    messages = [(n, bytes([n % 256]) * 1_000_000) for n in range(20)]
    for end in pair:
        for message in messages:
            end.send(message)
    assert pair[0].wants_write
    assert pair[1].wants_write
    assert pump(pair, 20) == (messages, messages)
    assert not pair[0].wants_write


def test_nothing_there_is_no_message(pair: Pair) -> None:
    """receive() on a quiet channel returns at once, with nothing."""
    assert list(pair[0].receive()) == []


def test_end_of_peer_comes_after_its_last_words(pair: Pair) -> None:
    """What a peer sent before it ended is received whole, then ChannelClosed is raised."""
    sent = [("last", n) for n in range(100)]  # fits into the kernel's buffer
    for message in sent:
        pair[0].send(message)
    pair[0].close()
    got: list[Any] = []
    with pytest.raises(ChannelClosed):  # noqa: PT012  (the loop ends by it alone)
        while True:
            for message in pair[1].receive():
                got.append(message)
    assert got == sent


def test_message_cut_by_death_is_dropped(pair: Pair) -> None:
    """Half a message of a peer that was killed is no message."""
    one, other = socket.socketpair()
    with one:
        one.sendall(b"\0\0\1\0half")
    channel = Channel(other)
    got: list[Any] = []
    with pytest.raises(ChannelClosed):  # noqa: PT012  (the loop ends by it alone)
        while True:
            got.extend(channel.receive())
    channel.close()
    assert got == []


def test_sending_to_nobody_raises(pair: Pair) -> None:
    """A peer that is gone is noticed by sending too."""
    pair[1].close()
    with pytest.raises(ChannelClosed):
        pair[0].send(bytes(100_000))


def test_closed_end_waits_for_nothing(pair: Pair) -> None:
    """Sending on an end that was closed raises, and leaves nothing that waits to be written."""
    pair[0].close()
    with pytest.raises(ChannelClosed):
        pair[0].send("late")
    assert not pair[0].wants_write


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(), st.text(max_size=50), st.binary(max_size=3000)), max_size=20), st.data())
def test_messages_arrive_whatever_the_pieces(messages: list[Any], data: st.DataObject) -> None:
    """However the stream is cut into pieces, the same messages come out in order."""
    one, other = socket.socketpair()
    with one, other:
        sender = Channel(one)
        for message in messages:
            sender.send(message)
        assert not sender.wants_write  # so much fits into the kernel's buffer
        one.shutdown(socket.SHUT_WR)
        stream = b"".join(iter(lambda: other.recv(1 << 20), b""))
        between, end = socket.socketpair()
        with between, end:
            receiver = Channel(end)
            got: list[Any] = []
            while stream:
                size = data.draw(st.integers(1, 5000))
                between.sendall(stream[:size])
                stream = stream[size:]
                got.extend(receiver.receive())
            receiver.close()
    assert got == messages


def test_descriptors_come_in_order(pair: Pair) -> None:
    """Descriptors arrive in the order of their messages, also among megabytes, and are closed where they came from."""
    import os

    one, other = pair
    before = os.listdir("/proc/self/fd")
    fds = []
    for number in range(40):
        read, write = os.pipe()
        os.write(write, bytes([number]))
        os.close(write)
        fds.append(read)
    for number, fd in enumerate(fds):
        one.send(("before", number, bytes(200_000)))
        one.send(("with", number), [fd])
    got: list[Any] = []
    while len(got) < 80:
        if one.wants_write:
            one.flush()
        got += list(other.receive())
    assert [message[:2] for message in got] == [(what, n) for n in range(40) for what in ("before", "with")]
    assert [os.read(fd, 1)[0] for fd in other.fds] == list(range(40))
    while other.fds:
        os.close(other.fds.popleft())
    assert os.listdir("/proc/self/fd") == before


def test_closing_lets_go_of_descriptors() -> None:
    """Those that did not go out, and those that nobody took, are closed with their end."""
    import os

    before = os.listdir("/proc/self/fd")
    left, right = socket.socketpair()
    one, other = Channel(left), Channel(right)
    one.send("taken by nobody", [os.open("/dev/null", os.O_RDONLY)])
    one.send(bytes(5_000_000))
    one.send("never sent", [os.open("/dev/null", os.O_RDONLY)])
    list(other.receive())
    assert other.fds
    one.close()
    other.close()
    assert os.listdir("/proc/self/fd") == before
