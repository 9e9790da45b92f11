"""What a worker does about the bytes of one GET: compared with what the store says, or refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from s3engine.errors import ChecksumMismatch, ConnectionLost, PreconditionFailed, S3EngineError
from s3engine.pool.actions import ACTIONS
from s3engine.pool.item import Ended, Item, WorkerContext
from s3engine.pool.messages import Context, Kind
from s3engine.transport import GetResult, Headers, Timeouts

BODY = b"hello"
MD5 = hashlib.md5(BODY).hexdigest()


class Api:
    """Gives one body under any ETag, and keeps the headers it was asked with."""

    def __init__(self, etag: str, body: bytes = BODY) -> None:
        self.etag = etag
        self.body = body
        self.asked: list[Headers] = []

    def get_object(self, _bucket: str, _key: str, sink: Any, *, headers: Headers, **_: Any) -> GetResult:
        self.asked.append(headers)
        info = GetResult(len(self.body), self.etag, 0, len(self.body))
        sink.begin(info)
        sink.write(memoryview(self.body))
        return info


def _get(kind: int, api: Api, arg: Any, root: Path, size_bytes: int = -1, **values: Any) -> tuple[Item, Ended]:
    context = Context(id=1, bucket="b", root=str(root), threshold_bytes=1000, **{"verify": True, **values})
    item = Item((1, 1, kind, "k", size_bytes, arg), WorkerContext(context))
    return item, _again(item, api)


def _again(item: Item, api: Api) -> Ended:
    action = ACTIONS[item.kind]
    assert action.prepare is not None
    action.prepare(item)
    return action.end(item, action.begin(item, api, Timeouts()))


KINDS = [(Kind.GET_FILE, ("f", "", "token")), (Kind.GET_BYTES, "")]


@pytest.mark.parametrize(("kind", "arg"), KINDS)
def test_good_bytes_say_by_what_they_are_known(kind: int, arg: Any, tmp_path: Path) -> None:
    """An MD5 that fits is said; an ETag that is none, and the wish not to look, leave the length."""
    assert _get(kind, Api(MD5), arg, tmp_path)[1].verified == "md5"
    assert _get(kind, Api("no-md5"), arg, tmp_path)[1].verified == "length only"
    assert _get(kind, Api("0" * 32), arg, tmp_path, verify=False)[1].verified == "length only"


@pytest.mark.parametrize(("kind", "arg"), KINDS)
def test_wrong_bytes_are_refused(kind: int, arg: Any, tmp_path: Path) -> None:
    """Bytes that are not those of the MD5 raise, the same ones twice for good; then right ones are taken."""
    api = Api("0" * 32)
    context = Context(id=1, bucket="b", root=str(tmp_path), threshold_bytes=1000, verify=True)
    item = Item((1, 1, kind, "k", -1, arg), WorkerContext(context))
    errors: list[S3EngineError] = []
    for _ in range(2):
        with pytest.raises(ChecksumMismatch) as caught:
            _again(item, api)
        item.error = caught.value
        errors.append(caught.value)
    assert [error.permanent for error in errors if isinstance(error, ChecksumMismatch)] == [False, True]
    assert os.listdir(tmp_path) == []
    api.etag = MD5
    assert _again(item, api).verified == "md5"


def test_stored_checksums_are_asked_for_where_that_can_be(tmp_path: Path) -> None:
    """The header that asks goes out only when the transport can, and somebody wants to know."""
    api = Api(MD5)
    for values in ({"ask_checksums": True}, {"ask_checksums": False}, {"ask_checksums": True, "verify": False}):
        _get(Kind.GET_BYTES, api, "", tmp_path, **values)
    assert api.asked == [(("x-amz-checksum-mode", "ENABLED"),), (), ()]


def test_object_of_another_size_than_listed(tmp_path: Path) -> None:
    """An object that is longer or shorter than the listing said is another one."""
    with pytest.raises(PreconditionFailed, match="written again"):
        _get(Kind.GET_FILE, Api(MD5), ("f", "", "token"), tmp_path, size_bytes=4)
    assert _get(Kind.GET_FILE, Api(MD5), ("f", "", "token"), tmp_path, size_bytes=5)[1].verified == "md5"


class Cut(Api):
    """Sends all bytes of what was asked for, says no length, and breaks before the end of the answer, once."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.first: list[int] = []

    def get_object(self, _bucket: str, _key: str, sink: Any, *, headers: Headers = (), **asked: Any) -> GetResult:
        first = asked.get("first", 0)
        self.first.append(first)
        info = GetResult(-1, self.etag, first, -1)
        sink.begin(info)
        sink.write(memoryview(self.body[first:]))
        if len(self.first) == 1:
            raise ConnectionLost("cut")
        return info


@pytest.mark.parametrize(
    ("kind", "arg"), [(Kind.GET_FILE, ("f", "", "token")), (Kind.GET_PART, ("f", 0, len(BODY) - 1, ""))]
)
def test_answer_that_breaks_behind_its_last_byte(kind: int, arg: Any, tmp_path: Path) -> None:
    """Nothing is left to ask for: the whole comes again, not a range of no bytes."""
    (tmp_path / "f").write_bytes(b"")
    if kind == Kind.GET_PART:
        arg = (str(tmp_path / "f"), *arg[1:])
    api = Cut(MD5)
    context = Context(id=1, bucket="b", root=str(tmp_path), threshold_bytes=1000, verify=True)
    item = Item((1, 1, kind, "k", -1, arg), WorkerContext(context))
    with pytest.raises(ConnectionLost):
        _again(item, api)
    _again(item, api)
    assert api.first == [0, 0]
    assert (tmp_path / "f").read_bytes() == BODY
