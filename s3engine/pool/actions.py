"""How each kind of task is begun and ended: the same code for both lanes.

``prepare`` opens what is local, once per attempt; ``begin`` asks ``api`` for the operation, where ``api`` is a
transport (the call blocks and returns the result) or its exchanges (it returns an Exchange at once); ``end`` makes the
rest of the outcome out of the result. Between attempts the item keeps what a retry can go on with.
"""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import re
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

from s3engine.classify import error_for
from s3engine.control.estimator import OpClass
from s3engine.control.outage import OpenFailures
from s3engine.control.retry import Verdict, classify
from s3engine.disk import sink_error
from s3engine.errors import (
    PreconditionFailed,
    RequestError,
    S3EngineError,
    ServerFault,
    SinkError,
    SourceChanged,
    SourceError,
)
from s3engine.paths import FolderGuard
from s3engine.pool.messages import Context, Kind, NeedsParts, StoreIsWell, Task
from s3engine.pool.own_writes import Looking, begin_look, end_look
from s3engine.pool.room import Room
from s3engine.pool.uploads import Checker, checksum_of_parts, confirmed, contradiction
from s3engine.reading import checksum_of_file
from s3engine.report import LENGTH_ONLY
from s3engine.sinks import FileSink, MemorySink, PartSink
from s3engine.stored import ASK, Stored, digest_of, mismatch, stored
from s3engine.transport import Body, CompletedPart, FilePart, GetResult, Headers, Timeouts
from s3engine.wire import source_error

__all__ = [
    "ACTIONS", "Action", "Item", "WorkerContext", "abandon", "content_type_headers", "not_in_xml", "start_asking",
    "stop_asking",
]  # fmt: skip

# What XML 1.0 cannot say, and \r, which parsers turn into \n: such keys go alone, in the path of a DeleteObject.
not_in_xml = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]").search

_IN_MEMORY_BYTES = 256 * 1024  # below this a body is read in one call and sent with its head


class WorkerContext:
    """A Context as a worker uses it: with its caches."""

    __slots__ = (
        "ask", "bucket", "checker", "content_types", "endpoint", "fsync", "guard", "headers", "id", "prompt",
        "source_bucket", "threshold_bytes", "verify", "wary",
    )  # fmt: skip

    def __init__(self, context: Context, room: Room | None = None) -> None:
        self.id = context.id
        self.bucket = context.bucket
        self.source_bucket = context.source_bucket
        self.headers = context.headers
        guess = context.guess_content_type and not any(name == "content-type" for name, _ in context.headers)
        self.content_types: dict[str, Headers] | None = {} if guess else None
        self.guard = FolderGuard(context.root) if context.root else None
        self.threshold_bytes = context.threshold_bytes
        self.fsync = context.fsync
        self.wary = False  # the target's file system has refused a file
        self.checker = Checker(context.checking, room or Room()) if context.checking is not None else None
        self.prompt = context.prompt
        self.verify = context.verify
        self.ask: Headers = ASK if context.verify and context.ask_checksums else ()
        self.endpoint: Any = None  # where the exchanges of this context went last

    def evidence(self, info: GetResult) -> Stored:
        """What the store says of the bytes of a whole object."""
        return stored(info.headers, info.etag, self.bucket)


class Item:
    """A task while a worker has it: what its attempts have in common."""

    __slots__ = (
        "arg", "asking", "attempts", "body", "bytes_per_s", "checksum", "context", "doubted", "doubtful", "error",
        "etag", "exchange", "failed", "failures", "first_at", "free_used", "held_bytes", "key", "kind", "looking",
        "mtime_ns", "open_failures", "paid", "probe", "sink", "size_bytes", "started_at", "stopped", "task_id",
        "timeouts", "trailer", "verdict",
    )  # fmt: skip

    def __init__(self, task: Task, context: WorkerContext) -> None:
        self.task_id, _, self.kind, self.key, self.size_bytes, self.arg = task
        self.context = context
        self.attempts = 0  # requests made
        self.bytes_per_s = 0.0  # the estimate that the last attempt was issued with
        self.failed = 0  # of those, the ones that count against max_attempts
        self.free_used = 0
        self.paid = 0
        self.first_at = 0.0
        self.started_at = 0.0
        self.exchange: Any = None
        self.sink: Any = None
        self.body: Body = b""
        self.held_bytes = 0  # of the body, counted in the worker's room
        self.checksum = ""  # of the body
        self.trailer = ""  # the algorithm of one that goes behind the body
        self.doubted = False  # an ETag may have disproved an earlier attempt
        self.failures: list[tuple[str, S3EngineError]] | None = None
        self.etag = ""
        self.mtime_ns = 0  # of the file that was sent
        self.error: S3EngineError | None = None  # of the last attempt, while it waits for the next
        self.timeouts: Timeouts | None = None
        self.verdict: Any = None
        self.stopped = False  # a task without a request, of a batch that was cancelled
        self.doubtful = False  # an attempt failed, and the store may have done it all the same
        self.probe = False  # the attempt under way was let through to find out whether the store is back
        self.looking: Looking | None = None
        self.open_failures: OpenFailures | None = None  # made at the first failure
        self.asking: tuple[int, int] | None = None  # kind and size, while it only asks whether the store is well


class Ended(NamedTuple):
    """What ``end`` adds to an outcome."""

    etag: str = ""
    request_id: str = ""
    status: int = 200
    detail: Any = None
    checksum: str = ""
    verified: str = ""


class Action(NamedTuple):
    """See the module's docstring."""

    op: int
    prepare: Callable[[Item], None] | None
    begin: Callable[[Item, Any, Timeouts], Any]
    end: Callable[[Item, Any], Ended]


def _extra_headers(item: Item, path: str, own: Headers | None) -> Headers:
    context = item.context
    headers = context.headers if own is None else own
    types = context.content_types
    if types is None or (own is not None and any(name == "content-type" for name, _ in own)):
        return headers
    suffix = path[path.rfind(".") :]  # what guess_type goes by, but for compression: foo.tar.gz
    cached = types.get(suffix) if own is None else None
    if cached is None:
        cached = content_type_headers(path, headers, True)
        if own is None and len(types) < 1000:
            types[suffix] = cached
    return cached


def content_type_headers(path: str, headers: Headers, guess: bool) -> Headers:
    """``headers`` with a content type guessed from the name, unless there is one or none is wished."""
    if not guess or any(name == "content-type" for name, _ in headers):
        return headers
    kind, encoding = mimetypes.guess_type(path)
    # A compressed file is served as what it is, so that no client unpacks it on the way.
    return (*headers, ("content-type", kind if kind and not encoding else "application/octet-stream"))


# ---- PutObject


def _open_source(item: Item) -> None:
    path = item.arg[0]
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode):
                what = "a folder that cannot be listed" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise SourceError(f"cannot upload {path!r}: it is {what}", path=path)
            if size > item.context.threshold_bytes:
                raise NeedsParts(
                    "large", size_bytes=size, mtime_ns=status.st_mtime_ns, inode=status.st_ino,
                    ctime_ns=status.st_ctime_ns,
                )  # fmt: skip
            data = os.read(fd, size + 1) if size <= _IN_MEMORY_BYTES else b""
        finally:
            os.close(fd)
    except OSError as error:
        raise source_error(path, error) from None
    checker = item.context.checker
    if size > _IN_MEMORY_BYTES:
        part = FilePart(path, 0, size, status.st_mtime_ns, size, status.st_ino, status.st_ctime_ns)
        if checker is None:
            item.body = part
        else:
            checker.hold(item, part, checker.whole, whole=True)
    elif len(data) != size:
        raise SourceChanged(f"{path!r} changed while it was read; send it again when it is at rest", path=path)
    else:
        item.body = data
    item.size_bytes = size
    item.mtime_ns = status.st_mtime_ns


def _begin_put(item: Item, api: Any, timeouts: Timeouts) -> Any:
    arg = item.arg
    return _put(item, api, _extra_headers(item, arg[0], arg[1]), timeouts)


def _put(item: Item, api: Any, headers: Headers, timeouts: Timeouts) -> Any:
    context = item.context
    checker = context.checker
    if checker is not None:
        headers = checker.headers(item, headers, checker.whole)
        if item.trailer:
            return api.put_object(
                context.bucket, item.key, item.body, headers, trailer=item.trailer, timeouts=timeouts
            )
    return api.put_object(context.bucket, item.key, item.body, headers, timeouts=timeouts)


def _open_bytes(item: Item) -> None:
    item.body = item.arg[0]
    item.size_bytes = len(item.body)


def _begin_put_bytes(item: Item, api: Any, timeouts: Timeouts) -> Any:
    return _put(item, api, _extra_headers(item, item.key, item.arg[1]), timeouts)


def _end_put(item: Item, result: Any) -> Ended:
    checker = item.context.checker
    checksum, verified = checker.proven(item, result) if checker is not None else ("", LENGTH_ONLY)
    item.body = b""
    return Ended(result.etag, result.request_id, result.status, item.mtime_ns, checksum, verified)


# ---- GetObject


def _open_target(item: Item) -> None:
    if item.sink is None:
        relative, _, token = item.arg
        guard = item.context.guard
        assert guard is not None
        path = guard.ready(relative)
        if os.path.isdir(path) and not relative.endswith("/"):
            raise sink_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
        context = item.context
        evidence = context.evidence if context.verify else None
        item.sink = FileSink(path, token, context.threshold_bytes, NeedsParts, evidence, fsync=context.fsync)
        if context.wary and not relative.endswith("/") and item.size_bytes <= context.threshold_bytes:
            # On a full disk ten thousand objects would each be fetched, to be thrown away.
            item.sink.reserve(item.size_bytes)


def _begin_get(item: Item, api: Any, timeouts: Timeouts) -> Any:
    sink = item.sink
    # Go on where an earlier attempt broke off, if the object is still the same one.
    first = sink.received if sink.etag else 0
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
        raise PreconditionFailed(
            f"GetObject s3://{item.context.bucket}/{item.key}: {sink.received} bytes came of an object that was listed "
            f"with {item.size_bytes}; it was written again",
            operation="GetObject", bucket=item.context.bucket, key=item.key,
        )  # fmt: skip
    verified = LENGTH_ONLY
    if item.arg[0].endswith("/"):  # a folder marker: the folder is what it stands for
        if sink.received:
            raise SinkError(f"key {item.key!r} ends in / and has a body; give it another path", key=item.key)
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


# ---- CopyObject, HeadObject, DeleteObjects


def _begin_copy(item: Item, api: Any, timeouts: Timeouts) -> Any:
    source_key, etag, own = item.arg
    context = item.context
    headers = context.headers if own is None else own
    return api.copy_object(
        context.source_bucket, source_key, context.bucket, item.key, headers, if_match=etag, timeouts=timeouts
    )


def _end_copy(item: Item, result: Any) -> Ended:
    return Ended(result.etag, result.request_id, result.status)


def _begin_head(item: Item, api: Any, timeouts: Timeouts) -> Any:
    context = item.context
    if item.arg is None:
        return api.head_object(context.bucket, item.key, timeouts=timeouts)
    return api.head_object(context.bucket, item.key, part_number=item.arg, headers=context.ask, timeouts=timeouts)


def _end_head(item: Item, result: Any) -> Ended:
    return Ended(result.etag, result.request_id, result.status, result)


def _end_look(item: Item, result: Any) -> Ended:
    end_look(item, result)
    return Ended(result.etag, result.request_id, result.status, item.mtime_ns)


def _begin_ask(item: Item, api: Any, timeouts: Timeouts) -> Any:
    return api.head_bucket(item.context.bucket, timeouts=timeouts)


def _end_ask(item: Item, result: Any) -> Ended:
    raise StoreIsWell("the store is well")  # back to what the item was: pool/core.py


def _begin_delete(item: Item, api: Any, timeouts: Timeouts) -> Any:
    pairs = item.arg
    bucket = item.context.bucket
    if len(pairs) == 1:
        key, etag = pairs[0]
        # One key needs no XML, and keys with control characters (which the parent sends alone) cannot stand in it. With
        # an ETag XML is better: there the stores tell an object that is gone from one that is another.
        if not etag or not_in_xml(key):
            return api.delete_object(bucket, key, if_match=etag, timeouts=timeouts)
    keys = [key for key, _ in pairs]
    etags = [etag for _, etag in pairs]
    return api.delete_objects(bucket, keys, etags=etags if any(etags) else (), timeouts=timeouts)


def _end_delete(item: Item, result: Any) -> Ended:
    asked = dict(item.arg)
    failed: dict[str, RequestError] = {}
    for failure in result or ():
        if failure.key not in asked:
            # Never retried by that name: the key would be deleted although nobody asked, and one that was asked for
            # would count as deleted.
            raise ServerFault(
                f"DeleteObjects s3://{item.context.bucket}/: the answer names {failure.key!r}, which was not asked for",
                operation="DeleteObjects", bucket=item.context.bucket,
            )  # fmt: skip
        if failure.code != "NoSuchKey" or asked[failure.key]:
            # Per-key errors have no status of their own; a code that is not known may pass, as a 500 does.
            failed[failure.key] = error_for(500, failure.code)(
                f"DeleteObjects s3://{item.context.bucket}/{failure.key}: {failure.code}: {failure.message}",
                operation="DeleteObjects", bucket=item.context.bucket, key=failure.key, code=failure.code,
            )  # fmt: skip
    final = item.failures if item.failures is not None else []
    again: list[tuple[str, str]] = []
    worst: RequestError | None = None
    for key, error in failed.items():
        if classify(error) in (Verdict.TRANSIENT, Verdict.THROTTLE):
            again.append((key, asked[key]))
            worst = error
        else:
            final.append((key, error))
    item.failures = final
    if worst is not None:
        item.arg = again
        raise worst
    return Ended(detail=final)


# ---- multipart


def _begin_create(item: Item, api: Any, timeouts: Timeouts) -> Any:
    return api.create_multipart_upload(item.context.bucket, item.key, item.arg, timeouts=timeouts)


def _end_create(item: Item, result: Any) -> Ended:
    return Ended(detail=result)


def _open_part(item: Item) -> None:
    _, _, part, algorithm = item.arg
    checker = item.context.checker
    if checker is None:
        item.body = part
    else:
        checker.hold(item, part, algorithm, whole=False)


def _begin_part(item: Item, api: Any, timeouts: Timeouts) -> Any:
    upload_id, number, _, algorithm = item.arg
    context = item.context
    headers: Headers = ()
    if context.checker is not None:
        headers = context.checker.headers(item, (), algorithm)
    return api.upload_part(
        context.bucket, item.key, upload_id, number, item.body, headers=headers, trailer=item.trailer,
        timeouts=timeouts,
    )  # fmt: skip


def _begin_part_copy(item: Item, api: Any, timeouts: Timeouts) -> Any:
    upload_id, number, source_key, first, last, etag = item.arg
    context = item.context
    return api.upload_part_copy(
        context.source_bucket, source_key, first, last, context.bucket, item.key, upload_id, number,
        if_match=etag, timeouts=timeouts,
    )  # fmt: skip


def _begin_complete(item: Item, api: Any, timeouts: Timeouts) -> Any:
    upload_id, parts, *more = item.arg
    full_object = bool(more and more[0])
    completed = [CompletedPart(*part) for part in parts]
    item.checksum = checksum_of_parts(completed, full_object=full_object)
    headers: Headers = more[1] if len(more) > 1 else ()
    if full_object and item.checksum:
        algorithm, _, value = item.checksum.partition(":")
        headers = (*headers, (f"x-amz-checksum-{algorithm}", value), ("x-amz-checksum-type", "FULL_OBJECT"))
    if item.checksum.startswith("md5"):  # known to ETags alone
        completed = [part._replace(checksum="") for part in completed]
    return api.complete_multipart_upload(
        item.context.bucket, item.key, upload_id, completed, headers=headers, timeouts=timeouts
    )


def _end_complete(item: Item, result: Any) -> Ended:
    completed = [CompletedPart(*part) for part in item.arg[1]]
    wrong = contradiction(completed, item.checksum, result.etag, result.checksum)
    whole = "whole" if confirmed(completed, item.checksum, result.etag, result.checksum) else ""
    return Ended(result.etag, result.request_id, result.status, wrong, item.checksum, whole)


def _begin_abort(item: Item, api: Any, timeouts: Timeouts) -> Any:
    return api.abort_multipart_upload(item.context.bucket, item.key, item.arg, timeouts=timeouts)


def _begin_list_parts(item: Item, api: Any, timeouts: Timeouts) -> Any:
    upload_id, marker = item.arg
    return api.list_parts(item.context.bucket, item.key, upload_id, marker=marker, timeouts=timeouts)


def _end_list_parts(item: Item, result: Any) -> Ended:
    return Ended(detail=([tuple(part) for part in result.parts], result.next_marker))


def _begin_list_uploads(item: Item, api: Any, timeouts: Timeouts) -> Any:
    key_marker, id_marker = item.arg
    return api.list_multipart_uploads(
        item.context.bucket, item.key, key_marker=key_marker, upload_id_marker=id_marker, timeouts=timeouts
    )


def _end_list_uploads(item: Item, result: Any) -> Ended:
    return Ended(detail=([tuple(found) for found in result.uploads], *result[1:]))


def _end_nothing(item: Item, result: Any) -> Ended:
    return Ended()


ACTIONS: dict[int, Action] = {
    Kind.PUT_FILE: Action(OpClass.PUT, _open_source, _begin_put, _end_put),
    Kind.PUT_BYTES: Action(OpClass.PUT, _open_bytes, _begin_put_bytes, _end_put),
    Kind.GET_FILE: Action(OpClass.GET, _open_target, _begin_get, _end_get),
    Kind.GET_PART: Action(OpClass.GET, _open_part_target, _begin_get_part, _end_get_part),
    Kind.GET_BYTES: Action(OpClass.GET, _open_memory, _begin_get_bytes, _end_get_bytes),
    Kind.READ_FILE: Action(OpClass.GET, None, _begin_read, _end_read),
    Kind.COPY: Action(OpClass.COPY, None, _begin_copy, _end_copy),
    Kind.HEAD: Action(OpClass.HEAD, None, _begin_head, _end_head),
    Kind.DELETE: Action(OpClass.DELETE, None, _begin_delete, _end_delete),
    Kind.CREATE: Action(OpClass.PUT, None, _begin_create, _end_create),
    Kind.PART: Action(OpClass.PUT, _open_part, _begin_part, _end_put),
    Kind.PART_COPY: Action(OpClass.COPY, None, _begin_part_copy, _end_copy),
    Kind.COMPLETE: Action(OpClass.COMPLETE, None, _begin_complete, _end_complete),
    Kind.LIST_PARTS: Action(OpClass.LIST, None, _begin_list_parts, _end_list_parts),
    Kind.LIST_UPLOADS: Action(OpClass.LIST, None, _begin_list_uploads, _end_list_uploads),
    Kind.ASK: Action(OpClass.HEAD, None, _begin_ask, _end_ask),
    Kind.LOOK: Action(OpClass.HEAD, None, begin_look, _end_look),
    Kind.ABORT: Action(OpClass.DELETE, None, _begin_abort, _end_nothing),
}


def start_asking(item: Item) -> None:
    """Turn the item into one that asks whether the store is well."""
    item.asking = item.kind, item.size_bytes
    item.kind = Kind.ASK
    item.size_bytes = 0  # it moves no body


def stop_asking(item: Item) -> None:
    """Back to what the item was."""
    if item.asking is not None:
        item.kind, item.size_bytes = item.asking
        item.asking = None


def abandon(item: Item) -> None:
    """Undo what a task that will not be done left behind on this side."""
    sink = item.sink
    if isinstance(sink, FileSink):
        sink.discard()
        item.context.wary = item.context.wary or sink.failed
    elif isinstance(sink, PartSink):
        with contextlib.suppress(SinkError):  # the task failed already, and by another error
            sink.close()
    item.body = b""
