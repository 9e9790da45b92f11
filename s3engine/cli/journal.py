"""``journal`` and ``retry``."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.journaled import CONNECTION, place_on_record
from s3engine.cli.options import dry_run_option, engine_options, output_options
from s3engine.cli.text import human_bytes, json_line, one_line, write
from s3engine.errors import ConfigError
from s3engine.plain import number_of

if TYPE_CHECKING:
    from s3engine.journal import JournalCounts

__all__ = ["journal_command", "retry_command"]

_MODULES = {"cp": "transfer", "mv": "transfer", "rm": "remove"}
_only_option = click.option("--only", metavar="ERRORCLASS", default="", help="Only those that failed with it.")


@click.group("journal", invoke_without_command=True)
@click.pass_context
def journal_command(ctx: click.Context) -> int:
    """Read a journal: what job, how far, what failed."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return 0


@journal_command.command("show")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_command(path: str, as_json: bool) -> int:
    """Which job it is, its runs, counts by state and by class of error, and how to go on."""
    from s3engine.journal import Journal

    journal = Journal(path)
    about, counts = journal.about(), journal.counts()
    if as_json:
        write(json_line(**about, **counts._asdict(), finished=counts.finished) + "\n")
        return 0
    lines = [f"{name}: {value}" for name, value in about["identity"].items() if value]
    for begin, end in about["runs"]:
        lines.append(f"run: {_when(begin)} to {_when(end) if end else '(killed, or under way)'}")
    lines.append(f"done: {number_of(counts.done)}, {human_bytes(counts.done_bytes)}")
    lines.append(f"failed: {number_of(counts.failed)}")
    lines.extend(f"    {name}: {count}" for name, count in counts.by_error.items())
    lines.append(f"planned, not done: {number_of(counts.planned)}")
    lines.append(f"input: {'read to its end' if counts.input_read else 'not read to its end'}")
    lines.append(f"next: {_next(counts, path)}")
    write("\n".join(map(one_line, lines)) + "\n")
    return 0


def _when(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(unix_s))


def _next(counts: JournalCounts, path: str) -> str:
    if not counts.finished:
        return f"repeat the command with --journal {path}: it does only what is not done"
    if counts.failed:
        return f"s3engine retry {path}, or s3engine journal failed {path}"
    return "nothing; all is done"


@journal_command.command("failed")
@click.argument("path")
@_only_option
@click.option("-0", "nul", is_flag=True, help="End each name with NUL, not with a newline.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option("--relative", is_flag=True, help="Names relative to the command's SRC, as --from takes them.")
@click.option("--csv", "table", is_flag=True, help="A table for --from-format csv: it keeps the keys of uploads too.")
def failed_command(path: str, only: str, nul: bool, as_json: bool, relative: bool, table: bool) -> int:
    """The names of what failed, as the job's input calls them: paths of files, or keys.

    Rows of the input that could not be used, or whose key came before, are left out and counted; --json shows them,
    with "rejected": true.
    """
    from s3engine.cli.failed import print_json, print_names, print_table
    from s3engine.journal import Journal

    journal = Journal(path)
    if table:
        if nul or as_json or relative:
            raise ConfigError("--csv is a form of its own: give none of -0, --json and --relative with it")
        print_table(journal, only)
    elif as_json:
        print_json(journal, only)
    else:
        print_names(journal, only, nul=nul, relative=relative)
    return 0


@click.command("retry")
@click.argument("path")
@_only_option
@dry_run_option
@output_options
@engine_options
def retry_command(path: str, only: str, **values: Any) -> int:
    """Try again what failed in a job with a journal, and nothing else.

    The journal knows the command, and its endpoint; options that are given here go before those that it had.
    """
    from s3engine.journal import Journal

    journal = Journal(path).only_failed(only)
    about = journal.about()
    told = about["options"]
    verb = told.get("verb")
    if verb not in _MODULES:
        raise ConfigError(f"journal {path!r} was not made by a command; repeat the program that made it")
    command: click.Command = getattr(importlib.import_module(f"s3engine.cli.{_MODULES[verb]}"), f"{verb}_command")
    # What this version knows and the journal does not say has its default.
    arguments = ["x"] * sum(isinstance(one, click.Argument) for one in command.params)
    said = dict(command.make_context(verb, arguments, resilient_parsing=True).params)
    for name, value in told["values"].items():
        said[name] = tuple(value) if isinstance(value, list) else value
    said |= {name: values[name] for name in CONNECTION if values.get(name) not in (None, False)}
    said |= {"quiet": values["quiet"], "as_json": values["as_json"], "dry_run": values["dry_run"], "journal": journal}
    said |= place_on_record(about["identity"].get("endpoint", ""), said)
    assert command.callback is not None
    code: int = command.callback(**said)
    return code
