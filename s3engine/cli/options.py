"""Options that verbs share, and the headers that come of them; what else comes of them: settings.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from s3engine.cli.settings import NameFilter, config_from, name_filter, settings_from
from s3engine.errors import ConfigError

if TYPE_CHECKING:
    from s3engine.operations import ObjectHeaders

__all__ = [
    "NameFilter", "Output", "checksum_option", "config_from", "destroy_options", "dry_run_option", "engine_options",
    "existing_options", "filter_options", "from_options", "header_options", "headers_from", "name_filter",
    "output_from", "output_options", "settings_from", "shared_options", "verify_option",
]  # fmt: skip

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _stack(*options: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    def apply(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return apply


_store_options = _stack(
    click.option("--endpoint-url", metavar="URL", help="Where the store is; AWS unless set."),
    click.option("--profile", metavar="NAME", help="Profile of ~/.aws to use; goes before keys in the environment."),
    click.option("--region", metavar="NAME", help="Region to sign for."),
    click.option("--no-sign-request", is_flag=True, help="Anonymous: send no credentials."),
    click.option("--ca-bundle", metavar="PATH", help="CA certificates to trust, instead of the system's."),
    click.option("--no-verify-ssl", is_flag=True, help="Take any TLS certificate."),
)
_pool_options = _stack(
    click.option("--workers", type=int, metavar="N", help="Worker processes, 1 to 256 (one per usable core)."),
    click.option("-n", "--concurrency", type=int, metavar="N", help="Requests in flight at most, 1 to 1024 (512)."),
    click.option("--config", "config_file", metavar="FILE", help="TOML file with settings, named as in S3ENGINE_*."),
)
engine_options = _stack(
    _store_options,
    click.option("--transport", metavar="NAME", help="raw, boto3, minio, obstore, or module:Class (raw)."),
    _pool_options,
)
"""Who speaks to which store, and how much at once."""
shared_options = _stack(_store_options, _pool_options)
"""The same for a verb that names transports in a way of its own."""

output_options = _stack(
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
)

checksum_option = click.option(
    "--checksum", metavar="NAME",
    help="Checksum of uploads: crc64nvme, crc32c, crc32, sha256, md5, none, or auto, what the store compares (auto).",
)  # fmt: skip

dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")

verify_option = click.option(
    "--no-verify", is_flag=True,
    help="Do not compare what was downloaded or copied with the checksum or MD5 that the store has of it.",
)  # fmt: skip

destroy_options = _stack(
    click.option(
        "--max-delete", metavar="N|P%",
        help="Count first, from the complete listing; delete nothing when it is more than N objects, or than P% of all "
        "below the prefix (before filters).",
    ),
    click.option(
        "--unconditional", is_flag=True,
        help="Delete also what was written again after it was listed or copied. Without it such objects are kept where "
        "the store can do that.",
    ),
)  # fmt: skip

existing_options = _stack(
    click.option("--no-clobber", is_flag=True, help="Leave what is there already as it is."),
    click.option("--if-size-differ", is_flag=True, help="Write over what is there only if its size is another one."),
    click.option(
        "--if-source-newer", is_flag=True, help="Write over what is there only if the source was changed after it."
    ),
)  # fmt: skip
"""For many objects all that is below the target is listed first, to the end."""

filter_options = _stack(
    click.option(
        "--include", multiple=True, metavar="GLOB",
        help="Only names that match GLOB; may be repeated. Names are relative to the source, * matches / too.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="GLOB",
        help="No names that match GLOB; may be repeated, and goes before --include whatever the order.",
    ),
)  # fmt: skip

from_options = _stack(
    click.option(
        "--from", "from_files", multiple=True, metavar="FILE",
        help="Work on what FILE names, relative to SRC, and list nothing; - is standard input; may be repeated.",
    ),
    click.option("-0", "nul", is_flag=True, help="Names in FILE end in NUL, not in newline (find -print0)."),
    click.option(
        "--from-format", type=click.Choice(["lines", "csv", "parquet", "inventory"]),
        help="What FILE is; by its name unless set: .csv, .csv.gz, .parquet, manifest.json (S3 Inventory), else lines.",
    ),
)  # fmt: skip

header_options = _stack(
    click.option("--content-type", metavar="TYPE", help="Guessed from the name unless set."),
    click.option("--cache-control", metavar="TEXT", help="Cache-Control of the objects."),
    click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="User metadata; may be repeated."),
    click.option("--tag", multiple=True, metavar="NAME=VALUE", help="Object tag; may be repeated."),
    click.option("--storage-class", metavar="CLASS", help="STANDARD_IA, GLACIER ..."),
    click.option("--acl", metavar="ACL", help="Canned ACL: private, public-read ..."),
    click.option("--sse", metavar="KIND", help="Server-side encryption: AES256 or aws:kms."),
    click.option("--sse-kms-key-id", metavar="ID", help="The key for --sse aws:kms."),
)


class Output(NamedTuple):
    """How a verb speaks."""

    quiet: bool
    as_json: bool


def output_from(values: Mapping[str, Any]) -> Output:
    """From ``output_options``."""
    return Output(quiet=values["quiet"], as_json=values["as_json"])


def headers_from(values: Mapping[str, Any]) -> ObjectHeaders | None:
    """From ``header_options``; None when none was given. Raises ConfigError, click.UsageError."""
    named = {
        name: values[name]
        for name in ("content_type", "cache_control", "storage_class", "acl", "sse", "sse_kms_key_id")
        if values[name]
    }
    metadata = _pairs("--metadata", values["metadata"])
    tags = _pairs("--tag", values["tag"])
    if not named and not metadata and not tags:
        return None
    from s3engine.operations import ObjectHeaders

    return ObjectHeaders(**named, metadata=metadata, tags=tags)


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ConfigError(f"{option} takes NAME=VALUE, not {text!r}")
        if name in pairs:
            raise ConfigError(f"{option} gives {name!r} twice: {pairs[name]!r} and {value!r}")
        pairs[name] = value
    return pairs
