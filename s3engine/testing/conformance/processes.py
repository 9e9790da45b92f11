"""Checks of identity, threads and processes."""

from __future__ import annotations

import json
import logging
import pickle
import secrets as random
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from s3engine.credentials import Credentials
from s3engine.errors import AccessDenied, NetworkError, NotFound, S3EngineError, ServerFault, Throttled
from s3engine.testing.conformance.answers import BUCKET, KEY, calls, head_calls
from s3engine.testing.conformance.core import Broken, Case, Skipped, StoreCannot, T, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import Say, error_answer, object_answer
from s3engine.testing.witness import Witness, path_of

__all__: list[str] = []

ELSEWHERE_TIMEOUT_S = 60.0


@check("wrong-secret")
def wrong_secret(case: Case) -> None:
    """A wrong secret raises AccessDenied, for reading and for writing."""
    given = case.settings.credentials
    if given is None:
        raise Skipped("no credentials were given")
    api = case.open(credentials=replace(given, secret_key=given.secret_key + "-wrong"))
    raises(AccessDenied, "put", api.put_object, case.bucket, case.key(), b"x", (), timeouts=T)
    raises(AccessDenied, "get", fetch, api, case.bucket, case.key())
    raises(AccessDenied, "list", api.list_objects_v2, case.bucket, case.prefix, timeouts=T)


@check("anonymous")
def anonymous(case: Case) -> None:
    """Without credentials nothing is signed and none are looked for: a private bucket answers AccessDenied."""
    if case.settings.credentials is None:
        raise Skipped("no credentials were given")
    with Witness.from_settings(replace(case.settings, credentials=None)) as unsigned:
        status = unsigned.request("PUT", path_of(case.bucket, case.key()), body=b"x").status
    if status not in (401, 403):
        raise StoreCannot(f"the store answers {status} to a PUT that is not signed")
    api = case.open(credentials=None)
    raises(AccessDenied, "put", api.put_object, case.bucket, case.key(), b"x", (), timeouts=T)
    with case.wire(object_answer(b"x"), credentials=None) as (wired, server):
        fetch(wired, BUCKET, KEY)
        expect("authorization" not in server.requests[0].headers, "the request was signed")


@check("set-credentials")
def set_credentials(case: Case) -> None:
    """set_credentials counts from the next call on, to good ones and to bad ones."""
    good = case.settings.credentials
    if good is None:
        raise Skipped("no credentials were given")
    bad = replace(good, secret_key=good.secret_key + "-wrong")
    api = case.open(credentials=bad)
    raises(AccessDenied, "put with bad ones", api.put_object, case.bucket, case.key(), b"x", (), timeouts=T)
    api.set_credentials(good)
    api.put_object(case.bucket, case.key(), b"x", (), timeouts=T)
    api.set_credentials(bad)
    raises(AccessDenied, "put with bad ones", api.put_object, case.bucket, case.key(), b"x", (), timeouts=T)


@check("session-token", on="wire")
def session_token(case: Case) -> None:
    """The session token of temporary credentials is sent, and signed."""
    credentials = Credentials("AKIDTOKEN", "secret", "the-session-token")
    with case.wire(object_answer(b"x"), credentials=credentials) as (api, server):
        fetch(api, BUCKET, KEY)
    sent = server.requests[0].headers
    told = sent.get("x-amz-security-token")
    expect(told == "the-session-token", f"the token sent is {told!r}")
    expect("x-amz-security-token" in sent.get("authorization", ""), "the token is not among the signed headers")


@check("set-clock-offset", on="wire", needs=["clock_offset"])
def set_clock_offset(case: Case) -> None:
    """set_clock_offset adds to the time that is signed from the next call on, forwards and backwards."""
    with case.wire(object_answer(b"x")) as (api, server):
        for offset_s in (0.0, 3600.0, -7200.0, 0.0):
            api.set_clock_offset(offset_s)
            fetch(api, BUCKET, KEY)
            stamp = datetime.strptime(server.requests[-1].headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
            signed = stamp.replace(tzinfo=timezone.utc).timestamp() - time.time()
            expect(abs(signed - offset_s) < 60, f"with an offset of {offset_s:.0f} s the time is {signed:.0f} s off")


@check("set-region", on="wire")
def set_region(case: Case) -> None:
    """set_region has requests for that bucket signed for that region, and for no other bucket."""
    with case.wire(object_answer(b"x")) as (api, server):
        for bucket, region in ((BUCKET, ""), (BUCKET, "eu-central-1"), ("another", ""), (BUCKET, "eu-central-1")):
            if region:
                api.set_region(bucket, region)
            fetch(api, bucket, KEY)
            signed = server.requests[-1].headers.get("authorization", "")
            wanted = region or case.settings.region
            expect(f"/{wanted}/s3/" in signed, f"{bucket!r} is not signed for {wanted!r}: {signed[:90]}")


@check("buckets", needs=["buckets"])
def buckets(case: Case) -> None:
    """A bucket is made, found, and deleted; one that is not there is NotFound."""
    name = f"s3engine-check-{random.token_hex(8)}"
    raises(NotFound, "head_bucket of none", case.api.head_bucket, name, timeouts=T)
    case.api.head_bucket(case.bucket, timeouts=T)
    if not case.store.make_buckets:
        raise Skipped("allow it to make and delete a bucket (--make-buckets)")
    if case.witness.request("HEAD", f"/{name}").status != 404:
        raise StoreCannot("a bucket of a random name is there already")
    case.api.create_bucket(name, timeouts=T)
    try:
        case.api.head_bucket(name, timeouts=T)
    finally:
        case.api.delete_bucket(name, timeouts=T)
    raises(NotFound, "head_bucket of a deleted one", case.api.head_bucket, name, timeouts=T)


@check("secrets")
def secrets(case: Case) -> None:
    """Secret key and session token stand in no error, no repr and no log line (of level INFO and above)."""
    hidden = ("wJalrXUtnFEMI-K7MDENG-secret", "FwoGZXIvYXdzEBY-session-token")
    credentials = Credentials("AKIDSECRETS", *hidden)
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(self.format(record))  # with the traceback, where there is one

    handler = Keep(logging.INFO)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    said: list[str] = []
    try:
        for step in (
            error_answer(403, "SignatureDoesNotMatch"), error_answer(500, "InternalError"), Say(then="reset"),
            Say(b"garbage\r\n", then="close"), error_answer(301, "PermanentRedirect"),
        ):  # fmt: skip
            with case.wire(step, credentials=credentials) as (api, _):
                said += [repr(api), str(vars(api).get("settings", ""))]
                for call in (*calls(api), *head_calls()):
                    said += _all_texts(call, api)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    for text in (*said, *records):
        for secret in hidden:
            if secret in text:
                raise Broken(f"a secret is shown: ...{text[max(0, text.find(secret) - 60):text.find(secret)]}***")


def _all_texts(call: Any, api: Any) -> list[str]:
    try:
        call.run(api)
    except S3EngineError as error:
        return [str(error), repr(error), str(vars(error)), "".join(traceback.format_exception(error))]
    return []


def _patiently(call: Callable[..., Any], *args: Any) -> Any:
    """What a busy store fails may be asked again: retries are the engine's, and this is about threads."""
    for _ in range(3):
        try:
            return call(*args)
        except (NetworkError, ServerFault, Throttled):
            continue
    return call(*args)


@check("threads")
def threads(case: Case) -> None:
    """Several threads may use one transport at once: each gets what is its own."""
    wrong: list[str] = []

    def work(number: int) -> None:
        try:
            for turn in range(12):
                key, body = case.key(f"{number}-{turn}"), f"{number} {turn} ".encode() * (1 + 997 * (turn % 3))
                _patiently(case.put, key, body)
                got = _patiently(case.get, key)
                if got != body:
                    wrong.append(f"thread {number} got {len(got)} bytes of {len(body)}, or another's")
        except Exception as error:  # noqa: BLE001  (told in the check's own thread)
            wrong.append(f"thread {number}: {type(error).__name__}: {error}")

    assert case.api is not None  # opened before the threads begin
    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for worker in workers:
        worker.start()
    end = time.monotonic() + 120
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))
    expect(not any(worker.is_alive() for worker in workers), "a thread hangs")
    expect(not wrong, "; ".join(wrong[:3]))


@check("fresh-process")
def fresh_process(case: Case) -> None:
    """Opened by name in another process, with nothing but its settings, a transport works there (spawn)."""
    _elsewhere(case, "fresh")


@check("fork-after-import")
def fork_after_import(case: Case) -> None:
    """Opened in a child that was forked after the import, a transport works (fork server)."""
    _elsewhere(case, "fork-after-import")


@check("fork-after-use", needs=["fork"])
def fork_after_use(case: Case) -> None:
    """Opened in a child of a process that has one in use, a transport works; the parent's works on (fork)."""
    _elsewhere(case, "fork-after-use")


def _elsewhere(case: Case, mode: str) -> None:
    order = pickle.dumps((case.transport, case.settings, case.bucket, case.key(mode)))
    command = [sys.executable, "-m", "s3engine.testing.conformance.elsewhere", mode]
    # The parent's path travels too, so that a transport from anywhere is found; the order, with its secret, by stdin.
    path = json.dumps(sys.path).encode()
    try:
        done = subprocess.run(
            command, input=path + b"\n" + order, capture_output=True, timeout=ELSEWHERE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"it hangs: no end after {ELSEWHERE_TIMEOUT_S:.0f} s") from None
    said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    expect(done.returncode == 0, f"exit code {done.returncode}: {said[0]}")


@check("closed")
def closed(case: Case) -> None:
    """After close calls fail with an error of s3engine; a second close does nothing."""
    api = case.open()
    api.put_object(case.bucket, case.key(), b"x", (), timeouts=T)
    api.close()
    api.close()
    raises(S3EngineError, "put after close", api.put_object, case.bucket, case.key(), b"x", (), timeouts=T)


@check("closes-connections", on="wire")
def closes_connections(case: Case) -> None:
    """close ends the idle connections."""
    with case.wire(object_answer(b"x")) as (api, server):
        fetch(api, BUCKET, KEY)
        expect(server.ended == 0, "the connection was not kept for the next call")
        api.close()
        end = time.monotonic() + 5
        while server.ended < server.connections and time.monotonic() < end:
            time.sleep(0.02)
        expect(server.ended == server.connections, "a connection is still open 5 s later")
