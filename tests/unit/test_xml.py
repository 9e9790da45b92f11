"""The XML of S3, as it is written and as different stores send it."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote
from xml.etree.ElementTree import ParseError, fromstring
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.transport import CompletedPart
from s3engine_transports.raw import xml

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
safe_keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(xml.is_xml_safe)
any_keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


def _page(
    contents: str, *, more: str = "", namespace: str = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
) -> bytes:
    return f'<?xml version="1.0"?><ListBucketResult{namespace}>{contents}{more}</ListBucketResult>'.encode()


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="urn:other"'])
@pytest.mark.parametrize("backwards", [False, True])
def test_order_and_namespace_do_not_matter(namespace: str, backwards: bool) -> None:
    """Elements in any order, with or without a namespace, without KeyCount, give the same page."""
    fields = [
        "<Key>k</Key>", "<LastModified>2026-01-01T00:00:00.000Z</LastModified>", "<ETag>&quot;e&quot;</ETag>",
        "<Size>5</Size>", "<Owner><ID>x</ID></Owner>", "<StorageClass>STANDARD</StorageClass>",
    ]  # fmt: skip
    parts = [
        "<IsTruncated>true</IsTruncated>", "<EncodingType>url</EncodingType>",
        "<NextContinuationToken>t+/=</NextContinuationToken>",
        "<CommonPrefixes><Prefix>p%20/</Prefix></CommonPrefixes>",
        f"<Contents>{''.join(reversed(fields) if backwards else fields)}</Contents>", "<Unknown>x</Unknown>",
    ]  # fmt: skip
    page = xml.read_list_page(_page("".join(reversed(parts) if backwards else parts), namespace=namespace))
    assert page.objects == [("k", 5, "e", "2026-01-01T00:00:00.000Z", "STANDARD")]
    assert (page.prefixes, page.next_token) == (["p /"], "t+/=")


def test_what_is_missing_is_empty() -> None:
    """An object with a key alone has size 0 and no ETag; a page with nothing is empty and the last."""
    page = xml.read_list_page(_page("<Contents><Key>k</Key></Contents>"))
    assert page == ([("k", 0, "", "", "")], [], "", False)
    assert xml.read_list_page(b"<ListBucketResult/>") == ([], [], "", False)


@pytest.mark.parametrize(("said", "says_end"), [("<IsTruncated>false</IsTruncated>", True), ("", False)])
def test_page_says_itself_that_nothing_follows(said: str, says_end: bool) -> None:
    """A last page without IsTruncated is told from one that says that it is the last."""
    assert xml.read_list_page(_page(said)).says_end is says_end


@pytest.mark.parametrize("said", ["True", "TRUE", " true ", None])
def test_page_that_is_not_the_last_is_not_taken_for_it(said: str | None) -> None:
    """More follows however the store spells it, and where it only gives a token; another word is refused."""
    more = "" if said is None else f"<IsTruncated>{said}</IsTruncated>"
    body = f"<ListBucketResult>{more}<NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
    assert xml.read_list_page(body.encode()).next_token == "t"
    with pytest.raises(xml.BadXml, match="whether more follows"):
        xml.read_list_page(b"<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>")


@given(st.lists(any_keys, max_size=5), st.booleans())
def test_encoded_keys_come_back(keys: list[str], plus: bool) -> None:
    """Keys that the store encoded, with + or %20 for a space, come out exactly."""
    encoded = [quote(key).replace("%20", "+") if plus else quote(key) for key in keys]
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in encoded)
    prefixes = "".join(f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>" for key in encoded)
    page = xml.read_list_page(_page(contents + prefixes, more="<EncodingType>url</EncodingType>"))
    assert [found.key for found in page.objects] == keys
    assert page.prefixes == keys


def test_keys_that_are_no_utf8_name_no_other() -> None:
    """Bytes that are not UTF-8 are kept: a key with a replacement character would be somebody else's."""
    contents = "<Contents><Key>caf%E9</Key></Contents><CommonPrefixes><Prefix>%FF/</Prefix></CommonPrefixes>"
    page = xml.read_list_page(_page(contents, more="<EncodingType>url</EncodingType>"))
    assert ([found.key for found in page.objects], page.prefixes) == (["caf\udce9"], ["\udcff/"])


@given(st.lists(safe_keys, max_size=5))
def test_a_store_that_ignores_the_encoding(keys: list[str]) -> None:
    """Without EncodingType in the answer keys are taken as they stand: % and + are themselves."""
    contents = "".join(f"<Contents><Key>{escape(key, {chr(13): '&#13;'})}</Key></Contents>" for key in keys)
    assert [found.key for found in xml.read_list_page(_page(contents)).objects] == keys


def test_more_than_1000_keys() -> None:
    """A page may hold more than was asked for."""
    contents = "".join(f"<Contents><Key>{i}</Key></Contents>" for i in range(2_500))
    assert len(xml.read_list_page(_page(contents)).objects) == 2_500


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<", _page("<Contents><Key>k</Key></Contents>")[:-5], b"<Other/>", b"\xff\xfe\xff", b"plain",
        _page("<IsTruncated>true</IsTruncated>"),
    ],
)  # fmt: skip
def test_bad_pages(body: bytes) -> None:
    """An empty, cut or foreign document, or a truncated page without a token, raises BadXml: never a short listing."""
    with pytest.raises(xml.BadXml):
        xml.read_list_page(body)


@pytest.mark.parametrize("size", ["x", "1.5", "٣٣x"])
def test_bad_numbers_are_value_errors(size: str) -> None:
    """A size that is no number raises BadXml, a ValueError, which the transport reports as a broken answer."""
    with pytest.raises(xml.BadXml, match="no size of an object"):
        xml.read_list_page(_page(f"<Contents><Key>k</Key><Size>{size}</Size></Contents>"))


@given(st.lists(safe_keys, max_size=5))
def test_delete_body_round_trip(keys: list[str]) -> None:
    """Every key that XML can hold reaches the store exactly, carriage returns included."""
    root = fromstring(xml.delete_body(keys))
    assert [found.text for found in root.iter(f"{NS}Key")] == keys
    assert root.findtext(f"{NS}Quiet") == "true"


@given(st.lists(st.tuples(safe_keys, st.text("ab&\"<>", max_size=3)), max_size=5))
def test_delete_body_with_etags_round_trip(pairs: list[tuple[str, str]]) -> None:
    """Every key stands beside its ETag in quotes, or beside none."""
    root = fromstring(xml.delete_body([key for key, _ in pairs], [etag for _, etag in pairs]))
    found = [(one.findtext(f"{NS}Key"), one.findtext(f"{NS}ETag")) for one in root.iter(f"{NS}Object")]
    assert found == [(key, f'"{etag}"' if etag else None) for key, etag in pairs]


def test_delete_body_as_it_stands() -> None:
    """The whole body, with ETags and without, byte by byte."""
    begin = b'<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    end = b"<Quiet>true</Quiet></Delete>"
    one, other = b"<Object><Key>a</Key></Object>", b"<Object><Key>b/\xc3\xa4</Key></Object>"
    assert xml.delete_body(["a", "b/ä"]) == begin + one + other + end
    one, other = one.replace(b"</O", b'<ETag>"1"</ETag></O'), other.replace(b"</O", b'<ETag>"2"</ETag></O')
    assert xml.delete_body(["a", "b/ä"], ["1", "2"]) == begin + one + other + end


_QUIET = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"</DeleteResult>"
)


@given(
    st.sampled_from((_QUIET, _QUIET.replace(b"></DeleteResult>", b" />"), b"<DeleteResult/>", b"<?xml version='1.0'?>\n"
    b"<DeleteResult>\n</DeleteResult>\n")), st.integers(0, 140), st.integers(0, 3),
    st.binary(max_size=2) | st.sampled_from((b"<Error/>", b" ", b"\v", b"x", b"<!-- -->", b"&lt;", b"\xff", b"<a>")),
)  # fmt: skip
def test_short_answers_are_read_as_the_parser_reads_them(body: bytes, at: int, cut: int, put: bytes) -> None:
    """An answer that lists nothing, and whatever is nearly one, gives what the parser makes of it, or is refused."""
    changed = body[:at] + put + body[at + cut :]
    try:
        xml.check_harmless(changed)
        root = fromstring(changed)
        right = root.tag.rpartition("}")[2] == "DeleteResult"
    except (ParseError, LookupError, ValueError):  # BadXml is one, too
        right = False
    if right:
        assert len(xml.read_deleted(changed)) == len([child for child in root if child.tag.endswith("Error")])
    else:
        with pytest.raises(xml.BadXml):
            xml.read_deleted(changed)


@pytest.mark.parametrize("key", ["a\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_keys_that_xml_cannot_hold(key: str) -> None:
    """Control characters and non-characters are told apart, so that they are deleted one by one."""
    assert not xml.is_xml_safe(key)


@pytest.mark.parametrize("key", ["a\tb", "a\nb", "a\rb", "\x7f", "\x85", "😀", "]]>", "&amp;", "<a>"])
def test_keys_that_xml_can_hold(key: str) -> None:
    """What XML can hold, escaped or not, goes into DeleteObjects."""
    assert xml.is_xml_safe(key)
    assert [found.text for found in fromstring(xml.delete_body([key])).iter(f"{NS}Key")] == [key]


def test_complete_body_is_in_order() -> None:
    """Parts stand by number, whatever order they finished in, their ETags quoted."""
    root = fromstring(xml.complete_body([CompletedPart(10, "c"), CompletedPart(2, "b&<"), CompletedPart(1, "a")]))
    found = [(part.findtext(f"{NS}PartNumber"), part.findtext(f"{NS}ETag")) for part in root]
    assert found == [("1", '"a"'), ("2", '"b&<"'), ("10", '"c"')]


def test_location_body() -> None:
    """The region of a new bucket."""
    assert fromstring(xml.location_body("eu-west-1")).findtext(f"{NS}LocationConstraint") == "eu-west-1"


def test_deleted_failures() -> None:
    """Only the errors of a DeleteResult are returned, in either form of the answer."""
    body = (
        b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Code>C</Code><Key>k &amp;</Key></Error></DeleteResult>"
    )
    assert xml.read_deleted(body) == [("k &", "C", "")]
    assert xml.read_deleted(b"<DeleteResult/>") == []


def test_errors_and_what_is_none() -> None:
    """An Error document, also inside an ErrorResponse, gives code and message; anything else gives nothing."""
    error = "<Error><Code>C</Code><Message>M</Message><Region>r</Region></Error>"
    assert xml.read_error(error.encode()) == ("C", "M", {"Code": "C", "Message": "M", "Region": "r"})
    assert xml.read_error(f"<ErrorResponse xmlns='x'>{error}</ErrorResponse>".encode())[:2] == ("C", "M")
    for body in (b"", b"<html/>", b"not xml", b"<DeleteResult><Error><Code>C</Code></Error></DeleteResult>"):
        assert xml.read_error(body) == ("", "", {})


def test_parts_and_uploads() -> None:
    """ListParts and ListMultipartUploads with their markers; keys of uploads decoded where they were encoded."""
    part = "<Part><PartNumber>3</PartNumber><ETag>&quot;e&quot;</ETag><Size>7</Size></Part>"
    more = "<NextPartNumberMarker>3</NextPartNumberMarker><IsTruncated>{}</IsTruncated>"
    body = f"<ListPartsResult>{part}{more}</ListPartsResult>"
    assert xml.read_parts(body.format("true").encode()) == ([(3, "e", 7, "")], "3")
    assert xml.read_parts(body.format("false").encode()) == ([(3, "e", 7, "")], "")
    upload = "<Upload><Key>a+b%2B</Key><UploadId>U</UploadId><Initiated>t</Initiated></Upload>"
    markers = (
        "<NextKeyMarker>a%2F</NextKeyMarker><NextUploadIdMarker>U</NextUploadIdMarker><IsTruncated>true</IsTruncated>"
    )
    root = "<ListMultipartUploadsResult>{}" + upload + markers + "</ListMultipartUploadsResult>"
    assert xml.read_uploads(root.format("<EncodingType>url</EncodingType>").encode()) == (
        [("a b+", "U", "t")],
        "a/",
        "U",
    )
    assert xml.read_uploads(root.format("").encode()) == ([("a+b%2B", "U", "t")], "a%2F", "U")
    for read in (xml.read_parts, xml.read_uploads):
        with pytest.raises(xml.BadXml, match="html"):
            read(b"<!DOCTYPE html><html><body/></html>")


@pytest.mark.parametrize("marker", ["", "<NextPartNumberMarker>0</NextPartNumberMarker>"])
def test_a_page_of_parts_that_does_not_say_what_follows(marker: str) -> None:
    """A truncated page of parts without a marker raises BadXml: it is not the last one."""
    body = f"<ListPartsResult><IsTruncated> true </IsTruncated>{marker}</ListPartsResult>"
    with pytest.raises(xml.BadXml, match="NextPartNumberMarker"):
        xml.read_parts(body.encode())


def test_a_page_of_uploads_that_does_not_say_what_follows() -> None:
    """A truncated page of uploads without a marker raises BadXml: it is not the last one."""
    body = b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>"
    with pytest.raises(xml.BadXml, match="NextKeyMarker"):
        xml.read_uploads(body)


_READERS = [
    xml.read_list_page, xml.read_deleted, xml.read_parts, xml.read_uploads, lambda body: xml.read_text(body, "a"),
]  # fmt: skip
_END = b"<ListBucketResult>%s</ListBucketResult>"
_LAUGHS = b'<!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 10) for letter in range(ord("b"), ord("k"))
)


@pytest.mark.parametrize("read", _READERS)
@pytest.mark.parametrize(
    "body",
    [
        _LAUGHS + b"]><ListBucketResult>&j;</ListBucketResult>",
        b'<!DOCTYPE q [<!ENTITY a "' + b"x" * 100_000 + b'">]>' + _END % (b"&a;" * 100_000),
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + _END % b"&a;",
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><ListBucketResult/>',
        (_LAUGHS + b"]><ListBucketResult>&j;</ListBucketResult>").decode().encode("utf-16"),
        b"<?xml version='1.0' encoding='utf-32'?><ListBucketResult/>",
        b"<?xml version='1.0' encoding='no-such-encoding'?><ListBucketResult/>",
        b"<a>" * 3_000_000,
    ],
    ids=["laughs", "quadratic", "file", "dtd", "utf-16", "utf-32", "unknown-encoding", "elements"],
)  # fmt: skip
def test_bombs(read: Callable[[bytes], object], body: bytes) -> None:
    """Entities, in whatever encoding, and elements without number are refused before they are expanded."""
    began = time.process_time()
    with pytest.raises(xml.BadXml):
        read(body)
    assert time.process_time() - began < 2.0
    assert xml.read_error(body) == ("", "", {})


def test_deep_nesting() -> None:
    """A hundred thousand elements inside each other are read, and not by recursion."""
    body = b"<ListBucketResult>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</ListBucketResult>"
    assert xml.read_list_page(body)[:3] == ([], [], "")


@pytest.mark.parametrize("size", ["-1", "9" * 20, "9" * 5_000_000, str(1 << 63)])
def test_sizes_that_are_none(size: str) -> None:
    """A negative size, one beyond all files, and millions of digits are refused at once."""
    with pytest.raises(ValueError, match="size"):
        xml.read_list_page(_page(f"<Contents><Key>k</Key><Size>{size}</Size></Contents>"))
