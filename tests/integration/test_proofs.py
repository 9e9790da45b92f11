"""The programs that prove promises run, and end with 1 when a promise is broken."""

from __future__ import annotations

import pytest

from tests import broken_listing, flipped_bits
from tests.broken_listing import Ran, disagreements


def test_broken_listing(capsys: pytest.CaptureFixture[str]) -> None:
    """With few objects: rm -r stops, and with a limit it does nothing; the table says so."""
    assert broken_listing.main(["--objects", "400", "--only", "rm -r"]) == 0
    limited, stopped = capsys.readouterr().out.split("rm -r\n")
    assert "exit 1; reports 0: 0 done" in limited
    assert "exit 1; reports 108: " in stopped
    assert "'Cancelled'" in stopped
    assert stopped.endswith("all agree\n")


def test_broken_listing_finds_what_is_wrong() -> None:
    """Each thing that a command must not do is told."""
    listed = {"a", "b", "c"}
    right = Ran("mv", 1, {"a": None, "b": "Cancelled", "c": "Cancelled"}, "")
    assert disagreements(right, {"a"}, listed, {"a", "b"}) == []
    wrong = {
        "exit code 0": (right._replace(code=0), {"a"}, listed, {"a"}),
        "reports are not of": (right._replace(told={"a": None}), {"a"}, listed, {"a"}),
        "what is reported done": (right, {"a", "b"}, listed, {"a", "b"}),
        "another error": (right._replace(told={**right.told, "b": "NotFound"}), {"a"}, listed, {"a"}),
        "stopped nothing": (right, {"a"}, listed, listed),
        "at the target that was not listed": (right, {"a"}, listed, {"a", "d"}),
    }
    for text, (ran, gone, names, elsewhere) in wrong.items():
        (found,) = disagreements(ran, gone, names, elsewhere)
        assert text in found
    assert disagreements(Ran("rm", 1, dict.fromkeys(listed), ""), listed, listed, set())  # all that was listed is done
    assert disagreements(Ran("rm", 1, {"a": None}, ""), {"a"}, set(), set())  # and it needed the whole listing


@pytest.mark.parametrize(
    ("server", "row", "figure"), [("seaweedfs", "download, small", 0), ("blind", "upload, small, body", 3)]
)
def test_flipped_bits(server: str, row: str, figure: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A bit of each body is caught where the store can tell, and else told as "length only"."""
    assert flipped_bits.main(["--tries", "2", "--rows", row, server]) == 0
    _, line, last = capsys.readouterr().out.splitlines()
    counts = [int(word) for word in line.split() if word.isdecimal()]
    assert counts == [2 if number == figure else 0 for number in range(5)]
    assert last == "every flipped bit of a body was caught or told"


def test_flipped_bits_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """When wrong bytes are taken for right, or a flip does no harm where it must have."""
    for found in ("WRONG", "harmless"):
        monkeypatch.setattr(flipped_bits, "outcome", lambda _report, right, found=found: found)
        assert flipped_bits.main(["--tries", "1", "--rows", "upload, small, body", "blind"]) == 1


def test_flipped_bits_tries_bodies_as_often_as_told() -> None:
    """Large ones too; only the XML around them, which is but shown, a fifth as often."""
    few = {row.name for row in flipped_bits.ROWS if row.tries_of(100) < 100}
    assert {row.name for row in flipped_bits.ROWS if row.must_be_caught} & few == set()
    assert all("XML" in name for name in few)
