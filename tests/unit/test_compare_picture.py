"""The picture of a comparison: one file that needs nothing else and says what the numbers say."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ElementTree
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.compare.picture import page
from s3engine.compare.record import document, endpoint, machine, versions
from s3engine.compare.shapes import density, linear_axis, log_axis, strip, tag
from s3engine.compare.values import STEPS, Plan, Run, Step
from s3engine.uri import S3Uri

HOSTILE = 'm:<b>&"\'</svg>'


def runs_of(transports: tuple[str, ...], rounds: int = 3, objects: int = 100) -> list[Run]:
    """Plausible runs; the second transport has one of everything that can go wrong."""
    rng = random.Random(1)
    made = []
    for number in range(1, rounds + 1):
        for place, transport in enumerate(transports):
            steps = [
                Step(
                    name=name, wall_s=rng.uniform(0.1, 0.2), cpu_s=0.01, objects=100, size_bytes=100_000,
                    latency_us=array(
                        "q", (round(rng.lognormvariate(9, 0.5)) for _ in range(1 if name == "list" else objects))
                    ),
                )
                for name in STEPS
            ]  # fmt: skip
            if place == 1:
                steps[1] = Step(name="list", cannot="cannot <list>")
                steps[2] = Step(name="download", wrong=("lost & found",))
                steps[3] = Step(name="copy", failed={"Throttled": 4}, messages={"Throttled": "<slow>"})
                steps = steps[:4]
            error = "died <early>" if place == 1 else ""
            made.append(
                Run(
                    transport=transport, round=number, place=place + 1, startup_s=0.2, workers=2, peak_bytes=10**8,
                    peak_main_bytes=10**7, steps=tuple(steps), error=error,
                )
            )  # fmt: skip
    return made


def drawn(transports: tuple[str, ...] = ("raw", HOSTILE), runs: list[Run] | None = None) -> str:
    """A page."""
    plan = Plan(
        source="src", target=S3Uri("bucket", "p"), transports=transports, rounds=3,
        settings={"endpoint_url": "https://user:hidden@store.example:9000/base?x=hidden"},
    )  # fmt: skip
    runs = runs_of(transports) if runs is None else runs
    return page(plan, runs, document(plan, runs))


# ---- the page


def test_page_is_well_formed() -> None:
    """It is XML as well as HTML, whatever names and messages hold."""
    root = ElementTree.fromstring(drawn())
    assert root.tag == "html"
    text = " ".join(root.itertext())
    for told in ("cannot <list>", "lost & found", "<slow>", "died <early>", "\u2717 WRONG", "\u2717 12 failed"):
        assert told in text


def test_page_needs_nothing_else() -> None:
    """No script, nothing to fetch, no reference to anywhere."""
    html = drawn()
    assert not re.search(r"https?:|//[a-z]|<script|<link|<img|<iframe|@import|url\(|\bsrc=|href=|\bon[a-z]+=", html)


def test_page_is_for_light_and_dark_and_paper() -> None:
    """Colours are set for all three, the same names in each."""
    html = drawn()
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    used = set(re.findall(r"var\((--\w+)\)", html))
    blocks = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        assert used <= set(re.findall(r"(--\w+):", block))


def test_page_names_every_transport_in_every_step() -> None:
    """Each step and the processes have a row for each transport, with its name; a long one is cut, and told whole."""
    long = "a.module.far.away:TransportWithAVeryLongName"
    root = ElementTree.fromstring(drawn(("raw", "boto3", long)))
    charts = list(root.iter("svg"))
    assert len(charts) == len(STEPS) + 1
    for chart in charts:
        texts = {text.text for text in chart.iter("text")}
        assert {"raw", "boto3"} <= texts
        assert "TransportWithAVeryLongName" in {title.text for title in chart.iter("title")}


def test_everything_is_inside_its_chart() -> None:
    """No mark and no text begins outside the picture, so that nothing is cut off."""
    for chart in ElementTree.fromstring(drawn(("raw", "b", "c"))).iter("svg"):
        _, _, width, height = map(float, chart.attrib["viewBox"].split())
        for mark in chart.iter():
            for name, end in (("x", width), ("cx", width), ("x1", width), ("x2", width), ("y", height), ("y2", height)):
                if name in mark.attrib:
                    assert 0 <= float(mark.attrib[name]) <= end, ElementTree.tostring(mark)


def test_page_without_a_single_good_run() -> None:
    """A comparison in which everything died still gives a page."""
    runs = [Run(transport="raw", round=1, place=1, error="died")]
    assert "died" in " ".join(ElementTree.fromstring(drawn(("raw",), runs)).itertext())


def test_page_shows_the_units() -> None:
    """Each chart says what it measures and in what."""
    html = drawn()
    for told in ("latency per object, ms (log", "objects per second", "CPU per object, \u00b5s", "MiB", "seconds"):
        assert told in html


# ---- what is told of endpoint and machine


def test_endpoint_without_credentials() -> None:
    """User, password and query of the endpoint's URL are never shown."""
    told = endpoint({"endpoint_url": "https://user:hidden@store.example:9000/base?x=hidden"})
    assert told == "store.example:9000/base (TLS)"
    assert "hidden" not in drawn()


def test_endpoint_of_amazon() -> None:
    """Where no endpoint is set it is Amazon's, in a region."""
    assert endpoint({"anonymous": True}) == "Amazon S3, us-east-1"
    assert endpoint({"anonymous": True, "region": "eu-west-1"}) == "Amazon S3, eu-west-1"


def test_document_keeps_private_settings_out() -> None:
    """Neither profile nor paths nor the bucket are in the document; every run is."""
    plan = Plan(
        source="/home/somebody/src", target=S3Uri("my-bucket", "p"), transports=("raw",),
        settings={"ca_bundle": "/home/somebody/ca.pem", "anonymous": True, "workers": 3},
    )  # fmt: skip
    runs = runs_of(("raw",))
    made = document(plan, runs)
    assert "somebody" not in str(made)
    assert "my-bucket" not in str(made)
    assert made["settings"]["workers"] == 3
    assert [Run.from_dict(one) for one in made["runs"]] == runs


def test_versions_and_machine() -> None:
    """Python, s3engine and the packages behind the transports, also behind those of others; the machine has cores."""
    found = versions(("raw", "hypothesis.x:Y"))
    assert {"python", "s3engine", "urllib3", "hypothesis"} <= found.keys()
    assert machine()["usable_cores"] >= 1


# ---- shapes


positive = st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=200)


@given(positive)
def test_log_axis_holds_all_values(values: list[float]) -> None:
    """All values lie on the axis in their order, its ends are among its ticks, and ticks are few and rise."""
    axis = log_axis(100.0, 400.0, values)
    assert axis.low <= min(values) * 1.002
    assert axis.high >= max(values) * 0.998
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert 100.0 <= places[0] <= places[-1] <= 500.0
    assert list(axis.ticks) == sorted(axis.ticks)
    assert 1 <= len(axis.ticks) <= 12


@given(st.lists(st.floats(0, 1e9), max_size=20))
def test_linear_axis_begins_at_zero(values: list[float]) -> None:
    """It goes from 0 to beyond the greatest value in few round steps."""
    axis = linear_axis(0.0, 100.0, values)
    assert axis.low == axis.ticks[0] == 0.0
    assert all(value <= axis.high for value in values)
    assert 1 <= len(axis.ticks) <= 6


def test_density_is_highest_where_most_values_are() -> None:
    """Two humps stay two, the greater one with height 1."""
    axis = log_axis(0.0, 1000.0, [1.0, 1000.0])
    points = density([10.0] * 300 + [100.0] * 100, axis)
    assert max(points, key=lambda point: point[1])[0] == pytest.approx(axis.at(10.0), abs=10)
    assert max(height for _, height in points) == 1.0
    at_valley = min(points, key=lambda point: abs(point[0] - (axis.at(10.0) + axis.at(100.0)) / 2))
    at_second = min(points, key=lambda point: abs(point[0] - axis.at(100.0)))
    assert at_valley[1] < 0.01 < 0.2 < at_second[1]


@pytest.mark.parametrize(("count", "mark"), [(1, "circle"), (39, "circle"), (40, "polygon"), (5000, "polygon")])
def test_few_values_are_dots(count: int, mark: str) -> None:
    """A shape of a handful of values would claim more than is known."""
    values = [10.0 + index / count for index in range(count)]
    axis = log_axis(0.0, 100.0, values)
    assert f"<{mark} " in strip(values, axis, 50.0, 30.0, (10.0, 10.5, 10.9), "c0")


def test_objects_of_a_few_requests_are_dots() -> None:
    """A thousand objects that share their request's time are one dot, not a peak."""
    values = [10.0] * 1000 + [20.0] * 1000
    assert strip(values, log_axis(0.0, 100.0, values), 50.0, 30.0, (10.0, 20.0, 20.0), "c0").count("<circle ") == 2


def test_tag_escapes_attributes() -> None:
    """Quotes and angle brackets in attributes do no harm."""
    assert tag("g", cls='a"<', x=1.50) == '<g class="a&quot;&lt;" x="1.5"/>'


def test_page_is_of_modest_size() -> None:
    """Its size does not grow with the number of objects."""
    few, many = drawn(("raw",), runs_of(("raw",))), drawn(("raw",), runs_of(("raw",), objects=5000))
    assert len(many) < 1.2 * len(few) < 100_000
