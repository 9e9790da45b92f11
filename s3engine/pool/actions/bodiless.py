"""What moves no object's bytes: CopyObject, HeadObject, DeleteObjects, and what an item asks between its attempts.

An item that may have been done already looks at its object (pool/own_writes.py); one that may have met an outage asks
whether the store is well (control/outage.py).
"""

from __future__ import annotations

import re
from typing import Any

from s3engine.classify import error_for
from s3engine.control.estimator import OpClass
from s3engine.control.retry import Verdict, classify
from s3engine.errors import RequestError, ServerFault
from s3engine.pool.item import Action, Ended, Item
from s3engine.pool.messages import WITH_CHECKSUMS, Kind, StoreIsWell
from s3engine.pool.own_writes import begin_look, end_look
from s3engine.transport import Timeouts

__all__ = ["ACTIONS", "end_copy", "not_in_xml"]

# What XML 1.0 cannot say, and \r, which parsers turn into \n: such keys go alone, in the path of a DeleteObject.
not_in_xml = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]").search


def _begin_copy(item: Item, api: Any, timeouts: Timeouts) -> Any:
    source_key, etag, own = item.arg
    context = item.context
    headers = context.headers if own is None else own
    return api.copy_object(
        context.source_bucket, source_key, context.bucket, item.key, headers, if_match=etag, timeouts=timeouts
    )


def end_copy(item: Item, result: Any) -> Ended:
    """The copy is known by its ETag."""
    return Ended(result.etag, result.request_id, result.status)


def _begin_head(item: Item, api: Any, timeouts: Timeouts) -> Any:
    context = item.context
    if item.arg == WITH_CHECKSUMS:
        return begin_look(item, api, timeouts)
    if item.arg is None:
        return api.head_object(context.bucket, item.key, timeouts=timeouts)
    return api.head_object(context.bucket, item.key, part_number=item.arg, headers=context.ask, timeouts=timeouts)


def _end_head(item: Item, result: Any) -> Ended:
    return Ended(result.etag, result.request_id, result.status, result)


def _end_look(item: Item, result: Any) -> Ended:
    proof = end_look(item, result)
    return Ended(result.etag, result.request_id, result.status, item.file_state, verified=proof)


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
    keys, etags = zip(*pairs, strict=True)
    return api.delete_objects(bucket, list(keys), etags=etags if any(etags) else (), timeouts=timeouts)


def _end_delete(item: Item, result: Any) -> Ended:
    if not result and not item.failures:
        return Ended(detail=[])
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


ACTIONS = {
    Kind.COPY: Action(OpClass.COPY, None, _begin_copy, end_copy),
    Kind.HEAD: Action(OpClass.HEAD, None, _begin_head, _end_head),
    Kind.DELETE: Action(OpClass.DELETE, None, _begin_delete, _end_delete),
    Kind.ASK: Action(OpClass.HEAD, None, _begin_ask, _end_ask),
    Kind.LOOK: Action(OpClass.HEAD, None, begin_look, _end_look),
}
