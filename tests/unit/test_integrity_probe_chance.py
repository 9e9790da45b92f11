"""One refusal for another reason does not make a store one that compares checksums."""

from __future__ import annotations

from typing import Any

import pytest

from s3engine import checksums
from s3engine.errors import InvalidRequest
from s3engine.integrity.probe import probe
from s3engine.transport import Headers, PutResult


class Store:
    """Takes all parts, but refuses the wrong ones of these numbers (the n-th wrong one, from 1 on) with ``code``."""

    def __init__(self, code: str, *numbers: int) -> None:
        self.code = code
        self.numbers = numbers
        self.wrong = 0
        self.open: set[str] = set()

    def call(self, op: object, bucket: str, function: Any) -> Any:
        return function(self, None)

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Any) -> str:
        name = f"u{len(self.open)}"
        self.open.add(name)
        return name

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: bytes, *, headers: Headers, trailer: str,
        timeouts: Any,
    ) -> PutResult:  # fmt: skip
        for name, value in headers:
            algorithm = "md5" if name == "content-md5" else name.removeprefix("x-amz-checksum-")
            if checksums.compute(algorithm, body) != f"{algorithm}:{value}":
                self.wrong += 1
                if self.wrong in self.numbers:
                    raise InvalidRequest("no", status=400, code=self.code)
        return PutResult("etag")

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Any) -> None:
        self.open.discard(upload_id)


@pytest.mark.parametrize("code", ["RequestHeaderSectionTooLarge", "InvalidRequest", ""])
def test_one_refusal_of_a_wrong_checksum_may_be_chance(code: str) -> None:
    """A 400 whose code is not about checksums must come again: a store that does not compare is not taken for one."""
    store = Store(code, 1)
    assert probe(store.call, "b", "k", signed=True, trailers=False).verifies == ()
    assert not store.open


def test_the_same_refusal_twice_is_no_chance() -> None:
    """A store with a code of its own for a wrong checksum is known as one that compares, here MD5."""
    store = Store("ChecksumDiffers", 1, 2)
    assert probe(store.call, "b", "k", signed=True, trailers=False).verifies == ("md5",)
    assert not store.open


def test_a_refusal_without_a_code_proves_nothing() -> None:
    """An empty 400 is what proxies say, however often."""
    store = Store("", *range(1, 10))
    assert probe(store.call, "b", "k", signed=True, trailers=False).verifies == ()
