"""The XML bodies of S3: read by the C parser of the standard library, written as strings.

Namespaces and the order of elements differ between stores, so only local names count. What is not there is "" or 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from s3engine.transport import CompletedPart, DeleteFailure, ListPage, ObjectInfo, PartsPage, UploadInfo, UploadsPage
from s3engine_transports.common import is_xml_safe

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = [
    "BadXml", "check_harmless", "complete_body", "delete_body", "is_xml_safe", "location_body", "parse", "read_deleted",
    "read_error", "read_list_page", "read_parts", "read_text", "read_uploads",
]  # fmt: skip


_MAX_TAGS = 2_000_000  # a page of 10 000 keys has some 160 000
_MAX_SIZE = (1 << 63) - 1
# A DeleteResult without any element, whole from its first byte to its last: all keys are deleted.
_SPACE = rb"[ \t\r\n]*"
_NOTHING_FAILED = (  # compiled by re when it is first needed: most programs delete nothing
    rb"""(?:<\?xml version=(?:"1\.0"|'1\.0')(?: encoding=(?:"[Uu][Tt][Ff]-8"|'[Uu][Tt][Ff]-8'))?""" + _SPACE + rb"\?>)?"
    + _SPACE + rb"""<DeleteResult(?: xmlns=(?:"[A-Za-z0-9:/._-]*"|'[A-Za-z0-9:/._-]*'))?(?:/>|>""" + _SPACE
    + rb"</DeleteResult>)" + _SPACE
)
_OBJECT, _OBJECT_END = "<Object><Key>", "</Key></Object>"
_KEY_TO_ETAG = '</Key><ETag>"'
_ETAG_END = '"</ETag></Object>'
_SHORT_BYTES = 4096


class BadXml(ValueError):
    """The body is empty, cut, not XML, or XML as no store writes it."""


def check_harmless(body: bytes) -> None:
    """Raises BadXml for what must not come before a parser, ours or that of a client library.

    That is a document type: it is where entities are declared, which expand without end or name files, and no answer of
    S3 has one. A NUL: text in UTF-8 has none, and UTF-16 would hide a document type behind them. More elements than any
    answer has: each takes 100 bytes of memory for 4 of the body.
    """
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise BadXml("it has a document type, as an html page does, or is no UTF-8 text")
    if body.count(b"<") > _MAX_TAGS:
        raise BadXml("it has more elements than any answer of S3")


def parse(body: bytes) -> Element:
    """The root element. Raises BadXml."""
    check_harmless(body)
    from xml.etree.ElementTree import ParseError, fromstring  # lazy: an upload of small objects reads no XML

    try:
        return fromstring(body)
    except (ParseError, ValueError, LookupError) as error:  # the latter two: an encoding that Python cannot map
        raise BadXml(str(error)) from None


def _local(tag: str) -> str:
    return tag[tag.rfind("}") + 1 :]


def _fields(element: Element) -> dict[str, str]:
    return {_local(child.tag): child.text or "" for child in element}


def read_text(body: bytes, name: str) -> str:
    """The text of the first child called ``name`` of the root, or ""."""
    return _fields(parse(body)).get(name, "")


def read_error(body: bytes) -> tuple[str, str, dict[str, str]]:
    """Code, message and all fields of an ``<Error>`` body; ("", "", {}) when it is none."""
    try:
        root = parse(body)
    except BadXml:
        return "", "", {}
    if _local(root.tag) != "Error":
        # A DeleteResult has Error children too: those are single keys, not the answer.
        found = [child for child in root if _local(child.tag) == "Error"] if _local(root.tag) == "ErrorResponse" else []
        if not found:
            return "", "", {}
        root = found[0]
    fields = _fields(root)
    return fields.get("Code", ""), fields.get("Message", ""), fields


def _root(body: bytes, name: str) -> Element:
    """The root, which must have this name: any page of a web server would be an empty list else."""
    root = parse(body)
    if _local(root.tag) != name:
        raise BadXml(f"a {_local(root.tag)} where a {name} is due")
    return root


def _decoded(text: str) -> str:
    """Percent-encoded text. Bytes that are not UTF-8 are kept as surrogates: replaced, they would name another key."""
    return unquote_plus(text, errors="surrogateescape")


def read_list_page(body: bytes) -> ListPage:
    """ListObjectsV2. KeyCount is never looked at: some stores leave it out or get it wrong. Raises BadXml."""
    root = _root(body, "ListBucketResult")
    # Keys are decoded only when the store says it encoded them: some ignore the wish.
    encoded = any(_local(child.tag) == "EncodingType" and child.text == "url" for child in root)
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    truncated = ""
    token = ""
    for child in root:
        name = _local(child.tag)
        if name == "Contents":
            key = etag = modified = storage_class = ""
            size = 0
            for field in child:
                text = field.text
                if text:
                    tag = field.tag
                    if tag.endswith("Key"):
                        key = text
                    elif tag.endswith("LastModified"):
                        modified = text
                    elif tag.endswith("ETag"):
                        etag = text.strip('"')
                    elif tag.endswith("Size"):
                        size = _size(text)
                    elif tag.endswith("StorageClass"):
                        storage_class = text
            if encoded and ("%" in key or "+" in key):
                key = _decoded(key)
            objects.append(ObjectInfo(key, size, etag, modified, storage_class))
        elif name == "CommonPrefixes":
            prefix = _fields(child).get("Prefix", "")
            prefixes.append(_decoded(prefix) if encoded else prefix)
        elif name == "IsTruncated":
            truncated = (child.text or "").strip().lower()
        elif name == "NextContinuationToken":
            token = child.text or ""
    if truncated == "true" and not token:
        raise BadXml("the page says that more follows, but has no NextContinuationToken")
    if truncated not in ("true", "false", ""):
        # Such a page must not pass for the last one: what is missing would be taken for what is not there.
        raise BadXml(f"the page does not say whether more follows: IsTruncated is {truncated[:24]!r}")
    return ListPage(objects, prefixes, "" if truncated == "false" else token, bool(truncated or token))


def _size(text: str) -> int:
    # The length first: int() takes time by the square of it.
    try:
        size = int(text) if len(text) < 24 else -1
    except ValueError:
        size = -1
    if not 0 <= size <= _MAX_SIZE:
        raise BadXml(f"{text[:24]!r} is no size of an object")
    return size


def read_deleted(body: bytes) -> list[DeleteFailure]:
    """The failures in a DeleteResult (quiet form). Raises BadXml."""
    if len(body) < _SHORT_BYTES and re.fullmatch(_NOTHING_FAILED, body):
        return []  # the usual answer, without a parser, which takes 10 ms to load
    root = _root(body, "DeleteResult")
    failures = []
    for child in root:
        if _local(child.tag) == "Error":
            fields = _fields(child)
            failures.append(DeleteFailure(fields.get("Key", ""), fields.get("Code", ""), fields.get("Message", "")))
    return failures


def _is_truncated(fields: dict[str, str]) -> bool:
    return fields.get("IsTruncated", "").strip().lower() == "true"


def read_parts(body: bytes) -> PartsPage:
    """ListParts: the parts of a page and the marker of the next one ("" on the last). Raises BadXml."""
    root = _root(body, "ListPartsResult")
    fields = _fields(root)
    parts = []
    for child in root:
        if _local(child.tag) == "Part":
            part = _fields(child)
            number, size = _size(part.get("PartNumber", "")), _size(part.get("Size") or "0")
            parts.append(CompletedPart(number, part.get("ETag", "").strip('"'), size))
    if not _is_truncated(fields):
        return PartsPage(parts, "")
    marker = fields.get("NextPartNumberMarker", "")
    if marker in ("", "0"):
        raise BadXml("the page says that more follows, but has no NextPartNumberMarker")
    return PartsPage(parts, marker)


def read_uploads(body: bytes) -> UploadsPage:
    """ListMultipartUploads. Raises BadXml."""
    root = _root(body, "ListMultipartUploadsResult")
    fields = _fields(root)
    encoded = fields.get("EncodingType") == "url"
    uploads = []
    for child in root:
        if _local(child.tag) == "Upload":
            upload = _fields(child)
            key, upload_id = upload.get("Key", ""), upload.get("UploadId", "")
            if not upload_id:
                raise BadXml(f"the upload of {key[:80]!r} has no UploadId")
            uploads.append(UploadInfo(_decoded(key) if encoded else key, upload_id, upload.get("Initiated", "")))
    if not _is_truncated(fields):
        return UploadsPage(uploads, "", "")
    marker = fields.get("NextKeyMarker", "")
    if not marker:
        raise BadXml("the page says that more follows, but has no NextKeyMarker")
    return UploadsPage(uploads, _decoded(marker) if encoded else marker, fields.get("NextUploadIdMarker", ""))


def _text(value: str) -> str:
    # xml.sax.saxutils.escape and html.escape do the same and import 10 ms of other things first.
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def delete_body(keys: list[str], etags: Sequence[str] = ()) -> bytes:
    """DeleteObjects in its quiet form: only failures come back. ``etags`` stand beside the keys, or there are none."""
    # \r must go as a reference, or the parser on the other side makes it a \n.
    if any(etags):
        if all(etags) and len(etags) == len(keys) and _is_plain(keys) and _is_plain(etags):
            # Nothing to replace, as nearly always: put together by slices, in a tenth of the time.
            pieces = [_KEY_TO_ETAG] * (4 * len(keys))
            pieces[::4] = [_ETAG_END + _OBJECT] * len(keys)
            pieces[0] = _OBJECT
            pieces[1::4] = keys
            pieces[3::4] = etags
            objects = "".join(pieces) + _ETAG_END
        else:
            objects = "".join([_object(key, etag) for key, etag in zip(keys, etags, strict=True)])
    elif keys and _is_plain(keys):
        objects = f"{_OBJECT}{(_OBJECT_END + _OBJECT).join(keys)}{_OBJECT_END}"
    else:
        objects = "".join([_object(key, "") for key in keys])
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}<Quiet>true</Quiet></Delete>'
    ).encode()


def _is_plain(texts: Sequence[str]) -> bool:
    """Whether ``_text`` would leave all of them as they are."""
    joined = "".join(texts)
    return not ("&" in joined or "<" in joined or ">" in joined or "\r" in joined)


def _object(key: str, etag: str) -> str:
    condition = f'<ETag>"{_text(etag)}"</ETag>' if etag else ""
    return f"<Object><Key>{_text(key)}</Key>{condition}</Object>"


def complete_body(parts: list[CompletedPart]) -> bytes:
    """CompleteMultipartUpload, parts in the order of their numbers."""
    listed = "".join(
        [
            f'<Part><PartNumber>{part.number}</PartNumber><ETag>"{_text(part.etag)}"</ETag>{_checksum(part.checksum)}</Part>'
            for part in sorted(parts)
        ]
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'
    ).encode()


def _checksum(text: str) -> str:
    algorithm, _, value = text.partition(":")
    return f"<Checksum{algorithm.upper()}>{value}</Checksum{algorithm.upper()}>" if value else ""


def location_body(region: str) -> bytes:
    """CreateBucket in a region other than us-east-1."""
    return (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{_text(region)}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()
