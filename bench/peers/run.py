"""Running a work: two first rounds, which choose among everybody's variants, and the rounds that count."""

from __future__ import annotations

import functools
import random
import statistics
import sys
from collections.abc import Collection, Sequence
from typing import Any

from bench.harness import RunFailed, client_environment, run_process
from bench.peers.contenders import Contender, contenders
from bench.peers.place import Place, Seen, fresh
from bench.peers.weed import Weed
from bench.peers.works import Work

__all__ = ["best_variants", "chosen", "run_work"]

NEAR = 1.1
"""Of a peer's variants, those within so much of its best in the first two rounds run in the others, two at most."""
FAR = 1.6
"""A peer whose best of the first two rounds took so many times as long as the best of all is in no other."""
MOST = 2
NEAR_COLD = 1.5
"""A variant that took so many times as long as its peer's best in the very first round is not in the second."""
FAR_COLD = 2.0
"""Nor is a peer whose best took so many times as long as the best of all."""
_TIMEOUT_S = 40.0  # of a run; who takes so long is out of the contest, and half an hour is for all of it


def run_once(work: Work, place: Place, contender: Contender, *, listen: bool) -> dict[str, Any]:
    """One run, timed and judged. ``listen``: keep what it prints. Raises RunFailed."""
    job = work.job(place)
    out = fresh(place)
    for suffix in (".journal",):
        (place.scratch / f"out{suffix}").mkdir(exist_ok=True)
        for old in (place.scratch / f"out{suffix}").iterdir():
            old.unlink()
    command = [word.replace("{out}", str(out)) for word in contender.command]
    if isinstance(place.sink, Weed):
        place.sink.before(job.verb)
    place.sink.requests()
    place.sink.deleted()
    server_cpu_s = place.sink.cpu_s()
    usage = run_process(
        command, client_environment() | dict(contender.environment), _TIMEOUT_S,
        discard=contender.silent and not listen, codes=contender.codes,
    )  # fmt: skip
    server_cpu_s = place.sink.cpu_s() - server_cpu_s
    target = job.path.partition("/")[0] if job.verb == "copy" else job.bucket
    seen = Seen(
        place.sink.requests(), place.sink.deleted(), out, usage.stdout, contender=contender.name, listened=listen,
    )  # fmt: skip
    if isinstance(place.sink, Weed):
        seen = seen._replace(stored=place.sink.stored(target), read=functools.partial(place.sink.read, target))
    return {
        "work": work.name, "contender": contender.name, "peer": contender.peer, "wall_s": round(usage.wall_s, 4),
        "cpu_s": round(usage.cpu_s, 4), "server_cpu_s": round(server_cpu_s, 4), "requests": len(seen.requests),
        "wrong": work.check(place, seen, job),
    }  # fmt: skip


def chosen(
    rows: Sequence[dict[str, Any]], near: float = NEAR, far: float = FAR, always: Collection[str] = (),
    most: int = MOST,
) -> set[str]:  # fmt: skip
    """Names of the contenders that go on, by the better run of each so far.

    Of each peer the variants within ``near`` of its best (of those that were right), ``most`` of them, unless even the
    best took ``far`` times as long as the best one of all. The peers ``always`` go on however long they took.
    """
    right = [row for row in rows if not row["wrong"]]
    if not right:
        return set()
    best_s = min(row["wall_s"] for row in right)
    names = set()
    for peer in {row["peer"] for row in right}:
        mine: dict[str, float] = {}
        for row in sorted(right, key=lambda row: row["wall_s"]):
            if row["peer"] == peer:
                mine.setdefault(row["contender"], row["wall_s"])
        own_best_s = min(mine.values())
        if own_best_s <= far * best_s or peer in always:
            names |= set([name for name, wall_s in mine.items() if wall_s <= near * own_best_s][:most])
    return names


def best_variants(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Of each peer the contender with the least median wall time, of the runs that count and were right."""
    times: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.get("round") and not row["wrong"]:
            times.setdefault((row["peer"], row["contender"]), []).append(row["wall_s"])
    best: dict[str, tuple[float, str]] = {}
    for (peer, name), walls in times.items():
        found = statistics.median(walls), name
        best[peer] = min(best.get(peer, found), found)
    return {name for _, name in best.values()}


def run_work(work: Work, place: Place, rounds: int, known: Collection[str] = ()) -> list[dict[str, Any]]:
    """All rows of a work; ``round`` 0 is the first two, which do not count but for those that run in no other.

    What a safety costs is run in those that count. ``known``: who was chosen elsewhere; then one cold round goes
    before, and nobody else takes part, nor is it looked at what a safety costs.
    """
    job = work.job(place)
    takes_part = list(work.who(job)) if work.who else contenders(job, work.peers)
    costs = [] if known else list(work.costs(job, place))
    everybody = list(takes_part)
    rows: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    named = {goal.against for goal in work.goals}
    if known:
        everybody = [one for one in everybody if one.name in known or one.peer.startswith("s3engine")]
    first = 1 if known else 2
    for turn in range(rounds + first):
        number = max(0, turn - first + 1)
        if number == 1:
            everybody += costs
        for contender in random.Random(turn).sample(everybody, len(everybody)) * (work.repeat if number else 1):
            try:
                row = run_once(work, place, contender, listen=not number)
            except RunFailed as error:
                said = " ".join(str(error).split())[-300:]
                row = {
                    "work": work.name, "contender": contender.name, "peer": contender.peer, "wall_s": float("inf"),
                    "cpu_s": float("inf"), "server_cpu_s": 0.0, "requests": 0, "wrong": said,
                }  # fmt: skip
            rows.append({"round": number, **row})
            _tell(rows[-1])
        if not number and not known:
            peers = [row for row in rows if not row["peer"].startswith("s3engine")]
            near, far, most = (NEAR, FAR, MOST) if turn else (NEAR_COLD, FAR_COLD, len(peers))
            keep = {row["contender"] for row in peers} if work.who else chosen(peers, near, far, named, most)
            own = {one.name for one in everybody if one.peer.startswith("s3engine")}
            everybody = [one for one in everybody if one.name in keep | own]
    fresh(place)
    for row in rows:
        row["cost"] = row["contender"] in {one.name for one in costs}
    return rows


def _tell(row: dict[str, Any]) -> None:
    wrong = f", WRONG: {row['wrong']}" if row["wrong"] else ""
    print(
        f"{row['work']} round {row['round']}: {row['contender']} {row['wall_s']:.2f} s, CPU {row['cpu_s']:.2f} s, "
        f"{row['requests']} requests{wrong}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
