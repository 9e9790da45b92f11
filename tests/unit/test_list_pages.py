"""List pages: what is read by the quick way is what the parser reads, and what the parser refuses is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.transport import ListPage
from s3engine_transports.raw import list_pages, tree
from s3engine_transports.raw.list_pages import read_list_page
from s3engine_transports.raw.tree import BadXml, parse

DECLARED = '<?xml version="1.0" encoding="UTF-8"?>\n'
ROOT = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
LAST = "<IsTruncated>false</IsTruncated>"

KEY = "<Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
OWNER = "<Owner><ID>0a</ID><DisplayName>me</DisplayName></Owner>"
SHAPES = {
    "plain": KEY + "<ETag>&quot;0a-2&quot;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass>",
    "checksums": KEY + "<ETag>&quot;0a&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"
    "<ChecksumType>FULL_OBJECT</ChecksumType><Size>5</Size><StorageClass>STANDARD</StorageClass>",
    "owner before": KEY + f"<ETag>&quot;0a&quot;</ETag><Size>5</Size>{OWNER}<StorageClass>S</StorageClass>",
    "owner behind": KEY + f"<ETag>&quot;0a&quot;</ETag><Size>5</Size><StorageClass>S</StorageClass>{OWNER}"
    "<Type>Normal</Type>",
    "decimal references": KEY + "<ETag>&#34;0a&#34;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass>",
    "another order": "<Key>{key}</Key><ETag>&#34;0a&#34;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass>"
    "<LastModified>2026-01-01T00:00:00Z</LastModified>",
    "indented": "\n  <Key>{key}</Key>\n  <LastModified>2026-01-01T00:00:00Z</LastModified>\n  <ETag>&#34;0a&#34;</ETag>"
    f"\n  <Size>5</Size>\n  {OWNER}\n\t<StorageClass>STANDARD</StorageClass>\r\n",
    "some left out": "<ETag>0a</ETag><Key>{key}</Key><Size>5</Size>",
    "bare quotes": KEY + '<ETag>"0a"</ETag><Size>5</Size><StorageClass></StorageClass>',
}


def by_parser(body: bytes) -> ListPage | str:
    """What the parser reads; the text of its refusal."""
    try:
        return list_pages._read(list_pages._rooted(body))
    except BadXml as error:
        return str(error)


def read(body: bytes) -> ListPage | str:
    """What a transport reads."""
    try:
        return read_list_page(body)
    except BadXml as error:
        return str(error)


def page(*entries: str, head: str = LAST, tail: str = "") -> bytes:
    """A page with these Contents."""
    contents = "\n".join(f"<Contents>{entry}</Contents>" for entry in entries)
    return f"{DECLARED}{ROOT}{head}{contents}{tail}</ListBucketResult>".encode()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key", ["a/b", "a%20b+c", "caf%C3%A9", "caf%E9%", "a%0Ab", "a&amp;amp;b", "&#39;&lt;&#10;%26"])
@pytest.mark.parametrize("encoding", ["", "<EncodingType>url</EncodingType>"])
def test_shapes_of_stores_are_read_the_quick_way(shape: str, key: str, encoding: str) -> None:
    """What AWS, MinIO, SeaweedFS and Ceph write, keys with references or encoded: at once, as the parser reads it."""
    entry = SHAPES[shape].format(key=key)
    body = page(entry, SHAPES[shape].format(key="other"), entry, tail=encoding)
    quick = list_pages._read_usual(body)
    if "&" in key and shape == "plain":
        assert quick in (None, by_parser(body))
    else:
        assert quick is not None
        assert quick == by_parser(body)
    assert read(body) == by_parser(body)


def _mostly(good: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Odd ones are so rare that most pages are still of the usual shape."""
    return st.integers(0, 15).flatmap(lambda number: odd if number == 7 else good)


_keys = _mostly(
    st.text(st.sampled_from("ab/%+2F0Ce9]' .-="), min_size=1, max_size=12),
    st.one_of(
        st.text(st.sampled_from("a%+&;<>]\"\n\t\r\x00\x0b\x7f\x85é\ud7ff\ufffe"), max_size=5),
        st.sampled_from(["a&amp;b", "&amp;lt;", "&#x9;", "&#0;", "&#x1F;", "&nbsp;", "&", "]]>", "<!-- -->"]),
    ),
)
_sizes = _mostly(
    st.sampled_from(["0", "5", "9" * 18]),
    st.sampled_from(["9223372036854775807", "9223372036854775808", "-1", "", " 5", "x"]),
)
_entries = st.builds(
    lambda shape, key, size: SHAPES[shape].replace("{key}", key).replace(">5<", f">{size}<"),
    st.sampled_from(sorted(SHAPES)), _keys, _sizes,
)  # fmt: skip
_pieces = _mostly(
    st.sampled_from([
        "", LAST, "text", "<EncodingType>url</EncodingType>", "<NextContinuationToken>t</NextContinuationToken>",
        "<CommonPrefixes><Prefix>p%2F</Prefix></CommonPrefixes>", "<Prefix>Contents</Prefix>", "<Prefix>é</Prefix>",
    ]),
    st.sampled_from([
        "<IsTruncated>true</IsTruncated>", "<!--", "-->", "<![CDATA[", "]]>", "<Foo>", "</Foo>", "<Contents/>",
        "<x:Contents/>", "<Contents a='b'></Contents>", "\x00", "\x01", "<!DOCTYPE a>", "<?x", "?>",
        "</ListBucketResult>",
    ]),
)  # fmt: skip
_starts = _mostly(
    st.sampled_from([DECLARED, "", '<?xml version="1.0" encoding="utf-8"?>']),
    st.sampled_from(['<?xml version="1.0" encoding="iso-8859-1"?>', "\ufeff", "\x85", " "]),
)


@given(
    _starts, st.lists(_entries, min_size=1, max_size=4), st.lists(_pieces, max_size=3), st.lists(_pieces, max_size=3),
    st.data(),
)  # fmt: skip
def test_anything_is_read_as_the_parser_reads_it(
    start: str, entries: list[str], before: list[str], behind: list[str], data: st.DataObject
) -> None:
    """Objects of all shapes with good and bad values, anything around them, cut or with a byte changed: the same."""
    contents = "".join(f"<Contents>{entry}</Contents>" for entry in entries)
    text = f"{start}{ROOT}{''.join(before)}{contents}{''.join(behind)}</ListBucketResult>"
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    change = data.draw(_mostly(st.just("none"), st.sampled_from(["cut", "byte"])))
    if change == "cut":
        del body[data.draw(st.integers(0, len(body))) :]
    elif change == "byte":
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert read(bytes(body)) == by_parser(bytes(body))


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("<!--", "-->"), ("<![CDATA[", "]]>"), ("<Foo>", "</Foo>"), ("<Contents a=''></Contents><!--", "-->"),
        ("<?x ", "?>"),
    ],
)  # fmt: skip
def test_objects_that_are_hidden_are_none(before: str, behind: str) -> None:
    """Objects inside a comment, a CDATA section, another element or an instruction are not below the root."""
    body = page(SHAPES["plain"].format(key="k"), head=LAST + before, tail=behind)
    assert "k" not in [info.key for info in read_list_page(body).objects]
    assert read(body) == by_parser(body)


def test_what_stands_between_objects_is_seen() -> None:
    """Anything between two objects of the usual shape goes through the parser, which refuses what is no XML."""
    good = f"<Contents>{SHAPES['plain'].format(key='k')}</Contents>"
    for between in ("&", "<", "<a>", "</Contents>", "\x01", "]]>", "<Contents>"):
        body = f"{DECLARED}{ROOT}{LAST}{good}{between}{good}</ListBucketResult>".encode()
        with pytest.raises(BadXml):
            read_list_page(body)
    body = f"{DECLARED}{ROOT}{LAST}{good} <New/> {good}</ListBucketResult>".encode()
    assert [info.key for info in read_list_page(body).objects] == ["k", "k"]


_tags = st.sampled_from(["a", "b", "Key", "x:y"])
_trees = st.recursive(
    st.sampled_from(["", "t", " ", "&amp;", "<!-- c -->", "é"]),
    lambda inner: st.builds(lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>t", _tags, st.lists(inner, max_size=3)),
    max_leaves=12,
)


@given(_trees, st.booleans())
def test_documents_are_read_as_elementtree_reads_them(inner: str, declared: bool) -> None:
    """Names and texts of the root's children and of their fields, of any nesting, equal those of ElementTree."""
    space = " xmlns:x='u'" if declared else ""
    body = f"<r{space}>{inner}</r>".encode()
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        with pytest.raises(BadXml):
            parse(body)
        return

    def name(element: ElementTree.Element) -> str:
        return element.tag.rpartition("}")[2]

    expected = [(name(one), one.text or "", {name(field): field.text or "" for field in one}) for one in root]
    assert parse(body) == ("r", expected)


def test_too_many_elements_are_refused_in_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on elements holds for pages of the usual shape too."""
    body = page(*[SHAPES["plain"].format(key=key) for key in "abc"])
    assert len(read_list_page(body).objects) == 3
    monkeypatch.setattr(list_pages, "MAX_TAGS", 20)
    monkeypatch.setattr(tree, "MAX_TAGS", 20)
    with pytest.raises(BadXml, match="more elements"):
        read_list_page(body)
