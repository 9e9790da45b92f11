"""Every transport keeps the promises of the Protocol, on every server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from s3engine.embedded import EmbeddedServer
from s3engine.errors import ConfigError, NotFound
from s3engine.testing.conformance import CHECKS, Finding, Store, check, check_transport, select_checks
from s3engine.testing.conformance.core import Case
from s3engine.testing.conformance.matrix import matrix
from s3engine.testing.witness import Witness
from tests.helpers import point_at
from tests.matrix import TRANSPORTS, store_of, wire_store
from tests.servers import Ministack, RcloneServer

SERVERS = ("seaweed", "ministack", "rclone_server")


@pytest.fixture(params=SERVERS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store on one of the servers; it must be empty again when the checks are over."""
    server: EmbeddedServer | Ministack | RcloneServer = request.getfixturevalue(request.param)
    store = store_of(server, f"conformance-{os.getpid()}", f"conformance-{os.getpid()}-other")
    with Witness(server.endpoint_url, server.access_key, server.secret_key) as witness:
        yield store
        for bucket in (store.bucket, store.other_bucket):
            assert witness.list_keys(bucket) == []


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_on_a_store(transport: str, store: Store) -> None:
    """No check that needs a store finds a broken guarantee, and what is not a yes has its reason."""
    _no_broken(check_transport(transport, store, select_checks(on="store")))


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_on_the_wire(transport: str) -> None:
    """No check with a misbehaving server finds a broken guarantee, and what is not a yes has its reason."""
    _no_broken(check_transport(transport, wire_store(), select_checks(on="wire")))


def _no_broken(findings: list[Finding]) -> None:
    assert [f"{one.check}: {one.reason}" for one in findings if one.outcome == "no"] == []
    assert [one for one in findings if one.outcome != "yes" and not one.reason] == []
    assert sum(one.outcome == "yes" for one in findings) > len(findings) / 3


def test_every_check_says_what_it_promises() -> None:
    """Each has a sentence, and its kind is known."""
    assert len(CHECKS) >= 60
    for one in CHECKS.values():
        assert len(one.promise) > 20
        assert one.promise.endswith(".")
        assert one.on in ("store", "wire")


def test_an_error_in_a_check_is_a_finding(seaweed: EmbeddedServer, bucket: str) -> None:
    """Whatever a check raises is told as a "no" with its class, and the store is emptied all the same."""

    def explodes(case: Case) -> None:
        """It never holds."""
        case.put(case.key("left behind"))
        raise ZeroDivisionError("boom")

    check("explodes")(explodes)
    try:
        (found,) = check_transport("raw", store_of(seaweed, bucket), select_checks(["explodes"]))
    finally:
        del CHECKS["explodes"]
    assert (found.outcome, found.reason) == ("no", "ZeroDivisionError (not an error of s3engine): boom")
    with Witness(seaweed.endpoint_url, seaweed.access_key, seaweed.secret_key) as witness:
        assert witness.list_keys(bucket) == []


def test_a_store_that_cannot_be_used(seaweed: EmbeddedServer) -> None:
    """A bucket that is not there is told before any check runs."""
    store = Store(settings=wire_store().settings, bucket="bucket")
    with pytest.raises(ConfigError, match="unknown check 'nonsense'"):
        select_checks(["nonsense"])
    missing = store_of(seaweed, "")
    with pytest.raises(NotFound, match="cannot list the bucket 'not-there'"):
        check_transport("raw", Store(settings=missing.settings, bucket="not-there"))
    with pytest.raises(ConfigError, match="unknown transport 'carrier-pigeon'"):
        check_transport("carrier-pigeon", store)


def test_the_matrix_explains_itself() -> None:
    """A row per check, a column per transport and server, and below them each reason once with its places."""
    yes, no = Finding("ranges", "yes", "", 0.0), Finding("ranges", "no", "bytes came", 0.0)
    text = matrix({("raw", "here"): [yes], ("other", "here"): [no], ("other", "there"): [no]})
    lines = text.splitlines()
    assert lines[0].split() == ["transport", "raw", "other", "other"]
    assert lines[1].split() == ["server", "here", "here", "there"]
    assert lines[2].split() == ["ranges", "yes", "NO", "NO"]
    assert "ranges, NO: bytes came\n    other on here; other on there" in text
    assert lines[-1] == "1 yes, 0 says so, 0 store, 0 skipped, 2 NO"


def test_the_command(
    seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``s3engine check`` prints a line per check and ends with 0, or with 1 when a guarantee is broken."""
    from s3engine.cli.app import run

    point_at(monkeypatch, seaweed)
    only = ["--only", "put-get", "--only", "ranges"]
    assert run(["check", f"s3://{bucket}/p/", *only]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["put-get", "yes"], ["ranges", "yes"]]
    broken = ["--transport", "tests.plants:IgnoresLast", "--json"]
    assert run(["check", f"s3://{bucket}/p/", *only, *broken]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["check"], one["outcome"]) for one in found] == [("put-get", "yes"), ("ranges", "no")]
    assert run(["check", "--only", "put-get"]) == 2
    assert "need a store" in capsys.readouterr().err


def test_the_command_tells_where_it_works(
    seaweed: EmbeddedServer, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line of ``s3engine check`` on standard error is the prefix that it works below; none with --quiet."""
    from s3engine.cli.app import run

    point_at(monkeypatch, seaweed)
    assert run(["check", f"s3://{bucket}/p", "--only", "put-get"]) == 0
    assert f"working below s3://{bucket}/p/s3engine-check-" in capsys.readouterr().err.splitlines()[0]
    assert run(["check", f"s3://{bucket}/p", "--only", "put-get", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
