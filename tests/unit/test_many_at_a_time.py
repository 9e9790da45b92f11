"""What the parent does for many items at a time has the same results as what it does for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from s3engine.decided import Decided
from s3engine.errors import AccessDenied, ConfigError
from s3engine.given import sound_sources
from s3engine.integrity.choice import Checking
from s3engine.jobs.asking import Asking
from s3engine.jobs.base import Job
from s3engine.jobs.in_time import asked_in_time
from s3engine.jobs.reader import InputReader
from s3engine.operations import ObjectHeaders
from s3engine.pool.messages import Task
from s3engine.report import RequestReport, SummaryBuilder
from s3engine.sources import BytesSource, FileSource, Rejected
from tests.tried_jobs import Bench, outcome, upload

_keys = st.sampled_from(["a", "b", "c", "é", "", "x" * 256, "x" * 257, "x" * 1025, "\udcff", "denied"])
_headers = st.sampled_from([None, None, ObjectHeaders(cache_control="own")])
_condition = (("if-none-match", "*"),)
_sources = st.one_of(
    st.tuples(st.just("/f"), _keys, _headers).map(FileSource._make),
    st.tuples(st.just(b"body"), _keys, _headers).map(BytesSource._make),
    st.tuples(st.just("/f"), _keys),
)
_items = st.lists(
    st.one_of(
        _sources,
        _keys.map(lambda key: Rejected(key, ConfigError("no"))),
        st.tuples(_keys, st.sampled_from([(), _condition])).map(lambda one: Decided(FileSource("/f", one[0]), one[1])),
    ),
    max_size=20,
)  # fmt: skip


def _answer(task: Task) -> tuple[Any, ...]:
    return outcome(task, error=AccessDenied("no") if task[3] == "denied" else None)


def _plainly(items: list[Any], *, plain: bool) -> tuple[list[Any], list[Any]]:
    """Tasks without their numbers, and reports in the order of the input."""
    bench = Bench(_answer)
    job = upload(bench, items)
    if not plain:
        job._are_plain = False
    context_ids = [context.id for context in job.contexts]
    reports = sorted(bench.run(job))
    told = [(*one[:13], repr(one.error), *one[14:]) for one in reports]
    return [(context_ids.index(task[1]), *task[2:]) for task in bench.tasks], told


@settings(max_examples=60, deadline=None)
@given(_items)
def test_plain_files_are_as_all_others(items: list[Any]) -> None:
    """Tasks and reports of an upload are the same with the short way for plain files and without it."""
    assert _plainly(items, plain=True) == _plainly(items, plain=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(_sources, st.sampled_from([17, "text", ("/f", 3), ("/f", "k", "x")])), max_size=20))
def test_list_is_as_any_other_input(items: list[Any]) -> None:
    """A list gives in chunks what it gives one by one; so does a tuple."""
    expected = list(map(repr, sound_sources(iter(items))))
    for given_ in (items, tuple(items)):
        sound: Any = sound_sources(given_)
        assert [repr(item) for chunk in sound.chunks() for item in chunk] == expected
        assert list(map(repr, sound)) == expected


def test_list_that_grows_while_it_is_read() -> None:
    """What is appended to a list while it is read comes too."""
    items = [FileSource("/f", f"k{number}") for number in range(300)]
    sound: Any = sound_sources(items)
    chunks = sound.chunks()
    count = len(next(chunks))
    items.append(FileSource("/f", "late"))
    assert count + sum(map(len, chunks)) == 301


class _Chunks:
    """Chunks of 10, and how many were taken."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def chunks(self) -> Iterator[list[Any]]:
        for at in range(0, len(self._items), 10):
            self.taken += 1
            yield self._items[at : at + 10]


def test_reader_takes_few_chunks_ahead() -> None:
    """An input in chunks is read no more than some thousand items ahead, and to its end when there is room."""
    chunks = _Chunks([FileSource("/f", f"k{number}") for number in range(5000)])
    bench = Bench(outcome)
    assert len(bench.run(upload(bench, chunks))) == 5000
    chunks = _Chunks([FileSource("/f", f"k{number}") for number in range(5000)])
    job = upload(bench, chunks)
    job.reader.close()
    job.reader.read(job)
    assert not job.reader.queue
    assert chunks.taken == 1


class _NoRoom(Job):
    weighs = True

    def body_bytes(self, item: Any) -> int:
        return len(item.data)


def test_bodies_in_chunks_are_counted_one_by_one() -> None:
    """Of a chunk of large bodies no more is taken than may be held in memory."""
    import threading

    from tests.helpers import eventually

    body = bytes(40 * 1024 * 1024)
    reader = InputReader(_Chunks([BytesSource(body, f"k{number}") for number in range(10)]))
    job = _NoRoom([], {"bucket": "b"}, lambda report: None)
    thread = threading.Thread(target=reader.read, args=(job,))
    thread.start()
    eventually(lambda: len(reader.queue) == 2)
    assert not reader.exhausted
    reader.close()
    thread.join(10)
    assert len(reader.queue) == 2


class _Checks:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def known(self) -> Checking | None:
        return None

    def cautious(self) -> Checking:
        raise AssertionError("nobody asks this here")

    def find(self, bucket: str, key: str, stopped: Any) -> Any:
        self.asked.append(key)
        return "found"


def _asked(items: Iterable[Any], *, in_chunks: bool) -> tuple[list[str], list[Any]]:
    """About which keys was asked, and what came, with a mark where the answer was known."""
    checks = _Checks()
    came: list[Any] = []
    asked: Any = asked_in_time(items, Asking(checks, "b", 1.0), 1000, came.append)
    # One by one, since the mark comes in between.
    for item in itertools.chain.from_iterable(asked.chunks()) if in_chunks else asked:
        came.append(item)
    return checks.asked, came


def test_question_comes_at_the_same_item(tmp_path: Any) -> None:
    """In chunks or one by one, the store is asked about the same item, before it is handed out, and once."""
    (tmp_path / "large").write_bytes(bytes(2000))
    small = [FileSource("/missing", f"k{number}") for number in range(205)]
    large = [*small[:13], FileSource(str(tmp_path / "large"), "large"), *small[13:]]
    for items, key, at in ((small, "k100", 100), (large, "large", 13), (small[:50], "", 50)):
        one_by_one, in_chunks = (_asked(_Chunks(items), in_chunks=which) for which in (False, True))
        mark = ["found"] if key else []
        assert one_by_one == in_chunks == ([key] if key else [], [*items[:at], *mark, *items[at:]])


def test_stopped_question_ends_the_input() -> None:
    """When the batch was cancelled before the question, what follows does not come; the item is not lost."""
    for in_chunks in (False, True):
        items = [FileSource("/missing", f"k{number}") for number in range(205)]
        asking = Asking(_Checks(), "b", 1.0)
        asking.stop()
        asked: Any = asked_in_time(_Chunks(items), asking, 1000, lambda checking: None)
        came = list(itertools.chain.from_iterable(asked.chunks())) if in_chunks else list(asked)
        assert came == items[:100]


_reports = st.tuples(
    st.integers(0, 10**9), st.integers(0, 4), st.floats(0, 1e5), st.sampled_from([None, None, AccessDenied("no")]),
    st.sampled_from(["", "length only", "sha256"]), st.sampled_from(["", "", "exists"]),
).map(
    lambda one: RequestReport(
        0, "upload", "b", "k", one[0], one[1], 0.1, one[2], 0.0, 1.0, 200, "id", "e", one[3], "", one[4], one[5]
    )
)  # fmt: skip


@given(st.lists(_reports, max_size=30))
def test_sums_are_the_same(reports: list[RequestReport]) -> None:
    """Totals of reports that are added together are those of reports that are added one by one."""
    together, one_by_one = SummaryBuilder(lambda: 0.0), SummaryBuilder(lambda: 0.0)
    together.add_all(reports)
    for report in reports:
        one_by_one.add(report)
    assert together.summary() == one_by_one.summary()
    done = [report for report in reports if report.ok and not report.skipped]
    assert together.summary().objects == len(done)
    assert together.summary().size_bytes == sum(report.size_bytes for report in done)
    assert together.summary().failed == sum(not report.ok for report in reports)
