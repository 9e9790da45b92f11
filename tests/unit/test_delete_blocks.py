"""Deletes that come in blocks, a page of a listing each, do what the same objects do one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3engine.errors import Cancelled, ConfigError, S3EngineError
from s3engine.jobs.delete import MAX_KEYS, DeleteConditions, DeleteJob
from s3engine.report import AlikeReports, RequestReport
from s3engine.sources import Rejected
from s3engine.transport import ObjectInfo
from tests.destroying import Store, run


class Paged:
    """An input that comes in blocks, and fails after them if it is told to."""

    def __init__(self, blocks: list[list[Any]], error: Exception | None = None) -> None:
        self._blocks = blocks
        self._error = error

    def chunks(self) -> Iterator[list[Any]]:
        """As a listing gives them."""
        yield from self._blocks
        if self._error is not None:
            raise self._error

    def __iter__(self) -> Iterator[Any]:
        for block in self._blocks:
            yield from block


def _done(items: Any, store: Store) -> tuple[list[RequestReport], dict[str, S3EngineError | None]]:
    reports: list[RequestReport] = []
    errors = run(DeleteJob(items, "b", reports.append, conditions=DeleteConditions()), store, reports)
    return sorted(reports), errors


def _alike(reports: list[RequestReport]) -> list[tuple[Any, ...]]:
    return [(*report._replace(error=None), str(report.error)) for report in reports]


def _name(item: Any) -> Any:
    return item if isinstance(item, str) else item.key


_keys = st.text(st.characters(), max_size=4) | st.sampled_from(("a\rb", "\x07", "\ud800", "", "a&<b>", "ä/ö", "\ufffe"))
_wrong = st.sampled_from((Rejected("no key", ConfigError("no key")), "a key", "another\x07", "b/ä"))
_objects = st.builds(ObjectInfo, _keys, st.integers(-1, 9), st.sampled_from(("tag", "older", "")))


@given(
    st.lists(_objects | _wrong, max_size=30, unique_by=_name)
    | st.lists(_keys, max_size=30, unique=True), st.integers(1, 8),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_blocks_do_what_single_objects_do(objects: list[Any], size: int) -> None:
    """Whatever objects, keys and faults there are, reports and what is deleted are the same as without blocks."""
    held = {_name(item): "tag" for item in objects}
    one, other = Store(dict(held)), Store(dict(held))
    blocks = [objects[at : at + size] for at in range(0, len(objects), size)]
    assert _alike(_done(Paged(blocks), one)[0]) == _alike(_done(list(objects), other)[0])
    assert one.held == other.held


def test_blocks_become_requests_of_a_thousand() -> None:
    """Blocks of any size are put together and cut, so that no request has more than 1000 keys, and few have less."""
    objects = [ObjectInfo(f"k{number:05}", number, "tag") for number in range(5 * MAX_KEYS + 300)]
    blocks = [objects[:1000], objects[1000:1300], objects[1300:3900], objects[3900:]]
    store = Store({info.key: "tag" for info in objects})
    reports, errors = _done(Paged(blocks), store)
    assert not any(errors.values())
    assert not store.held
    assert [(report.seq, report.key, report.size_bytes) for report in reports] == [
        (number, info.key, info.size_bytes) for number, info in enumerate(objects)
    ]
    counts = [len(pairs) for pairs in store.deletes]
    assert max(counts) == MAX_KEYS
    assert len(counts) <= 9


def test_every_object_of_a_block_that_is_not_begun_has_its_report() -> None:
    """After a cancel each object of each block that was read is reported as cancelled, by its own number."""
    read = threading.Event()
    blocks = [[ObjectInfo(f"{block}-{one}", 1, "tag") for one in range(10)] for block in range(5)]

    def stall() -> Iterator[list[ObjectInfo]]:
        yield from blocks
        read.set()
        closed.wait(10)

    closed = threading.Event()
    items = Paged([])
    items.chunks = stall  # type: ignore[method-assign]
    reports: list[RequestReport] = []
    job = DeleteJob(items, "b", reports.append)
    job.start_reading()
    assert read.wait(10)
    job.cancel()
    closed.set()
    assert sorted(report.seq for report in reports) == list(range(50))
    assert {type(report.error) for report in reports} == {Cancelled}
    assert {report.key for report in reports} == {info.key for block in blocks for info in block}


def test_few_blocks_wait() -> None:
    """The input is not read further than some blocks ahead of what is deleted."""
    given_out = 0

    def endless() -> Iterator[list[ObjectInfo]]:
        nonlocal given_out
        while True:
            given_out += 1
            yield [ObjectInfo(f"{given_out}-{one}", 1, "tag") for one in range(1000)]

    items = Paged([])
    items.chunks = endless  # type: ignore[method-assign]
    job = DeleteJob(items, "b", lambda report: None)
    job.start_reading()
    seen = -1
    while seen != given_out or not given_out:
        seen = given_out
        threading.Event().wait(0.1)
    job.cancel()
    assert given_out <= 20


def test_a_listing_that_fails_stops_deletes_in_blocks() -> None:
    """What came before the failure has its reports, and the batch ends with what the listing raised."""
    failure = OSError("gone")
    objects = [ObjectInfo(f"k{number}", 1, "tag") for number in range(30)]
    store = Store({info.key: "tag" for info in objects})
    reports: list[RequestReport] = []
    job = DeleteJob(Paged([objects], failure), "b", reports.append, conditions=DeleteConditions())
    errors = run(job, store, reports)
    assert job.failure is failure
    assert set(errors) == {info.key for info in objects}
    assert {key for key, error in errors.items() if error is not None} == set(store.held)


def test_reports_of_a_block_come_together() -> None:
    """All reports of a request of which nothing failed are handed over at once."""
    objects = [ObjectInfo(f"k{number}", number, "tag") for number in range(1000)]
    store = Store({info.key: "tag" for info in objects})
    handed: list[list[RequestReport]] = []
    reports: list[RequestReport] = []
    job = DeleteJob(Paged([objects]), "b", reports.append, conditions=DeleteConditions())

    def take(alike: AlikeReports) -> None:
        handed.append(alike.reports())
        reports.extend(handed[-1])

    job.emit_alike = take
    assert not any(run(job, store, reports).values())
    assert [len(many) for many in handed] == [1000]
    assert [report.seq for report in reports] == list(range(1000))


class Sparing(Paged):
    """Of a class that has blocks, but leaves objects out when it is iterated."""

    def __iter__(self) -> Iterator[Any]:
        return (info for info in super().__iter__() if not info.key.endswith("keep"))


class Around:
    """Passes on what it is around, but for some objects."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)

    def __iter__(self) -> Iterator[Any]:
        return (info for info in self._items if not info.key.endswith("keep"))


@pytest.mark.parametrize("kind", [Sparing, lambda blocks: Around(Paged(blocks))])
def test_what_an_input_leaves_out_is_kept(kind: Callable[[list[list[Any]]], Any]) -> None:
    """Blocks are taken of a class that has them itself; others are taken at their word, object by object."""
    objects = [ObjectInfo(key, 1, "tag") for key in ("a", "b-keep", "c")]
    store = Store({info.key: "tag" for info in objects})
    reports, _ = _done(kind([objects]), store)
    assert [report.key for report in reports] == ["a", "c"]
    assert set(store.held) == {"b-keep"}
