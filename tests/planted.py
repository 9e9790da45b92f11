"""Breaks one guarantee at a time in a copy of the raw transport, and shows that the conformance suite names it.

``python -m tests.planted [FAULT ...]`` plants them one after another and prints what the suite says.
"""

from __future__ import annotations

import sys

from s3engine.config import TransportSettings
from s3engine.embedded import EmbeddedServer
from s3engine.testing.conformance import Finding, Store, check_transport, select_checks
from s3engine.testing.witness import Witness
from s3engine_transports.raw import RawTransport
from tests import plants, plants_more

NAMED_BY = plants.NAMED_BY | plants_more.NAMED_BY


def findings(broken: type[RawTransport], store: Store, *only: str) -> list[Finding]:
    """What the suite says of it."""
    return check_transport(f"{broken.__module__}:{broken.__name__}", store, select_checks(only))


def main() -> int:
    """Plant all, or those that are named as arguments."""
    names = sys.argv[1:] or [broken.__name__ for broken in NAMED_BY]
    unknown = set(names) - {broken.__name__ for broken in NAMED_BY}
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    missed = 0
    with EmbeddedServer() as server:
        with Witness(server.endpoint_url, server.access_key, server.secret_key) as witness:
            witness.create_bucket("planted")
        store = store_of(server, "planted")
        for broken, name in NAMED_BY.items():
            if broken.__name__ not in names:
                continue
            against = [finding for finding in findings(broken, store) if finding.outcome == "no"]
            named = [finding.check for finding in against]
            missed += name not in named
            print(f"{broken.__name__:22} {broken.__doc__}")
            print("    " + ("; ".join(f"{one.check}: {one.reason[:90]}" for one in against) or "NOT FOUND"), flush=True)
    print(f"{missed} of {len(names)} planted faults were not named by their check")
    return 1 if missed else 0


def store_of(server: EmbeddedServer, bucket: str) -> Store:
    """Where the checks may write."""
    from s3engine.credentials import Credentials

    credentials = Credentials(server.access_key, server.secret_key)
    return Store(
        settings=TransportSettings(endpoint_url=server.endpoint_url, credentials=credentials), bucket=bucket,
        prefix="planted/",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
