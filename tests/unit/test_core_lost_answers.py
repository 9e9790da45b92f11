"""412 after an attempt whose answer was lost: it may be that attempt which is in the way."""

from __future__ import annotations

import hashlib

import pytest

from s3engine.checksums import compute
from s3engine.control.shared import SharedBlock
from s3engine.errors import AccessDenied, ConnectFailed, ConnectionLost, PreconditionFailed
from s3engine.pool.actions import ACTIONS
from s3engine.pool.item import Item
from s3engine.pool.messages import Kind, Outcome
from s3engine.transport import HeadResult
from tests.tried_core import Bench


def _body_item(bench: Bench, body: bytes, *, doubtful: bool = True) -> Item:
    item = bench.item(arg=(body, None))
    item.body, item.size_bytes = body, len(body)
    if doubtful:
        assert bench.core.failed(item, ConnectionLost("lost"), 2.0) is not None
    return item


def _found(body: bytes, etag: str = "", **headers: str) -> HeadResult:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HeadResult(len(body), etag or hashlib.md5(body).hexdigest(), headers=named)


def _looked(bench: Bench, item: Item, found: HeadResult) -> Outcome:
    """The outcome after the item, refused, looked at its object and found this."""
    decision = bench.core.failed(item, REFUSED, 3.0)
    assert decision is not None
    assert (item.kind, decision.delay_s) == (Kind.LOOK, 0.0)
    refused: PreconditionFailed | None = None
    try:
        bench.core.succeeded(item, ACTIONS[Kind.LOOK].end(item, found), 4.0)
    except PreconditionFailed as error:
        refused = error
    assert refused is None or bench.core.failed(item, refused, 4.0) is None
    (outcome,) = bench.outcomes()
    return outcome


REFUSED = PreconditionFailed("there is one", status=412)


@pytest.mark.parametrize("known_by", ["md5", "checksum"])
def test_own_write_that_refuses_its_retry_is_success(block: SharedBlock, known_by: str) -> None:
    """412 after a lost answer, and the object has our bytes by its ETag or a stored checksum: it is done."""
    bench = Bench(block)
    found = _found(b"ours")
    if known_by == "checksum":
        checksum = compute("sha256", b"ours").partition(":")[2]
        found = _found(b"ours", "0" * 32, x_amz_checksum_sha256=checksum)
    outcome = _looked(bench, _body_item(bench, b"ours"), found)
    assert (outcome.error, outcome.etag, outcome.size_bytes) == (None, found.etag, 4)


@pytest.mark.parametrize(
    "found",
    [
        _found(b"else"), _found(b"longer"), _found(b"ours", "opaque"),
        _found(b"ours", "0" * 32, x_amz_checksum_sha256=compute("sha256", b"else").partition(":")[2]),
    ],
    ids=["bytes", "size", "no-evidence", "checksum"],
)  # fmt: skip
def test_write_of_another_stays_refused(block: SharedBlock, found: HeadResult) -> None:
    """Other bytes, another size, or nothing that tells: the 412 is the outcome."""
    bench = Bench(block)
    outcome = _looked(bench, _body_item(bench, b"ours"), found)
    assert (outcome.error, outcome.status, outcome.size_bytes) == (REFUSED, 412, 4)


def test_refusal_of_a_first_attempt_is_final(block: SharedBlock) -> None:
    """412 to a request that was never sent before is nobody's own doing: no look."""
    bench = Bench(block)
    assert bench.core.failed(_body_item(bench, b"ours", doubtful=False), REFUSED, 3.0) is None
    assert bench.outcomes()[0].error is REFUSED


def test_refused_connection_leaves_no_doubt(block: SharedBlock) -> None:
    """An attempt that found no connection cannot have written anything."""
    bench = Bench(block)
    item = _body_item(bench, b"ours", doubtful=False)
    assert bench.core.failed(item, ConnectFailed("refused"), 2.0) is not None
    assert bench.core.failed(item, REFUSED, 3.0) is None


def test_look_that_fails_leaves_the_refusal(block: SharedBlock) -> None:
    """When the object cannot be looked at, the 412 is what is reported, with the size of the body."""
    bench = Bench(block)
    item = _body_item(bench, b"ours")
    assert bench.core.failed(item, REFUSED, 3.0) is not None
    assert bench.core.failed(item, AccessDenied("no", status=403), 4.0) is None
    (outcome,) = bench.outcomes()
    assert (outcome.error, outcome.size_bytes) == (REFUSED, 4)


def test_copy_that_was_done_is_known_by_its_source(block: SharedBlock) -> None:
    """A copy refused after a lost answer is done when the target has the ETag of the source."""
    bench = Bench(block)
    item = bench.item(Kind.COPY, ("source", "tag", None))
    assert bench.core.failed(item, ConnectionLost("lost"), 2.0) is not None
    assert _looked(bench, item, HeadResult(10, "tag")).error is None
