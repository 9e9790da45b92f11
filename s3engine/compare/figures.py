"""From raw runs to what is shown: medians over rounds, percentiles over all objects, who was fastest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from s3engine.compare.values import STEPS, Run, Step

__all__ = [
    "Contest", "Faults", "Figures", "ProcessFigures", "Spread", "by_chance", "contest", "faults", "figures",
    "percentile", "processes",
]  # fmt: skip

_CHANCE = 0.1
"""What luck would do oftener than this is not called a difference."""
_FEWEST_ROUNDS = 5
"""With fewer even winning all of them may be luck."""


class Spread(NamedTuple):
    """A value per round: their median, least and greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None when there are no values."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known)) if known else None


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile of values in rising order: the least that ``fraction`` of them do not exceed."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One step with one transport, over all counted rounds in which the step came to its end."""

    transport: str
    step: str
    by_round: Mapping[int, float]
    """Objects done per second of the step."""
    objects_per_s: Spread | None
    bytes_per_s: float | None
    """Median; None for steps that move no bodies."""
    cpu_us: Spread | None
    """CPU per object done, in microseconds."""
    cpu_by_round: Mapping[int, float]
    latency_us: Sequence[int] = field(repr=False)
    """Of all objects (of a listing: all pages) of all rounds, in rising order."""
    retries: int | None
    failed: Mapping[str, int]
    messages: Mapping[str, str]
    wrong: tuple[str, ...]
    cannot: str
    lost: int
    """Counted rounds in which it did not come to the end of this step, because its process ended before."""

    @property
    def failures(self) -> int:
        """Objects that failed, in all rounds."""
        return sum(self.failed.values())

    @property
    def sound(self) -> bool:
        """Whether it was done, wholly and rightly, in every round: only then is its speed worth a word."""
        return self.objects_per_s is not None and not (self.failed or self.wrong or self.cannot or self.lost)

    def ms(self, fraction: float) -> float | None:
        """A percentile of the latency in milliseconds."""
        return percentile(self.latency_us, fraction) / 1e3 if self.latency_us else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values, without the single latencies."""
        return {
            "transport": self.transport, "step": self.step, "objects_per_s": _spread_dict(self.objects_per_s),
            "bytes_per_s": self.bytes_per_s, "cpu_us_per_object": _spread_dict(self.cpu_us),
            "p50_ms": self.ms(0.50), "p95_ms": self.ms(0.95), "p99_ms": self.ms(0.99), "retries": self.retries,
            "failed": dict(self.failed), "wrong": list(self.wrong), "cannot": self.cannot, "rounds_lost": self.lost,
        }  # fmt: skip


def _spread_dict(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else spread._asdict()


def figures(runs: Iterable[Run], transport: str, name: str) -> Figures:
    """What all counted rounds say of one step with one transport."""
    counted = [run for run in runs if run.transport == transport and run.round]
    steps = {run.round: step for run in counted if (step := run.step(name)) is not None}
    timed = {number: step for number, step in steps.items() if step.objects and step.wall_s > 0}
    rates = {number: step.objects / step.wall_s for number, step in timed.items()}
    cpu = {number: step.cpu_s / step.objects * 1e6 for number, step in timed.items() if step.cpu_s is not None}
    moves_bodies = name in ("upload", "download", "copy")
    rate = Spread.of(step.size_bytes / step.wall_s for step in timed.values()) if moves_bodies else None
    failed: dict[str, int] = {}
    messages: dict[str, str] = {}
    for step in steps.values():
        for kind, count in step.failed.items():
            failed[kind] = failed.get(kind, 0) + count
            messages.setdefault(kind, step.messages.get(kind, ""))
    retries = [step.retries for step in steps.values() if step.retries is not None]
    return Figures(
        transport=transport, step=name, by_round=rates, objects_per_s=Spread.of(rates.values()),
        bytes_per_s=rate.median if rate is not None else None, cpu_us=Spread.of(cpu.values()), cpu_by_round=cpu,
        latency_us=sorted(us for step in steps.values() for us in step.latency_us),
        retries=sum(retries) if retries else None, failed=failed, messages=messages,
        wrong=tuple(dict.fromkeys(wrong for step in steps.values() for wrong in step.wrong)),
        cannot=next((step.cannot for step in steps.values() if step.cannot), ""), lost=len(counted) - len(steps),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """The processes of one transport, over all counted rounds."""

    transport: str
    startup_s: Spread | None
    startup_by_round: Mapping[int, float]
    peak_bytes: Spread | None
    peak_by_round: Mapping[int, int]
    peak_main_bytes: Spread | None
    workers: int
    errors: tuple[str, ...]
    """Why runs ended early, the warm-up included."""


def processes(runs: Iterable[Run], transport: str) -> ProcessFigures:
    """What is known of a transport's processes."""
    own = [run for run in runs if run.transport == transport]
    counted = [run for run in own if run.round]
    startup = {run.round: run.startup_s for run in counted if run.startup_s is not None}
    peaks = {run.round: run.peak_bytes for run in counted if run.peak_bytes is not None}
    return ProcessFigures(
        transport=transport, startup_s=Spread.of(startup.values()), startup_by_round=startup,
        peak_bytes=Spread.of(peaks.values()), peak_by_round=peaks,
        peak_main_bytes=Spread.of(run.peak_main_bytes for run in counted if run.peak_main_bytes is not None),
        workers=max((run.workers for run in own), default=0),
        errors=tuple(
            f"{f'round {run.round}' if run.round else 'warm-up'}: {run.error}" for run in own if run.error
        ),
    )  # fmt: skip


def by_chance(won: int, rounds: int) -> float:
    """How likely two equals are to part at least as unevenly over so many rounds: the two-sided sign test."""
    most = max(won, rounds - won)
    as_uneven = sum(math.comb(rounds, count) for count in range(most, rounds + 1))
    return min(1.0, float(2 * as_uneven / 2**rounds))


class Contest(NamedTuple):
    """Who did a step fastest, by the median of its rounds, among those that did it wholly and rightly."""

    step: str
    first: str
    ties: tuple[str, ...]
    """Those that the rounds do not tell apart from the first."""
    second: str
    """The best of those behind all of these for certain; where rounds are too few for that, simply the second."""
    ratio: Spread | None
    """How many times as many objects a second as the second, round by round: both ran in the same rounds."""
    rounds: int

    def sentence(self) -> str:
        """For people."""
        if not self.first:
            return f"{self.step}: nobody did it wholly and rightly in every round"
        tied = ""
        if self.ties:
            tied = f"too close to call between {', '.join((self.first, *self.ties[:-1]))} and {self.ties[-1]}"
        if self.ratio is None:
            return f"{self.step}: {tied or f'{self.first}, and nobody to compare it with'}"
        times = f"{self.ratio.median:.2f} times {self.second}'s objects/s"
        if by_chance(self.rounds, self.rounds) > _CHANCE:
            few = f"{self.rounds} round{'s' if self.rounds > 1 else ''}"
            needed = f"at least {_FEWEST_ROUNDS} are needed"
            return f"{self.step}: {self.first} was ahead, {times}, but {few} cannot rule out chance: {needed}"
        behind = f"{tied}; {self.first} had" if tied else f"{self.first} was fastest,"
        return f"{self.step}: {behind} {times} (by round {self.ratio.low:.2f} to {self.ratio.high:.2f})"


def contest(all_figures: Sequence[Figures]) -> Contest:
    """The figures of one step, compared by the two-sided sign test over the rounds that two of them share."""
    name = all_figures[0].step
    sound = [one for one in all_figures if one.sound]
    ranked = sorted(sound, key=lambda one: -one.objects_per_s.median if one.objects_per_s else 0.0)
    if not ranked:
        return Contest(name, "", (), "", None, 0)
    first = ranked[0]
    # The smallest group of which each one beat each one outside. Of equals one is left outside in less than one case
    # of ten, however many they are, since all inside must have had luck against it at once. Looking at single pairs,
    # which the first was chosen for, would be wrong the oftener the more pairs there are.
    for size in range(1, len(ranked)):
        inside, outside = ranked[:size], ranked[size:]
        if all(_ahead(_ratios(one, other)) for one in inside for other in outside):
            ties = tuple(one.transport for one in inside[1:])
            ratios = _ratios(first, outside[0])
            return Contest(name, first.transport, ties, outside[0].transport, Spread.of(ratios), len(ratios))
    ratios = _ratios(first, ranked[1]) if len(ranked) > 1 else []
    if ratios and statistics.median(ratios) > 1 and by_chance(len(ratios), len(ratios)) > _CHANCE:
        return Contest(name, first.transport, (), ranked[1].transport, Spread.of(ratios), len(ratios))
    return Contest(name, first.transport, tuple(one.transport for one in ranked[1:]), "", None, 0)


def _ahead(ratios: Sequence[float]) -> bool:
    """Whether the one won so many of the rounds that luck would hardly do it."""
    won = sum(ratio > 1 for ratio in ratios)
    return 2 * won > len(ratios) and by_chance(won, len(ratios)) <= _CHANCE


def _ratios(first: Figures, second: Figures) -> list[float]:
    """Round by round, of the rounds that both had."""
    return [
        rate / second.by_round[number] for number, rate in first.by_round.items() if second.by_round.get(number)
    ]


class Faults(NamedTuple):
    """What can be held against a transport, over all its runs, the warm-up included."""

    transport: str
    runs: int
    ended_early: int
    wrong: int
    """Steps with something false in them."""
    failed: int
    """Objects, in all steps together."""
    retries: int
    cannot: tuple[str, ...]
    """Steps."""

    @property
    def none(self) -> bool:
        """Whether all was done and right, without a retry."""
        return not (self.ended_early or self.wrong or self.failed or self.retries or self.cannot)


def faults(runs: Iterable[Run], transport: str) -> Faults:
    """Add them up."""
    own = [run for run in runs if run.transport == transport]
    steps: list[Step] = [step for run in own for step in run.steps]
    return Faults(
        transport=transport, runs=len(own), ended_early=sum(bool(run.error) for run in own),
        wrong=sum(bool(step.wrong) for step in steps), failed=sum(step.failures for step in steps),
        retries=sum(step.retries or 0 for step in steps),
        cannot=tuple(name for name in STEPS if any(step.name == name and step.cannot for step in steps)),
    )  # fmt: skip
