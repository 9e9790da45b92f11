"""Large bodies are announced to a store that has throttled: a refusal then costs no upload."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from s3engine import Engine, FileSource

MIB = 1024 * 1024
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
OK = b'HTTP/1.1 200 OK\r\nETag: "%032d"\r\nContent-Length: 0\r\n\r\n' % 0
EXPECT = b"\r\nexpect: 100-continue\r\n"
Answer = Callable[[int, bool], bytes]


def _head(file: BinaryIO) -> bytes:
    """The lines of a head; nothing when the connection ends."""
    lines = []
    while (line := file.readline()) and line != b"\r\n":
        lines.append(line)
    return b"".join(lines)


class Store:
    """Answers PUTs: ``answer(number, announced)`` before the body if it is announced, else after it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.bodies = 0
        self.puts: list[bool] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with sock, suppress(OSError), sock.makefile("rb") as file:
            while head := _head(file):
                head = b"\r\n" + head.lower()
                length = int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0] or b"0")
                announced = EXPECT in head
                self.puts.append(announced)
                answer = self._answer(len(self.puts), announced)
                if announced and answer:
                    sock.sendall(answer)
                    if not answer.startswith(b"HTTP/1.1 100"):
                        continue
                self.bodies += len(file.read(length))
                sock.sendall(OK if announced else answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two mebibytes, to be sent without credentials."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "f").write_bytes(b"x" * 2 * MIB)
    return str(tmp_path / "f")


def _upload(store: Store, file: str, count: int = 1, **settings: object) -> list[tuple[object, int]]:
    with Engine(
        endpoint_url=store.url, anonymous=True, workers=1, concurrency=1, checksum="none", retry_throttle_base_s=0.01,
        retry_base_s=0.01, **settings,  # type: ignore[arg-type]
    ) as engine:  # fmt: skip
        reports = list(engine.upload("bucket", [FileSource(file, f"k{n}") for n in range(count)]))
    store.close()
    return [(report.error, report.attempts) for report in reports]


def test_refused_body_is_not_sent(file: str) -> None:
    """Throttled once with the whole body sent, after that three times at the cost of a head each."""
    store = Store(lambda number, announced: SLOW_DOWN if number < 5 else b"HTTP/1.1 100 Continue\r\n\r\n")
    assert _upload(store, file) == [(None, 5)]
    assert store.puts == [False, True, True, True, True]
    assert store.bodies == 2 * 2 * MIB


def test_store_that_says_nothing_gets_the_body(file: str) -> None:
    """100 Continue does not come: the body is sent within a second, and after three times unannounced."""
    store = Store(lambda number, announced: SLOW_DOWN if number == 1 else (b"" if announced else OK))
    began = time.monotonic()
    assert {error for error, _ in _upload(store, file, 6)} == {None}
    assert time.monotonic() - began < 10
    assert store.puts == [False, True, True, True, False, False, False]


def test_expectation_that_fails_is_free(file: str) -> None:
    """417: sent again at once without asking, and no attempt is counted."""
    failed = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
    store = Store(lambda number, announced: failed if announced else (SLOW_DOWN if number == 1 else OK))
    reports = _upload(store, file, 2, max_attempts=2)
    assert [error for error, _ in reports] == [None, None]
    assert store.puts == [False, True, False, False]


def test_bodies_are_not_announced_otherwise(file: str) -> None:
    """A store that has not throttled is not asked: that would cost a round trip each."""
    store = Store(lambda number, announced: OK)
    assert _upload(store, file, 3) == [(None, 1)] * 3
    assert store.puts == [False] * 3
