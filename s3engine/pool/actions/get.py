"""GetObject: into a file, a range of it into its place, into memory; and reading again what came."""

from __future__ import annotations

from typing import Any

from s3engine.control.estimator import OpClass
from s3engine.errors import ServerFault, SinkError
from s3engine.pool.item import Action, Ended, Item
from s3engine.pool.messages import Kind, NeedsParts
from s3engine.reading import checksum_of_file
from s3engine.report import LENGTH_ONLY
from s3engine.sinks import FileSink, MemorySink, PartSink
from s3engine.stored import digest_of, mismatch, other_size
from s3engine.transport import Timeouts

__all__ = ["ACTIONS"]


def _open_target(item: Item) -> None:
    if item.sink is None:
        relative, _, token = item.arg
        context = item.context
        folders = context.folders
        if folders is not None:
            folders.of(relative)  # what has no place there is told before it is asked for
        else:
            assert context.guard is not None
            relative = context.guard.ready(relative)
        item.sink = FileSink(
            relative, token, context.threshold_bytes, NeedsParts, context.evidence if context.verify else None,
            fsync=context.fsync, folders=folders,
        )  # fmt: skip
        if context.wary and not relative.endswith("/") and item.size_bytes <= context.threshold_bytes:
            # On a full disk ten thousand objects would each be fetched, to be thrown away.
            item.sink.reserve(item.size_bytes)


def _begin_get(item: Item, api: Any, timeouts: Timeouts) -> Any:
    sink = item.sink
    # Go on where an earlier attempt broke off, if the object is still the same one and it is known that more is to come
    # (a chunked answer tells no length, and may break after its last byte).
    first = sink.received if sink.etag and sink.received < sink.info.total_bytes else 0
    if_match = sink.etag if first else item.arg[1]
    context = item.context
    return api.get_object(
        context.bucket, item.key, sink, first=first, if_match=if_match, headers=context.ask, timeouts=timeouts
    )


def _end_get(item: Item, result: Any) -> Ended:
    sink = item.sink
    if result.total_bytes >= 0 and sink.received != result.total_bytes:
        name = f"GetObject s3://{item.context.bucket}/{item.key}"
        raise ServerFault(f"{name}: {sink.received} bytes of {result.total_bytes} came")
    if 0 <= item.size_bytes != sink.received:
        raise other_size(item.context.bucket, item.key, sink.received, item.size_bytes)
    verified = LENGTH_ONLY
    if item.arg[0].endswith("/"):  # a folder marker: the folder is what it stands for
        if sink.received:
            raise SinkError(f"key {item.key!r} ends in / and has a body; give it another name (path=)", key=item.key)
        sink.discard()
    else:
        if sink.expected.algorithm:
            came = sink.digest()
            if came != sink.expected.value:
                sink.restart()
                raise mismatch(item.context.bucket, item.key, sink.expected, came, item.error)
            verified = sink.expected.algorithm
        sink.commit()
    item.size_bytes = sink.received
    return Ended(result.etag, result.request_id, result.status, verified=verified)


def _open_part_target(item: Item) -> None:
    if item.sink is None:
        item.sink = PartSink(*item.arg)


def _begin_get_part(item: Item, api: Any, timeouts: Timeouts) -> Any:
    sink = item.sink
    if sink.resume_at() > sink.last:  # all of it came, and not the end of its answer
        sink.restart()
    return api.get_object(
        item.context.bucket, item.key, sink,
        first=sink.resume_at(), last=sink.last, if_match=item.arg[3], timeouts=timeouts,
    )  # fmt: skip


def _end_get_part(item: Item, result: Any) -> Ended:
    sink = item.sink
    if sink.resume_at() != sink.last + 1:
        raise ServerFault(f"GetObject s3://{item.context.bucket}/{item.key}: a range came back short")
    if item.context.fsync:
        sink.sync()
    sink.close()
    item.size_bytes = sink.last + 1 - sink.first
    return Ended(result.etag, result.request_id, result.status, checksum=sink.checksum)


def _open_memory(item: Item) -> None:
    if item.sink is None:
        item.sink = MemorySink()


def _begin_get_bytes(item: Item, api: Any, timeouts: Timeouts) -> Any:
    item.sink = MemorySink()
    return api.get_object(
        item.context.bucket, item.key, item.sink, if_match=item.arg, headers=item.context.ask, timeouts=timeouts
    )


def _end_get_bytes(item: Item, result: Any) -> Ended:
    body = item.sink.body()
    verified = LENGTH_ONLY
    if item.context.verify:
        expected = item.context.evidence(result)
        if expected.algorithm and expected.parts < 2:
            came = digest_of(expected, body)
            if came != expected.value:
                raise mismatch(item.context.bucket, item.key, expected, came, item.error)
            verified = expected.algorithm
    item.size_bytes = len(body)
    return Ended(result.etag, result.request_id, result.status, body, verified=verified)


def _begin_read(item: Item, api: Any, timeouts: Timeouts) -> Any:
    path, algorithm, part_bytes = item.arg
    return checksum_of_file(path, algorithm, part_bytes, lambda: item.stopped)


def _end_read(item: Item, result: Any) -> Ended:
    return Ended(status=0, detail=result)


ACTIONS = {
    Kind.GET_FILE: Action(OpClass.GET, _open_target, _begin_get, _end_get),
    Kind.GET_PART: Action(OpClass.GET, _open_part_target, _begin_get_part, _end_get_part),
    Kind.GET_BYTES: Action(OpClass.GET, _open_memory, _begin_get_bytes, _end_get_bytes),
    Kind.READ_FILE: Action(OpClass.GET, None, _begin_read, _end_read),
}
