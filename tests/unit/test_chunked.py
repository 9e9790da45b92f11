"""A body with a trailer is framed as the AWS SDKs frame it, and sent so."""

from __future__ import annotations

import io
import itertools
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from s3engine import checksums, errors
from s3engine.chunked import CHUNK_BYTES, framed, framed_bytes
from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.file_body import FileBody
from s3engine.transport import FilePart, Timeouts
from s3engine_transports.raw import RawTransport

SIZES = [0, 1, 65536, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 77]


def data(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def botocores(body: bytes) -> bytes:
    wrapper = AwsChunkedWrapper(io.BytesIO(body), Crc32Checksum, "x-amz-checksum-crc32")
    return b"".join(iter(wrapper))


@pytest.mark.parametrize("size", SIZES)
def test_same_bytes_as_botocore(size: int) -> None:
    """The bytes of botocore's AwsChunkedWrapper, of the length told before."""
    body = data(size)
    out, checksum = framed(body, "crc32")
    assert out == botocores(body)
    assert len(out) == framed_bytes(size, "crc32")
    assert checksum == checksums.compute("crc32", body)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SIZES), st.lists(st.integers(1, 3 * CHUNK_BYTES), min_size=1, max_size=9))
def test_a_file_is_framed_like_bytes(size: int, pieces: list[int]) -> None:
    """However a file is cut into pieces while it is sent: the same bytes and checksum as in memory."""
    body = data(size)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"before" + body + b"behind")
        file.flush()
        source = FileBody()
        source.open(FilePart(file.name, 6, size), "crc32")
        out, checksum = b"", ""
        wanted = itertools.chain(pieces, itertools.repeat(CHUNK_BYTES))
        while source.framed:
            piece, checksum = source.next_framed(next(wanted))
            out += piece
    assert (out, checksum) == framed(body, "crc32")


def test_a_given_checksum_goes_as_it_is() -> None:
    """A whole checksum instead of an algorithm is sent, right or wrong, with the length that it makes."""
    out, checksum = framed(b"abc", "crc32:AAAAAA==")
    assert out == b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert len(out) == framed_bytes(3, "crc32:AAAAAA==")
    assert checksum == "crc32:AAAAAA=="


class Listener:
    """Takes one request and answers 200 with the given header lines."""

    def __init__(self, *lines: str) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.head = self.body = b""
        self._answer = "\r\n".join(["HTTP/1.1 200 OK", 'ETag: "e"', *lines, "Content-Length: 0", "", ""]).encode()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(10)
            came = b""
            while b"\r\n\r\n" not in came:
                came += sock.recv(65536)
            self.head, _, rest = came.partition(b"\r\n\r\n")
            (length,) = [int(line[16:]) for line in self.head.split(b"\r\n") if line.startswith(b"content-length: ")]
            while len(rest) < length:
                piece = sock.recv(1 << 20)
                if not piece:
                    break
                rest += piece
            self.body = rest
            sock.sendall(self._answer)

    def transport(self) -> RawTransport:
        url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        return RawTransport(TransportSettings(endpoint_url=url, credentials=Credentials("A", "S")))

    def close(self) -> None:
        self._thread.join(10)
        self.listener.close()


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES, 3 * CHUNK_BYTES + 77])
@pytest.mark.parametrize("in_memory", [True, False])
def test_sent_with_its_trailer(tmp_path: Path, size: int, in_memory: bool) -> None:
    """A file and bytes go out alike: framed, announced, and the checksum computed on the way is in the result."""
    body = data(size)
    (tmp_path / "f").write_bytes(b"before" + body + b"behind")
    part = FilePart(str(tmp_path / "f"), 6, size)
    listener = Listener()
    transport = listener.transport()
    headers = (("content-encoding", "gzip"),)
    result = transport.put_object("b", "k", body if in_memory else part, headers, trailer="crc32", timeouts=Timeouts())
    listener.close()
    transport.close()
    assert listener.body == botocores(body)
    assert result.checksum == checksums.compute("crc32", body)
    lines = listener.head.decode().split("\r\n")
    assert "content-encoding: gzip,aws-chunked" in lines
    assert f"x-amz-decoded-content-length: {size}" in lines
    assert "x-amz-trailer: x-amz-checksum-crc32" in lines
    assert "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER" in lines


def test_another_checksum_in_the_answer_is_a_mismatch(tmp_path: Path) -> None:
    """The store computed something else from what reached it: ChecksumMismatch."""
    (tmp_path / "f").write_bytes(b"abc")
    listener = Listener("x-amz-checksum-crc32: AAAAAA==")
    transport = listener.transport()
    with pytest.raises(errors.ChecksumMismatch, match="crc32:AAAAAA=="):
        transport.put_object("b", "k", FilePart(str(tmp_path / "f"), 0, 3), (), trailer="crc32", timeouts=Timeouts())
    listener.close()
    transport.close()


def test_a_changed_file_is_noticed_before_its_trailer(tmp_path: Path) -> None:
    """The last piece of a file that is not the planned one is never sent, so that no store can take it for whole."""
    path = tmp_path / "f"
    path.write_bytes(data(200_000))
    listener = Listener()
    transport = listener.transport()
    part = FilePart(str(path), 0, 200_000, path.stat().st_mtime_ns - 1, 200_000)
    with pytest.raises(errors.SourceChanged):
        transport.put_object("b", "k", part, (), trailer="crc32", timeouts=Timeouts())
    transport.close()
    listener.close()
    assert len(listener.body) < framed_bytes(200_000, "crc32")


def test_sha256_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SHA-256 that stands in the headers of a body is what the signature takes; elsewhere it is hashed."""
    transport = RawTransport(TransportSettings(endpoint_url="http://h:9", credentials=Credentials("A", "S")))
    checksum = checksums.compute("sha256", b"body").partition(":")[2]
    header = (("x-amz-checksum-sha256", checksum),)
    plain = transport.exchanges.put_object("b", "k", b"body", header).head
    monkeypatch.setattr("s3engine_transports.raw.requests.sha256_hex", lambda body: pytest.fail("hashed again"))
    assert transport.exchanges.put_object("b", "k", b"body", header).head == plain
    assert checksums.parse(f"sha256:{checksum}")[1].hex().encode() in plain
    with pytest.raises(errors.ConfigError, match="base64"):
        transport.exchanges.put_object("b", "k", b"body", (("x-amz-checksum-sha256", "?"),))


def test_framing_is_announced_without_credentials_too() -> None:
    """Nobody signs, but a store that is not told of the framing would store it with the body."""
    transport = RawTransport(TransportSettings(endpoint_url="http://localhost:1", credentials=None))
    exchange = transport.exchanges.put_object("bucket", "k", b"x", (), trailer="crc32")
    assert b"\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n" in exchange.head
    assert b"authorization" not in exchange.head
