"""docs/retries.md names the tests that hold its rows: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tests_named_by_the_table_exist() -> None:
    """Each row names at least one test, and each name is that of a test function."""
    text = (ROOT / "docs" / "retries.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows
    assert [row for row in rows if "`test_" not in row] == []
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    assert sorted(named - there) == []
