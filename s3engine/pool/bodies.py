"""Bodies on their way into a worker's arena: whole ones, and large ones range by range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3engine.errors import PreconditionFailed, S3EngineError
from s3engine.functions.arena import Arena
from s3engine.pool.actions.fetch import Wanted
from s3engine.pool.applying import Applying, Chunk, Stream
from s3engine.pool.messages import Kind, NeedsParts, cancelled_error
from s3engine.report import LENGTH_ONLY
from s3engine.stored import NOTHING, mismatch

if TYPE_CHECKING:
    from s3engine.pool.desk import Desk

__all__ = ["Bodies"]

_WHOLE_PART = 8  # of the arena: larger bodies come in chunks of that size
_CHUNKS_AT_WORK = 3  # of the object that the process is at
_CHUNKS_WAITING = 1  # of one behind it


class Bodies:
    """See the module. The desk makes the requests, and ends what fails."""

    def __init__(self, desk: Desk, arena: Arena) -> None:
        self._desk = desk
        self._arena = arena
        self._chunk_bytes = arena.size_bytes // _WHOLE_PART
        self.streams: list[Applying] = []
        """Those that want more room."""

    def pump(self) -> bool:
        """Ask for more of the large ones; False when there is no room for that."""
        return all(self.more_chunks(applying) for applying in list(self.streams))

    def fetch(self, applying: Applying) -> bool:
        """Begin; False when there is no room."""
        size = applying.about.size_bytes
        if size < 0 or size > self._chunk_bytes:
            # How large it is, or what the store says of all its bytes, no answer with a range would tell.
            self._desk.request(applying, Kind.HEAD, applying.key, 0, 0, self._headed)
            return True
        offset = self._arena.take(size)
        if offset is None:
            return False
        applying.offset = offset
        wanted = Wanted(self._arena.view(offset, size), applying.about.etag)
        self._desk.request(applying, Kind.FETCH, applying.key, wanted, size, self._fetched)
        return True

    def _headed(self, applying: Applying, outcome: tuple[Any, ...], extra: Any, now: float) -> None:
        if outcome[11] is not None or applying.cancelled:
            self._desk.failed(applying, outcome[11], now)
            return
        found = outcome[10]
        if applying.about.etag and found.etag != applying.about.etag:
            text = f"{applying.key!r} was written again since it was listed: its ETag is now {found.etag}"
            self._desk.failed(applying, PreconditionFailed(text, bucket=applying.source.bucket, key=applying.key), now)
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
            self._desk.waiting.appendleft(applying)
            return
        context = applying.source
        expected = context.evidence(evidence) if context.verify else NOTHING
        applying.stream = Stream(size, self._chunk_bytes, NOTHING if expected.parts else expected)
        self.streams.append(applying)

    def _fetched(self, applying: Applying, outcome: tuple[Any, ...], extra: Any, now: float) -> None:
        error = outcome[11]
        if type(error) is NeedsParts and not applying.cancelled:
            # Larger than it was listed: whether that may be, its ETag has said.
            self.give_back(applying)
            applying.about = applying.about._replace(size_bytes=-1, etag=error.etag)
            self._desk.waiting.appendleft(applying)
            return
        if error is not None or applying.cancelled:
            self._desk.failed(applying, error, now)
            return
        info = outcome[10]
        applying.verified = outcome[13]
        applying.about = applying.about._replace(
            size_bytes=outcome[8], etag=info.etag, last_modified=info.last_modified, headers=info.headers
        )
        self._desk.ready.append(applying)

    # ---- a large body

    def more_chunks(self, applying: Applying) -> bool:
        """Ask for what may be asked for; False when there is no room."""
        stream = applying.stream
        assert stream is not None
        given = self._desk.link.given
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
            self._desk.request(
                applying, Kind.FETCH, applying.key, wanted, chunk.size_bytes, self._chunk_came, chunk
            )
        if stream.all_asked and applying in self.streams:
            self.streams.remove(applying)
        return True

    def _chunk_came(self, applying: Applying, outcome: tuple[Any, ...], chunk: Chunk, now: float) -> None:
        stream = applying.stream
        is_given = applying in self._desk.link.given
        if stream is None or stream.broken or applying.task_id not in self._desk.under_way:
            # It is over: the function did not want the rest, or the rest will not come.
            self._arena.give_back(chunk.offset)
            if stream is not None and stream.broken and not is_given:
                self._desk.failed(applying, None, now)
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
            self._desk.ready.append(applying)

    def _hand_over(self, applying: Applying, stream: Stream, now: float) -> None:
        next_one = stream.coming[0]
        chunk = stream.give(self._arena.view(next_one.offset, next_one.size_bytes))
        is_given = applying in self._desk.link.given
        if stream.all_given:
            expected = stream.expected
            applying.verified = LENGTH_ONLY
            if expected.algorithm:
                came = stream.digest()
                if came != expected.value:
                    # Before the function sees the end: it must not take what came for the whole of it.
                    context = applying.source
                    self._break(applying, mismatch(context.bucket, applying.key, expected, came), now)
                    return
                applying.verified = expected.algorithm
        if is_given:
            self._desk.link.give_chunk(applying, chunk.offset, chunk.size_bytes, last=stream.all_given, now=now)

    def _break(self, applying: Applying, error: S3EngineError | None, now: float) -> None:
        """A large object will not come to its end."""
        stream = applying.stream
        assert stream is not None
        if applying in self.streams:
            self.streams.remove(applying)
        stream.broken = True
        if applying in self._desk.link.given:
            stream.broken_by = error or cancelled_error(Kind.APPLY, applying.key, begun=False)
            self._desk.link.break_stream(applying, stream.broken_by, now)
        else:
            self._desk.failed(applying, error, now)

    def taken(self, task_id: int, offset: int, now: float) -> None:
        """The function has read a chunk."""
        applying = self._desk.under_way.get(task_id)
        stream = applying.stream if applying is not None else None
        if applying is None or stream is None or all(chunk.offset != offset for chunk in stream.given):
            return  # read by a thread that outlived the call
        stream.given.remove(next(chunk for chunk in stream.given if chunk.offset == offset))
        self._arena.give_back(offset)
        if not stream.given and not stream.all_given:
            self._desk.link.starves(applying, now)

    def over(self, applying: Applying) -> None:
        """The function does not want the rest: what is still on its way is given back when it comes."""
        if applying.stream is not None:
            applying.stream.broken = True
            if applying in self.streams:
                self.streams.remove(applying)

    def give_back(self, applying: Applying) -> None:
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
            if applying in self.streams:
                self.streams.remove(applying)
