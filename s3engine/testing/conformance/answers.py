"""Checks of how answers become results and errors: against a server that answers on order."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, NamedTuple

from s3engine.classify import error_for
from s3engine.errors import (
    AccessDenied,
    ClockSkewed,
    Conflict,
    CredentialsExpired,
    InvalidRequest,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestError,
    ServerFault,
    Throttled,
    WrongRegion,
)
from s3engine.testing.conformance.core import Broken, Case, T, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import Say, Scripted, answer, error_answer, object_answer
from s3engine.transport import CompletedPart, DeleteFailure

__all__ = ["BUCKET", "KEY", "Call", "calls", "head_calls"]

BUCKET, KEY = "bucket", "key"

# (HTTP status, S3 code, class). Codes: S3 API reference, "List of error codes"; SlowDownRead: MinIO.
CLASSES: tuple[tuple[int, str, type[RequestError]], ...] = (
    (403, "AccessDenied", AccessDenied), (403, "InvalidAccessKeyId", AccessDenied),
    (403, "SignatureDoesNotMatch", AccessDenied), (404, "NoSuchKey", NotFound), (404, "NoSuchBucket", NotFound),
    (412, "PreconditionFailed", PreconditionFailed), (416, "InvalidRange", RangeNotSatisfiable),
    (503, "SlowDown", Throttled), (503, "SlowDownRead", Throttled), (503, "", Throttled),
    (429, "TooManyRequests", Throttled), (500, "InternalError", ServerFault), (502, "", ServerFault),
    (504, "", ServerFault), (501, "NotImplemented", NotSupported), (405, "MethodNotAllowed", NotSupported),
    (400, "InvalidArgument", InvalidRequest), (400, "RequestTimeout", ServerFault), (400, "BadDigest", ServerFault),
    (400, "ExpiredToken", CredentialsExpired), (403, "RequestTimeTooSkewed", ClockSkewed),
    (301, "PermanentRedirect", WrongRegion), (409, "OperationAborted", Conflict),
)  # fmt: skip


class Call(NamedTuple):
    """An operation, to be tried against answers that are no good."""

    name: str
    run: Callable[[Any], Any]


def head_calls() -> list[Call]:
    """Those whose answers have no body."""
    return [
        Call("HeadObject", lambda api: api.head_object(BUCKET, KEY, timeouts=T)),
        Call("HeadBucket", lambda api: api.head_bucket(BUCKET, timeouts=T)),
    ]


def _delete_objects(api: Any) -> None:
    """Raises what was raised, or the error of the failures when all keys are among them: both lose nothing."""
    keys = [KEY, "other"]
    failures = {failure.key: failure for failure in api.delete_objects(BUCKET, keys, timeouts=T)}
    if set(failures) == set(keys):
        code = failures[KEY].code
        status = next((status for status, one, _ in CLASSES if one == code), 500)
        raise error_for(status, code)(
            failures[KEY].message, operation="DeleteObjects", bucket=BUCKET, key=KEY, status=status, code=code
        )


def calls(api: Any) -> list[Call]:
    """One call of each operation that the transport has, but those of :func:`head_calls`."""
    able = api.capabilities
    found = [
        Call("PutObject", lambda api: api.put_object(BUCKET, KEY, b"body", (), timeouts=T)),
        Call("GetObject", lambda api: fetch(api, BUCKET, KEY)),
        Call("ListObjectsV2", lambda api: api.list_objects_v2(BUCKET, "p/", timeouts=T)),
        Call("DeleteObject", lambda api: api.delete_object(BUCKET, KEY, timeouts=T)),
        Call("CopyObject", lambda api: api.copy_object(BUCKET, "source", BUCKET, KEY, (), timeouts=T)),
        Call("DeleteObjects", _delete_objects),
    ]
    if able.buckets:
        found.append(Call("DeleteBucket", lambda api: api.delete_bucket(BUCKET, timeouts=T)))
        found.append(Call("CreateBucket", lambda api: api.create_bucket(BUCKET, timeouts=T)))
    if able.multipart:
        part = [CompletedPart(1, "0" * 32)]
        found += [
            Call("CreateMultipartUpload", lambda api: api.create_multipart_upload(BUCKET, KEY, (), timeouts=T)),
            Call("UploadPart", lambda api: api.upload_part(BUCKET, KEY, "u", 1, b"body", timeouts=T)),
            Call("CompleteMultipartUpload", lambda api: api.complete_multipart_upload(
                BUCKET, KEY, "u", part, timeouts=T)),
            Call("AbortMultipartUpload", lambda api: api.abort_multipart_upload(BUCKET, KEY, "u", timeouts=T)),
            Call("ListParts", lambda api: api.list_parts(BUCKET, KEY, "u", timeouts=T)),
            Call("ListMultipartUploads", lambda api: api.list_multipart_uploads(BUCKET, timeouts=T)),
        ]  # fmt: skip
    if able.multipart and able.copy_parts:
        found.append(Call("UploadPartCopy", lambda api: api.upload_part_copy(
            BUCKET, "source", 0, 9, BUCKET, KEY, "u", 1, timeouts=T)))  # fmt: skip
    return found


def _ordered(status: int, code: str) -> Say:
    if code == "PermanentRedirect":
        extra = "<Region>eu-west-1</Region><Endpoint>bucket.s3.eu-west-1.amazonaws.com</Endpoint>"
        return error_answer(status, code, ("x-amz-bucket-region", "eu-west-1"), extra=extra)
    return error_answer(status, code)


@check("error-classes", on="wire")
def error_classes(case: Case) -> str:
    """Each status and code of S3 is raised as its class, with status and code, by every operation."""
    wrong = []
    tried = 0
    with case.wire(answer(200)) as (api, server):
        for status, code, kind in CLASSES:
            server.now(_ordered(status, code))
            for call in calls(api):
                tried += 1
                try:
                    raises(kind, call.name, call.run, api)
                except Broken as error:
                    wrong.append(f"{status} {code or '(no code)'}: {error}")
    expect(not wrong, f"{len(wrong)} of {tried}: {'; '.join(wrong[:3])}")
    return f"{tried} answers"


@check("error-attributes", on="wire")
def error_attributes(case: Case) -> None:
    """An error tells operation, bucket, key, status and code."""
    with case.wire(error_answer(403, "AccessDenied")) as (api, _):
        for call in calls(api):
            error = raises(AccessDenied, call.name, call.run, api)
            told = (error.status, error.code, error.bucket)
            expect(told == (403, "AccessDenied", BUCKET), f"{call.name}: status, code, bucket are {told}")
            expect(error.operation == call.name, f"{call.name}: operation is {error.operation!r}")
            expect(not call.name.endswith(("Object", "Part")) or error.key == KEY, f"{call.name}: key is {error.key!r}")


@check("error-details", on="wire", needs=["error_details"])
def error_details(case: Case) -> None:
    """Errors tell the request id, what Retry-After asked for, the region to go to, and how wrong the clock is."""
    with case.wire(_ordered(301, "PermanentRedirect")) as (api, _):
        moved = raises(WrongRegion, "get", fetch, api, BUCKET, KEY)
        expect(moved.region == "eu-west-1", f"region is {moved.region!r}")
    with case.wire(error_answer(503, "SlowDown", ("Retry-After", "7"))) as (api, _):
        for call in calls(api)[:4]:
            error = raises(Throttled, call.name, call.run, api)
            expect(error.retry_after_s == 7.0, f"{call.name}: retry_after_s is {error.retry_after_s!r}")
            expect(error.request_id == "request-1", f"{call.name}: request_id is {error.request_id!r}")
    for offset_s in (0.0, 3600.0, -3600.0):
        date = ("Date", formatdate(time.time() + offset_s, usegmt=True))
        with case.wire(error_answer(403, "RequestTimeTooSkewed", date)) as (api, _):
            skewed = raises(ClockSkewed, "get", fetch, api, BUCKET, KEY)
            expect(abs(skewed.offset_s - offset_s) < 60, f"offset_s is {skewed.offset_s}, not {offset_s}")
            api.set_clock_offset(1800.0)
            skewed = raises(ClockSkewed, "get", fetch, api, BUCKET, KEY)
            expect(abs(skewed.offset_s - offset_s) < 60, f"corrected already, offset_s is {skewed.offset_s}")


@check("head-errors", on="wire")
def head_errors(case: Case) -> None:
    """HEAD, whose errors have no body, raises by status: NotFound with the code for key or bucket, AccessDenied ..."""
    kinds = {404: NotFound, 403: AccessDenied, 412: PreconditionFailed, 503: Throttled, 500: ServerFault}
    with case.wire(answer(200)) as (api, server):
        for status, kind in kinds.items():
            server.now(error_answer(status, ""))
            for call in head_calls():
                error = raises(kind, f"{call.name} answered {status}", call.run, api)
                wanted = "NoSuchKey" if call.name == "HeadObject" else "NoSuchBucket"
                expect(status != 404 or error.code == wanted, f"{call.name}: the code is {error.code!r}")


@check("one-attempt", on="wire")
def one_attempt(case: Case) -> None:
    """Every call makes one attempt: a failed one is seen once by the server, whatever it answers or breaks."""
    total = 0
    with case.wire(answer(200)) as (api, server):
        for step in (
            error_answer(500, "InternalError"), error_answer(503, "SlowDown"), error_answer(429, ""),
            error_answer(400, "RequestTimeout"), Say(then="reset"), Say(then="close"),
            object_answer(b"x" * 10, length=20, then="close"),
        ):  # fmt: skip
            server.now(step)
            # One that cannot tell errors per key may ask again for single keys, in the open.
            for call in (call for call in (*calls(api), *head_calls()) if _is_one_request(call, api)):
                before = len(server.requests)
                _failing(call, api)
                made = len(server.requests) - before
                what = step.data[9:12].decode() or step.then
                # None is made on a connection that is found closed: then that was the attempt.
                expect(made <= 1, f"{call.name}, answered by {what}: {made} requests")
                total += made
        expect(total > 25, f"only {total} requests were made")


def _is_one_request(call: Call, api: Any) -> bool:
    return call.name != "DeleteObjects" or bool(api.capabilities.error_details)


def _failing(call: Call, api: Any) -> None:
    try:
        call.run(api)
    except RequestError:
        return
    # A cut body does not matter to who reads none, so not every step fails every operation.


@check("error-in-200", on="wire")
def error_in_200(case: Case) -> None:
    """A 200 with an error in its body is raised as that error by copies and completions; an empty one is no success."""
    kinds = ("CopyObject", "CompleteMultipartUpload", "UploadPartCopy")
    for step, kind in (
        (error_answer(200, "InternalError"), ServerFault), (error_answer(200, "SlowDown"), Throttled),
        (answer(200), RequestError),
    ):  # fmt: skip
        with case.wire(step) as (api, _):
            for call in calls(api):
                if call.name in kinds:
                    raises(kind, call.name, call.run, api)


@check("delete-errors", on="wire")
def delete_errors(case: Case) -> None:
    """delete_objects returns the keys that were not deleted, each with code and message, and only those."""
    keys = ["good", "a b&c", "é"]
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><DeleteResult><Deleted><Key>good</Key></Deleted>'
        "<Error><Key>a b&amp;c</Key><Code>AccessDenied</Code><Message>not yours</Message></Error>"
        "<Error><Key>é</Key><Code>InternalError</Code><Message>try later</Message></Error></DeleteResult>"
    ).encode()
    bulk = answer(200, body, ("Content-Type", "application/xml"))
    # A transport that goes around by single deletes meets these.
    single = (answer(204), error_answer(403, "AccessDenied"), error_answer(500, "InternalError"))
    with case.wire(bulk, *single) as (api, _):
        failures: list[DeleteFailure] = api.delete_objects(BUCKET, keys, timeouts=T)
    found = {failure.key: failure.code for failure in failures}
    expect(found == {"a b&c": "AccessDenied", "é": "InternalError"}, f"failures are {found}")
    expect(all(failure.message for failure in failures), f"a message is empty: {failures}")


@check("web-page", on="wire")
def web_page(case: Case) -> None:
    """A web page in answer, where no S3 is spoken, is an error of every operation that reads its answer."""
    unread = ("GetObject", "DeleteObject", "AbortMultipartUpload", "CreateBucket", "DeleteBucket")
    page = answer(200, b"<!DOCTYPE html><html><body>Welcome</body></html>", ("Content-Type", "text/html"))
    with case.wire(page) as (api, _):
        for call in calls(api):
            if call.name not in unread and _is_one_request(call, api):
                raises(RequestError, call.name, call.run, api)


@check("redirects", on="wire", needs=["refuses_redirects"])
def redirects(case: Case) -> None:
    """A redirect is never followed to another host: credentials go nowhere but to the endpoint."""
    with Scripted(object_answer(b"theirs")) as other:
        there = f"{other.endpoint_url}/bucket/key"
        for status in (301, 302, 307):
            with case.wire(error_answer(status, "TemporaryRedirect", ("Location", there))) as (api, _):
                for call in (*calls(api), *head_calls()):
                    raises(RequestError, f"{call.name}, {status}", call.run, api)
                    expect(not other.requests, f"{call.name} was sent to the other host after {status}")


@check("picklable-errors", on="wire")
def picklable_errors(case: Case) -> None:
    """Every error survives pickling with class, text and attributes."""
    steps = [_ordered(status, code) for status, code, _ in CLASSES]
    with case.wire(answer(200)) as (api, server):
        for step in (*steps, Say(then="reset"), object_answer(b"x", length=9, then="close")):
            server.now(step)
            for call in (*calls(api), *head_calls()):
                _pickled(call, api)


def _pickled(call: Call, api: Any) -> None:
    try:
        call.run(api)
    except RequestError as error:
        again = pickle.loads(pickle.dumps(error))
        kept = {name: value for name, value in vars(error).items() if not name.startswith("__")}
        same = (type(again), str(again), vars(again)) == (type(error), str(error), kept)
        expect(same, f"{call.name}: {type(error).__name__} came back as {type(again).__name__}: {again}")
