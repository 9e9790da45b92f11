"""One exchange over a socket: bodies go out as they were planned, files too, and early answers are read."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from s3engine import errors
from s3engine.drive import drive
from s3engine.transport import Body, FilePart, Timeouts
from tests.helpers import eventually
from tests.wires import BIG, OK, PATIENT, REFUSED, Pair, put, read, reset, started


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


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
    exchange = put(body)
    got: list[bytes] = []

    def work(far: socket.socket) -> None:
        got.append(read(far, len(exchange.head) + len(data)))
        far.sendall(OK)

    pair.serve(work)
    result, reusable = drive(exchange, pair.link, PATIENT)
    assert (result.etag, reusable) == ("e", True)
    assert got[0] == exchange.head + data


def test_empty_file(pair: Pair, tmp_path: Path) -> None:
    """An empty file is a head with length 0."""
    (tmp_path / "f").write_bytes(b"")
    exchange = put(FilePart(str(tmp_path / "f"), 0, 0))

    def work(far: socket.socket) -> None:
        read(far, len(exchange.head))
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
        drive(put(part), pair.link, PATIENT)
    assert pair.link.closed


def test_a_file_that_changes_while_it_is_sent_never_leaves_whole(pair: Pair, tmp_path: Path) -> None:
    """A file that is written to in the middle of sending raises SourceChanged before its last byte has left."""
    path = tmp_path / "f"
    path.write_bytes(bytes(BIG))
    status = path.stat()
    wire = started(pair, put(FilePart(str(path), 0, BIG, status.st_mtime_ns, BIG)))
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
    wire = started(pair, put(FilePart(str(path), 0, BIG)))
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
            drive(put(FilePart(str(path), 0, 5)), made.link, PATIENT)
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
        drive(put(body), made.link, Timeouts(stall_s=0.1, first_byte_s=5, attempt_s=5))
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("from_file", [False, True])
def test_answer_before_the_body_was_sent(pair: Pair, tmp_path: Path, from_file: bool) -> None:
    """A success that comes before the body has left is none to it, and the connection is closed."""
    body: Body = bytes(BIG)
    if from_file:
        (tmp_path / "f").write_bytes(bytes(BIG))
        body = FilePart(str(tmp_path / "f"), 0, BIG)
    pair.far.sendall(OK)
    with pytest.raises(errors.ServerFault, match="a good answer came before the request was sent"):
        drive(put(body), pair.link, PATIENT)
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
        drive(put(bytes(BIG)), pair.link, PATIENT)


def test_refusal_that_was_there_before_the_body(pair: Pair) -> None:
    """The same where answer and reset came before the first byte of the body was written."""
    pair.far.sendall(REFUSED)
    pair.far.close()
    with pytest.raises(errors.InvalidRequest, match="EntityTooLarge"):
        drive(put(bytes(BIG)), pair.link, PATIENT)


def test_reset_while_sending_without_a_word(pair: Pair) -> None:
    """A reset in the middle of a body without an answer is a lost connection, not stale on a fresh one."""

    def work(far: socket.socket) -> None:
        far.recv(1000)
        reset(far)

    pair.serve(work)
    with pytest.raises(errors.ConnectionLost) as caught:
        drive(put(bytes(BIG)), pair.link, PATIENT)
    assert not caught.value.stale
