"""What no request can carry is refused before anything is sent."""

from __future__ import annotations

import pytest

from s3engine.errors import ConfigError, InvalidRequest
from s3engine_transports.common import check_deletes, check_headers, check_key, copy_source, quoted_etag


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\n", "(a)"])
def test_names_of_headers(name: str) -> None:
    """A header's name is a token of HTTP."""
    with pytest.raises(ConfigError, match="is no header name"):
        check_headers((("x-amz-acl", "private"), (name, "v")))


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\0", "\x7f", "\x1b[0m", "\udc80"])
def test_values_of_headers(value: str) -> None:
    """A value has no control characters and can be encoded; the message does not tell it."""
    with pytest.raises(ConfigError, match="header 'x' must not hold") as caught:
        check_headers((("x", f"secret{value}"),))
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="ETag"):
        quoted_etag(value)


def test_headers_that_can_be_sent() -> None:
    """Letters of all languages may stand in values, all signs of a token in names."""
    check_headers((("x-amz-meta-a_b.c!#$%&'*+^`|~1", "é日 \U0001f600"), ("content-type", "")))


@pytest.mark.parametrize(
    ("bucket", "key", "why"),
    [
        ("b", "", "the key is empty"), ("", "k", "the bucket is empty"), ("..", "k", "the bucket is no name"),
        ("b", "k\udc80", "not Unicode"),
    ],
)  # fmt: skip
def test_objects_without_a_name(bucket: str, key: str, why: str) -> None:
    """A request for an object that has no bucket or key would be one for another thing."""
    with pytest.raises(InvalidRequest, match=why):
        check_key("DeleteObject", bucket, key)
    with pytest.raises(InvalidRequest, match=why):
        copy_source("CopyObject", bucket, key, "")
    with pytest.raises(InvalidRequest, match=why):
        check_deletes(bucket, ["good", key])


def test_keys_beyond_xml() -> None:
    """DeleteObjects cannot name a key with a control character."""
    with pytest.raises(InvalidRequest, match="cannot stand in XML"):
        check_deletes("b", ["a\x01"])


def test_the_source_of_a_copy() -> None:
    """Bucket and key percent-encoded, and the ETag quoted."""
    assert copy_source("CopyObject", "b", "a b/ü~", "e") == (
        ("x-amz-copy-source", "/b/a%20b/%C3%BC~"), ("x-amz-copy-source-if-match", '"e"'),
    )  # fmt: skip
