"""Runs checks against one transport and one store, and leaves the store as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from s3engine.errors import ConfigError
from s3engine.pool.load import dotted_name, load_transport
from s3engine.testing.conformance.core import CHECKS, Check, Finding, Store, new_run, run_check
from s3engine.testing.witness import Witness

__all__ = ["check_transport", "select_checks"]


def select_checks(names: Iterable[str] = (), *, on: str = "") -> list[Check]:
    """The checks of these names (all when none is given), of one kind (``on``: store or wire) or of both.

    Raises ConfigError for a name that there is not.
    """
    wanted = list(names) or list(CHECKS)
    for name in wanted:
        if name not in CHECKS:
            raise ConfigError(f"unknown check {name!r}; there are {', '.join(CHECKS)}")
    return [CHECKS[name] for name in wanted if on in ("", CHECKS[name].on)]


def check_transport(
    transport: str, store: Store, checks: Iterable[Check] | None = None, *,
    progress: Callable[[Finding], None] | None = None, working_below: Callable[[str], None] | None = None,
) -> list[Finding]:  # fmt: skip
    """Run checks one after another; one :class:`Finding` each.

    Writes only below ``store.prefix`` (under a name of its own there), and deletes what it wrote, whatever happens.
    ``working_below`` is told that place, a URI, before anything is written.
    Checks on the wire do not touch the store at all. ``transport``: a name or ``module:Class``. Raises ConfigError
    when there is no such transport, or the store cannot be used at all (no such bucket, wrong credentials).
    """
    dotted = dotted_name(transport)
    load_transport(dotted)
    chosen = list(select_checks() if checks is None else checks)
    run = new_run()
    findings = []
    if working_below is not None and any(one.on == "store" for one in chosen):
        working_below(f"s3://{store.bucket}/{store.prefix}{run}/")
    with _cleaned(store, run) if any(one.on == "store" for one in chosen) else contextlib.nullcontext():
        for one in chosen:
            finding = run_check(one, dotted, store, run)
            findings.append(finding)
            if progress is not None:
                progress(finding)
    return findings


@contextlib.contextmanager
def _cleaned(store: Store, run: str) -> Iterator[None]:
    with Witness.from_settings(store.settings) as witness:
        buckets = [name for name in (store.bucket, store.other_bucket) if name]
        for bucket in buckets:
            answer = witness.request("GET", f"/{bucket}", query="list-type=2&max-keys=1")
            if answer.status != 200:
                said = answer.body[:200].decode(errors="replace")
                raise ConfigError(f"cannot list the bucket {bucket!r}: HTTP {answer.status} {said}")
        try:
            yield
        finally:
            for bucket in buckets:
                witness.delete_below(bucket, f"{store.prefix}{run}/")
