"""``cp`` and ``mv``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.directions import DIRECTIONS
from s3engine.cli.journaled import is_retry, journal_files, journal_from, journal_option, standing
from s3engine.cli.limits import limits_of
from s3engine.cli.named import is_named, row_or, tell_if_empty
from s3engine.cli.options import (
    NameFilter,
    checksum_option,
    config_from,
    destroy_options,
    dry_run_option,
    engine_options,
    existing_options,
    filter_options,
    from_options,
    header_options,
    headers_from,
    name_filter,
    output_from,
    output_options,
    verify_option,
)
from s3engine.cli.plan import print_plan
from s3engine.cli.route import Route, route
from s3engine.cli.sections import Verb
from s3engine.cli.show import Show
from s3engine.cli.text import complain, explain, glob_hint
from s3engine.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from s3engine.config import Config

__all__ = ["cp_command", "mv_command"]


@click.command("cp", cls=Verb, short_help="Copy files and objects: to S3, from S3, inside S3.")
@click.argument("src")
@click.argument("dst")
@click.option("-r", "--recursive", is_flag=True, help="SRC is all below s3://bucket/prefix/.")
@dry_run_option
@verify_option
@existing_options
@filter_options
@from_options
@journal_option
@header_options
@checksum_option
@output_options
@engine_options
def cp_command(src: str, dst: str, **values: Any) -> int:
    """Copy files and objects: local to S3, S3 to local, or S3 to S3 inside the store.

    A local folder as SRC, or an S3 URI that ends in / or has -r, means all below it, with names relative to it:
    "cp ./src s3://b/p/" puts ./src/a/x at p/a/x, "cp s3://b/p/ out" puts p/a/x at out/a/x. Anything else is one file
    or object; it keeps its name where DST ends in / or is a folder, and is called DST otherwise. Symbolic links are
    followed. Copies inside S3 keep their metadata, unless --content-type, --cache-control or --metadata is given: then
    all of it is replaced.
    """
    return _transfer(src, dst, values, move=False)


@click.command("mv", cls=Verb, short_help="Move them: the same, and the source goes.")
@click.argument("src")
@click.argument("dst")
@click.option("-r", "--recursive", is_flag=True, help="SRC is all below s3://bucket/prefix/.")
@dry_run_option
@verify_option
@existing_options
@filter_options
@destroy_options
@from_options
@journal_option
@header_options
@checksum_option
@output_options
@engine_options
def mv_command(src: str, dst: str, **values: Any) -> int:
    """Move files and objects; SRC and DST as for cp.

    Each source is removed when its object or file is whole at the target, and kept when anything fails. Local folders
    stay, empty.
    """
    return _transfer(src, dst, values, move=True)


def _transfer(src: str, dst: str, values: dict[str, Any], *, move: bool) -> int:
    named = is_named(values)
    way = route(src, dst, recursive=values["recursive"] or named)
    if named and way.only:
        raise ConfigError(f"with --from SRC must be the folder that its names are relative to, and {src!r} is none")
    headers = headers_from(values)
    if headers is not None and way.kind == "download":
        raise ConfigError("local files have no S3 headers; leave --content-type, --metadata and the like out")
    config = config_from(values)
    wanted = name_filter(values["include"], values["exclude"])
    transfer = DIRECTIONS[way.kind](way, wanted, headers, move, limits_of(way, values))
    transfer.values = values if named else None
    transfer.own = journal_files(values)
    transfer.journal = journal_from("mv" if move else "cp", {"src": src, "dst": dst}, values)
    verb = "move" if move else way.kind
    stands = standing(transfer.journal)
    nothing = "" if named or stands else _nothing(way, wanted)
    if not stands and way.only and way.kind != "upload" and values["no_clobber"] and transfer.single_wanted:
        # Nothing else would ask for it where the target is there.
        absent = _absent(way, config)
        if absent is not None:
            complain(f"{verb} s3://{way.source_bucket}/{way.source}: {explain(absent, single=True)}")
            return 1
    if values["dry_run"]:
        code = print_plan(transfer, config, as_json=values["as_json"], nothing="" if values["quiet"] else nothing)
        if transfer.items is not None and not code and not stands:
            tell_if_empty(transfer.items)
        if stands and not values["quiet"]:
            complain(stands)
        return code
    transfer.check()
    show = Show(
        output_from(values), verb,
        lambda report: "{} {} -> {}".format(verb, *transfer.ends(report)),
        lambda report: row_or(f"{verb} {transfer.ends(report)[0]}", verb, report.error),
        nothing=nothing, single=bool(way.only),
    )  # fmt: skip
    from s3engine.engine import Engine

    with Engine(config) as engine:
        transfer.open(engine)
        batch = transfer.begin(engine)
        if not values["quiet"]:
            show.tell_standing(stands, at_once=not named or is_retry(transfer.journal))
        # A job that goes on does not read its input again, not even to know how much there is.
        known = show.wants_bar and transfer.journal is None
        code = show.follow(batch, transfer.sizes(engine) if known else None)
        if transfer.items is not None and not code and not stands:
            tell_if_empty(transfer.items)
        return code


def _absent(way: Route, config: Config) -> NotFound | None:
    """Why the one object of SRC cannot be had; None when it is there. Raises S3EngineError."""
    from s3engine.engine import Engine

    with Engine(config) as engine:
        try:
            engine.head(way.source_bucket, way.source)
        except NotFound as error:
            return error
    return None


def _nothing(way: Route, wanted: NameFilter | None) -> str:
    """What to say when SRC means no object at all."""
    if way.only:
        return f"{way.name} is not among those that --include and --exclude leave"
    if way.kind == "upload":
        where, hint = way.source, ""
    else:
        where, hint = f"s3://{way.source_bucket}/{way.source}", glob_hint(way.source_bucket, way.source)
    filtered = " that --include and --exclude leave" if wanted is not None else ""
    return f"nothing below {where}{filtered}{f'; {hint}' if hint else ''}"
