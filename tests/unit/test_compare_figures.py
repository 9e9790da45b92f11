"""What a comparison makes of its raw runs: medians, percentiles, who was fastest, and the text of it."""

from __future__ import annotations

import json
import random
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.compare.figures import Spread, by_chance, contest, faults, figures, percentile, processes
from s3engine.compare.rounds import orders
from s3engine.compare.table import dependability, number, report, verdict
from s3engine.compare.values import STEPS, Run, Step


def step(name: str = "upload", rate: float = 100.0, objects: int = 50, **changes: Any) -> Step:
    """A step that went well."""
    values: dict[str, Any] = {
        "name": name, "wall_s": objects / rate, "cpu_s": objects * 1e-4, "objects": objects,
        "size_bytes": objects * 1000, "retries": None if name == "list" else 0,
        "latency_us": array("q", range(1000, 1000 + objects)),
    }  # fmt: skip
    return Step(**{**values, **changes})


def run(transport: str, number: int, *steps: Step, **changes: Any) -> Run:
    """A run that came to its end."""
    values: dict[str, Any] = {
        "transport": transport, "round": number, "place": 1, "wall_s": 2.0, "startup_s": 0.2, "workers": 2,
        "peak_bytes": 80 << 20, "peak_main_bytes": 30 << 20, "steps": steps or tuple(map(step, STEPS)),
    }  # fmt: skip
    return Run(**{**values, **changes})


# ---- values


def test_a_run_goes_through_json() -> None:
    """A run that became JSON and came back is the same."""
    made = run("raw", 1, step(failed={"Throttled": 2}, messages={"Throttled": "no"}, wrong=("a",)), error="died")
    assert Run.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_ok_is_neither_error_nor_failure_nor_wrong() -> None:
    """A run is ok when all was done and right; what cannot be done at all is no failure."""
    assert run("raw", 1).ok
    assert run("raw", 1, Step(name="copy", cannot="has none")).ok
    assert not run("raw", 1, error="died").ok
    assert not run("raw", 1, step(failed={"NotFound": 1})).ok
    assert not run("raw", 1, step(wrong=("a",))).ok


def test_rounds_rotate() -> None:
    """Each round begins one transport further on; the warm-up is round 0."""
    assert list(orders("abc", 4, warm_up=True)) == [
        (0, ("a", "b", "c")), (1, ("a", "b", "c")), (2, ("b", "c", "a")), (3, ("c", "a", "b")), (4, ("a", "b", "c")),
    ]  # fmt: skip
    assert [number for number, _ in orders("a", 2, warm_up=False)] == [1, 2]


# ---- figures


@given(st.lists(st.integers(0, 10**6), min_size=1), st.floats(0.01, 1.0))
def test_percentile_is_a_value_that_enough_do_not_exceed(values: list[int], fraction: float) -> None:
    """The nearest rank: at least that share of the values is at most the percentile, and fewer are below it."""
    ordered = sorted(values)
    found = percentile(ordered, fraction)
    assert found in values
    assert sum(value <= found for value in values) >= fraction * len(values)
    assert sum(value < found for value in values) < fraction * len(values)


def test_percentiles_of_a_hundred() -> None:
    """Of 1 to 100 p50 is 50, p95 95, p99 99."""
    ordered = list(range(1, 101))
    assert [percentile(ordered, fraction) for fraction in (0.50, 0.95, 0.99)] == [50, 95, 99]


def test_medians_are_over_rounds_and_percentiles_over_all_objects() -> None:
    """Rates are the median of the rounds with their range; the warm-up counts in neither."""
    runs = [
        run("raw", 0, step(rate=1.0, latency_us=(10**9,))),
        run("raw", 1, step(rate=100.0, latency_us=(1000, 3000))),
        run("raw", 2, step(rate=300.0, latency_us=(2000, 4000))),
        run("raw", 3, step(rate=110.0, latency_us=(5000,))),
        run("other", 1, step(rate=999.0)),
    ]
    found = figures(runs, "raw", "upload")
    assert found.objects_per_s == pytest.approx(Spread(110.0, 100.0, 300.0))
    assert found.bytes_per_s == pytest.approx(110_000.0)
    assert found.cpu_us == pytest.approx(Spread(100.0, 100.0, 100.0))
    assert list(found.latency_us) == [1000, 2000, 3000, 4000, 5000]
    assert found.ms(0.5) == 3.0
    assert found.sound


def test_failures_add_up_and_take_part_no_more() -> None:
    """Failed, wrong and missing steps are kept with their reasons, and make a transport unfit to be called fastest."""
    runs = [
        run("raw", 1, step(failed={"Throttled": 2}, messages={"Throttled": "slow down"}, retries=5)),
        run("raw", 2, step(failed={"Throttled": 1, "NotFound": 1}, messages={"NotFound": "gone"}, wrong=("w",))),
        run("raw", 3, step("list"), error="died"),
    ]
    found = figures(runs, "raw", "upload")
    assert (found.failed, found.failures, found.retries) == ({"Throttled": 3, "NotFound": 1}, 4, 5)
    assert found.messages == {"Throttled": "slow down", "NotFound": "gone"}
    assert (found.wrong, found.lost, found.sound) == (("w",), 1, False)


def test_listing_has_no_bytes_and_no_retries() -> None:
    """What is not known of a step is None, not 0."""
    found = figures([run("raw", 1)], "raw", "list")
    assert (found.bytes_per_s, found.retries) == (None, None)


def test_without_any_run_nothing_is_made_up() -> None:
    """A transport that never got to a step has no numbers there."""
    found = figures([], "raw", "copy")
    assert (found.objects_per_s, found.cpu_us, found.ms(0.5), found.retries) == (None, None, None, None)
    assert processes([], "raw").startup_s is None


# ---- who was fastest


def rounds_of(rates: dict[str, list[float]]) -> list[Run]:
    """Runs of one step."""
    return [
        run(transport, number, step(rate=rate))
        for transport, own in rates.items() for number, rate in enumerate(own, 1)
    ]  # fmt: skip


def winner(rates: dict[str, list[float]]) -> Any:
    """The contest of the upload."""
    runs = rounds_of(rates)
    return contest([figures(runs, transport, "upload") for transport in rates])


def test_fastest_by_round() -> None:
    """The ratio to the second is taken round by round, since both saw the same weather."""
    found = winner({"slow": [10, 20, 30, 40, 50], "fast": [20, 40, 60, 80, 150], "last": [1, 1, 1, 1, 1]})
    assert (found.first, found.second) == ("fast", "slow")
    assert found.ratio == pytest.approx(Spread(2.0, 2.0, 3.0))
    assert found.sentence() == "upload: fast was fastest, 2.00 times slow's objects/s (by round 2.00 to 3.00)"


def test_what_chance_could_do_is_not_called_faster() -> None:
    """Equals that take turns are too close to call; who is behind them all the same is told."""
    equals = {"a": [10.0, 12, 10, 12, 11], "b": [11.0, 11, 9, 11, 9]}
    assert winner(equals).sentence() == "upload: too close to call between a and b"
    assert winner({**equals, "slow": [5.0] * 5}).sentence() == (
        "upload: too close to call between a and b; a had 2.20 times slow's objects/s (by round 2.00 to 2.40)"
    )
    assert winner({**equals, "c": [9.0, 13, 11, 13, 9]}).ties == ("b", "c")


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_few_rounds_prove_nothing(rounds: int) -> None:
    """Less than five rounds cannot tell a difference from chance, whatever they show."""
    sentence = winner({"a": [20.0] * rounds, "b": [10.0] * rounds}).sentence()
    few = f"{rounds} round{'s' if rounds > 1 else ''}"
    assert sentence == (
        f"upload: a was ahead, 2.00 times b's objects/s, but {few} cannot rule out chance: at least 5 are needed"
    )


def test_winning_means_rounds_not_medians() -> None:
    """One that has the higher median and lost nine of ten rounds is not called fastest."""
    slower = {"a": [number - 0.1 for number in range(1, 10)] + [100.0], "b": [*map(float, range(1, 10)), 0.5]}
    assert winner(slower).sentence() == "upload: too close to call between a and b"


def test_few_rounds_that_contradict_the_median() -> None:
    """With few rounds, too, nobody is ahead who was slower in most of them."""
    assert winner({"a": [9.0, 20, 30], "b": [10.0, 1, 31]}).ties == ("b",)


def test_fastest_of_four_in_five_rounds() -> None:
    """Five rounds are enough for four transports: one that won against all others in all rounds is the fastest."""
    others = {name: [5.0 + (number * place) % 7 for number in range(5)] for place, name in enumerate("bcd", 1)}
    found = winner({"a": [20.0] * 5, **others})
    assert (found.first, found.ties, found.rounds) == ("a", (), 5)


def test_who_lost_to_the_first_alone_is_not_called_slower() -> None:
    """A group is behind only when it lost to all of those ahead; else the question stays open for all of them."""
    found = winner({"a": [20.0] * 5, "b": [10.0, 10, 30, 10, 30], "c": [9.0, 11, 9, 11, 9]})
    assert (found.first, found.ties, found.second) == ("a", ("b", "c"), "")


@pytest.mark.parametrize(
    ("won", "rounds", "chance"),
    [(5, 5, 0.0625), (0, 5, 0.0625), (4, 5, 0.375), (2, 4, 1.0), (1, 1, 1.0), (9, 10, 0.0215)],
)
def test_sign_test(won: int, rounds: int, chance: float) -> None:
    """The two-sided sign test, by known values."""
    assert by_chance(won, rounds) == pytest.approx(chance, rel=0.01)


def test_equal_transports_are_rarely_told_apart() -> None:
    """Of a hundred comparisons of a transport with itself at most a few end in a verdict."""
    rng = random.Random(7)
    decided = sum(
        not winner({name: [rng.lognormvariate(5, 0.3) for _ in range(9)] for name in "ab"}).ties for _ in range(100)
    )
    assert decided <= 12


@pytest.mark.parametrize("names", ["abc", "abcd"])
def test_more_transports_do_not_make_false_verdicts_likelier(names: str) -> None:
    """Of three and four equals, too, one is called slower in less than one comparison of ten."""
    rng = random.Random(11)
    rounds = [{name: [rng.lognormvariate(5, 0.3) for _ in range(5)] for name in names} for _ in range(200)]
    assert sum(len(winner(rates).ties) < len(names) - 1 for rates in rounds) < 20


def test_two_equals_ahead_of_others_are_rarely_told_apart() -> None:
    """The worst case: two that are equal, and two that are far behind."""
    rng = random.Random(13)
    middles = {"a": 9, "b": 9, "c": 5, "d": 5}
    rounds = [
        {name: [rng.lognormvariate(middle, 0.3) for _ in range(5)] for name, middle in middles.items()}
        for _ in range(200)
    ]
    found = [winner(rates) for rates in rounds]
    assert sum(not one.ties for one in found) < 20
    assert {one.second for one in found if one.ties} <= {"c", "d"}


def test_unsound_ones_are_not_called_fastest() -> None:
    """A fast transport with a failure loses to a slow one without."""
    runs = [
        *rounds_of({"slow": [10, 10, 10, 10, 10]}),
        *(run("hasty", number, step(rate=900, failed={"NotFound": 1})) for number in range(1, 6)),
    ]
    found = contest([figures(runs, transport, "upload") for transport in ("hasty", "slow")])
    assert found.sentence() == "upload: slow, and nobody to compare it with"


def test_nobody_did_it() -> None:
    """Where all failed nobody is fastest."""
    found = contest([figures([run("raw", 1, step(wrong=("w",)))], "raw", "upload")])
    assert found.sentence() == "upload: nobody did it wholly and rightly in every round"


def test_rounds_that_only_one_of_them_had_do_not_count() -> None:
    """After a transport was dropped the ratio is over the rounds that both ran."""
    runs = rounds_of({"a": [20, 20, 20], "b": [10, 10]})
    found = contest([figures(runs, transport, "upload") for transport in "ab"])
    assert found.rounds == 2


# ---- text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0.0, "0"), (0.01234, "0.0123"), (0.23, "0.230"), (4.567, "4.57"), (45.67, "45.7"), (9876.5, "9876")],
)
def test_number(value: float | None, shown: str) -> None:
    """Three digits, more before the point where it has more."""
    assert number(value) == shown


def test_report_of_two() -> None:
    """A block per step with a row per transport, the processes, and sentences."""
    runs = [run(transport, number) for number in range(1, 6) for transport in ("raw", "boto3")]
    blocks = report(runs, ("raw", "boto3")).split("\n\n")
    assert [block.split(":")[0] for block in blocks] == [*STEPS, "processes", "upload"]
    head, raw, boto3 = blocks[0].splitlines()[1:]
    assert raw.split() == ["raw", "100", "(100-100)", "0.100", "100", "1.02", "1.05", "1.05", "0", "0"]
    assert boto3.split()[0] == "boto3"
    assert head.index("objects/s") + len("objects/s") == raw.index(" 100 ") + 4
    assert "0.200 (0.200-0.200)" in " ".join(blocks[5].split())
    assert "nothing failed, nothing was wrong and nothing was retried" in blocks[6]


def test_wrong_is_shouted_and_explained() -> None:
    """A wrong step has WRONG in its row and the reason in a footnote; the mark points to it."""
    runs = [run("raw", 1), run("boto3", 1, step(wrong=("'a' was lost",)), step("list", failed={"Throttled": 3}))]
    text = report(runs, ("raw", "boto3"))
    row = next(line for line in text.splitlines() if "WRONG [" in line)
    assert row.startswith("  boto3 ")
    assert row.endswith("WRONG [1]")
    assert "  [1] boto3: WRONG: 'a' was lost" in text
    assert "  [1] boto3: 3 failed with Throttled" in text
    assert "  [1] boto3: not reached in 1 round" in text


def test_what_cannot_be_done_has_a_footnote() -> None:
    """A step that a transport cannot do has no numbers and a reason."""
    runs = [run("raw", 1, Step(name="copy", cannot="has none"))]
    lines = report(runs, ("raw",)).splitlines()
    row = lines[lines.index("copy: inside the store") + 2]
    assert row.split() == ["raw", *"-" * 8, "[1]"]
    assert "  [1] raw: not possible: has none" in lines


def test_one_transport_is_not_compared() -> None:
    """With one transport there is no verdict, only numbers."""
    assert verdict([run("raw", 1)], ("raw",)) == []


def test_dependability_counts_all_runs() -> None:
    """Failures of the warm-up count too; those without any are named together."""
    runs = [run("a", 0, step(retries=3)), run("a", 1, error="died"), run("b", 1), run("c", 1)]
    assert dependability(runs, ("a", "b", "c")) == [
        "dependability: a: 1 of 2 runs ended early, 3 retries",
        "dependability: no retry, no failure, nothing wrong: b, c",
    ]
    assert faults(runs, "a").retries == 3
