"""Checks of single objects on a real store: bodies, keys, headers, ranges, conditions, copies, deletes."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from s3engine.errors import (
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    SourceChanged,
    SourceError,
)
from s3engine.sinks import MemorySink
from s3engine.testing.conformance.core import Case, Declared, Skipped, StoreCannot, T, check, expect, raises
from s3engine.testing.conformance.keys import addressable, good_keys, xml_safe
from s3engine.testing.witness import path_of
from s3engine.transport import FilePart

__all__: list[str] = []

BODY = bytes(range(256)) * 5


@check("put-get")
def put_get(case: Case) -> None:
    """What was put is what the store has and what get gives, empty bodies too; a second put replaces the first."""
    key = case.key("a b+c")
    for body in (BODY, b"", b"\r\n\r\n0\r\n", os.urandom(300_000)):
        put = case.put(key, body)
        seen = case.witness.get(case.bucket, key)
        expect(seen == body, f"the store holds {_short(seen)} after put of {len(body)} bytes")
        head = case.witness.head(case.bucket, key) or {}
        etag = head.get("etag", "").strip('"')
        expect(put.etag == etag, f"put gave the ETag {put.etag!r}, the store says {etag!r}")
        got, result = case.get_all(key)
        expect(got == body, f"get gave {len(got)} bytes of {len(body)}, or others")
        told = (result.size_bytes, result.offset, result.total_bytes)
        expect(told == (len(body), 0, len(body)), f"GetResult says size, offset, total {told}, body {len(body)} bytes")
        expect(result.etag == etag, f"get gave the ETag {result.etag!r}, the store says {etag!r}")


@check("head")
def head(case: Case) -> None:
    """head_object tells size, ETag, type and all headers, names in lower case."""
    key = case.key()
    etag = case.witness.put(case.bucket, key, BODY, {"Content-Type": "text/x-odd", "x-amz-meta-Colour": "blue"})
    found = case.api.head_object(case.bucket, key, timeouts=T)
    told = (found.size_bytes, found.etag, found.content_type)
    expect(told == (len(BODY), etag, "text/x-odd"), f"size, ETag, type are {told}")
    headers = dict(found.headers)
    expect(headers.get("x-amz-meta-colour") == "blue", f"x-amz-meta-colour is not in {sorted(headers)}")
    expect(all(name == name.lower() for name in headers), f"names are not in lower case: {sorted(headers)}")


@check("file-part")
def file_part(case: Case) -> None:
    """A FilePart sends exactly its bytes of the file, from its offset on, its length, whatever else the file holds."""
    data = os.urandom(1_500_000)
    with _file(data) as path:
        for number, (offset, length) in enumerate([(0, len(data)), (1, 10), (700_001, 500_000), (len(data), 0)]):
            key = case.key(str(number))
            case.put(key, FilePart(path, offset, length))
            seen = case.witness.get(case.bucket, key)
            expect(seen == data[offset : offset + length], f"bytes {offset}+{length}: the store holds {_short(seen)}")


@check("file-changed")
def file_changed(case: Case) -> None:
    """A file that is missing raises SourceError; one that shrank or was written to raises SourceChanged."""
    with _file(b"x" * 100_000) as path:
        status = os.stat(path)
        raises(SourceError, "a missing file", case.put, case.key(), FilePart(path + "-none", 0, 10))
        for what, part in (
            ("a file shorter than the part", FilePart(path, 50_000, 60_000)),
            ("another size than was planned", FilePart(path, 0, 100, status.st_mtime_ns, 99_999)),
            ("another mtime than was planned", FilePart(path, 0, 100, status.st_mtime_ns - 1, 100_000)),
        ):
            raises(SourceChanged, what, case.put, case.key(), part)
        case.put(case.key(), FilePart(path, 0, 100_000, status.st_mtime_ns, 100_000))


@check("headers")
def headers(case: Case) -> None:
    """Headers of a put arrive as given: content type, cache control, disposition, user metadata."""
    given = (
        ("content-type", "text/x-odd; charset=utf-8"), ("cache-control", "no-store, max-age=0"),
        ("content-disposition", 'attachment; filename="a b.txt"'), ("content-language", "de"),
        ("x-amz-meta-name", "a+b c=d"), ("x-amz-meta-empty-free", "-"),
    )  # fmt: skip
    wanted = dict(given)
    case.witness.put(case.bucket, case.key("w"), b"x", wanted)
    able = case.witness.head(case.bucket, case.key("w")) or {}
    case.put(case.key("t"), b"x", given)
    seen = case.witness.head(case.bucket, case.key("t")) or {}
    for name, value in given:
        if able.get(name) == value:
            expect(seen.get(name) == value, f"{name} is {seen.get(name)!r}, not {value!r}")


@check("exact-keys")
def exact_keys(case: Case) -> str:
    """Keys are exact: what the store can hold under an odd key is put, read, listed and deleted under that key."""
    good, unfit = good_keys(case)
    refused = []
    api, bucket = case.api, case.bucket
    for number, name in enumerate(good):
        prefix = case.key(f"t{number}/")
        key = prefix + name
        body = f"body of {name!r}".encode()
        if not addressable(case, key):
            refused.append(name)
            continue
        case.put(key, body)
        expect(case.witness.get(bucket, key) == body, f"after put of {name!r} the store has nothing under it")
        expect(case.get(key) == body, f"get of {name!r} gives another body")
        size = api.head_object(bucket, key, timeouts=T).size_bytes
        expect(size == len(body), f"head of {name!r} says {size} bytes")
        page = api.list_objects_v2(bucket, prefix, timeouts=T)
        found = [info.key for info in page.objects]
        expect(found == [key], f"listing with {name!r} alone gives {[one.removeprefix(prefix) for one in found]}")
        if xml_safe(name):
            failures = api.delete_objects(bucket, [key], timeouts=T)
            expect(failures == [], f"delete_objects of {name!r}: {failures}")
        else:
            api.delete_object(bucket, key, timeouts=T)
        expect(case.witness.get(bucket, key) is None, f"{name!r} is still there after its delete")
    note = f"{len(good) - len(refused)} of {len(good) + len(unfit)} odd keys"
    if refused:
        raise Declared(f"{note}; {case.api.capabilities.reason('exact_keys')}; refused: {_some(refused)}")
    return note + (f"; the store itself fails on {_some(unfit)}" if unfit else "")


@check("ranges")
def ranges(case: Case) -> None:
    """Bytes ``first`` to ``last`` come, no others, and the result says which they are and of how many."""
    key = case.key()
    body = bytes(range(256))
    case.witness.put(case.bucket, key, body)
    for first, last in ((0, 0), (0, 9), (10, 19), (250, 255), (250, 999), (255, -1), (100, -1), (0, -1)):
        got, result = case.get_all(key, first=first, last=last)
        wanted = body[first : last + 1 if last >= 0 else None]
        expect(got == wanted, f"bytes {first} to {last} of 256: {len(got)} bytes, from {got[:1]!r} on")
        told = (result.size_bytes, result.offset, result.total_bytes)
        expect(told == (len(wanted), first, 256), f"bytes {first} to {last}: size, offset, total are {told}")


@check("range-beyond-the-end")
def range_beyond(case: Case) -> None:
    """A range that begins at or after the end raises RangeNotSatisfiable and writes nothing."""
    key = case.key()
    case.witness.put(case.bucket, key, b"0123456789")
    sink = MemorySink()
    answer = case.witness.request("GET", path_of(case.bucket, key), headers={"Range": "bytes=10-"})
    if answer.status != 416:
        raise StoreCannot(f"the store answers {answer.status} to a range beyond the end")
    get = case.api.get_object
    raises(RangeNotSatisfiable, "a range beyond the end", get, case.bucket, key, sink, first=10, timeouts=T)
    expect(sink.body() == b"", "bytes were written")


@check("encoded-body")
def encoded_body(case: Case) -> None:
    """A body that was stored with Content-Encoding: gzip comes back as it is stored, packed."""
    key = case.key()
    packed = bytes.fromhex("1f8b08000000000000034b4c4a06000241243503000000")  # "abc"
    case.witness.put(case.bucket, key, packed, {"Content-Encoding": "gzip"})
    got = case.get(key)
    expect(got == packed, f"{len(got)} bytes came: {got[:20]!r}")


@check("if-match-get", needs=["if_match_get"])
def if_match_get(case: Case) -> None:
    """get_object with the right ETag gives the body; with another it raises PreconditionFailed and writes nothing."""
    key = case.key()
    etag = case.witness.put(case.bucket, key, BODY)
    expect(case.get(key, if_match=etag) == BODY, "with the right ETag another body came")
    got = case.get(key, if_match=etag, first=5, last=9)
    expect(got == BODY[5:10], "with the right ETag and a range other bytes came")
    answer = case.witness.request("GET", path_of(case.bucket, key), headers={"If-Match": f'"{"0" * 32}"'})
    if answer.status != 412:
        raise StoreCannot(f"the store answers {answer.status} to a GET with a wrong If-Match")
    raises(PreconditionFailed, "get with another ETag", case.get, key, if_match="0" * 32)


@check("if-none-match-put")
def if_none_match_put(case: Case) -> None:
    """put_object with if-none-match: * does not replace an object: PreconditionFailed, and the old body stays."""
    key = case.key()
    once = (("if-none-match", "*"),)
    case.witness.put(case.bucket, key, b"one")
    again = case.witness.request("PUT", path_of(case.bucket, key), body=b"one", headers={"If-None-Match": "*"})
    if again.status != 412:
        raise StoreCannot(f"the store answers {again.status} to a second PUT with If-None-Match: *")
    raises(PreconditionFailed, "a put over an object", case.put, key, b"two", once)
    expect(case.witness.get(case.bucket, key) == b"one", "the object was replaced")
    case.put(case.key("new"), b"new", once)


@check("not-found")
def not_found(case: Case) -> None:
    """What is not there raises NotFound, whose code says whether the key or the bucket is missing."""
    nowhere = f"s3engine-check-none-{secrets.token_hex(8)}"
    for what, code, call in (
        ("get", "NoSuchKey", lambda: case.get(case.key("none"))),
        ("head", "NoSuchKey", lambda: case.api.head_object(case.bucket, case.key("none"), timeouts=T)),
        ("list of a missing bucket", "NoSuchBucket", lambda: case.api.list_objects_v2(nowhere, timeouts=T)),
        ("put into a missing bucket", "NoSuchBucket", lambda: case.api.put_object(nowhere, "k", b"", (), timeouts=T)),
    ):
        error = raises(NotFound, what, call)
        expect(error.code == code, f"{what}: the code is {error.code!r}, not {code!r}")


@check("delete")
def delete(case: Case) -> None:
    """delete_object removes that key and no other; a key that is not there is no error."""
    keys = [case.key(name) for name in ("a", "ab", "a b")]
    for key in keys:
        case.witness.put(case.bucket, key, b"x")
    for _ in range(2):
        case.api.delete_object(case.bucket, keys[0], timeouts=T)
    left = sorted(case.witness.list_keys(case.bucket, case.prefix))
    expect(left == sorted(keys[1:]), f"left are {left}")


@check("delete-many")
def delete_many(case: Case) -> None:
    """delete_objects removes the named keys, 1000 at once, and no others; keys that are not there are no errors."""
    names = ["a b", "c&d<e>", 'q"\'', "é😀", "+%2F", *(f"n{number:03}" for number in range(24))]
    keys = [case.key(name) for name in names]
    for key in [*keys, case.key("stays")]:
        case.witness.put(case.bucket, key, b"x")
    missing = [case.key(f"none{number}") for number in range(1000 - len(keys))]
    failures = case.api.delete_objects(case.bucket, [*keys, *missing], timeouts=T)
    expect(failures == [], f"{len(failures)} failures, the first: {failures[:1]}")
    left = case.witness.list_keys(case.bucket, case.prefix)
    expect(left == [case.key("stays")], f"left are {left[:5]}")


@check("copy")
def copy(case: Case) -> None:
    """copy_object makes an equal object, metadata included, also from and to odd keys."""
    meta = {"Content-Type": "text/x-odd", "x-amz-meta-name": "value"}
    names = [name for name in ("a b+c%d", "é😀", "x?y=z&", "#;:@,") if addressable(case, case.key(name))]
    for name in names:
        source, target = case.key(name), case.key(name + "-copy")
        case.witness.put(case.bucket, source, BODY, meta)
        result = case.api.copy_object(case.bucket, source, case.bucket, target, (), timeouts=T)
        expect(case.witness.get(case.bucket, target) == BODY, f"the copy of {name!r} is another one or none")
        seen = case.witness.head(case.bucket, target) or {}
        kept = (seen.get("content-type"), seen.get("x-amz-meta-name"))
        expect(kept == ("text/x-odd", "value"), f"the copy's type and metadata are {kept}")
        etag = seen.get("etag", "").strip('"')
        expect(result.etag in (etag, ""), f"the copy's ETag is {etag!r}, the result says {result.etag!r}")
    none = (case.bucket, case.key("none"), case.bucket, case.key("x"), ())
    raises(NotFound, "a copy of what is not there", case.api.copy_object, *none, timeouts=T)


@check("copy-headers", needs=["copy_headers"])
def copy_headers(case: Case) -> None:
    """With x-amz-metadata-directive REPLACE a copy has the given headers and none of the source's."""
    source, target = case.key("source"), case.key("target")
    case.witness.put(case.bucket, source, BODY, {"Content-Type": "text/x-odd", "x-amz-meta-old": "1"})
    given = (("content-type", "text/x-new"), ("x-amz-meta-new", "2"), ("x-amz-metadata-directive", "REPLACE"))
    copied = {"x-amz-copy-source": path_of(case.bucket, source), **dict(given)}
    case.witness.request("PUT", path_of(case.bucket, case.key("w")), headers=copied)
    if "x-amz-meta-old" in (case.witness.head(case.bucket, case.key("w")) or {}):
        raise StoreCannot("the store keeps old metadata though the directive says REPLACE")
    case.api.copy_object(case.bucket, source, case.bucket, target, given, timeouts=T)
    seen = case.witness.head(case.bucket, target) or {}
    found = (seen.get("content-type"), seen.get("x-amz-meta-new"), seen.get("x-amz-meta-old"))
    expect(found == ("text/x-new", "2", None), f"type, new and old metadata are {found}")


@check("copy-if-match", needs=["if_match_copy"])
def copy_if_match(case: Case) -> None:
    """copy_object with the source's ETag copies; with another it raises PreconditionFailed and makes nothing."""
    source, target = case.key("source"), case.key("target")
    etag = case.witness.put(case.bucket, source, BODY)
    wrong = {"x-amz-copy-source": path_of(case.bucket, source), "x-amz-copy-source-if-match": f'"{"0" * 32}"'}
    answer = case.witness.request("PUT", path_of(case.bucket, case.key("w")), headers=wrong)
    if answer.status != 412:
        raise StoreCannot(f"the store answers {answer.status} to a copy with a wrong ETag")

    def copied(if_match: str) -> object:
        return case.api.copy_object(case.bucket, source, case.bucket, target, (), if_match=if_match, timeouts=T)

    raises(PreconditionFailed, "a copy with another ETag", copied, "0" * 32)
    expect(case.witness.get(case.bucket, target) is None, "the copy was made")
    copied(etag)
    expect(case.witness.get(case.bucket, target) == BODY, "with the right ETag no copy was made")


@check("copy-between-buckets", needs=["copy_between_buckets"])
def copy_between_buckets(case: Case) -> None:
    """copy_object copies into another bucket of the store."""
    other = case.store.other_bucket
    if not other:
        raise Skipped("name a second bucket for it (--other-bucket)")
    case.witness.put(case.bucket, case.key("s"), BODY)
    case.api.copy_object(case.bucket, case.key("s"), other, case.key("t"), (), timeouts=T)
    expect(case.witness.get(other, case.key("t")) == BODY, "it is not there")
    expect(case.witness.get(case.bucket, case.key("t")) is None, "it is in the source's bucket")


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="s3engine-check-") as file:
        file.write(data)
        file.flush()
        yield file.name


def _short(body: bytes | None) -> str:
    if body is None:
        return "nothing"
    return f"{len(body)} bytes (MD5 {hashlib.md5(body, usedforsecurity=False).hexdigest()[:8]})"


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name if len(name) < 20 else name[:12] + "...") for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
