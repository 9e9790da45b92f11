"""Tasks of Kind.APPLY in a worker: their bodies are fetched into an arena, and its function process does the rest.

The desk makes requests of its own for them (numbered below 0), which go through the worker's lane like any others:
retries, budget, timeouts and all. Memory bounds how far it fetches ahead: objects get room in the order in which they
came, so that one which needs more is never overtaken for ever.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from s3engine.channel import ChannelClosed
from s3engine.errors import FunctionUnusable, PreconditionFailed, S3EngineError
from s3engine.functions import messages as m
from s3engine.functions.arena import Arena
from s3engine.pool.actions.fetch import Wanted
from s3engine.pool.applying import Applying, Chunk, Stream
from s3engine.pool.core import Core
from s3engine.pool.function_link import FunctionLink
from s3engine.pool.messages import LOGGED, NEED_FUNCTION_PROCESS, RESULT, Kind, NeedsParts, Task, cancelled_error
from s3engine.report import LENGTH_ONLY
from s3engine.stored import NOTHING, mismatch

__all__ = ["Desk"]

_WHOLE_PART = 8  # of the arena: larger bodies come in chunks of that size
_CHUNKS_AT_WORK = 3  # of the object that the process is at
_CHUNKS_WAITING = 1  # of one behind it
_MOST_LOGS_BYTES = 4 * 1024 * 1024  # that wait for the parent; more records are dropped

Handler = Callable[[Applying, tuple[Any, ...], Any, float], None]


class Desk:
    """See the module. ``lane`` makes the requests, ``channel`` leads to the parent."""

    def __init__(self, core: Core, lane: Any, channel: Any, poller: Any, buffer_bytes: int) -> None:
        self._core = core
        self._lane = lane
        self._channel = channel
        self._arena = Arena(buffer_bytes)
        self._chunk_bytes = self._arena.size_bytes // _WHOLE_PART
        self._link = FunctionLink(self._arena, poller, lambda: channel.send((NEED_FUNCTION_PROCESS,)))
        self._ids = itertools.count(-1, -1)
        self._requests: dict[int, tuple[Applying, Handler, Any]] = {}
        self._all: dict[int, Applying] = {}
        self._waiting: deque[Applying] = deque()
        self._streams: list[Applying] = []
        """Those that want more room."""
        self._ready: deque[Applying] = deque()
        self._held: set[int] = set()
        """Bodies of objects that are done, to which the function still refers."""
        self._asked_to_collect = False
        self._unusable: dict[int, FunctionUnusable] = {}
        self._outcomes: list[tuple[Any, ...]] = []

    @property
    def fd(self) -> int:
        """Of the process's channel; -1: there is none."""
        return self._link.fd

    @property
    def idle(self) -> bool:
        """Nothing to do and nothing under way."""
        return not self._all

    # ---- from the parent

    def submit(self, tasks: list[Task]) -> None:
        """Take tasks of Kind.APPLY."""
        for task in tasks:
            applying = Applying(task, self._core.contexts[task[1]])
            self._all[applying.task_id] = applying
            self._waiting.append(applying)

    def process_came(self, message: tuple[Any, ...], now: float) -> None:
        """The parent has started a function process."""
        _, pid, exitcode = message
        link = self._link
        lost = link.mourned
        if lost is not None:
            link.mourned = None
            self._end(lost, now, link.why(lost, exitcode))
        link.came(pid, self._channel.fds.popleft())
        for context_id in {one.context.id for one in self._all.values()}:
            error = link.unusable(context_id, exitcode)
            if error is not None:
                self._give_up(context_id, error, now)

    def cancel(self, context_id: int, hard: int, now: float) -> None:
        """Drop what has not begun; ``hard``: the function under way as well."""
        given = self._link.given
        for applying in [one for one in self._all.values() if one.context.id == context_id]:
            if applying in given:
                applying.cancelled = bool(hard)  # what the process has, it may do, while there is time
                if hard and given[0] is applying:
                    self._link.cancel()
                continue
            applying.cancelled = True
            if not applying.under_way and applying is not self._link.mourned:
                self._drop(applying, now)

    def forget(self, context_id: int) -> None:
        """A batch is over."""
        self._link.forget(context_id)
        self._unusable.pop(context_id, None)

    # ---- requests of its own

    def _request(self, applying: Applying, kind: int, arg: Any, size_bytes: int, handler: Handler, extra: Any) -> None:
        number = next(self._ids)
        self._requests[number] = (applying, handler, extra)
        applying.under_way += 1
        applying.first_at = applying.first_at or self._core.clock()
        self._lane.submit([(number, applying.context.id, kind, applying.key, size_bytes, arg)])

    def sift(self, outcomes: list[tuple[Any, ...]], now: float) -> list[tuple[Any, ...]]:
        """Take the outcomes of its own requests; returns the others, and those of its tasks."""
        others = []
        for outcome in outcomes:
            request = self._requests.pop(outcome[0], None)
            if request is None:
                others.append(outcome)
                continue
            applying, handler, extra = request
            applying.under_way -= 1
            applying.attempts += outcome[1]
            applying.outcome = outcome
            handler(applying, outcome, extra, now)
        others += self._outcomes
        self._outcomes = []
        return others

    # ---- the body comes

    def _fetch(self, applying: Applying) -> bool:
        """Begin; False when there is no room."""
        size = applying.about.size_bytes
        if size < 0 or size > self._chunk_bytes:
            # How large it is, or what the store says of all its bytes, no answer with a range would tell.
            self._request(applying, Kind.HEAD, 0, 0, self._headed, None)
            return True
        offset = self._arena.take(size)
        if offset is None:
            return False
        applying.offset = offset
        wanted = Wanted(self._arena.view(offset, size), applying.about.etag)
        self._request(applying, Kind.FETCH, wanted, size, self._fetched, None)
        return True

    def _headed(self, applying: Applying, outcome: tuple[Any, ...], extra: Any, now: float) -> None:
        if outcome[11] is not None or applying.cancelled:
            self._failed(applying, outcome[11], now)
            return
        found = outcome[10]
        if applying.about.etag and found.etag != applying.about.etag:
            text = f"{applying.key!r} was written again since it was listed: its ETag is now {found.etag}"
            self._failed(applying, PreconditionFailed(text, bucket=applying.context.bucket, key=applying.key), now)
            return
        self._plan(applying, found.size_bytes, found.etag, found.last_modified, found, now)

    def _plan(
        self, applying: Applying, size: int, etag: str, last_modified: str, evidence: Any, now: float
    ) -> None:
        applying.about = applying.about._replace(
            size_bytes=size, etag=etag, last_modified=last_modified or applying.about.last_modified,
            headers=evidence.headers,
        )  # fmt: skip
        if size <= self._chunk_bytes:
            self._waiting.appendleft(applying)
            return
        context = applying.context
        expected = context.evidence(evidence) if context.verify else NOTHING
        applying.stream = Stream(size, self._chunk_bytes, NOTHING if expected.parts else expected)
        self._streams.append(applying)

    def _fetched(self, applying: Applying, outcome: tuple[Any, ...], extra: Any, now: float) -> None:
        error = outcome[11]
        if type(error) is NeedsParts and not applying.cancelled:
            # Larger than it was listed: whether that may be, its ETag has said.
            self._give_back(applying)
            applying.about = applying.about._replace(size_bytes=-1, etag=error.etag)
            self._waiting.appendleft(applying)
            return
        if error is not None or applying.cancelled:
            self._failed(applying, error, now)
            return
        info = outcome[10]
        applying.verified = outcome[13]
        applying.about = applying.about._replace(
            size_bytes=outcome[8], etag=info.etag, last_modified=info.last_modified, headers=info.headers
        )
        self._ready.append(applying)

    # ---- a large body

    def _more_chunks(self, applying: Applying) -> bool:
        """Ask for what may be asked for; False when there is no room."""
        stream = applying.stream
        assert stream is not None
        given = self._link.given
        most = _CHUNKS_AT_WORK if given and given[0] is applying else _CHUNKS_WAITING
        while not stream.all_asked and stream.held < most:
            offset = self._arena.take(stream.next_size())
            if offset is None:
                return False
            chunk = stream.ask(offset)
            wanted = Wanted(
                self._arena.view(offset, chunk.size_bytes), applying.about.etag, chunk.first,
                chunk.first + chunk.size_bytes - 1,
            )  # fmt: skip
            self._request(applying, Kind.FETCH, wanted, chunk.size_bytes, self._chunk_came, chunk)
        if stream.all_asked and applying in self._streams:
            self._streams.remove(applying)
        return True

    def _chunk_came(self, applying: Applying, outcome: tuple[Any, ...], chunk: Chunk, now: float) -> None:
        stream = applying.stream
        is_given = applying in self._link.given
        if stream is None or stream.broken or applying.task_id not in self._all:
            # It is over: the function did not want the rest, or the rest will not come.
            self._arena.give_back(chunk.offset)
            if stream is not None and stream.broken and not is_given:
                self._failed(applying, None, now)
            return
        error = outcome[11]
        if error is not None or (applying.cancelled and not is_given):
            stream.coming.remove(chunk)
            self._arena.give_back(chunk.offset)
            self._break(applying, error, now)
            return
        chunk.has_come = True
        while stream.coming and stream.coming[0].has_come and not stream.broken:
            self._hand_over(applying, stream, now)
        if chunk.first == 0 and not is_given and not stream.broken:
            self._ready.append(applying)

    def _hand_over(self, applying: Applying, stream: Stream, now: float) -> None:
        next_one = stream.coming[0]
        chunk = stream.give(self._arena.view(next_one.offset, next_one.size_bytes))
        is_given = applying in self._link.given
        if stream.all_given:
            expected = stream.expected
            applying.verified = LENGTH_ONLY
            if expected.algorithm:
                came = stream.digest()
                if came != expected.value:
                    # Before the function sees the end: it must not take what came for the whole of it.
                    context = applying.context
                    self._break(applying, mismatch(context.bucket, applying.key, expected, came), now)
                    return
                applying.verified = expected.algorithm
        if is_given:
            self._link.give_chunk(applying, chunk.offset, chunk.size_bytes, last=stream.all_given, now=now)

    def _break(self, applying: Applying, error: S3EngineError | None, now: float) -> None:
        """A large object will not come to its end."""
        stream = applying.stream
        assert stream is not None
        if applying in self._streams:
            self._streams.remove(applying)
        stream.broken = True
        if applying in self._link.given:
            self._link.break_stream(applying, error or cancelled_error(Kind.APPLY, applying.key, begun=False))
        else:
            self._failed(applying, error, now)

    def _taken(self, task_id: int, offset: int, now: float) -> None:
        """The function has read a chunk."""
        applying = self._all[task_id]
        stream = applying.stream
        assert stream is not None
        stream.given.remove(next(chunk for chunk in stream.given if chunk.offset == offset))
        self._arena.give_back(offset)
        if not stream.given and not stream.all_given:
            self._link.starves(applying, now)

    # ---- the process

    def on_event(self, now: float) -> None:
        """Something came from the function process, or it has room."""
        link = self._link
        try:
            said = link.receive()
        except ChannelClosed:
            self._buried(now)
            return
        for message in said:
            code = message[0]
            if code == m.DONE:
                self._done(message, now)
            elif code == m.TAKEN:
                self._taken(message[1], message[2], now)
            elif code == m.LOG:
                if self._channel.unsent_bytes < _MOST_LOGS_BYTES:
                    self._channel.send((LOGGED, message[1], message[2]))
            elif code == m.FREED:
                self._let_go(message[1])
                self._collected()
            elif code == m.SET_UP:
                if message[2] is None:
                    link.set_up(message[1])
                else:
                    self._give_up(message[1], message[2], now)
            elif code == m.READY:
                link.ready()

    def _done(self, message: tuple[Any, ...], now: float) -> None:
        _, task_id, function_s, cpu_s, packed, error, freed = message
        applying = self._link.done(function_s, now)
        assert applying.task_id == task_id
        if packed is not None and packed.sizes:
            self._channel.send((RESULT, task_id), [self._link.take_fd()])
        if applying.offset >= 0:
            self._held.add(applying.offset)
            applying.offset = -1
        self._let_go(freed)
        self._end(applying, now, error, (function_s, cpu_s, packed))

    def _let_go(self, offsets: list[int]) -> None:
        for offset in offsets:
            self._held.discard(offset)
            self._arena.give_back(offset)

    def _collected(self) -> None:
        """It has let go of what it could; if that does not do, a new process refers to nothing."""
        self._asked_to_collect = False
        if self._held:
            self._link.cancel()

    def _buried(self, now: float) -> None:
        for applying in reversed(self._link.buried()):
            if applying.cancelled and not applying.under_way:
                self._failed(applying, None, now)
            elif not applying.cancelled:
                self._ready.appendleft(applying)
        for offset in self._held:
            self._arena.give_back(offset)
        self._held.clear()
        self._asked_to_collect = False
        self._link.want()

    def _give_up(self, context_id: int, error: FunctionUnusable, now: float) -> None:
        """No process can do it."""
        self._unusable[context_id] = error
        for applying in [one for one in self._all.values() if one.context.id == context_id]:
            applying.cancelled = True
            if not applying.under_way:
                self._drop(applying, now)

    # ---- what is next

    def pump(self, now: float) -> None:
        """Fetch what there is room for, and give the process what it can do."""
        link = self._link
        left_s = link.left_s(now)
        if left_s is not None and left_s <= 0:
            link.time_out()
        if not self._all:
            return
        link.want()
        has_room = all(self._more_chunks(applying) for applying in list(self._streams))
        while self._waiting and has_room:
            applying = self._waiting.popleft()
            unusable = self._unusable.get(applying.context.id)
            if unusable is not None:
                self._end(applying, now, unusable)
            elif not self._fetch(applying):
                self._waiting.appendleft(applying)
                has_room = False
        if link.is_there:
            for _ in range(len(self._ready)):
                if link.has_enough:
                    break
                applying = self._ready.popleft()
                if link.can_do(applying):
                    link.give(applying, now)
                    if applying.stream is not None:
                        self._more_chunks(applying)
                else:
                    self._ready.append(applying)
        if not (has_room or self._requests or self._ready or link.given or self._asked_to_collect) and self._held:
            self._asked_to_collect = True
            link.collect()

    def wait_s(self, now: float) -> float:
        """How long the poller may sleep."""
        left_s = self._link.left_s(now)
        return 1.0 if left_s is None else max(0.0, left_s)

    def close(self) -> None:
        """The worker ends."""
        self._link.stop()

    # ---- the end of a task

    def _give_back(self, applying: Applying) -> None:
        """Its memory, all of it that no request writes to."""
        if applying.offset >= 0:
            self._arena.give_back(applying.offset)
            applying.offset = -1
        stream = applying.stream
        if stream is not None:
            for chunk in stream.given:
                self._arena.give_back(chunk.offset)
            stream.given.clear()
            for chunk in [one for one in stream.coming if one.has_come]:
                self._arena.give_back(chunk.offset)
            stream.coming.clear()
            if applying in self._streams:
                self._streams.remove(applying)

    def _failed(self, applying: Applying, error: S3EngineError | None, now: float) -> None:
        """A request for it failed, or it was cancelled meanwhile."""
        applying.error = applying.error or error
        if applying.under_way:
            applying.cancelled = True  # others are on their way: the last one ends it
            return
        error = applying.error or self._unusable.get(applying.context.id)
        self._end(applying, now, error or cancelled_error(Kind.APPLY, applying.key, begun=False))

    def _drop(self, applying: Applying, now: float) -> None:
        for line in (self._waiting, self._ready):
            if applying in line:
                line.remove(applying)
        self._failed(applying, None, now)

    def _end(self, applying: Applying, now: float, error: S3EngineError | None = None, detail: Any = None) -> None:
        del self._all[applying.task_id]
        self._give_back(applying)
        self._outcomes.append(applying.ended(now, error, detail))
