"""The verbs' group, and the exit codes (outcome.py makes them).

0: all done, also where there was nothing to do. 1: something failed: an object, or a SRC, bucket or endpoint that is
not there. 2: usage or configuration, files of options among it: nothing was done. 130: Ctrl-C. 143: SIGTERM.
129: SIGHUP. 141: the reader of a pipe went away.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import click

from s3engine._version import __version__
from s3engine.cli.outcome import drop_stdout, exit_code_of
from s3engine.cli.text import complain

__all__ = ["app", "run"]

# verb -> the module that has it, under the name <verb>_command
_VERBS = {
    "cp": "transfer", "mv": "transfer", "ls": "buckets", "rm": "remove", "cleanup": "cleanup", "mb": "buckets",
    "rb": "buckets", "map": "map",
    "journal": "journal", "retry": "journal",
    "perf": "perf", "compare": "compare", "check": "check", "demo": "demo", "serve": "demo",
}  # fmt: skip


class _Verbs(click.Group):
    """Imports a verb's module when the verb is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _VERBS.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(f"s3engine.cli.{module}"), f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> int:
        """The verb's exit code; every error that is not about usage ends there."""
        return exit_code_of(functools.partial(super().invoke, ctx))


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"s3engine {__version__}")
        ctx.exit()


@click.group(cls=_Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def app(ctx: click.Context) -> int:
    """Move very many objects to, from and inside S3, through a pool of worker processes.

    Options stand after the verb. An option goes before the --config file, that before S3ENGINE_* variables (each
    setting has one: S3ENGINE_WORKERS ...), and those before AWS_* variables and the files of the AWS CLI.

    Exit codes: 0 all done, 1 some objects failed (or SRC, bucket or endpoint is not there), 2 usage or configuration
    (nothing was done), 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return 0


def _verb_of(arguments: list[str]) -> str:
    """The verb of a command line, and its own verb where it has some: options stand behind them."""
    known: click.Command | None = app
    names: list[str] = []
    for name in arguments:
        known = known.get_command(click.Context(known), name) if isinstance(known, click.Group) else None
        if known is None:
            break
        names.append(name)
    return " ".join(names)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code: Any = app.main(arguments, prog_name="s3engine", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        # click gives none for an option that lacks its value, or has one too many
        verb = context.command_path.removeprefix("s3engine").strip() if context is not None else _verb_of(arguments)
        hint = f" (see s3engine {verb} --help)".replace("  ", " ")
        complain(f"{verb + ': ' if verb else ''}{' '.join(error.format_message().split())}{hint}")
        return error.exit_code
    except click.Abort:
        return 130
    except OSError as error:  # of a help; verbs have said their own by now
        complain(f"cannot write to standard output: {error.strerror or error}")
        drop_stdout()
        return 1
    return code if isinstance(code, int) else 0
