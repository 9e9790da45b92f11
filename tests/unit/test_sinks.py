"""Where bodies of downloads go."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine import checksums
from s3engine.errors import PreconditionFailed, S3EngineError, ServerFault, SinkError
from s3engine.sinks import FileSink, MemorySink, PartSink, temporary_path
from s3engine.stored import Stored
from s3engine.transport import GetResult


class TooLarge(S3EngineError):
    """What a FileSink raises here for objects above its limit."""


def _info(total: int, offset: int = 0, etag: str = "e") -> GetResult:
    return GetResult(total - offset, etag, offset, total)


def _file_sink(path: Path, limit: int = 0) -> FileSink:
    return FileSink(str(path), "token", limit, TooLarge)


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_memory_keeps_copies(pieces: list[bytes]) -> None:
    """The body is what was written, though the buffer is used again."""
    sink = MemorySink()
    sink.begin(_info(sum(map(len, pieces))))
    for piece in pieces:
        buffer = bytearray(piece)
        sink.write(memoryview(buffer))
        buffer[:] = b"\xff" * len(buffer)
    assert sink.body() == b"".join(pieces)
    assert sink.received == len(sink.body())


def test_memory_resumes_or_starts_anew() -> None:
    """An answer that goes on where the last one broke off is appended; any other replaces it."""
    sink = MemorySink()
    sink.begin(_info(4))
    sink.write(memoryview(b"ab"))
    sink.begin(_info(4, offset=2))
    sink.write(memoryview(b"cd"))
    assert sink.body() == b"abcd"
    sink.begin(_info(4))
    sink.write(memoryview(b"wxyz"))
    assert sink.body() == b"wxyz"


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_file_appears_whole_or_not_at_all(tmp_path: Path, size: int) -> None:
    """Until commit nothing stands under the name; afterwards the whole body, and no temporary file."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    sink = _file_sink(path)
    body = os.urandom(size)
    sink.begin(_info(size))
    for start in range(0, size, 100_000):
        sink.write(memoryview(body)[start : start + 100_000])
    assert path.read_bytes() == b"old"
    sink.commit()
    assert path.read_bytes() == body
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("size", [10, 600_000])
def test_file_resumes(tmp_path: Path, size: int) -> None:
    """The rest of a body that broke off is appended to what was received."""
    body = os.urandom(size)
    sink = _file_sink(tmp_path / "f")
    sink.begin(_info(size))
    sink.write(memoryview(body)[: size // 2])
    sink.begin(_info(size, offset=sink.received))
    sink.write(memoryview(body)[size // 2 :])
    sink.commit()
    assert (tmp_path / "f").read_bytes() == body


@pytest.mark.parametrize("size", [10, 600_000])
def test_file_starts_anew(tmp_path: Path, size: int) -> None:
    """An answer from the first byte on replaces what was received."""
    body = os.urandom(size)
    sink = _file_sink(tmp_path / "f")
    sink.begin(_info(size + 5, etag="other"))
    sink.write(memoryview(b"x" * (size + 5)))
    sink.begin(_info(size))
    sink.write(memoryview(body))
    sink.commit()
    assert (tmp_path / "f").read_bytes() == body
    assert sink.etag == "e"


def test_file_never_mixes_two_objects(tmp_path: Path) -> None:
    """The rest of an object with another ETag (a store that ignores If-Match) is refused."""
    sink = _file_sink(tmp_path / "f")
    sink.begin(_info(4, etag="one"))
    sink.write(memoryview(b"ab"))
    with pytest.raises(PreconditionFailed, match="changed"):
        sink.begin(_info(4, offset=2, etag="two"))


def test_file_above_the_limit(tmp_path: Path) -> None:
    """An object above the limit is refused before a byte is written, with its size and ETag."""
    with pytest.raises(TooLarge) as caught:
        _file_sink(tmp_path / "f", limit=10).begin(_info(11))
    assert (caught.value.size_bytes, caught.value.etag) == (11, "e")  # type: ignore[attr-defined]
    _file_sink(tmp_path / "f", limit=10).begin(_info(10))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [10, 600_000])
def test_discard_leaves_nothing(tmp_path: Path, size: int) -> None:
    """What was given up leaves no file, opened or not; discarding again does nothing."""
    sink = _file_sink(tmp_path / "f")
    sink.begin(_info(size))
    sink.write(memoryview(bytes(size)))
    sink.discard()
    sink.discard()
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    """A folder under the name of the file raises SinkError with the name, and discard removes the temporary file."""
    (tmp_path / "f").mkdir()
    sink = _file_sink(tmp_path / "f")
    sink.begin(_info(1))
    sink.write(memoryview(b"x"))
    with pytest.raises(SinkError, match=r"/f'"):
        sink.commit()
    sink.discard()
    assert os.listdir(tmp_path) == ["f"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Without the folder neither a file nor a part of one can be opened; the error names the file."""
    sink = _file_sink(tmp_path / "no" / "f")
    sink.begin(_info(1))
    with pytest.raises(SinkError, match="no/f"):
        sink.commit()
    with pytest.raises(SinkError, match="no/f"):
        PartSink(str(tmp_path / "no" / "f"), 0, 0, "").begin(_info(1))


def test_a_full_disk_is_named() -> None:
    """What the file system refuses becomes SinkError with the reason."""
    sink = PartSink("/dev/full", 0, 3, "")
    sink.begin(_info(4))
    with pytest.raises(SinkError, match=r"/dev/full.*No space"):
        sink.write(memoryview(b"abcd"))
    sink.close()


@given(st.permutations(range(4)))
def test_parts_meet_in_one_file(order: list[int]) -> None:
    """Parts written in any order, each through a broken attempt and its rest, make the whole."""
    import tempfile

    body = bytes(range(256)) * 4
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "f")
        for index in order:
            first, last = index * 256, index * 256 + 255
            sink = PartSink(path, first, last, "e")
            sink.begin(_info(1024, offset=first))
            sink.write(memoryview(body)[first : first + 100])
            assert sink.resume_at() == first + 100
            sink.begin(_info(1024, offset=first + 100))
            sink.write(memoryview(body)[first + 100 : last + 1])
            assert (sink.resume_at(), sink.received) == (last + 1, 256)
            sink.close()
            sink.close()
        with open(path, "rb") as file:
            assert file.read() == body


def test_parts_of_another_object_are_refused(tmp_path: Path) -> None:
    """A store that ignores If-Match and sends another object does not get into the file."""
    with pytest.raises(PreconditionFailed, match="other"):
        PartSink(str(tmp_path / "f"), 0, 9, "e").begin(_info(10, etag="other"))
    assert os.listdir(tmp_path) == []


def test_temporary_names() -> None:
    """A temporary name lies beside its target and stays short, however long the target's is."""
    assert temporary_path("/a/b/" + "x" * 255, "t") == "/a/b/.s3engine-t.part"


# ---- what came, summed up


def _summing_sink(path: Path, body: bytes, parts: int = 0) -> FileSink:
    """A sink that is told the SHA-256 of ``body``."""
    value = hashlib.sha256(body).digest()
    expected = Stored("sha256", hashlib.sha256(value).digest() if parts else value, parts)
    return FileSink(str(path), "token", 0, TooLarge, lambda info: expected)


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("parts", [0, 1])
@pytest.mark.parametrize("size", [0, 10, 256 * 1024, 600_000])
def test_digest_over_pieces(tmp_path: Path, size: int, parts: int, reserved: bool) -> None:
    """However a body falls into pieces, kept or written, its digest is that of the whole."""
    body = os.urandom(size)
    sink = _summing_sink(tmp_path / "f", body, parts)
    if reserved:
        sink.reserve(size)
    sink.begin(_info(size))
    for start in range(0, size, 70_001):
        sink.write(memoryview(body)[start : start + 70_001])
    assert sink.digest() == sink.expected.value
    sink.commit()
    assert (tmp_path / "f").read_bytes() == body


@pytest.mark.parametrize("size", [10, 300_000, 600_000])
def test_digest_goes_on_after_a_break(tmp_path: Path, size: int) -> None:
    """The digest of a body that broke off goes on with its rest, and begins anew when the body does."""
    body = os.urandom(size)
    sink = _summing_sink(tmp_path / "f", body)
    sink.begin(_info(size))
    sink.write(memoryview(b"x" * (size // 2)))
    sink.begin(_info(size))  # from the first byte on
    sink.write(memoryview(body)[: size // 2])
    sink.begin(_info(size, offset=sink.received))
    sink.write(memoryview(body)[size // 2 :])
    assert sink.digest() == sink.expected.value
    sink.restart()
    sink.begin(_info(size))
    sink.write(memoryview(body))
    assert sink.digest() == sink.expected.value
    sink.commit()
    assert (tmp_path / "f").read_bytes() == body


def test_object_that_came_in_parts_is_told(tmp_path: Path) -> None:
    """An object that only checksums of parts describe is refused with its headers before a byte is written."""
    sink = FileSink(str(tmp_path / "f"), "token", 0, TooLarge, lambda info: Stored("md5", b"x", 2))
    with pytest.raises(TooLarge) as caught:
        sink.begin(GetResult(9, "e-2", 0, 9, headers=(("a", "b"),)))
    assert caught.value.headers == (("a", "b"),)  # type: ignore[attr-defined]
    assert os.listdir(tmp_path) == []


def test_part_sums_up_what_it_wrote(tmp_path: Path) -> None:
    """A range that broke off and went on has the checksum of all of it; without an algorithm there is none."""
    sink = PartSink(str(tmp_path / "f"), 2, 9, "e", 20, "crc32")
    sink.begin(_info(20, offset=2))
    sink.write(memoryview(b"abc"))
    sink.begin(_info(20, offset=5))
    sink.write(memoryview(b"defgh"))
    sink.close()
    assert sink.checksum == checksums.compute("crc32", b"abcdefgh")
    assert PartSink(str(tmp_path / "f"), 0, 1, "").checksum == ""


def test_part_of_what_is_no_longer_the_object(tmp_path: Path) -> None:
    """A range of an object of another size, and one that begins elsewhere, are refused."""
    with pytest.raises(PreconditionFailed, match="21 bytes"):
        PartSink(str(tmp_path / "f"), 2, 9, "", 20).begin(_info(21, offset=2))
    with pytest.raises(ServerFault, match="byte 3"):
        PartSink(str(tmp_path / "f"), 2, 9, "", 20).begin(_info(20, offset=3))
    assert os.listdir(tmp_path) == []


def test_part_goes_on_with_the_object_it_began_with(tmp_path: Path) -> None:
    """Where no ETag is asked for, that of the first answer holds: another one in a second attempt is refused."""
    sink = PartSink(str(tmp_path / "f"), 0, 9, "")
    sink.begin(_info(10, etag="first"))
    sink.write(memoryview(b"12345"))
    with pytest.raises(PreconditionFailed, match="its ETag is now other"):
        sink.begin(_info(10, etag="other"))
    sink.close()
