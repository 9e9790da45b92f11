"""What no request can carry is refused before anything is sent."""

from __future__ import annotations

import pytest

from s3engine.errors import ConfigError, InvalidRequest
from s3engine_transports.common import (
    Answer,
    check_deletes,
    check_headers,
    check_key,
    copy_source,
    failure_of,
    quoted_etag,
)


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
    good = (("x-amz-meta-a_b.c!#$%&'*+^`|~1", "é日 \U0001f600"), ("content-type", ""))
    check_headers(good)  # raises nothing
    with pytest.raises(ConfigError):  # and it did look at all of them
        check_headers((*good, ("bad name", "")))


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


@pytest.mark.parametrize("region", ["evil.example/", "x@evil.example", "a b", "", "x" * 64, "eu\n"])
def test_a_region_that_is_none(region: str) -> None:
    """What an answer calls a region and is none does not get into the name of a host."""
    answer = Answer("GetObject", "b", "k", 301, {"x-amz-bucket-region": region})
    assert failure_of(answer, "PermanentRedirect", "", {}).region == ""  # type: ignore[attr-defined]
    good = answer._replace(headers={"x-amz-bucket-region": "eu-west-1"})
    assert failure_of(good, "PermanentRedirect", "", {}).region == "eu-west-1"  # type: ignore[attr-defined]


def test_what_a_store_says_is_bounded() -> None:
    """Megabytes and escapes in keys, codes, messages and request ids make an error of one short line."""
    noise = "\x1b[2J\u202e\n" + "m" * 3_000_000
    answer = Answer("GetObject", "b", noise, 403, {"x-amz-request-id": noise})
    error = failure_of(answer, noise, noise, {})
    assert len(str(error)) < 4000
    for text in (str(error), error.code, error.request_id):
        assert text.isprintable()
