"""Help of a verb with many options: they stand under headings, in an order of their own."""

from __future__ import annotations

import click

__all__ = ["SECTIONS", "Verb"]

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Which objects", ("recursive", "include", "exclude", "from_files", "nul", "from_format")),
    (
        "What is written over or deleted",
        ("no_clobber", "if_size_differ", "if_source_newer", "max_delete", "unconditional"),
    ),
    ("The run", ("dry_run", "journal", "quiet", "as_json")),
    ("Checksums", ("no_verify", "checksum")),
    (
        "Headers of new objects",
        (
            "content_type", "cache_control", "metadata", "tag", "storage_class", "acl", "sse", "sse_kms_key_id",
        ),
    ),
    (
        "The store",
        ("endpoint_url", "profile", "region", "no_sign_request", "ca_bundle", "no_verify_ssl", "config_file"),
    ),
    ("Speed", ("transport", "workers", "concurrency")),
)  # fmt: skip
"""Headings, and the names of the parameters under each. What is in none of them stands below "Options"."""


class Verb(click.Command):
    """A command whose help has ``SECTIONS``."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each once, under its heading."""
        left = {parameter.name: parameter for parameter in self.get_params(ctx)}
        for title, names in SECTIONS:
            _write(ctx, formatter, title, [left.pop(name) for name in names if name in left])
        _write(ctx, formatter, "Options", [one for one in left.values() if isinstance(one, click.Option)])


def _write(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, parameters: list[click.Parameter]
) -> None:
    records = [record for record in (one.get_help_record(ctx) for one in parameters) if record is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
