"""Text of others stands on one line, gives no orders to a terminal and has a bounded length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.plain import brief, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\rc\td\0", "a\\nb\\rc\\td\\x00"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),  # C1: CSI in one character, NEL
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066a\u2069\u200f\u200e\u061c", "\\u2066a\\u2069\\u200f\\u200e\\u061c"),
        ("pay\u200bpal\ufeff\u00ad\u2060", "pay\\u200bpal\\ufeff\\xad\\u2060"),
        ("a\U000e0041", "a\\U000e0041"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\u0646\u0627\u0645\u0647\u200c\u0647\u0627 \U0001f469\u200d\U0001f680 caf\u00e9", None),
    ],
)
def test_what_is_escaped(text: str, shown: str | None) -> None:
    """Control, direction and invisible characters are escapes; letters, emoji and their joiners stay."""
    assert one_line(text) == (text if shown is None else shown)


@given(st.text(), st.integers(20, 300))
def test_brief(text: str, limit: int) -> None:
    """One line, not much longer than its limit (escapes take up to ten characters); short text is whole."""
    found = brief(text, limit)
    assert len(found.splitlines()) <= 1
    assert len(found) <= 10 * (limit + 40)
    if len(text) <= limit:
        assert found == one_line(text)


def test_megabytes() -> None:
    """Of megabytes the beginning and the end are told, and how much it was."""
    found = brief("a" * 5_000_000 + "\x1bz", 100)
    assert len(found) < 200
    assert found.startswith("aaa")
    assert "\\x1bz (5000002 characters)" in found
