"""``check``: the conformance suite on anybody's endpoint."""

from __future__ import annotations

from typing import Any

import click

from s3engine.cli.options import config_from, engine_options, output_from, output_options
from s3engine.cli.text import complain, json_line, one_line, write
from s3engine.errors import ConfigError
from s3engine.uri import S3Uri

__all__ = ["check_command"]


@click.command("check", short_help="Hold a transport to its promises on your store.")
@click.argument("target", required=False)
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; may be repeated.")
@click.option("--list", "as_list", is_flag=True, help="List the checks with what they promise, and end.")
@click.option("--other-bucket", metavar="NAME", default="", help="A second bucket, for copies between buckets.")
@click.option("--make-buckets", is_flag=True, help="Let it make and delete a bucket.")
@output_options
@engine_options
def check_command(target: str | None, only: tuple[str, ...], as_list: bool, **values: Any) -> int:
    """Check that a transport keeps its promises on the store at TARGET, s3://bucket/prefix/.

    Works below a new name in TARGET and deletes what it made. Without TARGET only the checks run that need no store:
    they break connections to a server of their own. Example: s3engine check --transport minio s3://bucket/tmp/

    yes: kept. says so: the transport says of itself that it cannot; the engine refuses or goes around. store: the store
    cannot, as an independent client saw. skipped: an option was not given. NO: broken. Exit code 1 when there is any
    NO.
    """
    from s3engine.testing.conformance import CHECKS, Finding, check_transport, select_checks
    from s3engine.testing.conformance.matrix import MARKS

    checks = select_checks(only, on="" if target else "wire")
    output = output_from(values)
    if as_list:
        for one in select_checks(only):
            if output.as_json:
                write(json_line(check=one.name, on=one.on, promise=one.promise) + "\n")
            else:
                write(f"{one.name:22} {one.on:5} {one.promise.replace('``', '')}\n")
        return 0
    config = config_from(values)
    store = _store(target, config, values)
    if only and len(checks) < len(only):
        raise ConfigError("these checks need a store; name one as TARGET: s3://bucket/prefix/")

    def show(finding: Finding) -> None:
        if output.as_json:
            promise = CHECKS[finding.check].promise if finding.check in CHECKS else ""
            write(json_line(
                transport=config.transport, check=finding.check, outcome=finding.outcome, reason=finding.reason,
                promise=promise, elapsed_s=round(finding.elapsed_s, 3),
            ) + "\n")  # fmt: skip
        elif not output.quiet or finding.outcome == "no":
            text = f"{finding.check:22} {MARKS[finding.outcome]:8} {finding.reason}"
            write(one_line(text.rstrip()) + "\n")

    def working_below(uri: str) -> None:
        if not output.quiet:
            complain(f"working below {uri}, which is empty again afterwards")

    findings = check_transport(config.transport, store, checks, progress=show, working_below=working_below)
    if not output.quiet:
        counts = [f"{sum(one.outcome == name for one in findings)} {mark}" for name, mark in MARKS.items()]
        complain(f"{config.transport}: {', '.join(counts)}")
    return 1 if any(finding.outcome == "no" for finding in findings) else 0


def _store(target: str | None, config: Any, values: dict[str, Any]) -> Any:
    from s3engine.config import TransportSettings
    from s3engine.credentials import Credentials
    from s3engine.runtime import transport_settings
    from s3engine.testing.conformance import Store

    if target is None:
        return Store(settings=TransportSettings(credentials=Credentials("AKIDCHECK", "no-secret")), bucket="bucket")
    uri = S3Uri.parse(target)
    prefix = uri.key if not uri.key or uri.key.endswith("/") else uri.key + "/"
    return Store(
        settings=transport_settings(config), bucket=uri.bucket, prefix=prefix, other_bucket=values["other_bucket"],
        make_buckets=values["make_buckets"],
    )
