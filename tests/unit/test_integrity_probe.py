"""The probe tells stores apart by what they refuse, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from s3engine import checksums
from s3engine.errors import AccessDenied, InvalidRequest, NotFound, NotS3, S3EngineError, ServerFault
from s3engine.integrity.abilities import Abilities
from s3engine.integrity.probe import probe
from s3engine.transport import Headers, PutResult

TYPE = "x-amz-checksum-type"


class Store:
    """A transport and its store: compares what it is told to, keeps uploads that nobody aborted."""

    def __init__(
        self, compares: tuple[str, ...] = (), *, trailers: str = "", full_object: bool = False, drops: bool = False,
        knows: bool = True, denied: str = "",
    ) -> None:  # fmt: skip
        self.compares = compares
        self.trailers = trailers
        self.full_object = full_object
        self.drops = drops
        self.knows = knows
        self.denied = denied
        self.uploads: dict[str, Headers] = {}
        self.began = self.requests = 0
        self._lock = threading.Lock()

    def call(self, op: object, bucket: str, function: Callable[[Any, Any], Any]) -> Any:
        self.requests += 1
        return function(self, None)

    def create_multipart_upload(self, bucket: str, key: str, headers: Headers, *, timeouts: Any) -> str:
        if self.denied == "create":
            raise AccessDenied("no")
        given = dict(headers)
        if not self.knows and given:
            raise InvalidRequest("what is that", status=400)
        if self.full_object and TYPE in given and given["x-amz-checksum-algorithm"] == "SHA256":
            raise InvalidRequest("no such pair", status=400)
        with self._lock:
            self.began += 1
            upload_id = f"u{self.began}"
        self.uploads[upload_id] = headers
        return upload_id

    def upload_part(
        self, bucket: str, key: str, upload_id: str, number: int, body: bytes, *, headers: Headers, trailer: str,
        timeouts: Any,
    ) -> PutResult:  # fmt: skip
        if self.denied == "part":
            raise AccessDenied("no")
        if upload_id not in self.uploads:
            raise NotFound("gone", status=404)
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if trailer:
            if not self.trailers:
                raise InvalidRequest("not implemented", status=400)
            right = ":" not in trailer or trailer == checksums.compute(trailer.partition(":")[0], body)
            if not right and self.trailers == "compared":
                self._refuse(upload_id)
            return PutResult(etag if self.trailers != "kept" else "f" * 32)
        for name, value in headers:
            algorithm = "md5" if name == "content-md5" else name.removeprefix("x-amz-checksum-")
            if algorithm in self.compares and checksums.compute(algorithm, body) != f"{algorithm}:{value}":
                self._refuse(upload_id)
        return PutResult(etag)

    def _refuse(self, upload_id: str) -> None:
        if self.drops:
            del self.uploads[upload_id]
        raise ServerFault("BadDigest", status=400, code="BadDigest")

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Any) -> None:
        if upload_id not in self.uploads:
            raise NotFound("gone", status=404)
        del self.uploads[upload_id]


ALL = ("md5", "crc32", "sha256")


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (Store(ALL, trailers="compared", full_object=True), Abilities(verifies=ALL, trailers=True, full_object=True)),
        (Store(ALL, trailers="compared"), Abilities(verifies=ALL, trailers=True)),
        (Store(ALL, trailers="taken"), Abilities(verifies=ALL)),
        (Store(ALL, trailers="kept"), Abilities(verifies=ALL)),  # the framing became part of the part
        (Store(ALL), Abilities(verifies=ALL)),
        (Store(("md5",), trailers="taken"), Abilities(verifies=("md5",))),
        (Store(("md5",), full_object=True), Abilities(verifies=("md5",))),
        (Store(("md5",), knows=False), Abilities(verifies=("md5",))),
        (Store(ALL, drops=True), Abilities(verifies=ALL)),
        (Store(), Abilities()),
    ],
)
def test_what_is_found(store: Store, expected: Abilities) -> None:
    """Refused when wrong and taken when right is compared, anything else is not; every upload is aborted."""
    assert probe(store.call, "b", "k", signed=True, trailers=True) == expected
    assert not store.uploads
    assert store.began >= 1


def test_only_what_matters_is_asked() -> None:
    """Unsigned bodies do not ask for SHA-256, a transport without trailers not for trailers."""
    store = Store(ALL, trailers="compared")
    assert probe(store.call, "b", "k", signed=False, trailers=False) == Abilities(verifies=("md5", "crc32"))
    assert store.requests <= 12


@pytest.mark.parametrize("denied", ["create", "part"])
def test_refusal_of_the_asker_is_raised(denied: str) -> None:
    """AccessDenied says nothing of checksums; what was begun is aborted all the same."""
    store = Store(ALL, denied=denied)
    with pytest.raises(AccessDenied):
        probe(store.call, "b", "k", signed=True, trailers=True)
    assert not store.uploads


def test_a_store_in_trouble_is_not_judged() -> None:
    """A 500 to a wrong checksum is no refusal of it."""

    class Broken(Store):
        def _refuse(self, upload_id: str) -> None:
            raise ServerFault("InternalError", status=500)

    store = Broken(ALL)
    with pytest.raises(S3EngineError):
        probe(store.call, "b", "k", signed=True, trailers=True)
    assert not store.uploads


@pytest.mark.parametrize("passing", ["RequestTimeout", "IncompleteBody", "InternalError", ""])
def test_a_passing_fault_is_no_refusal(passing: str) -> None:
    """A 400 or 408 that is about something else is not taken for a store that compares."""

    class Passing(Store):
        def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes, **given: Any) -> Any:
            self.parts = getattr(self, "parts", 0) + 1
            if self.parts == 2:  # the one with the wrong checksum
                raise ServerFault("later", status=408 if not passing else 400, code=passing)
            return super().upload_part(bucket, key, upload_id, number, body, **given)

    store = Passing()
    with pytest.raises(ServerFault, match="later"):
        probe(store.call, "b", "k", signed=True, trailers=False)
    assert not store.uploads


def test_an_answer_that_says_nothing_is_not_asked_for_again() -> None:
    """A 200 to Create without an upload id in it (a web server, say) ends the asking at once."""

    class Empty(Store):
        def create_multipart_upload(self, *args: Any, **given: Any) -> str:
            raise ServerFault("a 200 with an empty body", status=200)

    with pytest.raises(NotS3, match="not known"):
        probe(Empty(ALL).call, "b", "k", signed=True, trailers=True)


def test_questions_go_together() -> None:
    """The store is far away, mostly: the requests of one question do not wait for those of another."""
    store = Store(ALL)
    waiting = threading.Barrier(3, timeout=10)
    sent: set[str] = set()

    def call(op: object, bucket: str, function: Callable[[Any, Any], Any]) -> Any:
        name = threading.current_thread().name
        if name != threading.main_thread().name and name not in sent and len(sent) < 3:
            sent.add(name)
            waiting.wait()  # until three questions have each sent a request
        return store.call(op, bucket, function)

    assert probe(call, "b", "k", signed=True, trailers=False).verifies == ALL


class Waits(Store):
    """Notes how many aborts it has at a time."""

    most = now = 0

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str, *, timeouts: Any) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.02)  # so that others come meanwhile, if they come at all
        with self._lock:
            self.now -= 1
        super().abort_multipart_upload(bucket, key, upload_id, timeouts=timeouts)


def test_aborts_go_one_after_another() -> None:
    """Of two aborts of one key at a time a store may keep one waiting: there is never more than one."""
    store = Waits(ALL, full_object=True)
    probe(store.call, "b", "k", signed=True, trailers=False)
    assert store.most == 1
    assert not store.uploads
