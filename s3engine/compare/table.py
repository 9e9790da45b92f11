"""The result as text: a block per step, the processes, and in plain words who was fastest and who failed."""

from __future__ import annotations

from collections.abc import Sequence

from s3engine.compare.figures import Faults, Figures, Spread, contest, faults, figures, processes
from s3engine.compare.values import STEPS, Run
from s3engine.plain import number_of

__all__ = ["AMOUNTS", "dependability", "notes_of", "number", "report", "verdict"]

AMOUNTS = {
    "list": "times are of a page of up to 1000 keys",
    "delete": "times are of the request that an object was in, up to 1000 objects each",
    "copy": "inside the store",
}
"""What has to be known to read a step."""

_HEAD = ("", "objects/s", "(min-max)", "MB/s", "CPU us/object", "p50 ms", "p95 ms", "p99 ms", "retries", "failed", "")
_PROCESS_HEAD = ("", "start-up s", "(min-max)", "peak MiB", "(min-max)", "of that, main", "workers", "")


def number(value: float | None) -> str:
    """Three digits, or more where it has more before the point: 0.0123, 4.57, 312, 98765. "-" for None."""
    if value is None:
        return "-"
    for least, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if abs(value) >= least:
            return f"{value:.{digits}f}"
    return f"{value:.3g}"


def report(runs: Sequence[Run], transports: Sequence[str]) -> str:
    """All of it, for a terminal."""
    blocks = []
    for name in STEPS:
        blocks.append(_step_block(name, [figures(runs, transport, name) for transport in transports], runs))
    blocks.append(_process_block(runs, transports))
    blocks.append("\n".join([*verdict(runs, transports), *dependability(runs, transports)]))
    return "\n\n".join(blocks) + "\n"


def verdict(runs: Sequence[Run], transports: Sequence[str]) -> list[str]:
    """A sentence per step: who was fastest."""
    if len(transports) < 2:
        return []
    return [contest([figures(runs, transport, name) for transport in transports]).sentence() for name in STEPS]


def dependability(runs: Sequence[Run], transports: Sequence[str]) -> list[str]:
    """Sentences on what went wrong, or that nothing did."""
    found = [faults(runs, transport) for transport in transports]
    if all(one.none for one in found):
        return ["dependability: nothing failed, nothing was wrong and nothing was retried, with any of them"]
    clean = [one.transport for one in found if one.none]
    lines = [f"dependability: {_charges(one)}" for one in found if not one.none]
    return [*lines, f"dependability: no retry, no failure, nothing wrong: {', '.join(clean)}"] if clean else lines


def _charges(one: Faults) -> str:
    told = []
    if one.ended_early:
        told.append(f"{one.ended_early} of {one.runs} runs ended early")
    if one.wrong:
        told.append(f"{one.wrong} steps WRONG")
    if one.failed:
        told.append(f"{number_of(one.failed)} failed")
    if one.retries:
        told.append(f"{one.retries} retries")
    if one.cannot:
        told.append(f"cannot {', '.join(one.cannot)}")
    return f"{one.transport}: {', '.join(told)}"


def notes_of(one: Figures) -> list[str]:
    """What has to be said of a transport's step beside its numbers."""
    notes = [f"WRONG: {text}" for text in one.wrong]
    if one.cannot:
        notes.append(f"not possible: {one.cannot}")
    for kind, count in one.failed.items():
        message = one.messages.get(kind, "")
        notes.append(f"{count} failed with {kind}" + (f", the first: {message}" if message else ""))
    if one.lost:
        notes.append(f"not reached in {one.lost} round{'s' if one.lost > 1 else ''}")
    return notes


def _step_block(name: str, rows: Sequence[Figures], runs: Sequence[Run]) -> str:
    amount = _amount(name, runs)
    about = ", ".join(filter(None, [amount, AMOUNTS.get(name, "")]))
    cells: list[tuple[str, ...]] = [_HEAD]
    notes: list[str] = []
    for one in rows:
        own = [f"{one.transport}: {note}" for note in notes_of(one)]
        mark = f"WRONG [{len(notes) + 1}]" if one.wrong else f"[{len(notes) + 1}]" if own else ""
        notes += own
        cells.append(_step_row(one, mark))
    told = [f"  [{index}] {note}" for index, note in enumerate(notes, 1)]
    return "\n".join([f"{name}: {about}" if about else name, *_aligned(cells), *told])


def _step_row(one: Figures, mark: str) -> tuple[str, ...]:
    reached = one.objects_per_s is not None or bool(one.failed)
    return (
        one.transport, *_spread(one.objects_per_s),
        number(one.bytes_per_s / 1e6 if one.bytes_per_s is not None else None),
        number(one.cpu_us.median if one.cpu_us else None),
        *(number(one.ms(fraction)) for fraction in (0.50, 0.95, 0.99)),
        "-" if one.retries is None or not reached else str(one.retries), str(one.failures) if reached else "-", mark,
    )  # fmt: skip


def _process_block(runs: Sequence[Run], transports: Sequence[str]) -> str:
    cells: list[tuple[str, ...]] = [_PROCESS_HEAD]
    notes: list[str] = []
    for transport in transports:
        one = processes(runs, transport)
        mark = f"[{len(notes) + 1}]" if one.errors else ""
        notes += [f"{transport}: {error}" for error in one.errors]
        main = one.peak_main_bytes
        cells.append(
            (
                transport, *_spread(one.startup_s), *_spread(one.peak_bytes, 2**20),
                number(main.median / 2**20 if main else None), str(one.workers or "-"), mark,
            )
        )  # fmt: skip
    told = [f"  [{index}] {note}" for index, note in enumerate(notes, 1)]
    about = (
        "processes: start-up until workers and main process could send; peak resident memory of all of them, added up"
    )
    return "\n".join([about, *_aligned(cells), *told])


def _amount(name: str, runs: Sequence[Run]) -> str:
    """How much one round is, from the fullest."""
    steps = [step for run in runs if run.round and (step := run.step(name)) is not None]
    objects = max((step.objects + step.failures for step in steps), default=0)
    if not objects:
        return ""
    size_bytes = max((step.size_bytes for step in steps), default=0) if name in ("upload", "download", "copy") else 0
    return number_of(objects) + (f", {number(size_bytes / 1e6)} MB" if size_bytes else "")


def _spread(spread: Spread | None, unit: float = 1.0) -> tuple[str, str]:
    if spread is None:
        return "-", ""
    return number(spread.median / unit), f"({number(spread.low / unit)}-{number(spread.high / unit)})"


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """First and last column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    last = len(widths) - 1
    return [
        "  " + "  ".join(
            cell.ljust(width) if index in (0, last) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]  # fmt: skip
