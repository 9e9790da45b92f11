"""Bodies out of files and into sinks: nothing is cut, added or changed unnoticed."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import (
    ConnectionLost,
    NotS3,
    RangeNotSatisfiable,
    S3EngineError,
    SinkError,
    SourceChanged,
    SourceError,
    TruncatedBody,
)
from s3engine.sinks import MemorySink
from s3engine.transport import FilePart, Timeouts
from s3engine_transports.bodies import PartReader, _expected, deliver, expected
from s3engine_transports.common import Answer, with_context
from s3engine_transports.timers import calling

BODY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "f"
    found.write_bytes(BODY)
    return found


def _planned(path: Path, offset: int, length: int) -> FilePart:
    status = path.stat()
    return FilePart(str(path), offset, length, status.st_mtime_ns, status.st_size)


def test_a_part_is_a_file(path: Path) -> None:
    """A part reads, seeks and tells as a file that holds just its bytes."""
    with PartReader(_planned(path, 5, 1000)) as part:
        assert len(part) == 1000
        assert part.read(10) == BODY[5:15]
        assert part.tell() == 10
        assert part.seek(-3, os.SEEK_END) == 997
        assert part.read() == BODY[1002:1005]
        assert part.read(5) == b""
        part.seek(0)
        assert part.read(5000) == BODY[5:1005]


@pytest.mark.parametrize("change", ["shrink", "grow", "touch"])
def test_a_part_that_changes(path: Path, change: str) -> None:
    """A file that is cut, longer or newer than planned is SourceChanged before its last byte is given out."""
    with PartReader(_planned(path, 0, len(BODY))) as part, calling(Timeouts()) as call:
        part.read(1000)
        if change == "shrink":
            os.truncate(path, 500_000)
        elif change == "grow":
            os.truncate(path, len(BODY) + 1)
        else:
            os.utime(path, ns=(1, 1))
        with pytest.raises(SourceChanged):
            part.read()
        assert type(call.failure) is SourceChanged


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be opened or read is SourceError with its path, also for who only sees the call."""
    with calling(Timeouts()) as call, pytest.raises(SourceError, match="none"):
        PartReader(FilePart(str(tmp_path / "none"), 0, 1))
    assert type(call.failure) is SourceError
    with PartReader(FilePart(str(tmp_path), 0, 1)) as folder, pytest.raises(SourceError, match="directory"):
        folder.read()


def _answer(status: int = 200, **headers: str) -> Answer:
    return Answer("GetObject", "b", "k", status, {name.replace("_", "-"): value for name, value in headers.items()})


def _deliver(answer: Answer, body: bytes, first: int = 0, last: int = -1) -> MemorySink:
    sink = MemorySink()
    deliver(answer, io.BytesIO(body).read, sink, first=first, last=last)
    return sink


def test_a_body_is_delivered_in_pieces() -> None:
    """The sink gets the whole body in pieces of at most 256 KiB, and the head before it."""
    sizes = []

    class Sink(MemorySink):
        def write(self, data: memoryview) -> None:
            assert self.info is not None
            sizes.append(len(data))
            super().write(data)

    sink = Sink()
    info = deliver(_answer(content_length=str(len(BODY)), etag='"e"'), io.BytesIO(BODY).read, sink)
    assert sink.body() == BODY
    assert max(sizes) <= 256 * 1024
    assert (info.size_bytes, info.offset, info.total_bytes, info.etag) == (len(BODY), 0, len(BODY), "e")


@pytest.mark.parametrize("status", [200, 206])
def test_a_range(status: int) -> None:
    """Content-Range tells what came, whatever the status."""
    answer = _answer(status, content_length="3", content_range="bytes 2-4/10")
    sink = _deliver(answer, b"234", 2, 4)
    assert sink.body() == b"234"
    assert sink.info is not None
    assert (sink.info.size_bytes, sink.info.offset, sink.info.total_bytes) == (3, 2, 10)


def test_a_range_that_ends_behind_the_object() -> None:
    """Of a range that is longer than the object comes what there is."""
    assert _deliver(_answer(206, content_length="2", content_range="bytes 8-9/10"), b"89", 8, 99).body() == b"89"


def test_an_ignored_range() -> None:
    """From a store that sends the whole object the sink gets the range alone."""
    assert _deliver(_answer(content_length="10"), b"0123456789", 2, 4).body() == b"234"


def test_a_body_without_length() -> None:
    """Chunks need no length; an answer that ends with the connection is refused before a byte is written."""
    assert _deliver(_answer(transfer_encoding="chunked"), b"0123").body() == b"0123"
    sink = MemorySink()
    with pytest.raises(TruncatedBody):
        deliver(_answer(), io.BytesIO(b"0123").read, sink)
    assert sink.info is None


@pytest.mark.parametrize(
    ("answer", "first", "expected"),
    [
        (_answer(content_length="5"), 0, TruncatedBody),
        (_answer(206, content_length="4"), 0, NotS3),
        (_answer(206, content_length="4", content_range="bytes 1-4/5"), 0, NotS3),
        (_answer(206, content_length="4", content_range="octets 1-4/5"), 1, NotS3),
        (_answer(content_length="4"), 4, RangeNotSatisfiable),
        (_answer(content_length="x"), 0, NotS3),
    ],
)
def test_bad_bodies(answer: Answer, first: int, expected: type[Exception]) -> None:
    """A body that is cut, or not what was asked for, is an error."""
    with pytest.raises(expected) as caught:
        _deliver(answer, b"0123", first)
    assert caught.value.key == "k"  # type: ignore[attr-defined]


def test_what_a_sink_raises() -> None:
    """Errors of the sink come out as they are; those of the connection as what the call noted, else as a cut body."""

    class Full(MemorySink):
        def write(self, data: memoryview) -> None:
            raise error

    error = SinkError("full", path="p")
    with pytest.raises(SinkError) as caught:
        deliver(_answer(content_length="4"), io.BytesIO(b"0123").read, Full(), errors=(Exception,))
    assert caught.value is error

    def broken(_: int) -> bytes:
        raise ValueError

    with pytest.raises(TruncatedBody):
        deliver(_answer(content_length="4"), broken, MemorySink(), errors=(ValueError,))
    with calling(Timeouts()) as call:
        call.note(ConnectionLost("reset", stale=True))
        with pytest.raises(ConnectionLost, match=r"GetObject s3://b/k: reset"):
            deliver(_answer(content_length="4"), broken, MemorySink(), errors=(ValueError,))


def test_context() -> None:
    """An error of the socket gets the request's name and survives pickling; one of a file stays as it is."""
    failure = with_context(ConnectionLost("reset", stale=True), Answer("PutObject", "b", "a\nb"))
    again = pickle.loads(pickle.dumps(failure))
    assert (str(again), again.stale, again.key) == ("PutObject s3://b/a\\nb: reset", True, "a\nb")
    local = SourceError("gone", path="p")
    assert with_context(local, Answer("PutObject", "b", "k")) is local


lengths = st.sampled_from([None, "", "0", "5", "1024", "-1", "+5", "x", "9" * 18, "9" * 19, "٣"])
ranges = st.sampled_from([None, "", "bytes 0-4/5", "bytes 2-4/5", "bytes 0-4/*", "bytes 0-4", "none"])


@given(
    st.sampled_from([200, 206]), lengths, ranges, st.sampled_from([None, "chunked", "gzip"]),
    st.sampled_from([None, '"e"', "e", ""]), st.sampled_from([0, 2, 9]), st.sampled_from([-1, 0, 4]),
)  # fmt: skip
def test_whole_objects_are_read_as_any_answer(
    status: int, length: str | None, content_range: str | None, coding: str | None, etag: str | None, first: int,
    last: int,
) -> None:  # fmt: skip
    """The short way for a whole object gives what the long one gives, and refuses what that refuses."""
    told = {
        "content-length": length, "content-range": content_range, "transfer-encoding": coding, "etag": etag,
        "x-amz-request-id": "r", "content-type": "text/plain", "last-modified": "today",
    }  # fmt: skip
    headers = {name: value for name, value in told.items() if value is not None}
    answer = Answer("GetObject", "b", "k", status, headers, b"")
    ends = []
    for read in (expected, _expected):
        try:
            ends.append(repr(read(answer, first, last)))
        except S3EngineError as error:
            ends.append(f"{type(error).__name__} {error}")
    assert ends[0] == ends[1]
