"""Pages of ListObjectsV2: objects that all have one shape, as stores write them, are read by a regular expression.

A parser that calls Python for every tag needs 6 ms for 1000 objects, the expression 0.8 ms. It must not be laxer than
the parser, and is not: what it takes is well-formed by its own shape, all the rest of the page goes through the parser,
and at the first byte that it does not know the parser reads the whole page.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from operator import itemgetter
from urllib.parse import unquote_plus

from s3engine.transport import ListPage, ObjectInfo
from s3engine_transports.raw.tree import MAX_TAGS, BadXml, Document, parse

__all__ = ["decoded", "read_list_page", "size_of"]

_MAX_SIZE = (1 << 63) - 1
_FIRST, _LAST, _EMPTY = "<Contents>", "</Contents>", "<Contents/>"
_FIELDS = ("Key", "LastModified", "ETag", "Size", "StorageClass")
_ANY_FIELD = "<(Key|LastModified|ETag|Size|StorageClass)>"
_Row = tuple[str, str, str, str, str]
_REFERRED = {
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&#34;": '"', "&#38;": "&", "&#39;": "'",
    "&#60;": "<", "&#62;": ">", "&#x9;": "\t", "&#xA;": "\n", "&#xD;": "\r", "&#9;": "\t", "&#10;": "\n", "&#13;": "\r",
}  # fmt: skip
_REFERENCE = "&[^;&]*;?"
# A text in UTF-8 that is a list page or nothing; anything else is the parser's.
# These are compiled when they are used first: half a millisecond that most commands save.
_PLAIN_HEAD = (
    r'(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?(?: standalone="(?:yes|no)")? ?\?>)?\s*'
    r"<ListBucketResult[\s>]"
)
_ANY_CONTENTS = r"[<:]Contents[\s/>]"


def read_list_page(body: bytes) -> ListPage:
    """ListObjectsV2. KeyCount is never looked at: some stores leave it out or get it wrong. Raises BadXml."""
    page = _read_usual(body)
    return _read(_rooted(body)) if page is None else page


def decoded(text: str) -> str:
    """Percent-encoded text. Bytes that are not UTF-8 are kept as surrogates: replaced, they would name another key."""
    return unquote_plus(text, errors="surrogateescape")


def size_of(text: str) -> int:
    """The size of an object. Raises BadXml."""
    # The length first: int() takes time by the square of it.
    try:
        size = int(text) if len(text) < 24 else -1
    except ValueError:
        size = -1
    if not 0 <= size <= _MAX_SIZE:
        raise BadXml(f"{text[:24]!r} is no size of an object")
    return size


# ---- any page


def _rooted(body: bytes) -> Document:
    root = parse(body)
    if root.name != "ListBucketResult":  # any page of a web server would be an empty list else
        raise BadXml(f"a {root.name} where a ListBucketResult is due")
    return root


def _read(root: Document, usual: list[ObjectInfo] | None = None) -> ListPage:
    """The page; its objects are ``usual`` where they were read before."""
    # Keys are decoded only when the store says it encoded them: some ignore the wish.
    encoded = _is_encoded(root)
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    truncated = token = ""
    for name, text, fields in root.children:
        if name == "Contents":
            if usual is None:
                objects.append(_object(fields, encoded))
        elif name == "CommonPrefixes":
            prefix = fields.get("Prefix", "")
            prefixes.append(decoded(prefix) if encoded else prefix)
        elif name == "IsTruncated":
            truncated = text.strip().lower()
        elif name == "NextContinuationToken":
            token = text
    if truncated == "true" and not token:
        raise BadXml("the page says that more follows, but has no NextContinuationToken")
    if truncated not in ("true", "false", ""):
        # Such a page must not pass for the last one: what is missing would be taken for what is not there.
        raise BadXml(f"the page does not say whether more follows: IsTruncated is {truncated[:24]!r}")
    found = objects if usual is None else usual
    return ListPage(found, prefixes, "" if truncated == "false" else token, bool(truncated or token))


def _is_encoded(root: Document) -> bool:
    return any(name == "EncodingType" and text == "url" for name, text, _ in root.children)


def _object(fields: dict[str, str], encoded: bool) -> ObjectInfo:
    key = fields.get("Key", "")
    return ObjectInfo(
        decoded(key) if encoded and ("%" in key or "+" in key) else key, size_of(fields.get("Size") or "0"),
        fields.get("ETag", "").strip('"'), fields.get("LastModified", ""), fields.get("StorageClass", ""),
    )  # fmt: skip


# ---- the usual page: all its objects in one run of elements of one shape


def _read_usual(body: bytes) -> ListPage | None:
    """The page; None when it is not sure, for whatever reason, that the parser would read the same."""
    if len(body) > MAX_TAGS and body.count(b"<") > MAX_TAGS:
        return None
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    begin, end = text.find(_FIRST), text.rfind(_LAST) + len(_LAST)
    if not 0 <= begin < end:
        return None
    head, tail = text[:begin], text[end:]
    if re.match(_PLAIN_HEAD, head) is None or re.search(_ANY_CONTENTS, head) or re.search(_ANY_CONTENTS, tail):
        return None
    found = _rows(text, begin, end)
    if found is None:
        return None
    # In their place the parser gets one empty element. When it finds that below the root, where no other is, the whole
    # is well-formed: each of the objects is, and nothing hides them (a comment, another element).
    try:
        root = parse(f"{head}{_EMPTY}{tail}".encode())
    except BadXml:
        return None
    if root.name != "ListBucketResult" or [child.name for child in root.children].count("Contents") != 1:
        return None
    keys = _keys(found, encoded=_is_encoded(root))
    if keys is None:
        return None
    new = tuple.__new__  # a third faster than the NamedTuple's own, which is Python
    return _read(
        root,
        [new(ObjectInfo, (key, int(size), etag, modified, storage))
         for key, (_, modified, etag, size, storage) in zip(keys, found, strict=True)],
    )  # fmt: skip


def _keys(found: list[_Row], *, encoded: bool) -> list[str] | None:
    """The keys in clear; None where one has a reference that is not in the table."""
    keys = [row[0] for row in found]
    joined = "\n".join(keys)
    if "&" in joined:
        try:
            keys = [re.sub(_REFERENCE, _referred, key) for key in keys]
        except KeyError:
            return None
        joined = "\n".join(keys)
    if encoded and ("%" in joined or "+" in joined):
        # At once: each call costs as much as the decoding of ten characters. A line feed in a key would be two keys.
        at_once = decoded(joined).split("\n")
        return at_once if len(at_once) == len(keys) else [decoded(key) for key in keys]
    return keys


def _referred(found: re.Match[str]) -> str:
    return _REFERRED[found.group()]


def _rows(text: str, begin: int, end: int) -> list[_Row] | None:
    """Key, LastModified, ETag, Size, StorageClass of each object; None when ``text[begin:end]`` holds anything else."""
    # What no object begins with was taken by the last alternative, to the end, and has no key. So without that the
    # objects follow each other from the first byte to the last.
    found: list[_Row] = _plain().findall(text, begin, end)
    if found[-1][0]:
        return found
    order = tuple(re.findall(_ANY_FIELD, text[begin : text.find(_LAST, begin)]))
    if len(set(order)) < len(order) or "Key" not in order or "Size" not in order:
        return None
    found = _rich(order).findall(text, begin, end)
    if not found[-1][order.index("Key")]:
        return None
    if order == _FIELDS:
        return found
    places = [order.index(name) if name in order else len(order) for name in _FIELDS]
    return list(map(itemgetter(*places), found))


# One object, or all that is left. Printable ASCII alone: no control characters, which XML forbids or changes, and no >,
# which may end a CDATA section that was never begun. Sizes of 18 digits are below 2^63.
_TEXT = "[ -%'-;=?-~]"  # without < & >
_BARE = "[ !#-%'-;=?-~]*"  # without quotes too
_REST = "|(?s:.+)"


@cache
def _plain() -> re.Pattern[str]:
    """As AWS and those that follow it closely write it. Compiled at the first page: that takes 0.5 ms."""
    return re.compile(
        f"<Contents><Key>({_TEXT}+)</Key><LastModified>({_TEXT}*)</LastModified><ETag>&quot;({_BARE})&quot;</ETag>"
        f"<Size>([0-9]{{1,18}})</Size><StorageClass>({_TEXT}*)</StorageClass></Contents>{_REST}"
    )


@lru_cache(16)
def _rich(order: tuple[str, ...]) -> re.Pattern[str]:
    """The five fields in this order, and with what AWS, Ceph, MinIO, SeaweedFS and others may add.

    The groups are those of the fields, and an empty one behind them for what is left out.
    """
    space = "[ \\n\\r\\t]*"
    owner = f"<Owner>{space}(?:<ID>{_TEXT}*</ID>)?{space}(?:<DisplayName>{_TEXT}*</DisplayName>)?{space}</Owner>"
    others = "|".join(f"<{name}>{_TEXT}*</{name}>" for name in ("ChecksumAlgorithm", "ChecksumType", "Type"))
    between = f"{space}(?:(?:{owner}|{others}){space})*"
    quote = '(?:&quot;|&#34;|")?'
    values = {
        "Key": "([ -;=?-~]+)", "Size": "([0-9]{1,18})", "ETag": f"{quote}({_BARE}){quote}",
        "LastModified": f"({_TEXT}*)", "StorageClass": f"({_TEXT}*)",
    }  # fmt: skip
    left_out = "" if len(order) == len(_FIELDS) else "()"
    fields = between.join(f"<{name}>{values[name]}</{name}>" for name in order)
    return re.compile(f"<Contents>{between}{fields}{between}{left_out}</Contents>{space}{_REST}")
