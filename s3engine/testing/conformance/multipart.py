"""Checks of uploads in parts on a real store.

What stores do with parts differs most of all, so each check first lets the witness do the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_plus

from s3engine.errors import NotFound, PreconditionFailed, RequestError
from s3engine.testing.conformance.core import Case, StoreCannot, T, check, expect, raises
from s3engine.testing.witness import Answer, path_of
from s3engine.transport import CompletedPart

__all__: list[str] = []

PART_BYTES = 5 * 1024 * 1024  # S3 takes no smaller part but the last
META = (("content-type", "text/x-odd"), ("x-amz-meta-name", "value"))


class _Upload(NamedTuple):
    """An upload of the transport."""

    case: Case
    key: str
    id: str

    def part(self, number: int, body: bytes) -> CompletedPart:
        made = self.case.api.upload_part(self.case.bucket, self.key, self.id, number, body, timeouts=T)
        return CompletedPart(number, made.etag, len(body))

    def complete(self, parts: Sequence[CompletedPart]) -> str:
        made = self.case.api.complete_multipart_upload(self.case.bucket, self.key, self.id, list(parts), timeouts=T)
        return str(made.etag)

    def abort(self) -> None:
        self.case.api.abort_multipart_upload(self.case.bucket, self.key, self.id, timeouts=T)

    def parts(self, marker: str = "") -> object:
        return self.case.api.list_parts(self.case.bucket, self.key, self.id, marker=marker, timeouts=T)


def _begin(case: Case, key: str) -> _Upload:
    return _Upload(case, key, case.api.create_multipart_upload(case.bucket, key, META, timeouts=T))


class _WitnessUpload:
    """An upload of the witness, to see what the store makes of it."""

    def __init__(self, case: Case, name: str = "w") -> None:
        self._witness = case.witness
        self._path = path_of(case.bucket, case.key(name))
        made = self._witness.request("POST", self._path, query="uploads=").body.decode()
        found = re.search("<UploadId>([^<]+)<", made)
        if found is None:
            raise StoreCannot(f"the store begins no upload in parts: {made[:100]}")
        self._query = f"uploadId={found[1]}"

    def part(self, number: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return self._witness.request(
            "PUT", self._path, query=f"partNumber={number}&{self._query}", body=body, headers=headers
        )

    def complete(self, etags: Mapping[int, str]) -> str:
        """What the store says against it; "" when it made the object."""
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in etags.items()
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer = self._witness.request("POST", self._path, query=self._query, body=body)
        good = answer.status == 200 and b"<Error>" not in answer.body
        return "" if good else f"{answer.status} {answer.body[:120].decode(errors='replace')}"

    def abort(self) -> int:
        return self._witness.request("DELETE", self._path, query=self._query).status

    def try_parts(self, bodies: Sequence[tuple[int, bytes]]) -> None:
        """Send and complete; raises StoreCannot when the store does not make the object."""
        etags: dict[int, str] = {}
        for number, body in bodies:
            answer = self.part(number, body)
            if answer.status != 200:
                self.abort()
                raise StoreCannot(f"the store answers {answer.status} to part {number} of {[n for n, _ in bodies]}")
            etags[number] = answer.headers["etag"]
        refusal = self.complete(dict(sorted(etags.items())))
        if refusal:
            self.abort()
            raise StoreCannot(f"the store does not complete parts {sorted(etags)}: {refusal}")


@check("multipart", needs=["multipart"])
def multipart(case: Case) -> None:
    """Parts make the object that they should, with the headers of its beginning, and nothing is seen before."""
    key = case.key("a b+c")
    first, second, last = os.urandom(PART_BYTES), os.urandom(PART_BYTES), b"the end"
    upload = _begin(case, key)
    parts = [upload.part(number, body) for number, body in ((1, first), (2, second), (3, last))]
    expect(case.witness.get(case.bucket, key) is None, "the object is there before it is complete")
    etag = upload.complete(parts)
    seen = case.witness.get(case.bucket, key) or b""
    expect(seen == first + second + last, f"the store holds {len(seen)} bytes, or others")
    found = case.witness.head(case.bucket, key) or {}
    stored = found.get("etag", "").strip('"')
    # A store that keeps no parts (rclone) says another ETag later than at the completion.
    expect(etag == stored or (etag and "-" not in stored), f"ETag {etag!r}, the store says {stored!r}")
    kept = (found.get("content-type"), found.get("x-amz-meta-name"))
    expect(kept == ("text/x-odd", "value"), f"type and metadata are {kept}")


@check("multipart-order", needs=["multipart"])
def multipart_order(case: Case) -> None:
    """Parts may be sent in any order, and one that is sent again replaces what was there."""
    first, last = os.urandom(PART_BYTES), b"the end"
    sent = ((2, last), (1, b"not this" * 700_000), (1, first))
    _WitnessUpload(case).try_parts(sent)
    upload = _begin(case, case.key())
    parts = {number: upload.part(number, body) for number, body in sent}
    upload.complete([parts[1], parts[2]])
    seen = case.witness.get(case.bucket, upload.key) or b""
    expect(seen == first + last, f"the store holds {len(seen)} bytes, or others")


@check("multipart-gaps", needs=["multipart"])
def multipart_gaps(case: Case) -> None:
    """Part numbers may leave gaps and go up to 10 000."""
    bodies = [(2, os.urandom(PART_BYTES)), (9, os.urandom(PART_BYTES)), (10_000, b"end")]
    _WitnessUpload(case).try_parts(bodies)
    upload = _begin(case, case.key())
    upload.complete([upload.part(number, body) for number, body in bodies])
    seen = case.witness.get(case.bucket, upload.key) or b""
    expect(seen == b"".join(body for _, body in bodies), f"the store holds {len(seen)} bytes, or others")


@check("multipart-abort", needs=["multipart"])
def multipart_abort(case: Case) -> None:
    """An aborted upload is gone: a list of its parts, its completion and a second abort raise NotFound."""
    upload = _begin(case, case.key())
    part = upload.part(1, b"x")
    upload.abort()
    expect(case.witness.get(case.bucket, upload.key) is None, "the object is there")
    raises(NotFound, "list_parts", upload.parts)
    raises(NotFound, "completion", upload.complete, [part])
    theirs = _WitnessUpload(case)
    theirs.abort()
    if theirs.abort() != 404:
        raise StoreCannot("all but this: the store answers well to a second abort")
    error = raises(NotFound, "a second abort", upload.abort)
    expect(error.code == "NoSuchUpload", f"its code is {error.code!r}")


@check("multipart-wrong-part", needs=["multipart"])
def multipart_wrong_part(case: Case) -> None:
    """A completion that names a part which is not there fails, and no object is made."""
    theirs = _WitnessUpload(case)
    if not theirs.complete({1: theirs.part(1, b"x").headers["etag"], 2: f'"{"0" * 32}"'}):
        raise StoreCannot("the store completes an upload with a part that it never got")
    upload = _begin(case, case.key())
    parts = [upload.part(1, b"x"), CompletedPart(2, "0" * 32, 1)]
    raises(RequestError, "completion with a part that was never sent", upload.complete, parts)
    expect(case.witness.get(case.bucket, upload.key) is None, "an object was made")


@check("list-parts", needs=["multipart"])
def list_parts(case: Case) -> None:
    """list_parts tells number, ETag and size of the parts that the store has, on pages that follow one another."""
    upload = _begin(case, case.key())
    sent = [upload.part(number, b"x" * number) for number in (1, 4, 7)]
    _if_the_store_lists(case, f"uploadId={upload.id}", path_of(case.bucket, upload.key), "parts")
    found: list[CompletedPart] = []
    marker, pages = "", 0
    while pages == 0 or marker:
        page = case.api.list_parts(case.bucket, upload.key, upload.id, marker=marker, timeouts=T)
        found += page.parts
        marker, pages = page.next_marker, pages + 1
        expect(pages <= 4, "the pages do not end")
    expect(found == sent, f"parts are {found}, sent were {sent}")
    upload.abort()


@check("list-uploads", needs=["multipart"])
def list_uploads(case: Case) -> None:
    """list_multipart_uploads tells key and id of uploads under way, on pages that follow one another."""
    begun = [_begin(case, case.key(name)) for name in ("a b", "c+d%", "é")]  # in byte order
    raw = _if_the_store_lists(case, "encoding-type=url&uploads=", f"/{case.bucket}", "uploads").decode()
    keys = [unquote_plus(key) if "<EncodingType>url<" in raw else key for key in re.findall("<Key>([^<]+)<", raw)]
    if not {upload.key for upload in begun} <= set(keys):
        raise StoreCannot("the store says that keys of uploads are encoded, and does not encode them")
    found: list[tuple[str, str]] = []
    key_marker, id_marker, pages = "", "", 0
    while pages == 0 or key_marker:
        page = case.api.list_multipart_uploads(
            case.bucket, case.prefix, key_marker=key_marker, upload_id_marker=id_marker, timeouts=T
        )
        found += [(one.key, one.upload_id) for one in page.uploads]
        key_marker, id_marker, pages = page.next_key_marker, page.next_upload_id_marker, pages + 1
        expect(pages <= 4, "the pages do not end")
    wanted = [(upload.key, upload.id) for upload in begun]
    expect(sorted(found) == wanted, f"found are {sorted(found)}, begun were {wanted}")
    for upload in begun:
        upload.abort()


def _if_the_store_lists(case: Case, query: str, path: str, what: str) -> bytes:
    answer = case.witness.request("GET", path, query=query)
    if answer.status != 200:
        raise StoreCannot(f"the store answers {answer.status} to a list of {what}")
    return answer.body


@check("part-copy", needs=["multipart", "copy_parts"])
def part_copy(case: Case) -> None:
    """upload_part_copy fills a part from a range of another object; with another ETag it is PreconditionFailed."""
    source = case.key("source +")
    body = os.urandom(PART_BYTES + 1000)
    etag = case.witness.put(case.bucket, source, body)
    theirs = _WitnessUpload(case)
    of_source = {"x-amz-copy-source": path_of(case.bucket, source), "x-amz-copy-source-range": "bytes=0-9"}
    if b"ETag" not in theirs.part(1, headers=of_source).body:
        raise StoreCannot("the store does not copy parts: UploadPartCopy gives no ETag")
    another = {"x-amz-copy-source-if-match": f'"{"0" * 32}"'}
    heeds = theirs.part(2, headers=of_source | another).status == 412
    theirs.abort()
    upload = _begin(case, case.key("target"))

    def copied(number: int, first: int, last: int, if_match: str = "") -> CompletedPart:
        made = case.api.upload_part_copy(
            case.bucket, source, first, last, case.bucket, upload.key, upload.id, number, if_match=if_match, timeouts=T
        )
        return CompletedPart(number, made.etag)

    parts = [copied(1, 1000, PART_BYTES + 999, etag), copied(2, 0, 9)]
    if heeds and case.api.capabilities.if_match_copy:
        raises(PreconditionFailed, "a part with another ETag", copied, 3, 0, 9, "0" * 32)
    upload.complete(parts)
    seen = case.witness.get(case.bucket, upload.key) or b""
    expect(seen == body[1000 : PART_BYTES + 1000] + body[:10], f"the store holds {len(seen)} bytes, or others")
