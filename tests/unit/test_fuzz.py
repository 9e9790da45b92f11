"""What reads bytes of others holds its promises on the corpus and a thousand mutations; the watch sees what does not.

Minutes of it: ``python -m tests.fuzz all --seconds 600``.
"""

from __future__ import annotations

import time
from random import Random

import pytest

from s3engine_transports.raw import xml
from tests.fuzz.mutate import MAX_BYTES, cases
from tests.fuzz.run import Result, run, seeds
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_corpus_and_mutations(target: str) -> None:
    """No crash and no hang on any seed, nor on the same thousand mutations in every run."""
    given = seeds(target)
    assert given
    result = run(target, TARGETS[target], cases(given, Random(7)), seconds=60, cases=len(given) + 1000)
    assert result.crashes == []
    assert result.cases == len(given) + 1000


def test_mutations_are_repeatable_and_bounded() -> None:
    """The same seed gives the same cases, none of them large."""
    one, two = (cases(seeds("xml"), Random(3)) for _ in range(2))
    first = [next(one) for _ in range(300)]
    assert first == [next(two) for _ in range(300)]
    assert max(map(len, first)) <= MAX_BYTES
    assert len(set(first)) > 250


def test_the_watch_sees_crashes_and_hangs() -> None:
    """An exception and a slow case are findings that name their input; growth of memory is one too."""

    def bad(data: bytes) -> None:
        if data == b"slow":
            time.sleep(1.05)
        elif data:
            raise KeyError(data)

    result = run("bad", bad, [b"", b"no", b"slow"], seconds=60)
    assert result.cases == 3
    assert len(result.crashes) == 1
    assert result.crashes[0].startswith("b'no': KeyError")
    assert result.hangs[0].startswith("b'slow'")
    assert Result("t", "e", start_bytes=1, end_bytes=10**9).problems == ["memory grew by 999999999 bytes"]


def test_growth_of_a_short_run_is_not_claimed() -> None:
    """Before the warming up is over nothing is known of growth, and the line says so."""
    assert "growth not measured in fewer than 5000 cases" in str(Result("t", "e", cases=4999, end_bytes=10**9))
    assert "memory 1.0 MiB after 5000 cases, 2.0 MiB at the end" in str(
        Result("t", "e", cases=5000, start_bytes=2**20, end_bytes=2**21)
    )


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (xml.read_parts, b"<ListPartsResult><Part><PartNumber>:</PartNumber></Part></ListPartsResult>"),
        (xml.read_parts, b"<ListPartsResult><Part></Part></ListPartsResult>"),
        (xml.read_list_page, b"<ListBucketResult><Contents><Size>5@</Size></Contents></ListBucketResult>"),
        (xml.read_uploads, b"<ListMultipartUploadsResult><Upload></Upload></ListMultipartUploadsResult>"),
    ],
)  # fmt: skip
def test_what_fuzzing_found(read: object, body: bytes) -> None:
    """Numbers that are none, and names that are missing, raise the error that the readers document."""
    assert callable(read)
    with pytest.raises(xml.BadXml):
        read(body)
