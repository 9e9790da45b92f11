"""Checks of networks in trouble: refused, reset, cut, garbled, stale; against a server that breaks on order."""

from __future__ import annotations

import socket
import time

from s3engine.errors import ConnectFailed, ConnectionLost, NetworkError, RequestError, SinkError, TruncatedBody
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.answers import BUCKET, KEY, calls
from s3engine.testing.conformance.core import Case, T, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import Say, answer, list_answer, object_answer
from s3engine.transport import GetResult

__all__: list[str] = []


@check("refused", on="wire")
def refused(case: Case) -> None:
    """Where nobody listens every call raises ConnectFailed."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    api = case.open(endpoint_url=f"http://127.0.0.1:{port}", addressing_style="path")
    for call in calls(api):
        raises(ConnectFailed, call.name, call.run, api)


@check("unknown-host", on="wire")
def unknown_host(case: Case) -> None:
    """A name that does not resolve raises ConnectFailed."""
    api = case.open(endpoint_url="http://s3engine-check.invalid:9", addressing_style="path")
    raises(ConnectFailed, "get", fetch, api, BUCKET, KEY)


@check("reset", on="wire")
def reset(case: Case) -> None:
    """A connection that is reset or closed before the answer raises ConnectionLost."""
    for step in (Say(then="reset"), Say(then="close"), Say(then="reset", read_body=False)):
        with case.wire(step) as (api, _):
            for call in calls(api):
                error = raises(ConnectionLost, f"{call.name}, {step.then}", call.run, api)
                told = (error.operation, error.bucket)
                expect(told == (call.name, BUCKET), f"{call.name}: the error's operation and bucket are {told}")


@check("reset-in-head", on="wire")
def reset_in_head(case: Case) -> None:
    """A connection that ends inside the answer's head raises a NetworkError."""
    for then in ("reset", "close"):
        with case.wire(Say(b"HTTP/1.1 200 OK\r\nContent-Le", then=then)) as (api, _):
            for call in calls(api):
                raises(NetworkError, f"{call.name}, {then}", call.run, api)


@check("truncated", on="wire")
def truncated(case: Case) -> None:
    """A body that ends before its announced length raises a NetworkError, never a short success."""
    body = b"x" * 200_000
    for then, kind in (("close", TruncatedBody), ("reset", NetworkError)):
        with case.wire(object_answer(body, length=len(body) + 1, then=then)) as (api, _):
            raises(kind, f"get, {then}", fetch, api, BUCKET, KEY)
    page = list_answer(*(f"k{number:03}" for number in range(50))).data
    with case.wire(Say(page[:-200], then="close")) as (api, _):
        raises(RequestError, "a list page that is cut", api.list_objects_v2, BUCKET, timeouts=T)


@check("truncated-chunks", on="wire")
def truncated_chunks(case: Case) -> None:
    """A chunked body that ends without its last chunk raises a NetworkError."""
    head = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "0"\r\nContent-Type: text/plain\r\n'
    modified = b"Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n\r\n"
    with case.wire(Say(head + modified + b"5\r\nabcde\r\n", then="close")) as (api, _):
        raises(RequestError, "get", fetch, api, BUCKET, KEY)


@check("trailing-garbage", on="wire")
def trailing_garbage(case: Case) -> None:
    """Bytes after the announced length belong to no answer: not to this body, and not to the next call's."""
    theirs = object_answer(b"garbage").data
    for extra in (b"trailing garbage", theirs):
        with case.wire(Say(object_answer(b"first").data + extra), object_answer(b"second")) as (api, _):
            got, _ = fetch(api, BUCKET, KEY)
            expect(got == b"first", f"the body is {got!r}")
            time.sleep(0.05)
            good = 0
            for _ in range(3):
                try:
                    got, _ = fetch(api, BUCKET, KEY)
                except ConnectionLost:  # as good: the connection was given up
                    continue
                good += 1
                expect(got == b"second", f"the next call's body is {got!r}")
            expect(good >= 2, "the connection stays unusable")


@check("not-http", on="wire")
def not_http(case: Case) -> None:
    """An answer that is not HTTP raises a RequestError."""
    for data in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x02\x00\x01\x00" * 20, b"HTTP/1.1 abc\r\n\r\n"):
        with case.wire(Say(data, then="close")) as (api, _):
            for call in calls(api):
                raises(RequestError, f"{call.name}, {data[:8]!r}", call.run, api)


@check("endless-head", on="wire")
def endless_head(case: Case) -> None:
    """An answer whose head does not end raises a RequestError before 16 MiB of it were taken in."""
    for line in (b"x-pad: " + b"y" * 1000 + b"\r\n", b"y" * 1000):
        start = b"HTTP/1.1 200 OK\r\n" + (b"" if line.endswith(b"\n") else b"x-pad: ")
        with case.wire(Say(start, endless=line)) as (api, server):
            raises(RequestError, "get", fetch, api, BUCKET, KEY, timeouts=T._replace(attempt_s=10.0))
            taken = server.endless_bytes
            expect(taken < 16 * 1024 * 1024, f"{taken} bytes of a head were taken in")


@check("closed-while-idle", on="wire")
def closed_while_idle(case: Case) -> None:
    """A connection that the store closed between two calls costs nothing: the next call opens another."""
    with case.wire(object_answer(b"body", then="drop")) as (api, server):
        for number in range(3):
            got, _ = fetch(api, BUCKET, KEY)
            expect(got == b"body", f"call {number} gave {got!r}")
            while server.ended <= number:
                time.sleep(0.01)
            time.sleep(0.05)  # until this side hears of it
        expect(server.connections == 3, f"{server.connections} connections")


@check("stale", on="wire", needs=["error_details"])
def stale(case: Case) -> None:
    """ConnectionLost is ``stale`` when a reused connection was closed before any answer, and only then."""
    with case.wire(object_answer(b"body"), Say(then="close")) as (api, server):
        fetch(api, BUCKET, KEY)
        error = raises(ConnectionLost, "the second call", fetch, api, BUCKET, KEY)
        expect(server.connections == 1, "the connection was not used again")
        expect(error.stale is True, "a reused one: stale is not True")
        error = raises(ConnectionLost, "the third call", fetch, api, BUCKET, KEY)
        expect(error.stale is False, "a new one: stale is not False")


@check("keep-alive", on="wire")
def keep_alive(case: Case) -> None:
    """Calls one after another use one connection, errors with a body included."""
    missing = answer(404, b"<Error><Code>NoSuchKey</Code><Message>m</Message></Error>")
    with case.wire(object_answer(b"body"), missing, object_answer(b"", 200), list_answer("a")) as (api, server):
        fetch(api, BUCKET, KEY)
        raises(RequestError, "the second call", fetch, api, BUCKET, KEY)
        api.put_object(BUCKET, KEY, b"x", (), timeouts=T)
        api.list_objects_v2(BUCKET, timeouts=T)
        # How many requests a call is, and how soon a client has an idle connection ready again, is its own affair.
        made = len(server.requests)
        expect(server.connections < made, f"{made} requests took {server.connections} connections")


@check("interim-answers", on="wire")
def interim_answers(case: Case) -> None:
    """Answers of the 1xx kind are passed over; the real one follows."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    with case.wire(Say(interim + object_answer(b"body").data)) as (api, _):
        got, _ = fetch(api, BUCKET, KEY)
        expect(got == b"body", f"the body is {got!r}")


@check("sink-errors", on="wire")
def sink_errors(case: Case) -> None:
    """What the sink raises comes out as it is, and the transport stays usable."""

    class Full(MemorySink):
        def write(self, data: memoryview) -> None:
            raise SinkError("disk full")

    class Unwilling(MemorySink):
        def begin(self, info: GetResult) -> None:
            raise SinkError("no such folder")

    with case.wire(object_answer(b"x" * 100_000)) as (api, _):
        for sink in (Full(), Unwilling()):
            raises(SinkError, f"get into {type(sink).__name__}", api.get_object, BUCKET, KEY, sink, timeouts=T)
            expect(len(fetch(api, BUCKET, KEY)[0]) == 100_000, "the next get is short")
