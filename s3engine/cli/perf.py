"""``perf``: upload and print the performance table."""

from __future__ import annotations

import os
from typing import Any

import click

from s3engine.cli.local import file_size, upload_sources
from s3engine.cli.options import (
    checksum_option,
    config_from,
    dry_run_option,
    engine_options,
    filter_options,
    header_options,
    headers_from,
    name_filter,
    output_from,
    output_options,
)
from s3engine.cli.show import Show
from s3engine.cli.text import json_line, one_line, write
from s3engine.uri import check_bucket

__all__ = ["perf_command"]


@click.command("perf", short_help="Upload SRC and print a table row per file.")
@click.argument("src")
@click.argument("bucket")
@click.argument("prefix", default="")
@dry_run_option
@filter_options
@header_options
@checksum_option
@output_options
@engine_options
def perf_command(src: str, bucket: str, prefix: str, **values: Any) -> int:
    """Upload SRC to BUCKET below PREFIX/ and print a row per finished file.

    Columns: requests made, bytes, milliseconds of the last attempt and of all together, megabytes (10^6) per second,
    and what the bandwidth estimate said when the last attempt was begun. Example: s3engine perf -n 3 ./src test-bucket
    lala
    """
    check_bucket(bucket)
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    headers = headers_from(values)
    config = config_from(values)
    wanted = name_filter(values["include"], values["exclude"])
    only = "" if os.path.isdir(src) else os.path.basename(src.rstrip("/"))
    sources = upload_sources(src, prefix, only, wanted)
    output = output_from(values)
    if values["dry_run"]:
        for file in sources:
            target = f"s3://{bucket}/{file.key}"
            if output.as_json:
                write(json_line(dry_run=True, operation="upload", source=file.path, target=target) + "\n")
            else:
                write(one_line(f"would upload {file.path} -> {target}") + "\n")
        return 0

    from s3engine.engine import Engine
    from s3engine.report import perf_header, perf_row

    show = Show(output, "upload", perf_row, lambda report: f"upload {report.target or report.key}", table=True)
    with Engine(config) as engine:
        batch = engine.upload(bucket, sources, template=headers)
        if not output.as_json:
            write(perf_header() + "\n")
        again = upload_sources(src, prefix, only, wanted) if show.wants_bar else ()
        return show.follow(batch, map(file_size, again))
