"""Checks of what is sent and of what results tell: against a server that writes down what it is asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from s3engine.drive import drive
from s3engine.errors import InvalidRequest, NotSupported, RequestError, ServerFault, SourceChanged, SourceError
from s3engine.pool.load import load_transport, open_transport
from s3engine.sinks import MemorySink
from s3engine.testing.conformance import answers, listing, multipart, network, objects, timers
from s3engine.testing.conformance.answers import BUCKET, KEY
from s3engine.testing.conformance.core import Case, Declared, StoreCannot, T, check, expect, fetch, raises
from s3engine.testing.conformance.scripted import answer, list_answer, object_answer
from s3engine.transport import Capabilities, FilePart, GetResult, Timeouts

__all__: list[str] = []


@check("capabilities", on="wire")
def capabilities(case: Case) -> None:
    """What a transport can do stands on its class, before anything is opened; what it lacks has a reason."""
    told = getattr(load_transport(case.transport), "capabilities", None)
    if not isinstance(told, Capabilities):
        raise Declared("not on the class: the engine takes it for one that can do everything")
    for name in Capabilities.__dataclass_fields__:
        if name not in ("timers", "multiplexable", "trailers", "reasons") and not getattr(told, name):
            expect(name in dict(told.reasons), f"no reason is given for the lack of {name}")


@check("lacks-are-refused", on="wire")
def lacks_are_refused(case: Case) -> str:
    """A call for what a transport says it lacks raises NotSupported before anything is sent."""
    with case.wire(object_answer(b"x")) as (api, server):
        able = api.capabilities
        replaced = (("content-type", "text/x"), ("x-amz-metadata-directive", "REPLACE"))
        mode = (("x-amz-checksum-mode", "ENABLED"),)
        lacking: list[tuple[str, str, Callable[[], Any]]] = [
            ("if_match_get", "get", lambda: fetch(api, BUCKET, KEY, if_match="0" * 32)),
            ("if_match_copy", "copy", lambda: api.copy_object(
                BUCKET, "a", BUCKET, "b", (), if_match="0" * 32, timeouts=T)),
            ("copy_headers", "copy", lambda: api.copy_object(BUCKET, "a", BUCKET, "b", replaced, timeouts=T)),
            ("copy_between_buckets", "copy", lambda: api.copy_object("other", "a", BUCKET, "b", (), timeouts=T)),
            ("multipart", "create", lambda: api.create_multipart_upload(BUCKET, KEY, (), timeouts=T)),
            ("multipart", "part", lambda: api.upload_part(BUCKET, KEY, "u", 1, b"x", timeouts=T)),
            ("multipart", "complete", lambda: api.complete_multipart_upload(BUCKET, KEY, "u", [], timeouts=T)),
            ("multipart", "abort", lambda: api.abort_multipart_upload(BUCKET, KEY, "u", timeouts=T)),
            ("multipart", "list_parts", lambda: api.list_parts(BUCKET, KEY, "u", timeouts=T)),
            ("multipart", "list_uploads", lambda: api.list_multipart_uploads(BUCKET, timeouts=T)),
            ("copy_parts", "part", lambda: api.upload_part_copy(
                BUCKET, "a", 0, 9, BUCKET, KEY, "u", 1, timeouts=T)),
            ("buckets", "create", lambda: api.create_bucket(BUCKET, timeouts=T)),
            ("buckets", "delete", lambda: api.delete_bucket(BUCKET, timeouts=T)),
            ("if_match_delete", "delete", lambda: api.delete_object(BUCKET, KEY, if_match="0" * 32, timeouts=T)),
            ("if_match_delete", "deletes", lambda: api.delete_objects(
                BUCKET, ["a", "b"], etags=["", "0" * 32], timeouts=T)),
            ("checksums", "get", lambda: fetch(api, BUCKET, KEY, headers=mode)),
            ("checksums", "head", lambda: api.head_object(BUCKET, KEY, headers=mode, timeouts=T)),
            ("trailers", "put", lambda: api.put_object(BUCKET, KEY, b"x", (), trailer="crc32", timeouts=T)),
            ("trailers", "part", lambda: api.upload_part(BUCKET, KEY, "u", 1, b"x", trailer="crc32", timeouts=T)),
        ]  # fmt: skip
        tried = [(f"{name}: {what}", call) for name, what, call in lacking if not getattr(able, name)]
        for what, call in tried:
            raises(NotSupported, what, call)
            expect(not server.requests, f"{what}: a request was sent")
    return f"{len(tried)} calls"


@check("unaddressable-keys", on="wire")
def unaddressable_keys(case: Case) -> None:
    """A key that is empty or not Unicode is InvalidRequest, and nothing is sent: without a key it is the bucket."""
    with case.wire(object_answer(b"x")) as (api, server):
        for key in ("", "\udc80"):
            raises(InvalidRequest, f"put of {key!r}", api.put_object, BUCKET, key, b"x", (), timeouts=T)
            raises(InvalidRequest, f"get of {key!r}", fetch, api, BUCKET, key)
            raises(InvalidRequest, f"head of {key!r}", api.head_object, BUCKET, key, timeouts=T)
            raises(InvalidRequest, f"delete of {key!r}", api.delete_object, BUCKET, key, timeouts=T)
            raises(InvalidRequest, f"copy to {key!r}", api.copy_object, BUCKET, "a", BUCKET, key, (), timeouts=T)
            expect(not server.requests, f"for the key {key!r} there was a {server.requests[:1]}")


@check("headers-sent", on="wire")
def headers_sent(case: Case) -> str:
    """Every header of a put is sent as given, or refused with NotSupported; none is dropped."""
    given = (
        ("content-type", "text/x-odd"), ("content-encoding", "gzip"), ("cache-control", "no-store"),
        ("content-language", "de"), ("content-disposition", "inline"), ("x-amz-meta-a", "b c"),
        ("x-amz-storage-class", "STANDARD_IA"), ("x-amz-tagging", "a=b&c=d"), ("x-amz-acl", "private"),
        ("x-amz-server-side-encryption", "AES256"), ("x-amz-website-redirect-location", "/x"),
        ("x-amz-checksum-crc32", "AAAAAA=="), ("if-none-match", "*"),
    )  # fmt: skip
    refused = []
    with case.wire(object_answer(b"")) as (api, server):
        for name, value in given:
            before = len(server.requests)
            try:
                api.put_object(BUCKET, KEY, b"x", ((name, value),), timeouts=T)
            except NotSupported:
                expect(len(server.requests) == before, f"{name} was refused after the request was sent")
                refused.append(name)
                continue
            sent = server.requests[-1].headers.get(name)
            same = sorted((sent or "").split("&")) == sorted(value.split("&"))  # tags have no order
            expect(same, f"{name} was sent as {sent!r}, given was {value!r}")
    return f"refused: {', '.join(refused)}" if refused else ""


@check("parts-of-files", on="wire", needs=["multipart"])
def parts_of_files(case: Case) -> None:
    """upload_part sends exactly the bytes of its FilePart, and looks whether the file is what was planned."""
    with tempfile.NamedTemporaryFile(prefix="s3engine-check-") as file:
        data = os.urandom(300_000)
        file.write(data)
        file.flush()
        status = os.stat(file.name)
        with case.wire(object_answer(b"")) as (api, server):

            def part(body: FilePart) -> Any:
                return api.upload_part(BUCKET, KEY, "u", 2, body, timeouts=T)

            for offset, length in ((0, 300_000), (123_456, 100_000), (299_999, 1)):
                part(FilePart(file.name, offset, length, status.st_mtime_ns, len(data)))
                sent = server.requests[-1].body
                expect(sent == data[offset : offset + length], f"bytes {offset}+{length}: {len(sent)} bytes, or others")
            raises(SourceError, "a missing file", part, FilePart(file.name + "-none", 0, 10))
            changed = FilePart(file.name, 0, 10, status.st_mtime_ns - 1, len(data))
            raises(SourceChanged, "another mtime than was planned", part, changed)
            raises(SourceChanged, "a file that shrank", part, FilePart(file.name, 250_000, 60_000))


@check("results", on="wire")
def results(case: Case) -> None:
    """Results tell what the answer said: type, date, status, request id; of a listed object its date and class."""
    with case.wire(object_answer(b""), object_answer(b"body")) as (api, _):
        put = api.put_object(BUCKET, KEY, b"body", (), timeouts=T)
        _, got = fetch(api, BUCKET, KEY)
        head = api.head_object(BUCKET, KEY, timeouts=T)
        expect((put.status, got.status, head.status) == (200, 200, 200), "a status is not 200")
        for name, one in (("get", got), ("head", head)):
            expect(one.content_type == "application/octet-stream", f"{name}: content_type is {one.content_type!r}")
            expect(one.last_modified, f"{name}: last_modified is empty")
        if api.capabilities.error_details:
            ids = {put.request_id, got.request_id, head.request_id}
            expect(ids == {"request-1"}, f"request ids are {sorted(ids)}")
            expect(dict(got.headers).get("accept-ranges") == "bytes", f"headers of get are {got.headers}")
    with case.wire(list_answer("k")) as (api, _):
        (info,) = api.list_objects_v2(BUCKET, timeouts=T).objects
        expect(info.last_modified[:19] == "2026-01-02T03:04:05", f"last_modified is {info.last_modified!r}")
        expect(info.storage_class in ("STANDARD", ""), f"storage_class is {info.storage_class!r}")


@check("sink-order", on="wire")
def sink_order(case: Case) -> None:
    """A sink is begun once, before the first write, also for an empty body, and not at all for a refusal."""

    class Noting(MemorySink):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def begin(self, info: GetResult) -> None:
            self.calls.append("begin")
            super().begin(info)

        def write(self, data: memoryview) -> None:
            if len(data):
                self.calls.append("write")
            super().write(data)

    for body in (b"", b"x" * 1_000_000):
        with case.wire(object_answer(body)) as (api, _):
            sink = Noting()
            api.get_object(BUCKET, KEY, sink, timeouts=T)
            expect(sink.calls[:1] == ["begin"] and sink.calls.count("begin") == 1, f"calls were {sink.calls[:4]}")
            expect(("write" in sink.calls) == bool(body), f"{len(body)} bytes: calls were {sink.calls[:4]}")
    with case.wire(answer(404, b"<Error><Code>NoSuchKey</Code></Error>")) as (api, _):
        sink = Noting()
        raises(RequestError, "get", api.get_object, BUCKET, KEY, sink, timeouts=T)
        expect(sink.calls == [], f"after a refusal calls were {sink.calls}")


@check("wrong-ranges", on="wire")
def wrong_ranges(case: Case) -> None:
    """An answer with another range than was asked for, or a part where the whole was, is never a short success."""
    ranged = ("Content-Range", "bytes 0-9/100")
    part = answer(206, b"0123456789", ranged, ("ETag", '"0"'), ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"))
    with case.wire(part) as (api, _):
        raises(RequestError, "a part in answer to a get of the whole", fetch, api, BUCKET, KEY)
        raises(RequestError, "other bytes than were asked for", fetch, api, BUCKET, KEY, first=20, last=29)
    with case.wire(answer(204)) as (api, _):
        raises(RequestError, "a 204 in answer to a get", fetch, api, BUCKET, KEY)


@check("pages", on="wire", needs=["multipart"])
def pages(case: Case) -> None:
    """Markers of list_parts and list_multipart_uploads are told and sent; more to come without one is an error."""
    root = '<?xml version="1.0"?><{0}>{1}<IsTruncated>{2}</IsTruncated></{0}>'
    part = "<Part><PartNumber>{0}</PartNumber><ETag>e</ETag><Size>1</Size></Part>"
    upload = "<Upload><Key>k{0}</Key><UploadId>u{0}</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>"
    next_part = "<NextPartNumberMarker>1</NextPartNumberMarker>"
    next_upload = "<NextKeyMarker>k1</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>"

    def page(name: str, inside: str, more: str) -> Any:
        return answer(200, root.format(name, inside, more).encode(), ("Content-Type", "application/xml"))

    parts = "ListPartsResult"
    first = page(parts, part.format(1) + next_part, "true")
    with case.wire(first, page(parts, part.format(2), "false")) as (api, server):
        marker = api.list_parts(BUCKET, KEY, "u", timeouts=T).next_marker
        last = api.list_parts(BUCKET, KEY, "u", marker=marker, timeouts=T)
        told = (marker, [one.number for one in last.parts], last.next_marker)
        expect(told == ("1", [2], ""), f"marker, parts and last marker are {told}")
        sent = parse_qs(urlsplit(server.requests[1].target).query)
        expect(sent.get("part-number-marker") == ["1"], f"the second request is {server.requests[1].target}")
    uploads = "ListMultipartUploadsResult"
    first = page(uploads, upload.format(1) + next_upload, "true")
    with case.wire(first, page(uploads, upload.format(2), "false")) as (api, server):
        begun = api.list_multipart_uploads(BUCKET, timeouts=T)
        markers = (begun.next_key_marker, begun.next_upload_id_marker)
        expect(markers == ("k1", "u1"), f"markers are {markers}")
        end = api.list_multipart_uploads(BUCKET, key_marker="k1", upload_id_marker="u1", timeouts=T)
        expect([one.key for one in end.uploads] == ["k2"], f"the second page has {end.uploads}")
        sent = parse_qs(urlsplit(server.requests[1].target).query)
        both = (sent.get("key-marker"), sent.get("upload-id-marker"))
        expect(both == (["k1"], ["u1"]), f"the second request is {server.requests[1].target}")
    with case.wire(page(parts, part.format(1), "true")) as (api, _):
        raises(ServerFault, "more parts without a marker", api.list_parts, BUCKET, KEY, "u", timeouts=T)
    with case.wire(page(uploads, upload.format(1), "true")) as (api, _):
        raises(ServerFault, "more uploads without markers", api.list_multipart_uploads, BUCKET, timeouts=T)


@check("list-without-token", on="wire", needs=["complete_listings"])
def list_without_token(case: Case) -> None:
    """A list page that says more follows, and has no token, is an error: never the end of the listing."""
    whole = list_answer("a", "b").data.replace(b"<IsTruncated>false", b"<IsTruncated>true")
    head, _, page = whole.partition(b"\r\n\r\n")
    del head
    with case.wire(answer(200, page, ("Content-Type", "application/xml"))) as (api, _):
        raises(RequestError, "a page that says more follows", api.list_objects_v2, BUCKET, timeouts=T)


class _Driven:
    """A multiplexable transport, called by its exchanges: each driven over a link, as a worker's loop does."""

    def __init__(self, transport: str, settings: Any) -> None:
        self._api = open_transport(transport, settings)
        self.capabilities = self._api.capabilities

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("set_", "close")):
            return getattr(self._api, name)
        make = getattr(self._api.exchanges, name)

        def call(*args: Any, timeouts: Timeouts, **keywords: Any) -> Any:
            exchange = make(*args, **keywords)
            link = self._api.open_link(exchange.endpoint, timeouts.connect_s)
            result, reusable = drive(exchange, link, timeouts, used=getattr(link, "used", 0))
            if reusable:
                link.park()
            return result

        return call


def _by_exchanges(case: Case, checks: tuple[Callable[[Case], str | None], ...]) -> str:
    if not case.open().capabilities.multiplexable:
        return "it gives no exchanges"
    for one in checks:
        driven = Case(case.transport, case.store, f"exchanges-{one.__name__}", run=case.run, opens=_Driven)
        try:
            one(driven)
        except StoreCannot:
            continue  # as the check itself says
        finally:
            driven.close()
    return f"{len(checks)} checks"


@check("exchanges-on-a-store")
def exchanges_on_a_store(case: Case) -> str:
    """The exchanges of a multiplexable transport keep what its calls keep: bodies, keys, ranges, lists, parts."""
    return _by_exchanges(case, (
        objects.put_get, objects.head, objects.file_part, objects.headers, objects.ranges, objects.not_found,
        objects.delete_many, objects.copy, listing.list_all, listing.list_pages, multipart.multipart,
        multipart.multipart_abort,
    ))  # fmt: skip


@check("exchanges-on-the-wire", on="wire")
def exchanges_on_the_wire(case: Case) -> str:
    """The exchanges of a multiplexable transport fail as its calls do: classes, cuts, timers, one attempt."""
    return _by_exchanges(case, (
        answers.error_classes, answers.one_attempt, answers.error_in_200, answers.delete_errors, network.reset,
        network.truncated, network.trailing_garbage, network.not_http, network.sink_errors, timers.stall_timer_down,
        timers.stall_timer_up, timers.timeouts_per_call, timers.usable_after_timeouts,
    ))  # fmt: skip
