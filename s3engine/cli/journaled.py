"""``--journal``: what of a command line says which job it is, and what is told of a job that goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from s3engine.cli.route import is_uri
from s3engine.paths import normal_path
from s3engine.plain import number_of

if TYPE_CHECKING:
    from s3engine.journal import Journal
    from s3engine.journal.files import JournalFiles

__all__ = ["CONNECTION", "is_retry", "journal_files", "journal_from", "journal_option", "place_on_record", "standing"]

journal_option = click.option(
    "--journal", metavar="PATH",
    help="Record there what is planned, done and failed: the same command again does only what is not done.",
)  # fmt: skip

CONNECTION = (
    "endpoint_url", "profile", "region", "no_sign_request", "ca_bundle", "no_verify_ssl", "transport", "workers",
    "concurrency", "config_file",
)  # fmt: skip
"""Options that say by whom and how fast: another run may have others."""
_NOT_COMPARED = frozenset((*CONNECTION, "journal", "quiet", "as_json", "dry_run", "max_delete", "unconditional"))
_PATHS = ("src", "dst", "from_files", "config_file", "ca_bundle")


def journal_from(verb: str, arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Journal | None:
    """The journal that ``values`` name, None when they name none. ``arguments`` are the positional ones."""
    given = values.get("journal")
    if given is None:
        return None
    from s3engine.journal import Journal
    from s3engine.journal.identity import endpoint_name

    said = {name: value for name, value in {**arguments, **values}.items() if value not in (None, False, ())}
    for name in _PATHS:
        if name in said:
            said[name] = _absolute(said[name])
    if "src" in said and not is_uri(said["src"]):
        said["src"] = said["src"].rstrip("/") or "/"  # a shell adds it to a folder's name
    command = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in said.items()
        if name not in _NOT_COMPARED
    }
    kept = {name: value for name, value in said.items() if name not in ("journal", "dry_run", "quiet", "as_json")}
    if "endpoint_url" in kept:
        kept["endpoint_url"] = endpoint_name(kept["endpoint_url"], "")  # a URL may hold a password
    again = isinstance(given, Journal)
    journal = Journal(
        given.path if again else given, command={"verb": verb, **command},
        options={} if again else {"verb": verb, "values": kept},
    )  # fmt: skip
    if again:
        journal.failed_only, journal.error_classes = given.failed_only, given.error_classes
    return journal


def _absolute(value: Any) -> Any:
    """Local paths mean the same from whatever folder the command is repeated."""
    if isinstance(value, str):
        return value if is_uri(value) or value == "-" else _with_slash(value)
    return tuple(_absolute(one) for one in value)


def _with_slash(path: str) -> str:
    return normal_path(path) + ("/" if path.endswith("/") else "")


def journal_files(values: Mapping[str, Any]) -> JournalFiles | None:
    """The files of the journal that ``values`` name, None when they name none."""
    given = values.get("journal")
    if given is None:
        return None
    from s3engine.journal.files import JournalFiles

    return JournalFiles(given if isinstance(given, str) else given.path)


def is_retry(journal: Journal | None) -> bool:
    """Whether only what has failed is tried again: then nothing is read of the input."""
    return journal is not None and journal.failed_only


def place_on_record(endpoint: str, values: Mapping[str, Any]) -> dict[str, str]:
    """``endpoint`` of a journal's identity as an option, where no option, variable or file says where to go.

    Raises ConfigError for what is wrong in those.
    """
    from s3engine.cli.options import config_from
    from s3engine.credentials import CredentialSource, load_settings

    config = config_from(values)
    aws = load_settings(CredentialSource(profile=config.profile, anonymous=config.anonymous), profile=config.profile)
    if config.endpoint_url or aws.endpoint_url:
        return {}
    if "://" in endpoint:
        return {"endpoint_url": endpoint}
    if endpoint.startswith("AWS ") and not config.region and not aws.region:
        return {"region": endpoint.removeprefix("AWS ")}
    return {}


def standing(journal: Journal | None) -> str:
    """Where a job stands that goes on; "" for one that begins. Raises ConfigError, JournalError."""
    if journal is None or not os.path.exists(journal.path) or not os.path.getsize(journal.path):
        return ""
    counts = journal.counts()
    if journal.failed_only:
        wanted = journal.error_classes
        failed = sum(count for name, count in counts.by_error.items() if not wanted or name in wanted)
        if not failed:
            kind = " with such an error" if wanted else ""
            return f"journal {journal.path}: nothing has failed{kind}; nothing is tried again"
        return f"journal {journal.path}: trying again {failed} that failed"
    are = "is" if counts.done == 1 else "are"
    if counts.finished and not counts.failed:
        return f"journal {journal.path}: all {number_of(counts.done)} of this job {are} done; nothing is left to do"
    more = "" if counts.input_read else ", and what was not read yet"
    return (
        f"journal {journal.path}: {number_of(counts.done)} {are} done; going on with "
        f"{counts.planned} planned, {counts.failed} failed{more}"
    )
