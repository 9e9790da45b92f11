"""``ls``, ``mb`` and ``rb``: single requests from this process, no workers."""

from __future__ import annotations

from typing import Any

import click

from s3engine.cli.options import (
    config_from,
    dry_run_option,
    engine_options,
    filter_options,
    output_from,
    output_options,
)
from s3engine.cli.text import json_line, write
from s3engine.errors import ConfigError
from s3engine.uri import S3Uri

__all__ = ["ls_command", "mb_command", "rb_command"]


@click.command("ls")
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not only this level.")
@filter_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@engine_options
def ls_command(uri: str, recursive: bool, as_json: bool, **values: Any) -> int:
    """List objects: time (UTC), size, key.

    Without -r one level only, with "PRE prefix/" for what lies deeper. The URI is taken as the beginning of keys, so
    s3://b/p lists p/ and pq too. Control characters in keys are escaped; --json gives keys exactly.
    """
    from s3engine.cli.listed import list_objects

    return list_objects(uri, recursive, as_json, **values)


def _bucket_of(uri: str) -> str:
    where = S3Uri.parse(uri)
    if where.key:
        raise ConfigError(f"{uri!r} names an object; a bucket is written s3://{where.bucket}")
    return where.bucket


@click.command("mb", short_help="Make a bucket.")
@click.argument("uri")
@dry_run_option
@output_options
@engine_options
def mb_command(uri: str, **values: Any) -> int:
    """Make a bucket: s3engine mb s3://my-bucket."""
    return _on_bucket("make", _bucket_of(uri), values)


@click.command("rb", short_help="Remove an empty bucket.")
@click.argument("uri")
@dry_run_option
@output_options
@engine_options
def rb_command(uri: str, **values: Any) -> int:
    """Remove an empty bucket; "rm -r s3://my-bucket/" empties one."""
    return _on_bucket("remove", _bucket_of(uri), values)


def _on_bucket(verb: str, bucket: str, values: dict[str, Any]) -> int:
    config = config_from(values)
    output = output_from(values)
    dry_run = values["dry_run"]
    if not dry_run:
        from s3engine.engine import Engine

        with Engine(config) as engine:
            if verb == "make":
                engine.make_bucket(bucket)
            else:
                engine.remove_bucket(bucket)
    if output.as_json:
        write(json_line(operation=f"{verb}_bucket", bucket=bucket, **({"dry_run": True} if dry_run else {})) + "\n")
    elif not output.quiet or dry_run:
        write(f"{'would ' if dry_run else ''}{verb} bucket s3://{bucket}\n")
    return 0
