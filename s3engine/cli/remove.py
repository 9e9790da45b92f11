"""``rm``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.journaled import is_retry, journal_from, journal_option, standing
from s3engine.cli.limits import limits_of
from s3engine.cli.named import is_named, named_objects, names_or_record, row_or, sizes_of, tell_if_empty
from s3engine.cli.options import (
    config_from,
    destroy_options,
    dry_run_option,
    engine_options,
    filter_options,
    from_options,
    name_filter,
    output_from,
    output_options,
)
from s3engine.cli.route import folder_prefix
from s3engine.cli.sections import Verb
from s3engine.cli.show import Show
from s3engine.cli.text import complain, glob_hint, json_line, one_line, write
from s3engine.errors import ConfigError
from s3engine.sources import Rejected
from s3engine.uri import S3Uri

if TYPE_CHECKING:
    from s3engine.transport import ObjectInfo

__all__ = ["rm_command"]

_LINES = 1000


@click.command("rm", cls=Verb, short_help="Delete an object, all below a prefix, or what a file names.")
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Delete all below s3://bucket/prefix/.")
@dry_run_option
@filter_options
@destroy_options
@from_options
@journal_option
@output_options
@engine_options
def rm_command(uri: str, recursive: bool, **values: Any) -> int:
    """Delete an object, with -r all below a prefix, with --from what a file names.

    "rm -r s3://b/p" means s3://b/p/ and leaves s3://b/pq alone; "rm -r s3://b/" empties the bucket. An object that is
    not there is no error. With -r an object that is written again after it was listed is kept, where the store can do
    that. A listing that fails stops it: what was not begun by then stays.
    """
    where = S3Uri.parse(uri)
    named = is_named(values)
    if not recursive and not named and (not where.key or where.key.endswith("/")):
        raise ConfigError(f"{uri} is no single object; to delete all below it say rm -r")
    limits = limits_of(None, values)
    prefix = folder_prefix(where, recursive or named)
    wanted = name_filter(values["include"], values["exclude"])
    config = config_from(values)
    hint = glob_hint(where.bucket, where.key)
    journal = journal_from("rm", {"uri": uri, "recursive": recursive}, values)
    stands = standing(journal)
    quiet = values["quiet"]
    nothing = ""
    if not (prefix is None or named or stands):
        left = " that --include and --exclude leave" if wanted else ""
        nothing = f"nothing below s3://{where.bucket}/{prefix}{left}{f'; {hint}' if hint else ''}"
    show = Show(
        output_from(values), "delete", lambda report: f"delete s3://{report.bucket}/{report.key}", _name,
        nothing=nothing,
    )  # fmt: skip
    if hint and prefix is None and not quiet:
        # Told, not refused: there are keys of such names, and this is how one is deleted.
        complain(f"deleting the one object with this name: {hint.replace('write ', 'for all that match write rm ')}")

    from s3engine.engine import Engine

    with Engine(config) as engine:
        objects: Iterable[str | ObjectInfo | Rejected]
        items = None
        if named:
            items = names_or_record(
                journal, lambda: named_objects(values, engine, where.bucket, prefix or "", wanted)
            )  # fmt: skip
        if items is not None:
            objects = items
        elif prefix is None:
            objects = [where.key] if wanted is None or wanted(where.key.rsplit("/", 1)[-1]) else []
        else:
            listing = engine.list(where.bucket, prefix)
            cut = len(prefix)
            objects = listing if wanted is None else listing.filter(lambda info: wanted(info.key[cut:]))
        if values["dry_run"]:
            code = _plan(where.bucket, limits.within(objects, journal), values["as_json"], "" if quiet else nothing)
            if items is not None and not code and not stands:
                tell_if_empty(items)
            if stands and not quiet:
                complain(stands)
            return code
        batch = engine.delete(where.bucket, objects, journal=journal, **limits.of(deletes=True))
        if not quiet:
            show.tell_standing(stands, at_once=not named or is_retry(journal))
        known = show.wants_bar and journal is None
        if items is not None:
            code = show.follow(batch, sizes_of(items) if known else None)
            if not code and not stands:
                tell_if_empty(items)
            return code
        return show.follow(batch, (0 for _ in objects) if known else None)


def _name(report: Any) -> str:
    return row_or(f"delete s3://{report.bucket}/{report.key}", "delete", report.error)


def _plan(bucket: str, objects: Iterable[str | ObjectInfo | Rejected], as_json: bool, nothing: str) -> int:
    code = 0
    taken = False
    lines: list[str] = []
    for item in objects:
        taken = True
        if isinstance(item, Rejected):
            complain(f"would fail: {row_or(f'delete {item.key}', 'delete', item.error)}: {item.error}")
            code = 1
            continue
        key, size_bytes = (item, -1) if isinstance(item, str) else (item.key, item.size_bytes)
        if as_json:
            line = json_line(dry_run=True, operation="delete", source=f"s3://{bucket}/{key}", size_bytes=size_bytes)
        else:
            line = one_line(f"would delete s3://{bucket}/{key}")
        lines.append(line)
        if len(lines) >= _LINES:
            write("\n".join(lines) + "\n")
            lines.clear()
    if lines:
        write("\n".join(lines) + "\n")
    if not taken and nothing:
        complain(nothing)
    return code
