"""The table of ``bench.peers``, the choice of who runs again, and what the sink's log and pages say."""

from __future__ import annotations

import re
from typing import Any

from bench.peers.run import chosen
from bench.peers.table import best_of, details, goals
from bench.peers.works import WORKS
from bench.sink import parse
from bench.sink_data import Listed, pages

UPLOAD = next(work for work in WORKS if work.name == "upload-small")


def row(contender: str, wall_s: float, *, cpu_s: float = 1.0, round_number: int = 1, wrong: str = "") -> dict[str, Any]:
    """A row of a run."""
    peer = contender.partition("@")[0]
    return {
        "work": UPLOAD.name, "round": round_number, "contender": contender, "peer": peer, "wall_s": wall_s,
        "cpu_s": cpu_s, "server_cpu_s": 0.1, "requests": 10, "wrong": wrong, "cost": False,
    }  # fmt: skip


def test_line_of_the_log() -> None:
    """A line of the sink's log gives method, status, sizes, connection, TLS and the whole path."""
    request = parse("PUT 200 1024 UNSIGNED-PAYLOAD 0 17 TLSv1.3 1500 /b/a b?x=1")
    assert request == ("PUT", 200, 1024, "UNSIGNED-PAYLOAD", 0, 17, "TLSv1.3", 1500, "/b/a b?x=1")
    assert parse("GET 404 - - 153 1 - 90 /").size_bytes == -1


def test_pages_are_chained() -> None:
    """Pages hold every key once; each but the last names the next one, and the last says that it is it."""
    keys = [f"k{number:04}" for number in range(2500)]
    found = list(pages("b", [Listed(key) for key in keys], encoded=False))
    assert [key for page in found for key in re.findall("<Key>([^<]*)</Key>", page)] == keys
    assert [re.findall("<NextContinuationToken>([^<]*)<", page) for page in found] == [["page1"], ["page2"], []]
    assert ["<IsTruncated>true<" in page for page in found] == [True, True, False]
    assert len(list(pages("b", [], encoded=True))) == 1


def test_best_variant_counts() -> None:
    """A goal is held against the peer's variant with the least median that was right, and both of our ways count."""
    rows = [
        *(row("s3engine", wall_s) for wall_s in (4.0, 5.0, 6.0)), row("s3engine library", 4.0),
        *(row("obstore@64", wall_s) for wall_s in (10.0, 10.0, 30.0)), row("obstore@256", 20.0),
        row("s5cmd@64", 2.0, wrong="9999 keys of 10000"),
    ]  # fmt: skip
    assert best_of(rows, "wall") == "obstore@64"
    assert best_of(rows, "wall", "s5cmd") == ""
    wall, cpu = goals([UPLOAD], rows).splitlines()[2:]
    assert "obstore@64: 10.000 (10.000-30.000) s" in wall
    assert "0.50 (command line), 0.40 (library)" in wall
    assert wall.endswith("| yes |")
    assert "1.00 (command line)" in cpu
    assert cpu.endswith("|  NO |")


def test_wrong_runs_meet_no_goal() -> None:
    """A run of ours that was wrong meets no goal, however fast it was, and the table says what was wrong."""
    rows = [row("s3engine", 0.1, cpu_s=0.1, wrong="3 keys of 10000"), row("obstore@64", 10.0)]
    assert all(line.endswith("|  NO |") for line in goals([UPLOAD], rows).splitlines()[2:])
    assert "0 of 1 WRONG: 3 keys of 10000" in details(UPLOAD, rows)


def test_first_round_counts_only_where_it_is_the_only_one() -> None:
    """A contender that ran in later rounds is shown without its first; one that did not is shown with it."""
    rows = [
        row("s3engine", 9.0, round_number=0), row("s3engine", 1.0), row("s3engine", 1.0),
        row("fast-s3@64", 7.0, round_number=0),
    ]  # fmt: skip
    text = details(UPLOAD, rows)
    assert "1.000 (1.000-1.000)" in text
    assert "7.000 (7.000-7.000)" in text
    assert "9.000" not in text


def test_who_runs_again() -> None:
    """The near-best variants of each peer run again; a wrong one, and a peer that is far behind, do not."""
    rows = [
        row("obstore@64", 1.0), row("obstore@256", 1.1), row("obstore@512", 1.3), row("s5cmd@64", 2.0),
        row("s5cmd@256", 0.1, wrong="no keys"), row("fast-s3@64", 2.6),
    ]  # fmt: skip
    assert chosen(rows, near=1.15, far=2.5) == {"obstore@64", "obstore@256", "s5cmd@64"}
    assert chosen(rows, near=1.15, far=1.5, always={"fast-s3"}) == {"obstore@64", "obstore@256", "fast-s3@64"}
