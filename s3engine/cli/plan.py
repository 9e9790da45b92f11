"""A dry run: what a transfer would do, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3engine.cli.named import row_or
from s3engine.cli.text import complain, json_line, one_line, write

if TYPE_CHECKING:
    from s3engine.cli.direction import Direction
    from s3engine.config import Config

__all__ = ["print_plan"]

_LINES = 1000  # to a block


def print_plan(transfer: Direction, config: Config, *, as_json: bool, nothing: str) -> int:
    """Print what ``transfer`` would do; 1 when it is plain now that some of it would fail.

    ``nothing`` is told when there was no object at all.
    """
    code = 0
    taken = False
    lines: list[str] = []
    verb = "move" if transfer.move else transfer.way.kind
    for source, target, size_bytes, error, skip in transfer.plan(config):
        taken = True
        if error is not None:
            complain(f"would fail: {row_or(f'{verb} {source}', verb, error)}: {error}")
            code = 1
        elif as_json:
            told = {"dry_run": True, "operation": verb, "source": source, "target": target, "size_bytes": size_bytes}
            lines.append(json_line(**told, skipped=skip) if skip else json_line(**told))
        elif skip:
            lines.append(one_line(f"would skip ({skip}): {verb} {source} -> {target}"))
        else:
            lines.append(one_line(f"would {verb} {source} -> {target}"))
        if len(lines) >= _LINES:
            write("\n".join(lines) + "\n")
            lines.clear()
    if lines:
        write("\n".join(lines) + "\n")
    if not taken and nothing:
        complain(nothing)
    return code
