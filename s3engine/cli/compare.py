"""``compare``: which client is fastest and most dependable against this endpoint."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import click

from s3engine.cli.interrupts import interrupts
from s3engine.cli.options import settings_from, shared_options
from s3engine.cli.route import is_uri
from s3engine.cli.text import complain, write
from s3engine.errors import ConfigError, SourceError
from s3engine.uri import S3Uri

__all__ = ["compare_command"]

_CLEAN_UP_S = 300.0  # what may be taken after Ctrl-C for deleting; a second one leaves at once


@click.command("compare", short_help="Do one job with each transport: which is best?")
@click.argument("src")
@click.argument("dst")
@click.option(
    "--transports", metavar="NAMES",
    help="Whom to compare, with commas: names, or module:Class (raw and those of boto3, minio, obstore that are "
    "installed).",
)
@click.option("--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="How often each one runs.")
@click.option(
    "--warm-up/--no-warm-up", default=True, show_default=True, help="One short run of each before, not counted."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1.0), default=3600.0, show_default=True, metavar="SECONDS",
    help="End a run that takes longer, and run that transport no more.",
)
@click.option("--json", "json_path", metavar="FILE", help="Write all that was measured, as JSON.")
@click.option("--picture", "picture_path", metavar="FILE.html", help="Draw the distributions; any browser shows it.")
@click.option("--quiet", is_flag=True, help="No progress lines; the result and errors only.")
@shared_options
def compare_command(src: str, dst: str, quiet: bool, **values: Any) -> int:
    """Do the same job with each transport, and tell which is fastest and most dependable against your store.

    The job: upload SRC (a folder or a file) below DST, list, download, compare every byte, copy inside the store,
    delete. Each run is a fresh process; rounds are interleaved. All of it happens below a new prefix of its own,
    DST/s3engine-compare-RANDOM/, and is deleted at the end, also after Ctrl-C.

    Example: s3engine compare ./src s3://bucket/tmp/ --transports raw,boto3 --json run.json --picture run.html

    Exit codes: 0 all right, 1 something failed or was WRONG, 2 usage, 130 interrupted.
    """
    from s3engine.compare.rounds import compare
    from s3engine.compare.table import report
    from s3engine.compare.values import Plan
    from s3engine.config import Config

    settings = settings_from(values)
    settings.pop("transport", None)
    plan = Plan(
        source=_source(src), target=S3Uri.parse(dst), transports=_transports(values["transports"]),
        rounds=values["rounds"], warm_up=values["warm_up"], timeout_s=values["timeout_s"], settings=settings,
    )  # fmt: skip
    for path in (values["json_path"], values["picture_path"]):
        if path is not None:
            _check_writable(path)
    interrupts.grace_s = _CLEAN_UP_S
    with interrupts.cancelling(lambda: None):
        outcome = compare(plan, _silent if quiet else complain, complain, lambda: bool(interrupts.number))
    if any(run.round for run in outcome.runs):
        try:
            used = Config.from_mapping(plan.settings, "settings")
            write(f"up to {used.concurrency} requests in flight in {used.workers} workers, with each transport\n\n")
            write(report(outcome.runs, plan.transports))
        finally:  # also when nobody reads the text to its end
            _keep(plan, outcome.runs, values)
    if outcome.left:
        complain(outcome.left)
    return 0 if outcome.ok else 1


def _silent(text: str) -> None:
    """Nobody wants to know."""


def _source(src: str) -> str:
    if is_uri(src):
        raise ConfigError(f"SRC is what gets uploaded, a local folder or file, not {src!r}")
    if not os.path.lexists(src):
        raise SourceError(f"{src!r} does not exist; check the path", path=src)
    if os.path.isdir(src):
        from s3engine.sources import files_recursive

        if next(iter(files_recursive(src)), None) is None:
            raise SourceError(f"{src!r} holds no file; name a folder with some", path=src)
    return src


def _transports(given: str | None) -> tuple[str, ...]:
    """Names that can all be loaded. Raises ConfigError, before anything is sent."""
    from s3engine.pool.load import BUILT_IN, dotted_name, load_transport

    if given is None:
        installed = [name for name in BUILT_IN if name == "raw" or importlib.util.find_spec(name) is not None]
        for name in BUILT_IN:
            if name not in installed:
                complain(f"not compared: {name}, which is not installed (pip install 's3engine[{name}]')")
        names = tuple(installed)
    else:
        names = tuple(name.strip() for name in given.split(","))
    if "" in names:
        raise ConfigError(f"--transports takes names with a comma between, not {given!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"--transports names {', '.join(twice)} more than once")
    for name in names:
        load_transport(dotted_name(name))
    return names


def _check_writable(path: str) -> None:
    """What cannot be written is told now rather than after an hour. Raises ConfigError."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ConfigError(f"cannot write {path!r}: {folder!r} must be a folder that can be written to")


def _keep(plan: Any, runs: Any, values: dict[str, Any]) -> None:
    """Write the files that were asked for."""
    if values["json_path"] is None and values["picture_path"] is None:
        return
    import json

    from s3engine.compare.picture import page
    from s3engine.compare.record import document

    facts = document(plan, runs)
    if values["json_path"] is not None:
        with open(values["json_path"], "w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.write("\n")
    if values["picture_path"] is not None:
        with open(values["picture_path"], "w", encoding="utf-8") as file:
            file.write(page(plan, runs, facts))
