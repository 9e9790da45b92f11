"""The XML bodies of S3: what the answers say, and the bodies of requests, which are written as strings.

Namespaces and the order of elements differ between stores, so only local names count. What is not there is "" or 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from s3engine.transport import CompletedPart, DeleteFailure, PartsPage, UploadInfo, UploadsPage
from s3engine_transports.common import is_xml_safe
from s3engine_transports.raw.list_pages import decoded, read_list_page, size_of
from s3engine_transports.raw.tree import BadXml, Document, check_harmless, parse

__all__ = [
    "BadXml", "check_harmless", "complete_body", "delete_body", "is_xml_safe", "location_body", "read_deleted",
    "read_error", "read_list_page", "read_parts", "read_text", "read_uploads",
]  # fmt: skip


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


def read_text(body: bytes, name: str) -> str:
    """The text of the first child called ``name`` of the root, or ""."""
    return parse(body).texts().get(name, "")


def read_error(body: bytes) -> tuple[str, str, dict[str, str]]:
    """Code, message and all fields of an ``<Error>`` body; ("", "", {}) when it is none."""
    try:
        root = parse(body)
    except BadXml:
        return "", "", {}
    if root.name == "Error":
        fields = root.texts()
    else:
        # A DeleteResult has Error children too: those are single keys, not the answer.
        found = [child for child in root.children if child.name == "Error"] if root.name == "ErrorResponse" else []
        if not found:
            return "", "", {}
        fields = found[0].fields
    return fields.get("Code", ""), fields.get("Message", ""), fields


def _root(body: bytes, name: str) -> Document:
    """The document, whose root must have this name: any page of a web server would be an empty list else."""
    root = parse(body)
    if root.name != name:
        raise BadXml(f"a {root.name} where a {name} is due")
    return root


def read_deleted(body: bytes) -> list[DeleteFailure]:
    """The failures in a DeleteResult (quiet form). Raises BadXml."""
    if len(body) < _SHORT_BYTES and re.fullmatch(_NOTHING_FAILED, body):
        return []  # the usual answer, without a parser
    return [
        DeleteFailure(fields.get("Key", ""), fields.get("Code", ""), fields.get("Message", ""))
        for name, _, fields in _root(body, "DeleteResult").children if name == "Error"
    ]  # fmt: skip


def _is_truncated(fields: dict[str, str]) -> bool:
    return fields.get("IsTruncated", "").strip().lower() == "true"


def read_parts(body: bytes) -> PartsPage:
    """ListParts: the parts of a page and the marker of the next one ("" on the last). Raises BadXml."""
    root = _root(body, "ListPartsResult")
    fields = root.texts()
    parts = []
    for name, _, part in root.children:
        if name == "Part":
            number, size = size_of(part.get("PartNumber", "")), size_of(part.get("Size") or "0")
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
    fields = root.texts()
    encoded = fields.get("EncodingType") == "url"
    uploads = []
    for name, _, upload in root.children:
        if name == "Upload":
            key, upload_id = upload.get("Key", ""), upload.get("UploadId", "")
            if not upload_id:
                raise BadXml(f"the upload of {key[:80]!r} has no UploadId")
            uploads.append(UploadInfo(decoded(key) if encoded else key, upload_id, upload.get("Initiated", "")))
    if not _is_truncated(fields):
        return UploadsPage(uploads, "", "")
    marker = fields.get("NextKeyMarker", "")
    if not marker:
        raise BadXml("the page says that more follows, but has no NextKeyMarker")
    return UploadsPage(uploads, decoded(marker) if encoded else marker, fields.get("NextUploadIdMarker", ""))


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
