"""Headers of objects."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.errors import ConfigError
from s3engine.operations import ObjectHeaders


def test_nothing_asked_nothing_sent() -> None:
    """Without settings no header goes out."""
    assert ObjectHeaders().as_headers() == ()


def test_every_field_has_its_header() -> None:
    """Each setting becomes the header that S3 knows, names in lower case."""
    headers = dict(
        ObjectHeaders(
            content_type="a/b", cache_control="c", content_disposition="d", content_encoding="e", content_language="l",
            expires="x", storage_class="GLACIER", acl="private", sse="aws:kms", sse_kms_key_id="k",
            metadata={"Name": "v"}, tags={"a": "1"}, extra={"X-Amz-Website-Redirect-Location": "/w"},
        ).as_headers()
    )  # fmt: skip
    assert headers == {
        "content-type": "a/b", "cache-control": "c", "content-disposition": "d", "content-encoding": "e",
        "content-language": "l", "expires": "x", "x-amz-storage-class": "GLACIER", "x-amz-acl": "private",
        "x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "k",
        "x-amz-tagging": "a=1", "x-amz-meta-name": "v", "x-amz-website-redirect-location": "/w",
    }  # fmt: skip


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")), max_size=4
    )
)
def test_tags_of_any_text(tags: dict[str, str]) -> None:
    """Tags are encoded as a query string, so any text is allowed in them."""
    headers = dict(ObjectHeaders(tags=tags).as_headers())
    assert dict(parse_qsl(headers.get("x-amz-tagging", ""), keep_blank_values=True)) == tags


@pytest.mark.parametrize(
    "settings",
    [
        {"metadata": {"a": "ü"}}, {"metadata": {"ü": "a"}}, {"metadata": {"a": "b\nc"}},
        {"metadata": {"a": "b\r\nc: d"}},
        {"metadata": {"a\r\nevil: 1": "b"}}, {"metadata": {"a b": "c"}}, {"metadata": {"a:b": "c"}},
        {"extra": {"": "x"}},
        {"metadata": {"a": "b\tc"}}, {"content_type": "text/plain\n"}, {"cache_control": "\x00"},
        {"metadata": {"a": 1}},
        {"metadata": {1: "a"}}, {"content_type": 5}, {"tags": {"a": None}},
    ],
)  # fmt: skip
def test_bad_headers(settings: dict[str, Any]) -> None:
    """What cannot stand in a header, in a name or a value, is refused when the value is made, with its name."""
    with pytest.raises(ConfigError) as caught:
        ObjectHeaders(**settings)
    assert len(str(caught.value).splitlines()) == 1
