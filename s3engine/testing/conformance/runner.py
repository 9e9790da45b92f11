"""Runs checks against one transport and one store, and leaves the store as it was."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable

from urllib3.exceptions import HTTPError

from s3engine.classify import error_for
from s3engine.errors import ConfigError, ConnectFailed
from s3engine.pool.load import dotted_name, open_transport
from s3engine.testing.conformance.core import CHECKS, Check, Finding, Store, new_run, run_check
from s3engine.testing.witness import Witness
from s3engine.uri import check_bucket

__all__ = ["check_transport", "select_checks"]


def select_checks(names: Iterable[str] = (), *, on: str = "") -> list[Check]:
    """The checks of these names (all when none is given), of one kind (``on``: store or wire) or of both.

    Raises ConfigError for a name that there is not.
    """
    wanted = list(names) or list(CHECKS)
    for name in wanted:
        if name not in CHECKS:
            close = difflib.get_close_matches(name, CHECKS, 3, 0.5)
            hint = f"did you mean {', '.join(close)}?" if close else "--list names them"
            raise ConfigError(f"unknown check {name!r}; {hint}")
    return [CHECKS[name] for name in wanted if on in ("", CHECKS[name].on)]


def check_transport(
    transport: str, store: Store, checks: Iterable[Check] | None = None, *,
    progress: Callable[[Finding], None] | None = None, working_below: Callable[[str], None] | None = None,
) -> list[Finding]:  # fmt: skip
    """Run checks one after another; one :class:`Finding` each.

    Writes only below ``store.prefix`` (under a name of its own there), and deletes what it wrote, whatever happens;
    what it could not delete is a last finding, ``clean-up``. ``working_below`` is told that place, a URI, before
    anything is written. Checks on the wire do not touch the store at all.

    ``transport``: a name or ``module:Class``. Raises ConfigError when there is no such transport, when it cannot be
    opened, or the store cannot be used at all (no connection, no such bucket, wrong credentials).
    """
    dotted = dotted_name(transport)
    open_transport(transport, store.settings).close()
    chosen = list(select_checks() if checks is None else checks)
    run = new_run()
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if progress is not None:
            progress(finding)

    on_store = any(one.on == "store" for one in chosen)
    with contextlib.ExitStack() as stack:
        if on_store:
            witness = stack.enter_context(Witness.from_settings(store.settings))
            _look(witness, store)
            if working_below is not None:
                working_below(f"s3://{store.bucket}/{store.prefix}{run}/")
            stack.callback(_clean, witness, store, run, tell)
        for one in chosen:
            tell(run_check(one, dotted, store, run))
    return findings


def _look(witness: Witness, store: Store) -> None:
    if store.other_bucket == store.bucket:
        raise ConfigError(f"the second bucket must be another one than {store.bucket!r}")
    for bucket in filter(None, (store.bucket, store.other_bucket)):
        check_bucket(bucket)
        try:
            answer = witness.request("GET", f"/{bucket}", query="list-type=2&max-keys=1")
        except HTTPError as error:
            raise ConnectFailed(
                f"cannot connect to {witness.endpoint_url}: {type(error).__name__}; is the endpoint right and running?"
            ) from error
        if answer.status != 200:
            text = answer.body.decode(errors="replace")
            said = ": ".join(re.findall("<(?:Code|Message)>([^<]+)<", text))
            raise error_for(answer.status, "")(f"cannot list the bucket {bucket!r}: {said} (HTTP {answer.status})")


def _clean(witness: Witness, store: Store, run: str, tell: Callable[[Finding], None]) -> None:
    for bucket in filter(None, (store.bucket, store.other_bucket)):
        problems = witness.delete_below(bucket, f"{store.prefix}{run}/")
        if problems:
            uri = f"s3://{bucket}/{store.prefix}{run}/"
            reason = f"{len(problems)} could not be removed ({problems[0]}); do it with: s3engine rm -r {uri}"
            tell(Finding("clean-up", "no", reason, 0.0))
