"""Checks of the timers: each ends what it says, in time, and none ends what moves. Against a server that stalls."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from s3engine.errors import AttemptTimeout, ConnectTimeout, FirstByteTimeout, RequestTimeout, StallTimeout
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.answers import BUCKET, KEY, calls, head_calls
from s3engine.testing.conformance.core import Case, StoreCannot, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import Say, Scripted, object_answer
from s3engine.transport import FilePart, Timeouts

__all__: list[str] = []

LONG_S = 5.0
SHORT_S = 0.2
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


def _get(timeouts: Timeouts) -> Callable[[Any], Any]:
    return lambda api: fetch(api, BUCKET, KEY, timeouts=timeouts)


class _Hurried:
    """A transport whose every call gets other timeouts than it is given."""

    def __init__(self, api: Any, timeouts: Timeouts) -> None:
        self._api = api
        self._timeouts = timeouts
        self.capabilities = api.capabilities

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, getattr(self._api, name))

    def _call(self, operation: Callable[..., Any], *args: Any, timeouts: Timeouts, **keywords: Any) -> Any:
        return operation(*args, timeouts=self._timeouts, **keywords)


def _every_operation(kind: type[RequestTimeout], limit_s: float, api: Any, timeouts: Timeouts) -> None:
    for call in (*calls(api), *head_calls()):
        if call.name != "DeleteObjects" or api.capabilities.error_details:
            _in_time(kind, limit_s, call.name, call.run, _Hurried(api, timeouts))


@check("connect-timer", on="wire", needs=["timer:connect"])
def connect_timer(case: Case) -> None:
    """``connect_s`` bounds a TCP connect that is not answered: ConnectTimeout."""
    with _full_queue() as port:
        api = case.open(endpoint_url=f"http://127.0.0.1:{port}", addressing_style="path")
        call = _get(_only(connect_s=SHORT_S))
        _in_time(ConnectTimeout, SHORT_S, "connecting to a host that does not answer", call, api)


@check("handshake-timer", on="wire", needs=["timer:connect"])
def handshake_timer(case: Case) -> None:
    """``connect_s`` bounds the TLS handshake as well: ConnectTimeout."""
    with Scripted(Say(), at_accept="hang") as server:
        url = f"https://127.0.0.1:{server.port}"
        api = case.open(endpoint_url=url, addressing_style="path", verify_tls=False, ca_bundle="")
        call = _get(_only(connect_s=SHORT_S))
        _in_time(ConnectTimeout, SHORT_S, "a handshake that is not answered", call, api)


@check("first-byte-timer", on="wire", needs=["timer:first_byte"])
def first_byte_timer(case: Case) -> None:
    """``first_byte_s`` bounds the wait for the answer: FirstByteTimeout, of every operation."""
    with case.wire(Say(then="hang")) as (api, _):
        _every_operation(FirstByteTimeout, SHORT_S, api, _only(first_byte_s=SHORT_S))


@check("stall-timer-down", on="wire", needs=["timer:stall"])
def stall_timer_down(case: Case) -> None:
    """``stall_s`` ends a body that stops coming: StallTimeout."""
    with case.wire(object_answer(b"x" * 100_000, length=200_000, then="hang")) as (api, _):
        call = _get(_only(stall_s=SHORT_S))
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
    with case.wire(drip) as (api, _):
        _in_time(AttemptTimeout, 1.0, "a body that drips", _get(_only(attempt_s=1.0)), api)
    with case.wire(Say(then="hang")) as (api, _):
        _every_operation(AttemptTimeout, SHORT_S, api, _only(attempt_s=SHORT_S))


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
            call = _get(_only(first_byte_s=first_byte_s))
            if fails:
                raises(FirstByteTimeout, name, call, api)
            else:
                expect(call(api)[0] == b"body", f"{name}: another body came")


@check("usable-after-timeouts", on="wire", needs=["timer:attempt"])
def usable_after_timeouts(case: Case) -> None:
    """After a call was ended by a timer the next one goes through, on another connection."""
    with case.wire(Say(then="hang"), object_answer(b"body")) as (api, _):
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
