"""The conformance suite: every guarantee of :class:`s3engine.transport.Transport` as a check.

    from s3engine.testing.conformance import Store, check_transport
    findings = check_transport("minio", Store(settings=TransportSettings(...), bucket="b", prefix="p/"))

On the command line: ``s3engine check --transport minio --endpoint-url URL s3://bucket/prefix/``.
"""

# Each registers its checks, in this order.
# isort: off
from s3engine.testing.conformance import objects, listing, multipart, processes, answers  # noqa: F401
from s3engine.testing.conformance import requests, integrity, network, timers  # noqa: F401

# isort: on
from s3engine.testing.conformance.core import (
    CHECKS,
    Broken,
    Case,
    Check,
    Declared,
    Finding,
    Skipped,
    Store,
    StoreCannot,
    check,
    expect,
    raises,
)
from s3engine.testing.conformance.runner import check_transport, select_checks

__all__ = [
    "CHECKS", "Broken", "Case", "Check", "Declared", "Finding", "Skipped", "Store", "StoreCannot", "check",
    "check_transport", "expect", "raises", "select_checks",
]  # fmt: skip
