"""The conformance suite finds what is broken: one guarantee at a time is broken in a copy of the raw transport."""

from __future__ import annotations

import pytest

from s3engine.embedded import EmbeddedServer
from s3engine_transports.raw import RawTransport
from tests.planted import NAMED_BY, findings, store_of


@pytest.mark.parametrize(("broken", "name"), NAMED_BY.items(), ids=[broken.__name__ for broken in NAMED_BY])
def test_a_planted_fault_is_named(seaweed: EmbeddedServer, bucket: str, broken: type[RawTransport], name: str) -> None:
    """A transport that breaks one guarantee fails the check of that guarantee, with a reason."""
    (found,) = findings(broken, store_of(seaweed, bucket), name)
    assert found.outcome == "no", found
    assert found.reason
