"""The comparison as one HTML file: inline SVG, no script, nothing fetched, light and dark, and for paper.

Each step is a block of rows, one per transport in the order in which they were named: how the latencies are spread,
objects per second and CPU per object, side by side. Colours are those of Okabe and Ito, which colour-blind people can
tell apart; since each row has its name no colour has to be looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from s3engine.compare.figures import Figures, ProcessFigures, Spread, contest, figures, processes
from s3engine.compare.shapes import dots, linear_axis, log_axis, strip, tag, text
from s3engine.compare.table import AMOUNTS, dependability, notes_of, number, report
from s3engine.compare.values import STEPS, Plan, Run

__all__ = ["page"]

_WIDTH = 1160.0
_NAME = 150.0  # where the first chart begins
_ROW = 58.0
_HEAD = 44.0
_FOOT = 26.0
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b4559a", "#a87800", "#2b9bd6", "#6b6b6b")
_DARK = ("#56b4e9", "#f28a3c", "#2fc49a", "#e29ac4", "#e6b422", "#9ad4f5", "#b5b5b5")

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1c1f24; --soft: #5b626d; --line: #e1e4e9; --bad: #b3261e;
  LIGHT }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15181d; --ink: #e9ebee; --soft: #a2a9b4; --line: #2d323a; --bad: #ff8a80; DARK }
}
@media print {
  :root { --ground: #ffffff; --ink: #000000; --soft: #444444; --line: #dddddd; --bad: #b3261e; LIGHT }
  section { break-inside: avoid; }
  svg { min-width: 0 !important; }
}
body { margin: 0 auto; padding: 28px 20px 40px; max-width: 1160px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 34px 0 0; }
p, ul { margin: 6px 0; }
ul { padding-left: 22px; }
.soft, .about { color: var(--soft); }
.about { font-size: 14px; font-weight: normal; margin-left: 10px; }
.bad { color: var(--bad); font-weight: 600; }
section { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 880px; height: auto; }
pre { overflow-x: auto; font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; margin-top: 30px; }
.t { fill: var(--ink); font-size: 13px; }
.name { font-size: 14px; font-weight: 600; }
.title { font-size: 13px; font-weight: 600; }
.tick, .small { fill: var(--soft); font-size: 12px; }
.none { fill: var(--soft); font-size: 13px; font-style: italic; }
.alarm { fill: var(--bad); font-size: 13px; font-weight: 700; }
.grid { stroke: var(--line); stroke-width: 1; }
.shape { fill-opacity: 0.35; stroke-width: 1.2; }
.range { stroke-width: 1.5; }
.bar { fill-opacity: 0.22; stroke-opacity: 0; }
.dot { fill-opacity: 0.75; stroke: var(--ground); stroke-width: 1; }
.p50 { stroke-width: 3; }
.p95 { stroke-width: 1.5; }
"""


class _Column(NamedTuple):
    """A chart of one value per round."""

    title: str
    left: float
    width: float
    values: Callable[[Any], Mapping[int, float]]
    spread: Callable[[Any], Spread | None]
    unit: float = 1.0
    ticks: int = 4


_RATE = _Column("objects per second", 760.0, 165.0, lambda one: one.by_round, lambda one: one.objects_per_s)
_CPU = _Column("CPU per object, \u00b5s", 985.0, 120.0, lambda one: one.cpu_by_round, lambda one: one.cpu_us, ticks=3)
_STARTUP = _Column(
    "start-up, seconds", _NAME, 400.0, lambda one: one.startup_by_round, lambda one: one.startup_s
)  # fmt: skip
_PEAK = _Column(
    "peak memory, MiB", 660.0, 400.0, lambda one: one.peak_by_round, lambda one: one.peak_bytes, 2.0**20
)  # fmt: skip
_LATENCY_WIDTH = 415.0
_NUMBERS = _NAME + _LATENCY_WIDTH + 28.0


def page(plan: Plan, runs: Sequence[Run], facts: Mapping[str, Any]) -> str:
    """The whole file. ``facts`` are those of ``record.document``."""
    names = _short(plan.transports)
    by_step = {name: [figures(runs, transport, name) for transport in plan.transports] for name in STEPS}
    uploads = [step for run in runs if run.round and (step := run.step("upload")) is not None]
    objects = max((step.objects + step.failures for step in uploads), default=0)
    size_bytes = max((step.size_bytes for step in uploads), default=0)
    title = f"{', '.join(names[transport] for transport in plan.transports)}: the same job, side by side"
    rounds = f"{plan.rounds} interleaved round{'s' if plan.rounds != 1 else ''}"
    subtitle = (
        f"against {facts['endpoint']} \u00b7 {objects} objects, {number(size_bytes / 1e6)} MB \u00b7 {rounds} \u00b7 "
        f"{facts['written'][:10]}"
    )
    sentences = []
    if len(plan.transports) > 1:
        sentences = [contest(by_step[name]).sentence() for name in STEPS]
    sentences += dependability(runs, plan.transports)
    sections = [_step_section(name, by_step[name], names) for name in STEPS]
    sections.append(_process_section([processes(runs, transport) for transport in plan.transports], names))
    body = [
        f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(subtitle)}</p>',
        "<ul>", *(f"<li>{_sentence(sentence)}</li>" for sentence in sentences), "</ul>",
        f"<p>{_HOW_TO_READ}</p>", *sections, _footer(runs, plan, facts),
    ]  # fmt: skip
    style = _STYLE.replace("LIGHT", _colours(_LIGHT)).replace("DARK", _colours(_DARK)) + _classes()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>s3engine compare: {escape(title)}</title><style>{style}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


_HOW_TO_READ = (
    "Latency: the shape shows how many objects took how long, each to its own height; the thick line is the median "
    "(p50), the thin one p95, the triangle p99, and the line below reaches from the least to the greatest. The other "
    "charts: a dot for each round, a bar to their median."
)


def _colours(colours: Sequence[str]) -> str:
    return " ".join(f"--c{index}: {colour};" for index, colour in enumerate(colours))


def _classes() -> str:
    return "".join(
        f".c{index} {{ fill: var(--c{index}); stroke: var(--c{index}); }}\n.dot.c{index} {{ stroke: var(--ground); }}\n"
        for index in range(len(_LIGHT))
    )


def _short(transports: Sequence[str]) -> dict[str, str]:
    """Names that fit beside a chart; of ``module:Class`` the class, where that is nobody else's name."""
    short = {name: name.rpartition(":")[2] for name in transports}
    taken = list(short.values())
    return {name: one if taken.count(one) == 1 else name for name, one in short.items()}


def _sentence(sentence: str) -> str:
    step, colon, rest = sentence.partition(": ")
    return f"<b>{escape(step)}</b>{colon}{escape(rest)}"


def _named(top: float, row: int, name: str, alarm: str) -> str:
    """The left end of a row."""
    shown = name if len(name) <= 14 else f"\u2026{name[-13:]}"
    middle = top + _ROW / 2
    parts = [
        tag("rect", x=0.0, y=middle - 16, width=7, height=32, rx=2, cls=f"c{row % len(_LIGHT)}"),
        tag("g", tag("title", escape(name)) + text(16, middle + (5 if not alarm else -3), shown, cls="t name")),
    ]
    if alarm:
        parts.append(text(16, middle + 15, alarm, cls="alarm"))
    return "".join(parts)


def _column(column: _Column, rows: Sequence[Any], top: float, bottom: float) -> str:
    """One chart over all rows."""
    spreads = [column.spread(one) for one in rows]
    highest = [spread.high / column.unit for spread in spreads if spread]
    axis = linear_axis(column.left, column.width, highest, ticks=column.ticks)
    drawn = [text(column.left, top - 12, column.title, cls="t title"), axis.drawn(top, bottom)]
    for row, (one, spread) in enumerate(zip(rows, spreads, strict=True)):
        middle = top + _ROW * row + _ROW / 2
        if spread is None:
            drawn.append(text(column.left + 8, middle + 5, "\u2013", cls="none"))
            continue
        values = [(f"round {key}: {number(value / column.unit)}", value / column.unit)
                  for key, value in column.values(one).items()]  # fmt: skip
        drawn.append(dots(values, spread.median / column.unit, axis, middle, f"c{row % len(_LIGHT)}"))
        label = number(spread.median / column.unit)
        drawn.append(text(axis.at(spread.high / column.unit) + 9, middle + 5, label, cls="t"))
    return "".join(drawn)


def _latency(rows: Sequence[Figures], top: float, bottom: float, what: str) -> str:
    known = [one for one in rows if one.latency_us]
    ends = [max(1, value) / 1e3 for one in known for value in (one.latency_us[0], one.latency_us[-1])]
    axis = log_axis(_NAME, _LATENCY_WIDTH, ends)
    drawn = [text(_NAME, top - 12, f"latency per {what}, ms (logarithmic)", cls="t title"), axis.drawn(top, bottom)]
    for offset, name in enumerate(("p50", "p95", "p99")):
        drawn.append(text(_NUMBERS + 48 * offset + 30, top - 12, name, cls="t title", anchor="end"))
        drawn.append(text(_NUMBERS + 48 * offset + 30, bottom + 16, "ms", cls="t tick", anchor="end"))
    for row, one in enumerate(rows):
        base = top + _ROW * row + _ROW - 14
        if not one.latency_us:
            drawn.append(text(_NAME + 8, base - 10, "not possible" if one.cannot else "none done", cls="none"))
            continue
        values = [max(1, value) / 1e3 for value in one.latency_us]
        marks = [one.ms(fraction) or values[0] for fraction in (0.50, 0.95, 0.99)]
        drawn.append(strip(values, axis, base, _ROW - 22, marks, f"c{row % len(_LIGHT)}"))
        for offset, mark in enumerate(marks):
            drawn.append(text(_NUMBERS + 48 * offset + 30, base - 10, number(mark), cls="t", anchor="end"))
    return "".join(drawn)


def _alarm(one: Figures) -> str:
    if one.wrong:
        return "\u2717 WRONG"
    if one.failures:
        return f"\u2717 {one.failures} failed"
    if one.lost:
        return f"\u2717 {one.lost} round{'s' if one.lost > 1 else ''} lost"
    return ""


def _step_section(name: str, rows: Sequence[Figures], names: Mapping[str, str]) -> str:
    height = _HEAD + _ROW * len(rows) + _FOOT
    bottom = height - _FOOT
    drawn = [_rules(len(rows), bottom)]
    for row, one in enumerate(rows):
        drawn.append(_named(_HEAD + _ROW * row, row, names[one.transport], _alarm(one)))
    drawn.append(_latency(rows, _HEAD, bottom, {"list": "page", "delete": "request"}.get(name, "object")))
    drawn += [_column(column, rows, _HEAD, bottom) for column in (_RATE, _CPU)]
    notes = [f"{names[one.transport]}: {note}" for one in rows for note in notes_of(one)]
    listed = f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""
    svg = _svg("".join(drawn), height, f"{name}, by transport")
    return _section(name.capitalize(), AMOUNTS.get(name, ""), svg, listed)


def _process_section(rows: Sequence[ProcessFigures], names: Mapping[str, str]) -> str:
    height = _HEAD + _ROW * len(rows) + _FOOT
    bottom = height - _FOOT
    drawn = [_rules(len(rows), bottom)]
    for row, one in enumerate(rows):
        ended = len(one.errors)
        alarm = f"\u2717 {ended} run{'s' if ended > 1 else ''} ended early" if ended else ""
        drawn.append(_named(_HEAD + _ROW * row, row, names[one.transport], alarm))
    drawn += [_column(column, rows, _HEAD, bottom) for column in (_STARTUP, _PEAK)]
    notes = [f"{names[one.transport]}: {error}" for one in rows for error in one.errors]
    listed = f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""
    about = "start-up until workers and main process could send; resident memory of all of them, added up"
    return _section("Processes", about, _svg("".join(drawn), height, "start-up and memory, by transport"), listed)


def _section(title: str, about: str, svg: str, notes: str) -> str:
    told = f'<span class="about">{escape(about)}</span>' if about else ""
    return f"<section><h2>{escape(title)}{told}</h2>\n{svg}\n{notes}</section>"


def _rules(rows: int, bottom: float) -> str:
    """Thin lines between the rows."""
    ys = [*(_HEAD + _ROW * row for row in range(rows)), bottom]
    return "".join(tag("line", x1=0.0, x2=_WIDTH, y1=y, y2=y, cls="grid") for y in ys)


def _svg(content: str, height: float, label: str) -> str:
    return tag("svg", content, viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}", role="img", aria_label=label)


def _footer(runs: Sequence[Run], plan: Plan, facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    machine, settings = facts["machine"], facts["settings"]
    made = (
        f"{versions}. {machine['processor']}, {machine['usable_cores']} usable cores, {machine['system']}. "
        f"{settings['workers']} workers, up to {settings['concurrency']} requests in flight."
    )
    return (
        f"<details><summary>All numbers as text</summary><pre>{escape(report(runs, plan.transports))}</pre></details>"
        f'<p class="soft">{escape(made)}</p>'
    )


