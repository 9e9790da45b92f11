"""How a function of the caller's travels, and what it may return."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from s3engine import ObjectHeaders, Output, Transform
from s3engine.errors import ConfigError
from s3engine.functions.calls import packed_call
from s3engine.functions.fetched import FetchedObject
from s3engine.functions.messages import About
from s3engine.functions.outputs import Part, cut, headers_of, outputs_of, pieces_of


def plain(found: Any) -> int:
    """A module's function."""
    return 7


async def awaited(found: Any) -> int:
    """What has no place."""
    return 7


class PlainCallable:
    """An object to be called."""

    def __call__(self, found: Any) -> int:
        return 7


class AwaitedCallable:
    """One whose call gives a coroutine."""

    async def __call__(self, found: Any) -> int:
        return 7


@pytest.mark.parametrize("function", [plain, functools.partial(plain), PlainCallable(), lambda found: 7])
def test_what_can_be_called_travels(function: Any) -> None:
    """Functions, partials, objects and lambdas are the same at the other end."""
    found, initializer, finalizer = pickle.loads(packed_call(function).pickled)
    assert (found(None), initializer, finalizer) == (7, None, None)


def test_a_module_function_travels_by_name() -> None:
    """What has a name in a module is not copied: its module is imported there."""
    assert b"test_function_calls" in packed_call(plain).pickled
    assert len(packed_call(plain).pickled) < 200


@pytest.mark.parametrize("function", [awaited, functools.partial(awaited), AwaitedCallable()])
def test_async_functions_are_refused(function: Any) -> None:
    """Where no event loop is, what must be awaited is refused at the call."""
    with pytest.raises(ConfigError, match="is async"):
        packed_call(function)


def test_what_cannot_travel_is_refused() -> None:
    """A function that holds a lock or a socket cannot go to another process, and says what it is that cannot."""
    import threading

    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot travel .*lock"):
        packed_call(lambda found: lock.locked())


@pytest.mark.parametrize("timeout_s", [0, -1, "3"])
def test_limit_of_time_must_be_one(timeout_s: Any) -> None:
    """A limit of no time, or of none that is a number, is refused."""
    with pytest.raises(ConfigError, match="timeout_s"):
        Transform(plain, timeout_s=timeout_s)


def bodies(value: Any) -> list[bytes]:
    """What a returned value comes to."""
    return [b"".join(bytes(piece) for piece in pieces_of(output.body)) for output in outputs_of(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []), (b"a", [b"a"]), (bytearray(b"a"), [b"a"]), (memoryview(b"ab")[1:], [b"b"]), ("é", ["é".encode()]),
        (io.BytesIO(b"file"), [b"file"]), (iter([b"a", b"b"]), [b"ab"]), ([b"a", "b"], [b"ab"]), ([], []),
        (iter([]), [b""]), (Output(b"x"), [b"x"]), ([Output(b"x"), Output([b"y", b"z"])], [b"x", b"yz"]),
        (b"", [b""]),
    ],
)  # fmt: skip
def test_what_is_returned_and_what_comes_of_it(value: Any, expected: list[bytes]) -> None:
    """Bytes and text are one body, pieces of them too; Outputs are as many; None, or an empty list, is none."""
    assert bodies(value) == expected


@pytest.mark.parametrize("value", [7, {"a": 1}, {b"a"}, [7], [Output(b"x"), b"y"], [b"x", Output(b"y")]])
def test_what_is_no_body_raises(value: Any) -> None:
    """Numbers, dicts, sets, and a mixture of bodies and pieces are refused by what they are."""
    with pytest.raises(TypeError):
        bodies(value)


@pytest.mark.parametrize("sizes", [[], [0], [1], [10], [11], [3, 8], [4, 4, 4, 4, 4], [100], [10, 10]])
def test_parts_are_cut_to_size(sizes: list[int]) -> None:
    """All parts but the last have the size that is asked for, whatever the pieces; together they are the pieces."""
    whole = bytes(range(sum(sizes)))
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    pieces = [memoryview(whole[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    parts = list(cut(pieces, 10))
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part.size_bytes == 10 for part, last in parts if not last)
    assert 0 <= parts[-1][0].size_bytes <= 10
    assert b"".join(part.inline for part, _ in parts) == whole


def test_parts_grow_with_their_number() -> None:
    """10 000 parts hold more than the largest object of S3."""
    assert sum((8 << 20) << (number // 1000) for number in range(10_000)) > 5 << 40


def test_large_parts_lie_in_a_file() -> None:
    """Beyond what goes in a message the bytes are in a file, all of them, and closing lets go of it."""
    import os

    part = Part()
    part.add(memoryview(b"a" * 40_000))
    part.add(memoryview(b"b" * 40_000))
    assert os.pread(part.fd, 100_000, 0) == b"a" * 40_000 + b"b" * 40_000
    part.close()
    assert part.fd == -1


SOURCE = (("content-type", "text/x"), ("content-encoding", "br"), ("etag", '"1"'), ("x-amz-meta-a", "1"))


@pytest.mark.parametrize(
    ("output", "base", "source", "expected"),
    [
        (Output(b""), (), SOURCE, {"content-type": "text/x", "content-encoding": "br", "x-amz-meta-a": "1"}),
        (Output(b"", content_encoding=""), (), SOURCE, {"content-type": "text/x", "x-amz-meta-a": "1"}),
        (Output(b"", content_type="a/b", metadata={"b": "2"}), (), SOURCE,
         {"content-type": "a/b", "content-encoding": "br", "x-amz-meta-b": "2"}),
        (Output(b"", headers=ObjectHeaders(cache_control="no")), (), SOURCE, {"cache-control": "no"}),
        (Output(b""), (("acl", "x"),), SOURCE, {"acl": "x"}), (Output(b""), (("acl", "x"),), None, {"acl": "x"}),
    ],
)  # fmt: skip
def test_headers_of_an_output(output: Output, base: Any, source: Any, expected: dict[str, str]) -> None:
    """What describes the source describes what is made of it, unless the output or the batch says others."""
    assert dict(headers_of(output, base, source)) == expected


def fetched(body: bytes) -> FetchedObject:
    return FetchedObject(About("b", "k", len(body)), None, lambda: memoryview(body), None)


def test_file_over_a_body() -> None:
    """It reads, seeks and tells as files do."""
    file = fetched(b"0123456789").file()
    assert (file.read(3), file.tell(), file.seek(-2, io.SEEK_END), file.read(), file.read()) == (
        b"012", 3, 8, b"89", b"",
    )  # fmt: skip
    assert (file.seek(1), file.readline()) == (1, b"123456789")
    with pytest.raises(ValueError, match="before the first byte"):
        file.seek(-1)


def test_chunks_come_once() -> None:
    """What comes in chunks can be read once as such; asked for later it says why not."""

    def chunks() -> Iterator[bytes]:
        yield b"ab"
        yield b"c"

    found = FetchedObject(About("b", "k", 3), None, None, chunks)
    assert found.file().read() == b"abc"
    with pytest.raises(ValueError, match="read already"):
        next(found.chunks())
    whole = FetchedObject(About("b", "k", 3), None, None, chunks)
    assert (bytes(whole.body), b"".join(whole.chunks()), whole.body.readonly) == (b"abc", b"abc", True)


def test_nothing_can_be_read_after_the_call() -> None:
    """An object that was kept says that its call is over."""
    found = fetched(b"x")
    found._close()
    with pytest.raises(ValueError, match="is over"):
        bytes(found.body)
