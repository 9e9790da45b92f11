"""The conformance matrix: ``python -m tests.matrix [TRANSPORT ...]`` runs every check over every transport and server.

Prints a row per check, a column per transport and server, and the reason of everything that is not a plain yes. Exit
code 1 when a guarantee is broken anywhere, or a server could not be had.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Protocol

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError
from s3engine.pool.load import capabilities_of
from s3engine.testing.conformance import Finding, Store, check_transport, select_checks
from s3engine.testing.conformance.matrix import matrix
from s3engine.testing.witness import Witness
from tests.servers import Ministack, RcloneServer, ServerUnavailable

TRANSPORTS = ("raw", "boto3", "minio", "obstore")
WIRE = "misbehaving"
"""The server of the checks that need none: it does what a script says."""


class Server(Protocol):
    """What all servers have."""

    @property
    def endpoint_url(self) -> str: ...
    access_key: str
    secret_key: str


def store_of(server: Server, bucket: str, other_bucket: str = "") -> Store:
    """A store on one of the servers, whose buckets are made."""
    with Witness(server.endpoint_url, server.access_key, server.secret_key) as witness:
        for name in filter(None, (bucket, other_bucket)):
            witness.create_bucket(name)
    credentials = Credentials(server.access_key, server.secret_key)
    return Store(
        settings=TransportSettings(endpoint_url=server.endpoint_url, credentials=credentials), bucket=bucket,
        prefix="conformance/", other_bucket=other_bucket, make_buckets=True,
    )  # fmt: skip


def wire_store() -> Store:
    """For the checks that touch no store."""
    return Store(settings=TransportSettings(credentials=Credentials("AKIDCHECK", "no-secret")), bucket="bucket")


def main(transports: tuple[str, ...]) -> int:
    """Run all and print."""
    for transport in transports:
        capabilities_of(transport)  # a name that is none is told before anything starts
    missing = False
    results: dict[tuple[str, str], list[Finding]] = {}
    with ExitStack() as stack:
        stores = {}
        for name, kind in (("seaweedfs", EmbeddedServer), ("ministack", Ministack), ("rclone", RcloneServer)):
            try:
                stores[name] = store_of(stack.enter_context(kind()), "matrix-a", "matrix-b")  # type: ignore[arg-type]
            except ServerUnavailable as error:
                missing = True
                print(f"{name} is left out: {error}", file=sys.stderr)
        for transport in transports:
            for name, store in stores.items():
                print(f"{transport} on {name} ...", file=sys.stderr, flush=True)
                results[transport, name] = check_transport(transport, store, select_checks(on="store"))
            print(f"{transport} on a misbehaving server ...", file=sys.stderr, flush=True)
            results[transport, WIRE] = check_transport(transport, wire_store(), select_checks(on="wire"))
    print(matrix(results))
    return 1 if missing or any(finding.outcome == "no" for found in results.values() for finding in found) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(tuple(sys.argv[1:]) or TRANSPORTS))
    except ConfigError as error:
        sys.exit(str(error))
