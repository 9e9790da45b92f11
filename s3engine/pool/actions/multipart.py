"""Multipart uploads: begun, their parts, completed, aborted, and what the store lists of them."""

from __future__ import annotations

from typing import Any

from s3engine.control.estimator import OpClass
from s3engine.pool.actions.bodiless import end_copy
from s3engine.pool.actions.put import end_put
from s3engine.pool.item import Action, Ended, Item
from s3engine.pool.messages import Kind
from s3engine.pool.uploads import checksum_of_parts, confirmed, contradiction
from s3engine.transport import CompletedPart, Headers, Timeouts

__all__ = ["ACTIONS"]


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


ACTIONS = {
    Kind.CREATE: Action(OpClass.PUT, None, _begin_create, _end_create),
    Kind.PART: Action(OpClass.PUT, _open_part, _begin_part, end_put),
    Kind.PART_COPY: Action(OpClass.COPY, None, _begin_part_copy, end_copy),
    Kind.COMPLETE: Action(OpClass.COMPLETE, None, _begin_complete, _end_complete),
    Kind.LIST_PARTS: Action(OpClass.LIST, None, _begin_list_parts, _end_list_parts),
    Kind.LIST_UPLOADS: Action(OpClass.LIST, None, _begin_list_uploads, _end_list_uploads),
    Kind.ABORT: Action(OpClass.DELETE, None, _begin_abort, _end_nothing),
}
