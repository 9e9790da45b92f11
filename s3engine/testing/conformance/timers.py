"""Checks of the timers: each ends what it says, in time, and none ends what moves. Against a server that stalls."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from s3engine.errors import AttemptTimeout, ConnectTimeout, FirstByteTimeout, RequestTimeout, StallTimeout
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.answers import BUCKET, KEY, calls
from s3engine.testing.conformance.core import Case, StoreCannot, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import Say, Scripted, object_answer
from s3engine.transport import FilePart, Timeouts

__all__: list[str] = []

LONG_S = 8.0
SHORT_S = 0.6
LATE_S = 2.0  # a timer that is later than this does not bound what it says


def _only(**short: float) -> Timeouts:
    """All timers long but these."""
    return Timeouts(LONG_S, LONG_S, LONG_S, LONG_S)._replace(**short)


def _in_time(kind: type[RequestTimeout], limit_s: float, what: str, call: Callable[[Any], Any], api: Any) -> None:
    began = time.monotonic()
    error = raises(kind, what, call, api)
    took = time.monotonic() - began
    expect(took >= limit_s * 0.9, f"{what}: raised after {took:.2f} s, {limit_s} s were allowed")
    expect(took <= limit_s + LATE_S, f"{what}: took {took:.2f} s, {limit_s} s were allowed")
    expect(error.timeout_s == limit_s, f"{what}: timeout_s is {error.timeout_s}, not {limit_s}")


def _with(timeouts: Timeouts, name: str) -> Callable[[Any], Any]:
    """One of the calls, under other timeouts."""
    if name == "GetObject":
        return lambda api: fetch(api, BUCKET, KEY, timeouts=timeouts)
    if name == "PutObject":
        return lambda api: api.put_object(BUCKET, KEY, b"x", (), timeouts=timeouts)
    if name == "ListObjectsV2":
        return lambda api: api.list_objects_v2(BUCKET, timeouts=timeouts)
    return lambda api: api.delete_object(BUCKET, KEY, timeouts=timeouts)


NAMES = ("GetObject", "PutObject", "ListObjectsV2", "DeleteObject")


@check("connect-timer", on="wire", needs=["timer:connect"])
def connect_timer(case: Case) -> None:
    """``connect_s`` bounds a TCP connect that is not answered: ConnectTimeout."""
    with _full_queue() as port:
        api = case.open(endpoint_url=f"http://127.0.0.1:{port}", addressing_style="path")
        call = _with(_only(connect_s=SHORT_S), "GetObject")
        _in_time(ConnectTimeout, SHORT_S, "connecting to a host that does not answer", call, api)


@check("handshake-timer", on="wire", needs=["timer:connect"])
def handshake_timer(case: Case) -> None:
    """``connect_s`` bounds the TLS handshake as well: ConnectTimeout."""
    with Scripted(Say(), at_accept="hang") as server:
        url = f"https://127.0.0.1:{server.port}"
        api = case.open(endpoint_url=url, addressing_style="path", verify_tls=False, ca_bundle="")
        call = _with(_only(connect_s=SHORT_S), "GetObject")
        _in_time(ConnectTimeout, SHORT_S, "a handshake that is not answered", call, api)


@check("first-byte-timer", on="wire", needs=["timer:first_byte"])
def first_byte_timer(case: Case) -> None:
    """``first_byte_s`` bounds the wait for the answer: FirstByteTimeout, of every operation."""
    with case.wire(Say(then="hang")) as (api, _):
        for name in NAMES:
            call = _with(_only(first_byte_s=SHORT_S), name)
            _in_time(FirstByteTimeout, SHORT_S, name, call, api)


@check("stall-timer-down", on="wire", needs=["timer:stall"])
def stall_timer_down(case: Case) -> None:
    """``stall_s`` ends a body that stops coming: StallTimeout."""
    with case.wire(object_answer(b"x" * 100_000, length=200_000, then="hang")) as (api, _):
        call = _with(_only(stall_s=SHORT_S), "GetObject")
        _in_time(StallTimeout, SHORT_S, "a body that stops", call, api)


@check("stall-timer-up", on="wire", needs=["timer:stall"])
def stall_timer_up(case: Case) -> None:
    """``stall_s`` ends an upload that the store does not take in: StallTimeout; from memory and from a file."""
    size = 16 * 1024 * 1024
    with tempfile.NamedTemporaryFile(prefix="s3engine-check-") as file:
        file.truncate(size)
        for what, body in (("from memory", bytes(size)), ("from a file", FilePart(file.name, 0, size))):
            with case.wire(Say(then="hang", read_body=False)) as (api, _):
                timeouts = _only(stall_s=SHORT_S)
                began = time.monotonic()
                raises(StallTimeout, f"an upload {what}", api.put_object, BUCKET, KEY, body, (), timeouts=timeouts)
                took = time.monotonic() - began
                # One more second: a client may ask first whether the body is wanted (Expect: 100-continue).
                expect(took <= SHORT_S + LATE_S + 1, f"an upload {what} took {took:.2f} s, {SHORT_S} s were allowed")


@check("attempt-timer", on="wire", needs=["timer:attempt"])
def attempt_timer(case: Case) -> None:
    """``attempt_s`` bounds a call as a whole, though bytes keep moving: AttemptTimeout, of every operation."""
    drip = object_answer(b"x" * 1000, piece_bytes=40, pause_s=0.1)
    for step, names in ((drip, ("GetObject",)), (Say(then="hang"), NAMES)):
        with case.wire(step) as (api, _):
            for name in names:
                call = _with(_only(attempt_s=1.0), name)
                _in_time(AttemptTimeout, 1.0, name, call, api)


@check("slow-but-moving", on="wire")
def slow_but_moving(case: Case) -> None:
    """A slow body that moves, and a late answer within its time, are not ended by the other timers."""
    with case.wire(object_answer(b"x" * 2000, piece_bytes=200, pause_s=0.15, delay_s=0.5)) as (api, _):
        got, _ = fetch(api, BUCKET, KEY, timeouts=Timeouts(LONG_S, 1.0, 1.5, LONG_S))
        expect(len(got) == 2000, f"{len(got)} bytes of 2000 came")


@check("slow-disk", on="wire")
def slow_disk(case: Case) -> None:
    """A slow sink is not taken for a slow network: neither stall nor first-byte timer runs while it writes."""

    class Slow(MemorySink):
        slept = False

        def write(self, data: memoryview) -> None:
            if not self.slept:
                self.slept = True
                time.sleep(2.5 * SHORT_S)
            super().write(data)

    body = os.urandom(400_000)
    with case.wire(object_answer(body)) as (api, _):
        sink = Slow()
        api.get_object(BUCKET, KEY, sink, timeouts=_only(stall_s=SHORT_S, first_byte_s=SHORT_S))
        expect(sink.body() == body, "another body came")


@check("timeouts-per-call", on="wire", needs=["timer:first_byte"])
def timeouts_per_call(case: Case) -> None:
    """Each call has its own timeouts: a short one does not shorten the next, a long one does not lengthen it."""
    late = object_answer(b"body", delay_s=1.2)
    with case.wire(late) as (api, _):
        for name, first_byte_s, fails in (
            ("short", SHORT_S, True), ("long", LONG_S, False), ("short again", SHORT_S, True), ("long", LONG_S, False),
        ):  # fmt: skip
            call = _with(_only(first_byte_s=first_byte_s), "GetObject")
            if fails:
                raises(FirstByteTimeout, name, call, api)
            else:
                expect(call(api)[0] == b"body", f"{name}: another body came")


@check("usable-after-timeouts", on="wire", needs=["timer:attempt"])
def usable_after_timeouts(case: Case) -> None:
    """After a call was ended by a timer the next one goes through, on another connection."""
    with case.wire(Say(then="hang"), object_answer(b"body")) as (api, _):
        for _ in calls(api)[:1]:
            raises(RequestTimeout, "the first call", fetch, api, BUCKET, KEY, timeouts=_only(attempt_s=SHORT_S))
            got, _ = fetch(api, BUCKET, KEY, timeouts=_only())
            expect(got == b"body", f"the next call gave {got!r}")


@contextlib.contextmanager
def _full_queue() -> Iterator[int]:
    """A port of this machine that does not answer: the system drops what comes when its queue is full (Linux)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(16):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(("127.0.0.1", port))
            except TimeoutError:
                yield port
                return
        raise StoreCannot("this system answers every connect, so the timer cannot be seen to work")
