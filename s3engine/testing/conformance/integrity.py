"""Checks of checksums and conditions: what is sent of them, and what is told of the answers."""

from __future__ import annotations

import os
import tempfile
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

from s3engine import checksums
from s3engine.errors import PreconditionFailed
from s3engine.testing.conformance.answers import BUCKET, KEY
from s3engine.testing.conformance.core import Case, T, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import Request, answer, object_answer
from s3engine.transport import CompletedPart, FilePart

__all__: list[str] = []

_BODY = b"123456789"
_CRC32 = checksums.compute("crc32", _BODY)
_MD5 = checksums.compute("md5", _BODY)
_MODE = (("x-amz-checksum-mode", "ENABLED"),)


def _value(checksum: str) -> str:
    return checksum.partition(":")[2]


@check("checksums-sent", on="wire", needs=["checksums"])
def checksums_sent(case: Case) -> None:
    """Checksum headers of a put and of a part are sent as given, and none that was not given."""
    given = {"content-md5": _value(_MD5), "x-amz-checksum-crc32": _value(_CRC32)}
    with case.wire(object_answer(b"")) as (api, server):
        for name, value in given.items():
            api.put_object(BUCKET, KEY, _BODY, ((name, value),), timeouts=T)
            sends = ["put"]
            if api.capabilities.multipart:
                api.upload_part(BUCKET, KEY, "u", 1, _BODY, headers=((name, value),), timeouts=T)
                sends.append("part")
            for what, request in zip(sends, server.requests[-len(sends) :], strict=True):
                sent = {
                    header: text for header, text in request.headers.items()
                    if header.startswith("x-amz-checksum-") or header in ("content-md5", "x-amz-trailer")
                }  # fmt: skip
                expect(sent == {name: value}, f"{what} with {name}: {sent} was sent")
                expect(request.body == _BODY, f"{what} with {name}: the body is {request.body[:40]!r}")


@check("trailers", on="wire", needs=["trailers"])
def trailers(case: Case) -> None:
    """A checksum that is computed while a body is sent follows it, and is the one of its bytes; so it is told."""
    size = 2_500_000
    with tempfile.NamedTemporaryFile(prefix="s3engine-check-") as file:
        data = os.urandom(size)
        file.write(data)
        file.flush()
        for body, whole in ((_BODY, _BODY), (b"", b""), (FilePart(file.name, 0, size), data)):
            for algorithm in ("crc32", "sha256"):
                with case.wire(object_answer(b"")) as (api, server):
                    told = api.put_object(BUCKET, KEY, body, (), trailer=algorithm, timeouts=T).checksum
                    if api.capabilities.multipart:
                        api.upload_part(BUCKET, KEY, "u", 1, body, trailer=algorithm, timeouts=T)
                    right = checksums.compute(algorithm, whole)
                    expect(told == right, f"{len(whole)} bytes: {told} is told, {right} is right")
                    for request in server.requests:
                        _expect_trailer(request, whole, right)


def _expect_trailer(request: Request, whole: bytes, right: str) -> None:
    """The request is framed as aws-chunked, holds the body, and its trailer is announced and right."""
    name = f"x-amz-checksum-{right.partition(':')[0]}"
    headers = request.headers
    expect("aws-chunked" in headers.get("content-encoding", ""), f"content-encoding: {headers.get('content-encoding')}")
    decoded = headers.get("x-amz-decoded-content-length")
    expect(decoded == str(len(whole)), f"x-amz-decoded-content-length is {decoded!r} for {len(whole)} bytes")
    expect(headers.get("x-amz-trailer") == name, f"x-amz-trailer is {headers.get('x-amz-trailer')!r}")
    rest, body = request.body, b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if not length:
            break
        body += rest[:length]
        expect(rest[length : length + 2] == b"\r\n", "a chunk does not end where it should")
        rest = rest[length + 2 :]
    expect(body == whole, f"{len(body)} bytes came, or others")
    expect(rest == f"{name}:{_value(right)}\r\n\r\n".encode(), f"the trailer is {rest!r}")


@check("checksums-asked-for", on="wire", needs=["checksums"])
def checksums_asked_for(case: Case) -> None:
    """A get and a head ask for stored checksums when they are told to, and tell those of the answer."""
    stored = (("ETag", '"e"'), ("x-amz-checksum-crc32", _value(_CRC32)), ("x-amz-checksum-type", "FULL_OBJECT"))
    dated = ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
    with case.wire(answer(200, _BODY, *stored, dated)) as (api, server):
        _, got = fetch(api, BUCKET, KEY, headers=_MODE)
        head = api.head_object(BUCKET, KEY, headers=_MODE, timeouts=T)
        for what, request, found in zip(("get", "head"), server.requests, (got, head), strict=True):
            mode = request.headers.get("x-amz-checksum-mode")
            expect(mode == "ENABLED", f"{what}: x-amz-checksum-mode is {mode!r}")
            told = dict(found.headers)
            seen = (told.get("x-amz-checksum-crc32"), told.get("x-amz-checksum-type"))
            expect(seen == (_value(_CRC32), "FULL_OBJECT"), f"{what}: checksum and type are {seen}")
        before = len(server.requests)
        fetch(api, BUCKET, KEY)
        asked = server.requests[before].headers.get("x-amz-checksum-mode")
        expect(asked is None, f"a get that was not told to asks for checksums ({asked!r})")


@check("part-of-an-object", on="wire", needs=["checksums"])
def part_of_an_object(case: Case) -> None:
    """A head of one part asks for that part, and a plain one for none."""
    with case.wire(object_answer(_BODY)) as (api, server):
        api.head_object(BUCKET, KEY, part_number=3, timeouts=T)
        api.head_object(BUCKET, KEY, timeouts=T)
        asked = [parse_qs(urlsplit(request.target).query).get("partNumber") for request in server.requests]
        expect(asked == [["3"], None], f"partNumber was {asked}")


@check("checksums-of-parts", on="wire", needs=["checksums", "multipart"])
def checksums_of_parts(case: Case) -> None:
    """The completion tells the checksum of each part that has one, and its headers are sent."""
    done = b"<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>"
    whole = (("x-amz-checksum-crc32", _value(_CRC32)), ("if-none-match", "*"))
    with case.wire(answer(200, done, ("Content-Type", "application/xml"))) as (api, server):
        parts = [CompletedPart(1, "a", 9, _CRC32), CompletedPart(2, "b", 9)]
        api.complete_multipart_upload(BUCKET, KEY, "u", parts, headers=whole, timeouts=T)
        request = server.requests[0]
        for name, value in whole:
            expect(request.headers.get(name) == value, f"{name} was sent as {request.headers.get(name)!r}")
        told = [
            (_child(part, "PartNumber"), _child(part, "ChecksumCRC32"))
            for part in ElementTree.fromstring(request.body)
            if part.tag.endswith("Part")
        ]
        expect(told == [("1", _value(_CRC32)), ("2", "")], f"parts and their checksums were {told}")


def _child(element: Any, name: str) -> str:
    return next((child.text or "" for child in element if child.tag.endswith(name)), "")


@check("deletes-on-condition", on="wire", needs=["if_match_delete"])
def deletes_on_condition(case: Case) -> None:
    """A delete sends the ETag it is given, one of many beside its key; an object that has another is a failure."""
    refused = answer(412, b"<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>")
    with case.wire(refused) as (api, server):
        raises(PreconditionFailed, "delete", api.delete_object, BUCKET, KEY, if_match="abc", timeouts=T)
        sent = server.requests[0].headers.get("if-match", "")
        expect(sent.strip('"') == "abc", f"If-Match was sent as {sent!r}")
    failure = "<Error><Key>b</Key><Code>PreconditionFailed</Code><Message>m</Message></Error>"
    body = f"<DeleteResult>{failure}</DeleteResult>".encode()
    with case.wire(answer(200, body, ("Content-Type", "application/xml"))) as (api, server):
        failures = api.delete_objects(BUCKET, ["a", "b"], etags=["", "abc"], timeouts=T)
        expect([(one.key, one.code) for one in failures] == [("b", "PreconditionFailed")], f"failures: {failures}")
        asked = [
            (_child(one, "Key"), _child(one, "ETag").strip('"'))
            for one in ElementTree.fromstring(server.requests[0].body)
            if one.tag.endswith("Object")
        ]
        expect(asked == [("a", ""), ("b", "abc")], f"keys and ETags were {asked}")
        api.delete_objects(BUCKET, ["a", "b"], timeouts=T)
        expect(b"ETag" not in server.requests[1].body, "an ETag was sent that was not given")
