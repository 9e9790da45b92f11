"""The table of ``bench.peers``, who runs again, when a run is right, and what the sink's log and pages say."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import harness, upload_small
from bench.peers import run
from bench.peers.checks import check_list
from bench.peers.contenders import NOBODY, Contender, Job
from bench.peers.figures import per_put_table
from bench.peers.place import Place, Seen, Sizes, make_large
from bench.peers.run import best_variants, chosen
from bench.peers.table import best_of, details, goals
from bench.peers.works import WORKS
from bench.sink import Request, parse
from bench.sink_data import Listed, pages

BY_NAME = {work.name: work for work in WORKS}
UPLOAD = BY_NAME["upload-small"]
MIB = 1024 * 1024


def row(contender: str, wall_s: float, *, cpu_s: float = 1.0, round_number: int = 1, wrong: str = "") -> dict[str, Any]:
    """A row of a run."""
    peer = contender.partition("@")[0]
    return {
        "work": UPLOAD.name, "round": round_number, "contender": contender, "peer": peer, "wall_s": wall_s,
        "cpu_s": cpu_s, "server_cpu_s": 0.1, "requests": 10, "wrong": wrong, "cost": False,
    }  # fmt: skip


def place_of(folder: Path) -> Place:
    """A place without a server, with a large file of 4 MiB and one other of 2 MiB."""
    sizes = Sizes(many=1, many_mib=2)
    place: Any = (None, sizes, folder / "small", {}, folder / "many", folder / "one.bin", folder / "keys", folder)
    make_large(folder / "one.bin", 4)
    make_large(folder / "many" / "000.bin", 2, seed=1)
    return Place(*place)


def put(key: str, path: Path, start: int, size_bytes: int, part: int) -> Request:
    """The log's line of a PUT of a range of a file; ``part`` 0 is the whole object."""
    body = path.read_bytes()[start : start + size_bytes]
    query = f"?partNumber={part}&uploadId=u" if part else ""
    sha256 = hashlib.sha256(body).hexdigest()
    return Request("PUT", 200, size_bytes, sha256, 0, 1, "-", size_bytes + 700, f"/large/{key}{query}")


def judged(place: Place, puts: list[Request], *, done: int) -> str:
    """What is wrong with these PUTs, and so many completions, as an upload of the large file."""
    job = Job("put", "", "large", "one.bin", str(place.large), large=True)
    end = Request("POST", 200, 400, "-", 500, 1, "-", 900, "/large/one.bin?uploadId=u")
    return BY_NAME["large-up"].check(place, Seen([*puts, *[end] * done], [], place.scratch, ""), job)


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
    assert chosen(rows, near=1.5, far=2.5, most=1) == {"obstore@64", "s5cmd@64"}


def test_who_runs_against_the_other_server() -> None:
    """Of each peer the variant with the least median of the runs that count and were right."""
    rows = [
        row("obstore@64", 0.1, round_number=0), row("obstore@64", 1.0), row("obstore@64", 1.0), row("obstore@64", 3.0),
        row("obstore@256", 1.5), row("obstore@256", 1.5), row("obstore@256", 0.2), row("s5cmd@64", 0.1, wrong="no"),
        row("s5cmd@256", 9.0),
    ]  # fmt: skip
    assert best_variants(rows) == {"obstore@64", "s5cmd@256"}


def test_first_round_of_ours_is_judged() -> None:
    """A run of ours that was wrong in a round that does not count meets no goal either, and the table tells it."""
    rows = [
        row("s3engine", 1.0, round_number=0, wrong="9 keys of 10000"), *(row("s3engine", 1.0) for _ in range(5)),
        row("obstore@64", 10.0),
    ]  # fmt: skip
    assert all(line.endswith("|  NO |") for line in goals([UPLOAD], rows).splitlines()[2:])
    assert "5 of 6 WRONG: 9 keys of 10000" in details(UPLOAD, rows)


def test_first_round_of_a_peer_is_judged() -> None:
    """A peer's variant that came to something wrong in a round that does not count is not the best."""
    rows = [row("obstore@64", 1.0, round_number=0, wrong="9 keys of 10000"), *(row("obstore@64", 1.0) for _ in "12345")]
    assert best_of(rows, "wall") == ""


def test_one_crash_in_five_leaves_a_peer_in() -> None:
    """A peer's variant is told by its right runs when one of five failed, and is out when two did."""
    ours, failed = row("s3engine", 1.0), row("obstore@64", float("inf"), cpu_s=float("inf"), wrong="it crashed")
    rows = [ours, failed, *(row("obstore@64", wall_s) for wall_s in (2.0, 2.0, 4.0, 6.0))]
    assert best_of(rows, "wall") == "obstore@64"
    assert "obstore@64: 3.000 (2.000-6.000) s" in goals([UPLOAD], rows)
    assert "4 of 5 WRONG: it crashed" in details(UPLOAD, rows)
    assert best_of([*rows[:-1], failed], "wall") == ""


def test_cold_runs_are_judged_mildly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After one cold run only what took more than twice as long is dropped; after two, peers 1.6 times behind."""
    times = {"s3engine": 1.0, "obstore@1": 2.0, "fast-s3@1": 3.8, "rclone@1": 4.2, "obstore@2": 2.1}
    everybody = [Contender(name, name.partition("@")[0], []) for name in times]
    monkeypatch.setattr(run, "contenders", lambda job, peers: everybody)

    def run_once(work: object, place: object, contender: Contender, *, listen: bool) -> dict[str, Any]:
        told = row(contender.name, times[contender.name])
        del told["round"]
        return told

    monkeypatch.setattr(run, "run_once", run_once)
    work = UPLOAD._replace(goals=(), costs=lambda job, place: (), job=lambda place: Job("upload", "", "b", "p/"))
    rows = run.run_work(work, place_of(tmp_path), 1)
    runs = {name: [one["round"] for one in rows if one["contender"] == name] for name in times}
    assert runs == {
        "s3engine": [0, 0, 1], "obstore@1": [0, 0, 1], "obstore@2": [0, 0, 1], "fast-s3@1": [0, 0], "rclone@1": [0],
    }  # fmt: skip


def test_large_upload_of_other_bytes_is_wrong(tmp_path: Path) -> None:
    """Parts are right whose signed SHA-256 is that of their range of the file; of another range or file not."""
    place = place_of(tmp_path)
    parts = [put("one.bin", place.large, start, 2 * MIB, start // MIB // 2 + 1) for start in (0, 2 * MIB)]
    assert judged(place, parts, done=1) == ""
    assert judged(place, [parts[1]._replace(path=parts[0].path), parts[0]._replace(path=parts[1].path)], done=1)
    assert judged(place, [parts[0], put("one.bin", place.many / "000.bin", 0, 2 * MIB, 2)], done=1)
    assert judged(place, [put("one.bin", place.large, 0, 4 * MIB, 0)], done=0) == ""


def test_large_upload_that_is_not_signed_is_judged_by_size(tmp_path: Path) -> None:
    """Without signed sums every byte must have come, in parts 1 to n; where some bodies are signed, all must be."""
    place = place_of(tmp_path)
    signed = [put("one.bin", place.large, start, 2 * MIB, start // MIB // 2 + 1) for start in (0, 2 * MIB)]
    parts = [one._replace(sha256="UNSIGNED-PAYLOAD") for one in signed]
    assert judged(place, parts, done=1) == ""
    assert judged(place, parts[:1], done=1)
    assert judged(place, [parts[0], parts[1]._replace(size_bytes=2 * MIB - 1)], done=1)
    assert judged(place, [parts[0], signed[1]], done=1) == "one.bin: 1 bodies of 2 signed"


def test_stored_large_objects_are_read(tmp_path: Path) -> None:
    """Where a store has no log, the beginning of each MiB of its objects is compared with the file."""
    place = place_of(tmp_path)
    job = Job("put", "", "large", "one.bin", str(place.large), large=True)
    whole = place.large.read_bytes()
    stored = {"one.bin": whole}
    seen = Seen(
        [], [], tmp_path, "", {"one.bin": len(whole)}, lambda key, start, size: stored[key][start : start + size]
    )
    assert BY_NAME["large-up"].check(place, seen, job) == ""
    stored["one.bin"] = whole[: 3 * MIB] + whole[:MIB]
    assert BY_NAME["large-up"].check(place, seen, job) == f"one.bin differs at {3 * MIB}"


def test_start_asks(tmp_path: Path) -> None:
    """Who lists asks once or twice and is answered 200; nobody else may pass for it."""
    check, job = BY_NAME["start"].check, Job("list", "", "empty", "p/")
    asked = Request("GET", 200, -1, "-", 100, 1, "-", 300, "/empty?list-type=2")
    seen = Seen([asked], [], tmp_path, "", contender="s3engine")
    assert check(place_of(tmp_path), seen, job) == ""
    for requests in ([], [asked] * 3, [asked._replace(status=403)]):
        assert check(place_of(tmp_path), seen._replace(requests=requests), job)
    assert check(place_of(tmp_path), seen._replace(requests=[], contender=NOBODY), job) == ""


def test_user_time_is_shown() -> None:
    """CPU per PUT of the workers has its user time beside it."""
    row = {
        "work": "per-put", "worker_us": 20.0, "worker_user_us": 12.0, "parent_us": 10.0, "first_worker_us": 40.0,
        "first_worker_user_us": 31.0, "first_parent_us": 20.0,
    }  # fmt: skip
    told = [line for line in per_put_table([row]).splitlines() if line.startswith("| of these, user time")]
    assert ["12.0 (12.0-12.0)" in told[0], "31.0 (31.0-31.0)" in told[1]] == [True, True]


def test_kept_rows_are_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failed run, whose times are infinite, is kept as null: JSON has no word for infinity."""
    monkeypatch.setattr(harness, "versions", lambda: {"Python": "3"})
    folder = harness.keep_run(str(tmp_path), "peers", "python", "all of it", [row("s3engine", float("inf"), cpu_s=1.5)])
    text = (folder / "peers.raw.json").read_text()
    assert "Infinity" not in text
    (kept,) = json.loads(text)
    assert (kept["wall_s"], kept["cpu_s"]) == (None, 1.5)


def _asked(method: str, path: str, size_bytes: int = 0) -> Request:
    return Request(method, 200, size_bytes, "", 0, 1, "-", 0, path)


def test_question_to_the_store_is_no_upload() -> None:
    """Parts by which a store is asked what it compares are none of the files: a run with them is whole."""
    requests = [_asked("PUT", "/bench/p/a", 3), _asked("PUT", "/bench/p/b?partNumber=1&uploadId=u", 1)]
    start = f"/{upload_small.BUCKET}/{upload_small.PREFIX}"
    requests[0] = requests[0]._replace(path=f"{start}a")
    seen = upload_small.check(requests, {"a": ""}, 3)
    assert (seen["whole"], seen["puts"], seen["other_requests"]) == (True, 1, 1)
    assert not upload_small.check([*requests, requests[0]], {"a": ""}, 3)["whole"]


def test_listing_that_prints_nothing_is_wrong() -> None:
    """Where its output is kept a listing must have some; where it is not, the pages must do."""
    place: Any = SimpleNamespace(sizes=SimpleNamespace(listed=1000))
    seen = Seen([_asked("GET", "/b?list-type=2")], [], Path("out"), "", listened=True)
    job: Any = None
    assert "nothing" in check_list(place, seen, job)
    assert check_list(place, seen._replace(listened=False), job) == ""
    assert check_list(place, seen._replace(printed="1000"), job) == ""
